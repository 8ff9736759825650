//! The deterministic part of a storage node: many Raft groups over two engines, and the raw commands.
//!
//! *Place*: `storage-node/server` wraps it with threads, sockets and clocks; the simulation wraps it with an
//! event queue. Both call the same functions in the same order.
//!
//! *Types to know*: [`front::Front`] decides what a request needs, [`store::Worker`] owns the replicas of its
//! regions, [`apply::Applier`] turns committed entries into data, [`view::Directory`] is what readers may see
//! of a region without asking its worker.
//!
//! *Life of a put*:
//! ```text
//! request → front (validate, build a command) → worker.handle (check, queue)
//!   → worker.round (pack, propose, one batch for all touched regions) → [log write + fsync]
//!   → worker.persisted (messages, committed entries) → applier.prepare → [kv write]
//!   → prepared.finish (clock, replies) → worker.handle(Applied)
//! ```
//! The steps in brackets are done by the caller, between the calls.
//!
//! *Life of a get*: [`read::LeaseRead`] without the worker, or through ReadIndex by the worker.
//!
//! *Invariants*: data and applied index change in one batch; a delegate is published only after an entry of
//! its own term was applied; replies leave after the write they describe.
//!
//! *Limits and failure*: every queue has a bound in [`config::Config`]; an engine error is final for the node.
//!
//! *Next stop*: [`front`].

// Region errors are wire messages with one field a variant: large, rare, and moved a few times at most.
#![allow(clippy::result_large_err, clippy::large_enum_variant)]

pub mod apply;
pub mod check;
pub mod config;
pub mod damage;
pub mod front;
pub mod layout;
pub mod members;
pub mod peer;
pub mod planted;
pub mod raw;
pub mod read;
pub mod refusal;
pub mod respond;
pub mod room;
pub mod snapshot;
pub mod split;
pub mod store;
pub mod stuck;
pub mod tally;
pub mod view;
