//! A whole cluster in one thread, from one seed: placement drivers, stores and SDK clients over virtual time,
//! a virtual network and disks that lose what real ones may lose.
//!
//! *Place*: it wraps the same cores as the servers do (`placement-driver/core`, `storage-node/core`, `client`),
//! with an event queue instead of threads.
//!
//! *Types to know*: [`run::run`] (one seed), [`world::World`] (the cluster), [`sky::Sky`] (time, events,
//! network), [`nemesis::Action`] (faults), [`history::History`] (what clients saw).
//!
//! *Life of a seed*:
//!
//! ```text
//! seed ─▶ chance ─▶ events ─▶ machines step, tasks are polled ─▶ laws checked at each step
//!            └────▶ faults            └─▶ history ─▶ linearizable?          replicas equal?
//! ```
//!
//! *Invariants*: the same seed is the same run, event for event (tested by the hash of the trace).
//!
//! *Limits*: calls of clients are never duplicated (they travel on connections); moments drift by at most 0.2 %,
//! wall clocks differ by at most 2.5 s.
//!
//! *Source*: the simulators of FoundationDB and TigerBeetle.
//!
//! *Next stop*: [`sky`].

pub mod calls;
pub mod check;
pub mod chronicle;
pub mod client;
pub mod history;
pub mod life;
pub mod nemesis;
pub mod network;
pub mod pd;
pub mod planted;
pub mod random;
pub mod run;
pub mod shrink;
pub mod sky;
pub mod store;
pub mod story;
pub mod tasks;
pub mod trace;
pub mod world;
