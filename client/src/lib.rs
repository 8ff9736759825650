//! The SDK: raw key-value access, timestamps and cluster look-ups.
//!
//! *Place*: applications, the command line, benchmarks and the simulation call it; it talks to placement drivers
//! and stores over [`runtime::Runtime`].
//!
//! *Types to know*: [`Client`], [`RawClient`], [`Options`], [`Error`].
//!
//! *Life of a call*, downstream:
//!
//! ```text
//!   raw        key -> command key
//!   routing    command key -> region -> leader's store; retries within one deadline
//!   runtime    request -> answer, or why there is none
//!   grpc       frames on one stream a store, shared by all tasks
//! ```
//!
//! *Invariants*: the core (everything but `grpc`) is deterministic: time, chance, tasks and calls come through
//! [`runtime::Runtime`]. A write that may have happened never ends in an error that says it has not.
//!
//! *Limits and failure*: every call ends within [`Options::timeout`]. While a majority of each region and of the
//! placement drivers lives, a dead store or member costs time, not errors.
//!
//! *Next stop*: [`raw`].

mod admin;
mod client;
mod error;
#[cfg(feature = "grpc")]
pub mod grpc;
mod keyspace;
#[cfg(feature = "metrics")]
pub mod metrics;
pub mod observer;
mod options;
pub mod raw;
mod routing;
pub mod runtime;
#[cfg(test)]
mod testing;
mod tso;

pub use admin::{AdminClient, Members};
pub use client::Client;
pub use error::{Error, Result};
pub use options::{Api, DEFAULT_KEYSPACE, Options, TlsFiles};
pub use raw::{Checksum, Pair, RawClient, ScanOptions, Swap, Ttl};
pub use tso::Timestamp;
pub use yadkv_proto as proto;
