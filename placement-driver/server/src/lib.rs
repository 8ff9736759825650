//! The placement driver's server: threads, sockets, disks and clocks around the deterministic core.
//!
//! *Place*: `yadkv pd` and the tests call [`node::run`]; clients, stores and other members talk to its one
//! port.
//!
//! *Types to know*: [`Config`], [`node::run`], [`driver::Handle`].
//!
//! ```text
//!              one port: gRPC (HTTP/2) and HTTP/1.1
//!  service/ streams   http   transport (Raft of the other members)
//!        \      |      |      /            ▲
//!         ▼     ▼      ▼     ▼             │ frames
//!        driver: one thread, owns the core's Member ──▶ raft/ (synced), kv/
//! ```
//!
//! *Life of a call*: [`service`] decodes → [`driver`] hands it to the member and brings the answer back → a
//! follower's refusal with the leader's url → [`forward`] asks the leader.
//!
//! *Limits and failure*: the driver's inbox is bounded: calls that find it full are refused, Raft messages
//! dropped. A failed disk or damaged log ends [`node::run`] with an error.
//!
//! *Next stop*: [`node`].

pub mod clock;
pub mod config;
pub mod data;
pub mod driver;
pub mod flush;
pub mod forward;
pub mod http;
pub mod metrics;
pub mod node;
pub mod online;
pub mod service;
pub mod transport;

pub use config::Config;
pub use node::{NodeError, run};
