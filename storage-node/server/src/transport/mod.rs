//! Raft messages between stores: one connection for each ordered pair.
//!
//! *Place*: workers hand envelopes to [`Outgoing`]; [`peers`] gives received ones to the router.
//!
//! *Life of a message*: worker → queue of its destination → packed with its neighbours into a frame → connection ([`wire`]) →
//! the other store's `peers` → router → worker.
//!
//! *Invariants*: frames of one pair arrive in order or not at all.
//!
//! *Threads*: while little waits for a store, the worker writes it to the socket itself, as far as that takes it
//! ([`driven`]); else the runtime does, and the worker goes on.
//!
//! *Limits and failure*: [`QUEUE`] bundles may wait for one store, and bytes as `budget` allows; beyond that, and while a
//! store cannot be reached, messages are dropped and counted: Raft repeats what matters.
//!
//! Snapshots go beside, each over a connection of its own: [`snapshots`], [`incoming`] and [`arriving`].
//!
//! *Next stop*: [`wire`].

pub mod arriving;
mod budget;
mod driven;
pub mod incoming;
mod outgoing;
pub mod peers;
pub mod slots;
pub mod snapshots;
mod wire;

use crate::metrics::Metrics;
use crate::metrics::raft::{TOO_MANY_BYTES, TOO_MANY_MESSAGES};
use budget::{Budget, Share};
use driven::Driven;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use yadkv_proto::id::{ClusterId, StoreId};
use yadkv_proto::yadkvpb::Envelope;
use yadkv_tls::Tls;

/// Wire format of a frame.
pub const FORMAT: u32 = 1;
/// Bundles (all messages of one round for one store) that may wait.
const QUEUE: usize = 1024;
/// Bytes of entries, and messages, that a worker writes itself: about what takes as long as to wake another thread.
const SMALL_BYTES_MAX: usize = 16 << 10;
const SMALL_COUNT_MAX: u64 = 64;

/// Finds the address of a store; asked again after each failure.
pub trait Resolver: Send + Sync {
    /// `host:port` of a store; `None` while nobody knows.
    fn resolve(&self, store: StoreId) -> futures::future::BoxFuture<'_, Option<String>>;
}

/// Sends envelopes to other stores. Cheap to clone.
#[derive(Clone)]
pub struct Outgoing {
    shared: Arc<Shared>,
}

struct Shared {
    cluster: ClusterId,
    resolver: Arc<dyn Resolver>,
    unreachable: Box<dyn Fn(StoreId) + Send + Sync>,
    runtime: Handle,
    tls: Tls,
    stop: CancellationToken,
    budget: Budget,
    metrics: Metrics,
    queues: Mutex<BTreeMap<StoreId, Queue>>,
}

/// What waits for a store.
#[derive(Clone)]
struct Queue {
    bundles: mpsc::Sender<Vec<Envelope>>,
    /// The bytes of it.
    share: Share,
    /// Sends it.
    sending: Arc<Driven>,
}

/// Bytes that an envelope is counted with: those of its entries.
pub(crate) fn size(envelope: &Envelope) -> usize {
    let message = envelope.message.as_ref();
    let entries = message.iter().flat_map(|message| &message.entries);
    entries
        .map(|entry| entry.data.len() + entry.context.len())
        .sum()
}

impl Outgoing {
    /// Connections are made on `runtime` when they are first needed; `unreachable` hears of failures. About `bytes_max` of
    /// entries may wait.
    pub fn new(
        cluster: ClusterId,
        resolver: Arc<dyn Resolver>,
        unreachable: Box<dyn Fn(StoreId) + Send + Sync>,
        (runtime, tls): (Handle, Tls),
        (bytes_max, metrics): (usize, Metrics),
        stop: CancellationToken,
    ) -> Self {
        let queues = Mutex::default();
        let budget = Budget::new(bytes_max);
        Self {
            shared: Arc::new(Shared {
                cluster,
                resolver,
                unreachable,
                runtime,
                tls,
                stop,
                budget,
                metrics,
                queues,
            }),
        }
    }

    /// Bytes of entries that wait.
    pub fn held(&self) -> usize {
        self.shared.budget.used()
    }

    /// Sends; drops what finds a full queue.
    pub fn send(&self, envelopes: Vec<Envelope>) {
        if envelopes.is_empty() {
            return;
        }
        let mut bundles: BTreeMap<StoreId, Vec<Envelope>> = BTreeMap::new();
        for envelope in envelopes {
            let store = StoreId(envelope.to.as_ref().map_or(0, |peer| peer.store_id));
            bundles.entry(store).or_default().push(envelope);
        }
        for (store, bundle) in bundles {
            self.send_to(store, bundle);
        }
    }

    /// The queue of a store, and whether it may have so many bytes more.
    fn queue(&self, store: StoreId, bytes: usize) -> (Queue, bool) {
        let mut queues = self.shared.queues.lock();
        let begin = || {
            let (bundles, receiver) = mpsc::channel(QUEUE);
            let share = self.shared.budget.share();
            let sending = outgoing::run(self.shared.clone(), store, receiver, share.clone());
            Queue {
                bundles,
                share,
                sending: Driven::spawn(self.shared.runtime.clone(), sending),
            }
        };
        let queue = queues.entry(store).or_insert_with(begin);
        let fits = queue.share.take(bytes);
        (queue.clone(), fits)
    }

    fn send_to(&self, store: StoreId, mut bundle: Vec<Envelope>) {
        let mut bytes = bundle.iter().map(size).sum();
        let (queue, fits) = self.queue(store, bytes);
        if !fits {
            // Heartbeats, votes and answers go on.
            let before = bundle.len();
            bundle.retain(|envelope| size(envelope) == 0);
            let count = (before - bundle.len()) as u64;
            self.dropped(TOO_MANY_BYTES, count);
            bytes = 0;
        }
        let count = bundle.len() as u64;
        if count == 0 {
            return;
        }
        let little = queue.share.used() <= SMALL_BYTES_MAX && count <= SMALL_COUNT_MAX;
        let sent = if little {
            queue.sending.feed(|| queue.bundles.try_send(bundle))
        } else {
            queue.bundles.try_send(bundle)
        };
        if sent.is_err() {
            queue.share.give_back(bytes);
            self.dropped(TOO_MANY_MESSAGES, count);
        }
    }

    fn dropped(&self, reason: &str, count: u64) {
        let counter = &self.shared.metrics.raft.dropped_messages;
        counter.with_label_values(&[reason]).inc_by(count);
    }
}
