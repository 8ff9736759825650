//! Who is measured.
//!
//! *Types to know*: [`Target`].
//!
//! *Invariants*: an answer without error means that the target did what it promises: a write is as durable as it ever
//! gets; whether a read found what was written is judged by [`crate::workload::Wanted`].
//!
//! *Next stop*: [`echo`], [`null`], [`floor`], [`etcd`], [`redis`], [`tikv`], [`yadkv`].

pub mod echo;
pub mod etcd;
pub mod floor;
pub mod null;
mod process;
pub mod redis;
pub mod tikv;
pub mod yadkv;

use crate::workload::{Request, Workload};
use bytes::Bytes;
use futures::future::BoxFuture;

/// What became of an operation; an error is a few words that say of which kind it is.
pub type Answer<T = Found> = Result<T, String>;

/// What an operation has read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// How many records.
    pub records: u64,
    /// Bytes of their values.
    pub bytes: u64,
}

impl Found {
    /// Nothing: it has written.
    pub const NOTHING: Self = Self {
        records: 0,
        bytes: 0,
    };

    /// These values.
    pub fn values<V: AsRef<[u8]>>(values: impl IntoIterator<Item = V>) -> Self {
        let mut found = Self::NOTHING;
        for value in values {
            found.records += 1;
            found.bytes += value.as_ref().len() as u64;
        }
        found
    }
}

/// A server under load.
pub trait Target: Send + Sync {
    /// Its name in reports.
    fn name(&self) -> &'static str;

    /// Whether it can do what the load asks for.
    fn serves(&self, workload: Workload) -> bool {
        let _ = workload;
        true
    }

    /// Does it, and says what it read. `session` is the number of the client that asks, for targets that keep several connections.
    fn call(&self, session: usize, request: Request) -> BoxFuture<'_, Answer>;

    /// Writes one record.
    fn put(&self, session: usize, key: Bytes, value: Bytes) -> BoxFuture<'_, Answer> {
        self.call(session, Request::Put(key, value))
    }

    /// Its servers, where they are processes of their own.
    fn processes(&self) -> Vec<u32>;
}
