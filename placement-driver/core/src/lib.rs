//! The deterministic part of the placement driver: identity, timestamps, ids, stores, the map of regions.
//!
//! *Place*: the placement driver's server drives a [`Member`] with real clocks, disks and sockets, the
//! simulation with made-up ones. A member uses `consensus` for its log and an `engine` for its state.
//!
//! *Types to know*: [`Member`], [`Input`], [`Round`], [`Config`].
//!
//! *The loop* that every driver runs:
//!
//! ```text
//! for each input:             member.handle(input, now)
//! while member.pending():     round = member.round(now)?          a clock read after the inputs
//!     if a round came:        send round.send_now
//!                             raft engine .write(round.batch, Synced if round.must_sync)
//!                             send member.persisted(round, now)?
//! if member.flush(now):       make the state's engine durable, on any thread → Input::Durable
//! ```
//!
//! `round` releases answers that need a lease covering its `now`, so it must be called, with a fresh clock,
//! whenever [`Member::pending`] says so, even if no round comes out. The raft engine is opened with
//! `yadkv_consensus::FAMILIES`, the state's with [`FAMILIES`].
//!
//! *What is where*: [`member`] the replica · [`cluster`] the replicated state · [`region_map`] and [`pending`]
//! the map and what does not tile yet · [`tso`], [`ids`] numbers given out once · [`reports`] heartbeats ·
//! [`schedule`] balance · [`bootstrap`] the first regions · [`answer`] responses · [`border`] what callers
//! are shown · [`record`] bytes on disk.
//!
//! *How a store joins*: GetMembers gives the cluster id → AllocID gives a store id (0 in the cluster id of
//! a request is refused) → PutStore → StoreHeartbeat every 3 s → IsBootstrapped turns true → ScanRegions with
//! both bounds empty shows the regions: the store creates its own peers in those of epoch (1, 1) that it
//! never had, and campaigns at once where the shown leader is its own peer → RegionHeartbeat from every
//! leader.
//!
//! *Next stop*: [`member`].

pub mod answer;
pub mod bootstrap;
pub mod border;
pub mod cluster;
pub mod config;
pub mod ids;
pub mod member;
pub mod pending;
pub mod planted;
pub mod record;
pub mod region_map;
pub mod reports;
pub mod schedule;
pub mod tso;

pub use answer::overview::Overview;
pub use config::{
    BootstrapConfig, Changeable, Config, ConfigError, LogConfig, MemberAddress, ScheduleConfig,
};
pub use member::{
    CHUNK_BYTES_MAX, Fatal, Input, Member, OpenError, Order, OrderReply, OverviewReply, Refusal,
    Reply, Round, Seat, StoreOrder, Transfers,
};
pub use record::FAMILIES;
