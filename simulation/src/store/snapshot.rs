//! Snapshots between stores, and replicas that come and go, one step an event.
//!
//! *Place*: the same as `storage-node/server/src/transport/snapshots.rs`, `transport/arriving.rs` and
//! `threads/moves.rs`.
//!
//! ```text
//! sender: SendSnapshot ─▶ network ─▶ receiver: staged ─▶ worker ─▶ apply ─▶ MoveStep … ─▶ network ─▶ sender
//! ```
//!
//! *Limits*: one that brings no answer within [`SEND_MAX`] counts as lost.
//!
//! *Next stop*: [`super::apply`].

use super::StoreHost;
use super::companion::Pd;
use crate::sky::{Machine, Message, Shared, StoreEvent, Transfer, Transit};
use parking_lot::Mutex;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use yadkv_engine::{Engine, Intake};
use yadkv_proto::api::GetRegionById;
use yadkv_proto::id::{ClusterId, PeerId, RegionId, StoreId};
use yadkv_proto::pdpb::{GetRegionByIdRequest, GetRegionRequest, GetRegionResponse, RequestHeader};
use yadkv_storage_core::snapshot::install::{Move, Moving, Places, advance};
use yadkv_storage_core::snapshot::receive::{End, Head, ReceiveError, Received, Receiving};
use yadkv_storage_core::snapshot::send::Sending;
use yadkv_storage_core::store::message::{Input, Lookup, SendTask};
use yadkv_storage_core::store::recover;

const SEND_MAX: Duration = Duration::from_secs(6);

/// Installations and destructions of a process.
pub struct Moves {
    places: Places,
    waiting: VecDeque<Move>,
    moving: Vec<Moving>,
    /// Regions whose snapshot has arrived and is not installed.
    arriving: Arc<Mutex<BTreeSet<RegionId>>>,
    /// Snapshots that were sent and not answered.
    sending: Vec<Transfer>,
}

impl Moves {
    pub(super) fn new(places: Places) -> Self {
        Self {
            places,
            waiting: VecDeque::new(),
            moving: Vec::new(),
            arriving: Arc::default(),
            sending: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, order: Move) {
        self.waiting.push_back(order);
    }

    /// Whether one has begun and is not over.
    pub(super) fn is_moving(&self) -> bool {
        !self.moving.is_empty()
    }
}

impl StoreHost {
    pub(super) fn send_later(&mut self, sky: &Shared, task: SendTask) {
        let mut sky = sky.lock();
        let delay = match sky.places.machine(self.machine()).chance(100) {
            true => sky.places.machine(self.machine()).millis(50, 800),
            false => sky.places.machine(self.machine()).millis(1, 20),
        };
        let event = StoreEvent::SendSnapshot(Box::new(task));
        self.later(&mut sky, delay, event);
    }

    pub(super) fn send_snapshot(&mut self, sky: &Shared, task: &SendTask) {
        let (machine, life) = (self.machine(), self.life());
        let kv = self.kv.clone();
        let cluster = cluster(self);
        let Some(running) = self.running() else {
            return;
        };
        let mut guard = sky.lock();
        let transfer = Transfer {
            from: machine,
            life,
            region: task.region,
            to: PeerId(task.to.id),
            id: guard.id(),
        };
        running.moves.sending.push(transfer);
        let to = guard.stores.get(&task.to.store_id).copied();
        let view = kv.snapshot();
        let read = Sending::begin(&*view, cluster, task).and_then(|mut sending| {
            let chunks = std::iter::from_fn(|| sending.next_chunk().transpose());
            chunks.collect::<Result<Vec<_>, _>>()
        });
        // Damage here cannot be sent.
        let (Some(to), Ok(chunks)) = (to, read) else {
            drop(guard);
            return self.snapshot_ended(sky, transfer, false);
        };
        let transit = Transit { transfer, chunks };
        crate::note!(
            guard,
            "{machine} -> store{to} snapshot of region {}",
            task.region
        );
        guard.send(
            machine,
            Machine::Store(to),
            Message::Snapshot(Box::new(transit)),
        );
        self.later(&mut guard, SEND_MAX, StoreEvent::SnapshotLate(transfer));
    }

    /// A snapshot that this machine sent is installed, refused or lost.
    pub(super) fn snapshot_ended(&mut self, sky: &Shared, transfer: Transfer, arrived: bool) {
        if self.life() != transfer.life {
            return;
        }
        let Some(running) = self.running() else {
            return;
        };
        let known = running
            .moves
            .sending
            .iter()
            .position(|one| *one == transfer);
        let Some(known) = known else { return };
        running.moves.sending.remove(known);
        let (region, to) = (transfer.region, transfer.to);
        let sent = Input::SnapshotSent {
            region,
            to,
            arrived,
        };
        self.input(sky, region, sent);
    }

