//! The world outside, over tokio and gRPC.
//!
//! *Place*: [`crate::Client::connect`] makes a [`GrpcRuntime`]; the routing core calls it.
//!
//! *Types to know*: [`GrpcRuntime`], `Link` (one server's connection), `Frames` (one store's command stream).
//!
//! *Life of a command*: queued at its store's stream → the sender task takes everything that waits, up to 128
//! commands, and sends one frame at once (so a lone command is not delayed, and under load frames fill by
//! themselves) → the answer comes in any frame, by id → the caller wakes. Calls that the stream does not carry
//! go as unary calls over the same connection.
//!
//! *Invariants*: a failed call says whether it may have been executed: only what never reached an open stream or
//! connection is `NotSent`.
//!
//! *Limits and failure*: queues are bounded, a full one makes its callers wait within their timeout. A broken
//! connection fails what is in flight at once; connecting again is paced by a back-off, during which calls fail
//! fast and the core turns to other peers.
//!
//! *Next stop*: the store's `service`.
// The production side of the runtime: this is where the clock and the sockets are.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod calls;
mod link;
mod pd;
mod stream;

use crate::TlsFiles;
use crate::runtime::{CallError, Runtime};
use futures::FutureExt;
use futures::future::BoxFuture;
use link::Link;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use stream::Frames;
use tonic::{Code, Status};
use yadkv_proto::api::{PdRequest, PdResponse, StoreRequest, StoreResponse};
use yadkv_proto::time::Moment;
pub use yadkv_tls::Tls;
use yadkv_tls::{ConnectError, Settings};

/// Connections kept; a cluster has fewer servers. Beyond it the idle ones are dropped.
const LINKS_MAX: usize = 1024;

/// Time, tasks and connections of a process.
///
/// ```no_run
/// # async fn example() -> Result<(), yadkv_client::Error> {
/// use std::sync::Arc;
/// use yadkv_client::grpc::{GrpcRuntime, Tls};
/// use yadkv_client::{Client, Options};
///
/// let runtime = Arc::new(GrpcRuntime::new(Tls::off()));
/// let client = Client::connect_with(runtime, ["127.0.0.1:2379"], Options::default()).await?;
/// # Ok(())
/// # }
/// ```
pub struct GrpcRuntime {
    started: Instant,
    random: AtomicU64,
    handle: tokio::runtime::Handle,
    tls: Tls,
    stores: Mutex<HashMap<String, Arc<StoreLink>>>,
    pds: Mutex<HashMap<String, Arc<pd::PdLink>>>,
}

struct StoreLink {
    link: Arc<Link>,
    frames: Frames,
}

impl GrpcRuntime {
    /// A runtime whose tasks run in the current tokio runtime, and whose connections are plain or with TLS.
    ///
    /// Panics outside of one.
    pub fn new(tls: Tls) -> Self {
        Self {
            started: Instant::now(),
            // The hasher's keys are the standard library's only public source of chance.
            random: AtomicU64::new(RandomState::new().build_hasher().finish()),
            handle: tokio::runtime::Handle::current(),
            tls,
            stores: Mutex::new(HashMap::new()),
            pds: Mutex::new(HashMap::new()),
        }
    }

    fn store_link(&self, address: &str) -> Arc<StoreLink> {
        let mut stores = self.stores.lock();
        if let Some(link) = stores.get(address) {
            return link.clone();
        }
        make_room(&mut stores);
        let link = Arc::new(Link::new(address, &self.tls));
        let made = Arc::new(StoreLink {
            frames: Frames::new(&self.handle, link.clone()),
            link,
        });
        stores.insert(address.to_owned(), made.clone());
        made
    }

    fn pd_link(&self, address: &str) -> Arc<pd::PdLink> {
        let mut pds = self.pds.lock();
        if let Some(link) = pds.get(address) {
            return link.clone();
        }
        make_room(&mut pds);
        let made = Arc::new(pd::PdLink::new(Arc::new(Link::new(address, &self.tls))));
        pds.insert(address.to_owned(), made.clone());
        made
    }
}

/// How to connect with these files, or why they are of no use.
pub(crate) fn tls(files: Option<&TlsFiles>) -> Result<Tls, String> {
    let Some(files) = files else {
        return Ok(Tls::off());
    };
    let (cert, key) = files.identity.clone().unwrap_or_default();
    let settings = Settings {
        ca: files.ca.clone(),
        cert,
        key,
        ..Settings::default()
    };
    match settings.is_on() {
        true => Tls::client(&settings).map_err(|error| error.to_string()),
        false => Err("tls: no CA is named".into()),
    }
}

/// Drops links that no call uses when there are too many.
fn make_room<T>(links: &mut HashMap<String, Arc<T>>) {
    if links.len() >= LINKS_MAX {
        links.retain(|_, link| Arc::strong_count(link) > 1);
    }
}

impl Runtime for GrpcRuntime {
    fn now(&self) -> Moment {
        Moment::default().after(self.started.elapsed())
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        tokio::time::sleep(duration).boxed()
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        self.handle.spawn(task);
    }

    fn random(&self) -> u64 {
        // SplitMix64: jitter needs no better.
        let mut next = self
            .random
            .fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed);
        next = (next ^ (next >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        next = (next ^ (next >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        next ^ (next >> 31)
    }

    fn pd(
        &self,
        address: &str,
        request: PdRequest,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<PdResponse, CallError>> {
        let link = self.pd_link(address);
        async move { within(timeout, link.call(request)).await }.boxed()
    }

    fn store(
        &self,
        address: &str,
        request: StoreRequest,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<StoreResponse, CallError>> {
        let link = self.store_link(address);
        match calls::framed(request) {
            // Into the queue at once: what waits for the answer need not carry the command.
            Ok(command) => match link.frames.enqueue(command) {
                Ok(answer) => answer.within(timeout).boxed(),
                Err(call) => async move { link.frames.call_late(call, timeout).await }.boxed(),
            },
            Err(request) => {
                async move { within(timeout, calls::unary(&link.link, *request)).await }.boxed()
            }
        }
    }
}

async fn within<T>(
    timeout: Duration,
    call: impl Future<Output = Result<T, CallError>>,
) -> Result<T, CallError> {
    match tokio::time::timeout(timeout, call).await {
        Ok(result) => result,
        Err(_) => Err(timed_out(timeout)),
    }
}

fn timed_out(timeout: Duration) -> CallError {
    CallError::Lost(format!("no answer within {timeout:?}"))
}

/// What a gRPC status means to the core.
fn call_error(link: &Link, status: &Status) -> CallError {
    let text = format!("{:?}: {}", status.code(), link.explain(status));
    match status.code() {
        Code::Unimplemented => CallError::NotServed(text),
        Code::InvalidArgument
        | Code::FailedPrecondition
        | Code::PermissionDenied
        | Code::Unauthenticated
        | Code::OutOfRange => CallError::Refused(text),
        _ if never_connected(status) => CallError::NotSent(text),
        _ => CallError::Lost(text),
    }
}

/// Whether the connection attempt itself failed, so that nothing can have been sent.
fn never_connected(status: &Status) -> bool {
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        if let Some(ConnectError::Tls(_)) = error.downcast_ref::<ConnectError>() {
            return true;
        }
        if let Some(error) = error.downcast_ref::<std::io::Error>() {
            return matches!(
                error.kind(),
                std::io::ErrorKind::ConnectionRefused
                    | std::io::ErrorKind::HostUnreachable
                    | std::io::ErrorKind::NetworkUnreachable
                    | std::io::ErrorKind::AddrNotAvailable
            );
        }
        source = error.source();
    }
    false
}
