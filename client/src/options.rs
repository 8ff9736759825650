//! How a client behaves.
//!
//! *Next stop*: `runtime`.

use crate::observer::Observer;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Which key space a client works in.
///
/// ```
/// use yadkv_client::{Api, Options};
///
/// let team = Options { api: Api::V2 { keyspace: "team".into() }, ..Options::default() };
/// let shared = Options { api: Api::V1, ..Options::default() };
/// assert_ne!(team.api, shared.api);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Api {
    /// Keys as they are, in the space that API V1 clients of any make share.
    V1,
    /// Keys of one keyspace. `DEFAULT` always exists.
    V2 {
        /// Name of the keyspace.
        keyspace: String,
    },
}

impl Default for Api {
    fn default() -> Self {
        Self::V2 {
            keyspace: DEFAULT_KEYSPACE.to_owned(),
        }
    }
}

/// The keyspace that every cluster has, with id 0.
///
/// ```
/// use yadkv_client::{Api, DEFAULT_KEYSPACE};
///
/// assert_eq!(Api::default(), Api::V2 { keyspace: DEFAULT_KEYSPACE.into() });
/// ```
pub const DEFAULT_KEYSPACE: &str = "DEFAULT";

/// PEM files of a client whose cluster speaks TLS. They are read again when they change; new ones are taken for the next
/// connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The CAs that the servers' certificates have to be signed by.
    pub ca: PathBuf,
    /// Our certificate and its private key, for servers that ask for one, which they do unless told otherwise.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// Settings of a client; [`Options::default`] suits most.
///
/// ```
/// use std::time::Duration;
/// use yadkv_client::Options;
///
/// let impatient = Options { timeout: Duration::from_secs(3), ..Options::default() };
/// assert!(impatient.attempt_timeout < impatient.timeout);
/// ```
#[derive(Clone, Debug)]
pub struct Options {
    /// Key space; keyspace `DEFAULT` of API V2.
    pub api: Api,
    /// Time a call may take in all, with every retry; 20 s. Shorter than an election (about 2 s) and calls fail
    /// when a store dies; longer and an application hangs on a dead cluster.
    pub timeout: Duration,
    /// Time one request may take before it is sent elsewhere; 2 s. Too short doubles the load of a slow store;
    /// too long and a store that hangs is noticed late.
    pub attempt_timeout: Duration,
    /// First pause after a failure; 2 ms. Doubles up to `backoff_max`, each with a random part.
    pub backoff_min: Duration,
    /// Longest pause; 250 ms. Too short floods an electing cluster, too long delays the way back.
    pub backoff_max: Duration,
    /// Regions remembered, about 300 bytes each; 65,536. Beyond it the client asks again.
    pub regions_max: usize,
    /// Requests that one batch call has in flight; 16.
    pub concurrency: usize,
    /// Whether a put or delete without an answer is sent again (true). Sending again is harmless for the final
    /// value, except that a lost copy may arrive late and undo a newer write of the same key; with false such a
    /// write ends in [`crate::Error::OutcomeUnknown`]. A compare-and-swap is never sent again.
    pub repeat_lost_writes: bool,
    /// Who hears how calls and requests go; nobody.
    pub observer: Option<Arc<dyn Observer>>,
    /// How the servers and we recognise each other; none, the default, is plain text. Only for connections that the client
    /// makes itself.
    pub tls: Option<TlsFiles>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            api: Api::default(),
            timeout: Duration::from_secs(20),
            attempt_timeout: Duration::from_secs(2),
            backoff_min: Duration::from_millis(2),
            backoff_max: Duration::from_millis(250),
            regions_max: 65_536,
            concurrency: 16,
            repeat_lost_writes: true,
            observer: None,
            tls: None,
        }
    }
}