    pub(super) fn receive_snapshot(&mut self, sky: &Shared, transit: Transit) {
        let transfer = transit.transfer;
        match self.stage(sky, transit) {
            Ok(Some(received)) => {
                self.input(sky, transfer.region, Input::Snapshot(Box::new(received)));
            }
            Ok(None) => {}
            Err(error) => {
                let machine = self.machine();
                let mut sky = sky.lock();
                crate::note!(sky, "{machine} refuses a snapshot: {error}");
                sky.send(
                    machine,
                    transfer.from,
                    Message::SnapshotEnd(transfer, false),
                );
            }
        }
    }

    /// Stages everything at once; nothing if no process takes it.
    fn stage(&mut self, sky: &Shared, transit: Transit) -> Result<Option<Received>, ReceiveError> {
        let (machine, life, kv) = (self.machine(), self.life(), self.kv.clone());
        let cluster = cluster(self);
        let Some(running) = self.running() else {
            return Ok(None);
        };
        let mut chunks = transit.chunks.into_iter();
        let first = chunks.next().and_then(|chunk| chunk.head);
        let StoreId(store) = running.store;
        let head = Head::check(first.unwrap_or_default(), cluster, StoreId(store))?;
        head.fits(&running.directory)?;
        let (transfer, set) = (transit.transfer, head.set());
        let arriving = running.moves.arriving.clone();
        if !arriving.lock().insert(transfer.region) {
            return Err(ReceiveError::Unfit("another one is arriving".into()));
        }
        let mut receiving = Receiving::begin(&kv, &head)?;
        for chunk in chunks {
            receiving.take(chunk)?;
        }
        receiving.finish()?;
        let (intake, sky) = (self.kv.clone(), sky.clone());
        let notify = Box::new(move |end: End| {
            let mut sky = sky.lock();
            if sky.life(machine) != life {
                return;
            }
            arriving.lock().remove(&transfer.region);
            intake
                .discard(&set)
                .expect("memory engines fail only when told to");
            let end = Message::SnapshotEnd(transfer, end == End::Done);
            sky.send(machine, transfer.from, end);
        });
        Ok(Some(Received::new(head, notify)))
    }

    pub(super) fn step_soon(&mut self, sky: &Shared) {
        let mut sky = sky.lock();
        let delay = match sky.places.machine(self.machine()).chance(100) {
            true => sky.places.machine(self.machine()).millis(20, 600),
            false => sky.places.machine(self.machine()).micros(300, 8000),
        };
        self.later(&mut sky, delay, StoreEvent::MoveStep);
    }

    /// One durable step of all moves; each one added brings one event, which brings the next.
    pub(super) fn take_step(&mut self, sky: &Shared) {
        let Some(running) = self.running() else {
            return;
        };
        let moves = &mut running.moves;
        moves
            .moving
            .extend(moves.waiting.drain(..).map(Move::begin));
        match advance(&mut moves.moving, &moves.places) {
            Ok(moved) => {
                if moves.is_moving() {
                    self.step_soon(sky);
                }
                for moved in moved {
                    self.moved(sky, moved);
                }
                self.sweep(sky);
            }
            Err(error) => sky.lock().violated(format!("a move fails: {error}")),
        }
    }

    pub(super) fn locate(&mut self, sky: &Shared, lookup: Lookup) {
        let (region, asked) = (lookup.region, lookup.asked);
        let machine = self.machine();
        let pd = Pd::new(sky.clone(), machine);
        let header = RequestHeader {
            cluster_id: cluster(self).0,
            ..RequestHeader::default()
        };
        let by_key = GetRegionRequest {
            header: Some(header.clone()),
            region_key: lookup.start,
            ..GetRegionRequest::default()
        };
        let by_id = GetRegionByIdRequest {
            header: Some(header),
            region_id: region.0,
            ..GetRegionByIdRequest::default()
        };
        let ask = async move {
            let owner: Option<GetRegionResponse> = pd.ask_any(by_key).await;
            let known: Option<GetRegionById> = pd.ask_any(by_id).await;
            let (Some(owner), Some(known)) = (owner, known) else {
                return;
            };
            let refused = known.0.header.is_none_or(|header| header.error.is_some());
            match (known.0.region, owner.region) {
                (Some(known), _) => pd.tell(StoreEvent::Located(Box::new(known), asked)),
                (None, Some(owner)) if !refused => {
                    pd.tell(StoreEvent::Vanished(region, Box::new(owner)));
                }
                _ => {}
            }
        };
        sky.lock().spawned.push((machine, Box::pin(ask)));
    }
}

fn cluster(host: &StoreHost) -> ClusterId {
    let record = recover::store_record(&host.kv).expect("the record is sound");
    ClusterId(record.map_or(0, |record| record.cluster_id))
}
