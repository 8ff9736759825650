//! Who is measured.
//!
//! *Next stop*: [`echo`], [`etcd`], [`yadkv`].

pub mod echo;
pub mod etcd;
pub mod yadkv;

use bytes::Bytes;
use futures::future::BoxFuture;

/// A server under load. `session` is the number of the client that asks, for targets that keep several
/// connections.
pub trait Target: Send + Sync {
    /// Its name in reports.
    fn name(&self) -> &'static str;

    /// Writes a record; the answer means that it is durable as far as the target promises.
    fn put(&self, session: usize, key: Bytes, value: Bytes) -> BoxFuture<'_, Result<(), String>>;

    /// Reads a record; whether it was there.
    fn get(&self, session: usize, key: Bytes) -> BoxFuture<'_, Result<bool, String>>;
}
