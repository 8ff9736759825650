//! What can go wrong, by what the application does next.
//!
//! *Next stop*: `options`.

use std::time::Duration;

/// An error of a client call.
///
/// ```no_run
/// # async fn example(raw: yadkv_client::RawClient) -> Result<(), yadkv_client::Error> {
/// use yadkv_client::Error;
///
/// match raw.put("greeting", "hello").await {
///     Ok(()) => println!("done"),
///     Err(Error::Unavailable { .. }) => println!("not done: try again later"),
///     Err(Error::OutcomeUnknown { .. }) => println!("done or not: {:?}", raw.get("greeting").await?),
///     Err(error) => println!("never: {error}"),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The time was over before the cluster could do it. It has **not** been done: try again later.
    #[error(
        "{call}: nothing was done within {waited:?} ({attempts} attempts); last: {last}. Check the cluster, then try again"
    )]
    Unavailable {
        /// The call.
        call: &'static str,
        /// Time spent.
        waited: Duration,
        /// Requests sent.
        attempts: u32,
        /// The last thing that went wrong.
        last: String,
    },
    /// A write was sent and no answer came: it has been done, or not, or will be within moments. Read the key to
    /// find out, or repeat the write if that is harmless.
    #[error(
        "{call}: the outcome is unknown ({attempts} attempts); last: {last}. Read back before deciding"
    )]
    OutcomeUnknown {
        /// The call.
        call: &'static str,
        /// Requests sent.
        attempts: u32,
        /// The last thing that went wrong.
        last: String,
    },
    /// The command does not fit a log entry, or its answer a message: ask for less at once.
    #[error("{call}: too large: {reason}")]
    TooLarge {
        /// The call.
        call: &'static str,
        /// What the store says.
        reason: String,
    },
    /// The cluster understood the request and says no; repeating does not help.
    #[error("{call}: refused: {reason}")]
    Refused {
        /// The call.
        call: &'static str,
        /// What it says.
        reason: String,
    },
    /// The cluster does not offer this call: it runs another version.
    #[error("{call}: not served by this cluster: {reason}")]
    NotServed {
        /// The call.
        call: &'static str,
        /// What it says.
        reason: String,
    },
    /// A file of [`crate::Options::tls`] is of no use: correct the options, or the file.
    #[error("options: {0}")]
    Options(String),
    /// There is no keyspace of this name: create it, or correct the name.
    #[error("there is no keyspace {0:?}")]
    UnknownKeyspace(String),
    /// A timestamp went backwards, which the cluster promises never to do. Stop and report it.
    #[error("timestamp {now} is not above {before}: do not go on, report this")]
    TimestampFallback {
        /// Largest timestamp seen before.
        before: u64,
        /// What came now.
        now: u64,
    },
}

/// Result of a client call.
///
/// ```
/// async fn greet(raw: &yadkv_client::RawClient) -> yadkv_client::Result<()> {
///     raw.put("greeting", "hello").await
/// }
/// ```
pub type Result<T> = std::result::Result<T, Error>;
