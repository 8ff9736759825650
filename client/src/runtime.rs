//! Everything the SDK needs from outside, behind one trait: time, chance, tasks, calls.
//!
//! *Place*: the routing core calls it; `grpc` implements it with tokio and tonic, the simulation with its event
//! queue.
//!
//! *Invariants*: an implementation answers every call within its timeout, and says honestly whether a failed
//! call can have been executed ([`CallError`]): retries are decided by that.
//!
//! *Next stop*: `routing`.

use futures::future::BoxFuture;
use std::time::Duration;
use yadkv_proto::api::{PdRequest, PdResponse, StoreRequest, StoreResponse};
use yadkv_proto::time::Moment;

/// The world of a client.
pub trait Runtime: Send + Sync + 'static {
    /// The clock for deadlines.
    fn now(&self) -> Moment;

    /// Completes after `duration`.
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()>;

    /// Runs a task to its end, independently of the caller.
    fn spawn(&self, task: BoxFuture<'static, ()>);

    /// A random number, for jitter.
    fn random(&self) -> u64;

    /// Calls a placement driver at `address` (`host:port`).
    fn pd(
        &self,
        address: &str,
        request: PdRequest,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<PdResponse, CallError>>;

    /// Calls a store at `address` (`host:port`).
    fn store(
        &self,
        address: &str,
        request: StoreRequest,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<StoreResponse, CallError>>;
}

// ANCHOR: call-error
/// Why a call brought no answer, by what the caller may do next.
///
/// ```
/// use yadkv_client::runtime::CallError;
///
/// fn may_ask_again(error: &CallError, harmless: bool) -> bool {
///     match error {
///         CallError::NotSent(_) => true,
///         CallError::Lost(_) => harmless,
///         CallError::Refused(_) | CallError::NotServed(_) => false,
///     }
/// }
/// # assert!(may_ask_again(&CallError::NotSent(String::new()), false));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// It certainly was not executed (no connection, queue full): ask again anywhere.
    #[error("not sent: {0}")]
    NotSent(String),
    /// It may have been executed (connection lost, timed out): ask again only if repeating is harmless.
    #[error("no answer: {0}")]
    Lost(String),
    /// The server will never take this request: do not repeat it.
    #[error("refused: {0}")]
    Refused(String),
    /// The server does not know this call: do not repeat it.
    #[error("not served: {0}")]
    NotServed(String),
}
// ANCHOR_END: call-error
