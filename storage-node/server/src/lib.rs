//! The storage node: threads, sockets, disks and clocks around the deterministic core.
//!
//! *Place*: `yadkv store` calls [`node::run`]; clients, other stores and the placement driver talk to it.
//!
//! *Types to know*: [`config::Config`]; [`router::Router`], which everything that happens goes through.
//!
//! *Data flow*:
//! ```text
//! service/ ──requests──▶ core front ──▶ router ──▶ store worker thread ──▶ raft/ engine
//!    ▲                      │ lease reads              │        ▲ ▲
//!    │                      ▼                          ▼        │ └── transport/ ◀── other stores
//!    └───── replies ── threads/apply, threads/reads ◀──┴────────┘
//!                           pd/: heartbeats up, operators down
//! ```
//!
//! *Invariants*: an engine error stops the node; every task and thread ends when the shutdown token fires.
//!
//! *Limits*: every channel is bounded; a full inbox answers ServerIsBusy, full outgoing channels drop Raft
//! messages (Raft repeats them).
//!
//! *Next stop*: [`node`], then [`service`].

pub mod addresses;
pub mod clock;
pub mod config;
pub mod damage;
pub mod data;
pub mod disk;
pub mod life;
pub mod metrics;
pub mod node;
pub mod online;
pub mod pd;
pub mod router;
pub mod service;
pub mod status;
pub mod threads;
pub mod transport;
