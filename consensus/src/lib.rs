//! One Raft group around raft-rs: tick, step and propose in, a typed Ready out.
//!
//! *Place*: region peers of a storage node and members of a placement driver each own a [`Node`] per replica;
//! all nodes of a process share one [`LogStore`] over the `raft/` engine.
//!
//! *Types to know*: [`Node`], [`Ready`], [`LogStore`].
//!
//! *The loop* that every caller runs:
//!
//! ```text
//! for each input:          node.tick | step | propose | read_index | transfer_leader | applied
//! for each touched node:   ready = node.ready(&mut batch, now)       one batch for all
//!                          show readers node.term(), node.lease(), …   before anything is sent
//!                          send ready.send_now, hand ready.committed to apply
//! once:                    raft engine .write(batch, Synced if any ready.must_sync)
//! for each ready:          node.persisted(ready, now)
//!                          send .send, hand .committed to apply
//! ```
//!
//! *What is where*: [`node`] the replica · [`election`] who may vote when · [`lease`] and [`reads`] reads
//! without and with a round of messages · [`members`] who belongs to the group · [`sanitise`] what the network may say · [`message`] conversion ·
//! [`unborn`] what a replica says before it exists · [`log_store`], [`storage`], [`layout`], [`entry_cache`], [`terms`] the log · [`chunk`] what a snapshot travels in.
//!
//! *Not here*: the state machine, whose state is what a snapshot carries; regions, epochs and transport.
//!
//! *Next stop*: [`node`].

// The tour leads through what is private: `cargo doc --document-private-items`.
#![allow(rustdoc::private_intra_doc_links)]

pub mod chunk;
pub mod config;
pub mod election;
pub mod entry_cache;
pub mod error;
pub mod layout;
pub mod lease;
pub mod log_store;
pub mod members;
pub mod message;
pub mod node;
pub mod planted;
pub mod reads;
pub mod ready;
pub mod sanitise;
pub mod storage;
pub mod terms;
pub mod unborn;

pub use chunk::{ChunkError, Cutter, Opener};
pub use config::{Config, ConfigError};
pub use election::Start;
pub use error::{OpenError, ProposeError, ReadError, StepError, TransferError};
pub use layout::FAMILIES;
pub use log_store::{FIRST_INDEX, FIRST_TERM, LogStore};
pub use members::{MemberChange, Members, MembersChange};
pub use message::{acts_as_leader, is_vote_request};
pub use node::{Follower, MEMBERS_ENTRY, Node, Proposal, Replication};
pub use reads::{ReadReady, ReadToken};
pub use ready::{Persisted, Ready, Role, RoleChange};
pub use unborn::says_nothing_is_here;

/// A node moves between threads with the worker that owns it.
const fn assert_send<T: Send>() {}
const _: () = assert_send::<Node>();
const _: () = assert_send::<Ready>();
