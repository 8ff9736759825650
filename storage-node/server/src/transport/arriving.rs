//! Snapshots from other stores.
//!
//! *Life of a snapshot*: head checked, room? → chunks staged beside the data, in a thread that may block → whole →
//! the region's worker considers it → installed or refused → the sender is answered.
//!
//! *Invariants*: one a region at a time; what is not installed is discarded.
//!
//! *Limits and failure*: `store.snapshots` arrive at once; [`CHUNKS_IN_FLIGHT`] chunks wait. A stream that breaks, or
//! brings what does not fit, leaves nothing behind.
//!
//! *Next stop*: `yadkv_storage_core::snapshot::receive`.

use super::slots::Slots;
use crate::metrics::Metrics;
use crate::router::Router;
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::{mpsc, oneshot};
use tonic::{Status, Streaming};
use yadkv_engine::Intake;
use yadkv_proto::id::{ClusterId, RegionId, StoreId};
use yadkv_proto::yadkvpb::{SnapshotChunk, SnapshotEnd};
use yadkv_storage_core::front::Front;
use yadkv_storage_core::snapshot::receive::{End, Head, ReceiveError, Received, Receiving};
use yadkv_storage_core::store::message::Input;

const CHUNKS_IN_FLIGHT: usize = 4;

/// Takes snapshots.
pub struct Arriving {
    /// Our cluster.
    pub cluster: ClusterId,
    /// The regions that live here.
    pub front: Arc<Front>,
    /// Where sets are staged.
    pub intake: Arc<dyn Intake>,
    /// Where whole ones go.
    pub router: Router,
    /// Room for those that arrive at once.
    pub room: Slots,
    /// Regions whose snapshot is arriving.
    pub regions: Arc<Mutex<BTreeSet<RegionId>>>,
    /// Counters.
    pub metrics: Metrics,
}

/// A region's place in the list of those that arrive.
struct Place {
    regions: Arc<Mutex<BTreeSet<RegionId>>>,
    region: RegionId,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.regions.lock().remove(&self.region);
    }
}

impl Arriving {
    /// Takes one; the answer says what became of it.
    pub async fn take(&self, mut chunks: Streaming<SnapshotChunk>) -> Result<SnapshotEnd, Status> {
        let first = chunks.message().await?;
        let head = first.and_then(|chunk| chunk.head);
        let head =
            head.ok_or_else(|| Status::invalid_argument("a snapshot begins with its head"))?;
        let end = self.receive(head, chunks).await;
        let refusal = end.unwrap_or_else(End::Refused).refusal();
        Ok(SnapshotEnd { refusal })
    }

    async fn receive(
        &self,
        head: yadkv_proto::yadkvpb::SnapshotHead,
        chunks: Streaming<SnapshotChunk>,
    ) -> Result<End, String> {
        let Some(_room) = self.room.take() else {
            return Err("enough snapshots are arriving".into());
        };
        if self.front.log_full.load(Ordering::Relaxed) {
            return Err("there is no room on the disk".into());
        }
        let StoreId(store) = self.front.store;
        let head = Head::check(head, self.cluster, StoreId(store)).map_err(text)?;
        head.fits(&self.front.directory).map_err(text)?;
        let region = RegionId(head.region.id);
        if !self.regions.lock().insert(region) {
            return Err("another snapshot of the region is arriving".into());
        }
        let place = Place {
            regions: self.regions.clone(),
            region,
        };
        let receiving = self.metrics.moves.snapshot("receive");
        self.stage(&head, chunks).await?;
        drop(receiving);
        let installing = self.metrics.moves.snapshot("install");
        // Goes on when the sender does not wait for it.
        let (intake, router) = (self.intake.clone(), self.router.clone());
        let install = tokio::spawn(async move {
            let set = head.set();
            let (sender, outcome) = oneshot::channel();
            let notify = Box::new(move |end| drop(sender.send(end)));
            let received = Box::new(Received::new(head, notify));
            router.send(region, Input::Snapshot(received));
            let end = outcome.await.unwrap_or(End::Stopped);
            if end != End::Stopped {
                discard(intake, set).await;
            }
            drop((place, installing));
            end
        });
        install.await.map_err(|error| error.to_string())
    }

    async fn stage(&self, head: &Head, mut chunks: Streaming<SnapshotChunk>) -> Result<(), String> {
        let (sender, mut receiver) = mpsc::channel(CHUNKS_IN_FLIGHT);
        let (intake, head) = (self.intake.clone(), head.clone());
        let staging = tokio::task::spawn_blocking(move || {
            let staged = stage(&*intake, &head, &mut receiver);
            if staged.is_err() {
                let _ = intake.discard(&head.set());
            }
            staged
        });
        let broken = loop {
            match chunks.message().await {
                // It has ended by itself if it takes no more.
                Ok(Some(chunk)) => {
                    if sender.send(chunk).await.is_err() {
                        break None;
                    }
                }
                Ok(None) => break None,
                Err(status) => break Some(status.message().to_owned()),
            }
        };
        drop(sender);
        let staged = staging.await.map_err(|error| error.to_string())?;
        match broken {
            Some(reason) => Err(reason),
            None => staged.map_err(text),
        }
    }
}

fn stage(
    intake: &dyn Intake,
    head: &Head,
    chunks: &mut mpsc::Receiver<SnapshotChunk>,
) -> Result<(), ReceiveError> {
    let mut receiving = Receiving::begin(intake, head)?;
    while let Some(chunk) = chunks.blocking_recv() {
        if receiving.take(chunk)? {
            break;
        }
    }
    receiving.finish()
}

async fn discard(intake: Arc<dyn Intake>, set: String) {
    let discarded = tokio::task::spawn_blocking(move || intake.discard(&set)).await;
    if let Ok(Err(error)) = discarded {
        tracing::warn!(%error, "a staged set stays until the next start");
    }
}

fn text(error: ReceiveError) -> String {
    error.to_string()
}
