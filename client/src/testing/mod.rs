//! A cluster in memory with a virtual clock: stores that check routes as real ones do, placement drivers that
//! fail over, and faults on demand.
#![allow(clippy::unwrap_used)]

mod observed;
mod store;
mod tests;

use crate::runtime::{CallError, Runtime};
use crate::{Client, Options, Result};
use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use futures::task::{ArcWake, waker};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use yadkv_proto::api::{
    GetPrevRegionResponse, GetRegionById, PdRequest, PdResponse, StoreRequest, StoreResponse,
};
use yadkv_proto::key::KeyRange;
use yadkv_proto::metapb::{Peer, Region, RegionEpoch, Store};
use yadkv_proto::{keyspacepb, pdpb};

pub(crate) const CLUSTER: u64 = 42;
const LATENCY: Duration = Duration::from_millis(1);

/// What the next calls to stores meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The command is executed, the answer lost.
    LoseAnswer,
    /// The command is lost, and the caller cannot know.
    LoseCommand,
    /// The command never arrives, and the caller knows.
    NotSent,
    Busy,
}

#[derive(Clone, Debug)]
pub(crate) struct FakeRegion {
    pub(crate) region: Region,
    pub(crate) leader: Option<u64>,
}

/// The truth about the cluster.
#[derive(Default)]
pub(crate) struct Cluster {
    pub(crate) regions: Vec<FakeRegion>,
    /// What placement drivers believe, if not the truth.
    pub(crate) stale: Option<Vec<FakeRegion>>,
    pub(crate) dead_stores: Vec<u64>,
    /// Stores that take connections and say nothing.
    pub(crate) hanging_stores: Vec<u64>,
    pub(crate) dead_members: Vec<usize>,
    pub(crate) leader_member: Option<usize>,
    pub(crate) faults: Vec<Fault>,
    /// Region space -> (command key, value).
    pub(crate) data: BTreeMap<Bytes, (Bytes, Bytes)>,
    pub(crate) last_timestamp: u64,
    pub(crate) trace: Vec<String>,
    next_id: u64,
}

struct Timer {
    done: bool,
    waker: Option<Waker>,
}

type Plan = Box<dyn FnOnce(&mut Cluster) + Send>;

struct World {
    now: u64,
    sequence: u64,
    timers: BTreeMap<(u64, u64), Arc<Mutex<Timer>>>,
    spawned: Vec<BoxFuture<'static, ()>>,
    random: u64,
    cluster: Cluster,
    /// Changes to the cluster to come, by time.
    plans: BTreeMap<(u64, u64), Plan>,
}

/// The runtime of tests.
pub(crate) struct Fake {
    world: Mutex<World>,
}

struct Flag(AtomicBool);

impl ArcWake for Flag {
    fn wake_by_ref(this: &Arc<Self>) {
        this.0.store(true, Ordering::SeqCst);
    }
}

impl Fake {
    /// Three stores, three placement drivers, one region per gap between `borders` (region space).
    pub(crate) fn new(borders: &[&[u8]], seed: u64) -> Arc<Self> {
        let mut cluster = Cluster {
            leader_member: Some(0),
            next_id: 100,
            ..Default::default()
        };
        cluster.add_region(b"", b"", 1);
        for border in borders {
            cluster.split(border);
        }
        Arc::new(Self {
            world: Mutex::new(World {
                now: 1_000_000_000,
                sequence: 0,
                timers: BTreeMap::new(),
                spawned: Vec::new(),
                random: seed,
                cluster,
                plans: BTreeMap::new(),
            }),
        })
    }

    pub(crate) fn with<T>(&self, change: impl FnOnce(&mut Cluster) -> T) -> T {
        change(&mut self.world.lock().cluster)
    }

    /// Changes the cluster after `delay`.
    pub(crate) fn later(
        &self,
        delay: Duration,
        change: impl FnOnce(&mut Cluster) + Send + 'static,
    ) {
        let mut world = self.world.lock();
        world.sequence += 1;
        let at = (world.now + delay.as_nanos() as u64, world.sequence);
        world.plans.insert(at, Box::new(change));
    }

    pub(crate) fn client(self: &Arc<Self>, options: Options) -> Client {
        let members = ["pd0:1", "http://pd1:1", "pd2:1"];
        self.run(Client::connect_with(self.clone(), members, options))
            .unwrap()
    }

    pub(crate) fn elapsed<T>(&self, future: impl Future<Output = T>) -> (T, Duration) {
        let start = self.now();
        let value = self.run(future);
        (value, self.now().since(start))
    }

    /// Runs a future to its end, moving the clock whenever nothing else can happen.
    pub(crate) fn run<T>(&self, future: impl Future<Output = T>) -> T {
        let mut future = std::pin::pin!(future);
        let flag = Arc::new(Flag(AtomicBool::new(true)));
        let waker = waker(flag.clone());
        let mut context = Context::from_waker(&waker);
        let mut tasks: Vec<BoxFuture<'static, ()>> = Vec::new();
        loop {
            while flag.0.swap(false, Ordering::SeqCst) {
                if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
                    self.world.lock().spawned.append(&mut tasks);
                    return value;
                }
                tasks.append(&mut self.world.lock().spawned);
                tasks.retain_mut(|task| task.as_mut().poll(&mut context).is_pending());
                if !self.world.lock().spawned.is_empty() {
                    flag.0.store(true, Ordering::SeqCst);
                }
            }
            self.advance();
        }
    }

    fn advance(&self) {
        let mut world = self.world.lock();
        let plan = world.plans.first_key_value().map(|(at, _)| *at);
        let timer = world.timers.first_key_value().map(|(at, _)| *at);
        let (at, is_plan) = match (plan, timer) {
            (Some(plan), Some(timer)) => (plan.min(timer), plan < timer),
            (Some(plan), None) => (plan, true),
            (None, Some(timer)) => (timer, false),
            (None, None) => panic!("deadlock: nobody waits for the clock"),
        };
        world.now = world.now.max(at.0);
        if is_plan {
            let change = world.plans.remove(&at).unwrap();
            change(&mut world.cluster);
            return;
        }
        let timer = world.timers.remove(&at).unwrap();
        let mut timer = timer.lock();
        timer.done = true;
        if let Some(waker) = timer.waker.take() {
            waker.wake();
        }
    }

    fn timer(&self, duration: Duration) -> Arc<Mutex<Timer>> {
        let mut world = self.world.lock();
        world.sequence += 1;
        let at = (world.now + duration.as_nanos() as u64, world.sequence);
        let timer = Arc::new(Mutex::new(Timer {
            done: false,
            waker: None,
        }));
        world.timers.insert(at, timer.clone());
        timer
    }
}

async fn wait(timer: Arc<Mutex<Timer>>) {
    std::future::poll_fn(|context| {
        let mut timer = timer.lock();
        if timer.done {
            return Poll::Ready(());
        }
        timer.waker = Some(context.waker().clone());
        Poll::Pending
    })
    .await;
}

impl Runtime for Fake {
    fn now(&self) -> yadkv_proto::time::Moment {
        yadkv_proto::time::Moment(self.world.lock().now)
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        wait(self.timer(duration)).boxed()
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        self.world.lock().spawned.push(task);
    }

    fn random(&self) -> u64 {
        let mut world = self.world.lock();
        world.random = world
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        world.random >> 16
    }

    fn pd(
        &self,
        address: &str,
        request: PdRequest,
        timeout: Duration,
    ) -> BoxFuture<'static, std::result::Result<PdResponse, CallError>> {
        let member: usize = address["pd".len()..address.len() - 2].parse().unwrap();
        let mut world = self.world.lock();
        let now_ms = world.now / 1_000_000;
        let name = request.name();
        world
            .cluster
            .trace
            .push(format!("{now_ms} pd{member} {name}"));
        let answer = world.cluster.answer_pd(member, request, now_ms);
        drop(world);
        let delay = if answer == Err(CallError::Lost("hangs".into())) {
            timeout
        } else {
            LATENCY
        };
        let timer = self.timer(delay);
        async move {
            wait(timer).await;
            answer
        }
        .boxed()
    }

    fn store(
        &self,
        address: &str,
        request: StoreRequest,
        timeout: Duration,
    ) -> BoxFuture<'static, std::result::Result<StoreResponse, CallError>> {
        let store: u64 = address["store".len()..address.len() - 2].parse().unwrap();
        let mut world = self.world.lock();
        let now_ms = world.now / 1_000_000;
        let name = request.name();
        world
            .cluster
            .trace
            .push(format!("{now_ms} s{store} {name}"));
        let cluster = &mut world.cluster;
        let (answer, delay) = if cluster.dead_stores.contains(&store) {
            (
                Err(CallError::NotSent("connection refused".into())),
                LATENCY,
            )
        } else if cluster.hanging_stores.contains(&store) {
            (Err(CallError::Lost("timed out".into())), timeout)
        } else {
            match cluster.faults.pop() {
                Some(Fault::LoseAnswer) => {
                    let _executed = cluster.answer_store(store, request);
                    (Err(CallError::Lost("connection reset".into())), LATENCY)
                }
                Some(Fault::LoseCommand) => {
                    (Err(CallError::Lost("connection reset".into())), LATENCY)
                }
                Some(Fault::NotSent) => (
                    Err(CallError::NotSent("connection refused".into())),
                    LATENCY,
                ),
                Some(Fault::Busy) => (Ok(store::busy(request)), LATENCY),
                None => (Ok(cluster.answer_store(store, request)), LATENCY),
            }
        };
        drop(world);
        let timer = self.timer(delay);
        async move {
            wait(timer).await;
            answer
        }
        .boxed()
    }
}

impl Cluster {
    fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    fn add_region(&mut self, start: &[u8], end: &[u8], version: u64) {
        let id = self.id();
        let peers = (1..=3)
            .map(|store_id| Peer {
                id: self.id(),
                store_id,
                ..Default::default()
            })
            .collect();
        self.regions.push(FakeRegion {
            region: Region {
                id,
                start_key: Bytes::copy_from_slice(start),
                end_key: Bytes::copy_from_slice(end),
                region_epoch: Some(RegionEpoch {
                    conf_ver: 1,
                    version,
                }),
                peers,
                ..Default::default()
            },
            leader: Some(1),
        });
    }

    pub(crate) fn region_at(&mut self, key: &[u8]) -> &mut FakeRegion {
        self.regions
            .iter_mut()
            .find(|region| KeyRange::of(&region.region).contains(key))
            .unwrap()
    }

    /// The old id keeps the right part, as the protocol's default is.
    pub(crate) fn split(&mut self, border: &[u8]) {
        let region = self.region_at(border);
        if region.region.start_key == border {
            return;
        }
        let start = region.region.start_key.clone();
        let leader = region.leader;
        let epoch = region.region.region_epoch.as_mut().unwrap();
        epoch.version += 1;
        let version = epoch.version;
        region.region.start_key = Bytes::copy_from_slice(border);
        self.add_region(&start, border, version);
        self.regions.last_mut().unwrap().leader = leader;
    }

    pub(crate) fn lead(&mut self, store: Option<u64>) {
        for region in &mut self.regions {
            region.leader = store;
        }
    }

    fn answer_pd(
        &mut self,
        member: usize,
        request: PdRequest,
        now_ms: u64,
    ) -> std::result::Result<PdResponse, CallError> {
        if self.dead_members.contains(&member) {
            return Err(CallError::NotSent("connection refused".into()));
        }
        let header = Some(pdpb::ResponseHeader {
            cluster_id: CLUSTER,
            error: None,
        });
        if let PdRequest::GetMembers(_) = request {
            return Ok(PdResponse::GetMembers(self.members(header)));
        }
        if self.leader_member != Some(member) {
            return Err(CallError::Lost("not leader".into()));
        }
        let view = self.stale.as_ref().unwrap_or(&self.regions);
        Ok(match request {
            PdRequest::GetRegion(request) => {
                PdResponse::GetRegion(region_response(header, find(view, &request.region_key)))
            }
            PdRequest::GetPrevRegion(request) => {
                let around = find(view, &request.0.region_key).unwrap();
                let before = view
                    .iter()
                    .find(|region| region.region.end_key == around.region.start_key);
                PdResponse::GetPrevRegion(GetPrevRegionResponse(region_response(header, before)))
            }
            PdRequest::GetRegionById(request) => {
                let found = view
                    .iter()
                    .find(|region| region.region.id == request.region_id);
                PdResponse::GetRegionById(GetRegionById(region_response(header, found)))
            }
            PdRequest::GetStore(request) => PdResponse::GetStore(pdpb::GetStoreResponse {
                header,
                store: Some(Store {
                    id: request.store_id,
                    address: format!("store{}:1", request.store_id),
                    ..Default::default()
                }),
                stats: None,
            }),
            PdRequest::Tso(request) => PdResponse::Tso(self.timestamps(header, &request, now_ms)),
            PdRequest::LoadKeyspace(request) => {
                PdResponse::LoadKeyspace(keyspace(header, &request.name))
            }
            other => return Err(CallError::NotServed(other.name().into())),
        })
    }

    fn timestamps(
        &mut self,
        header: Option<pdpb::ResponseHeader>,
        request: &pdpb::TsoRequest,
        now_ms: u64,
    ) -> pdpb::TsoResponse {
        let count = u64::from(request.count);
        let wall = now_ms << 18;
        let last = (self.last_timestamp + count).max(wall + count - 1);
        self.last_timestamp = last;
        pdpb::TsoResponse {
            header,
            count: request.count,
            timestamp: Some(pdpb::Timestamp {
                physical: (last >> 18) as i64,
                logical: (last & 0x3FFFF) as i64,
                suffix_bits: 0,
            }),
        }
    }

    fn members(&self, header: Option<pdpb::ResponseHeader>) -> pdpb::GetMembersResponse {
        let members: Vec<_> = (0..3)
            .map(|member| pdpb::Member {
                name: format!("pd{member}"),
                client_urls: vec![format!("http://pd{member}:1")],
                ..Default::default()
            })
            .collect();
        pdpb::GetMembersResponse {
            header,
            leader: self.leader_member.map(|leader| members[leader].clone()),
            members,
            ..Default::default()
        }
    }
}

fn keyspace(header: Option<pdpb::ResponseHeader>, name: &str) -> keyspacepb::LoadKeyspaceResponse {
    let known = name == "team";
    let error = (!known).then(|| {
        let mut error = pdpb::Error::default();
        error.set_type(pdpb::ErrorType::EntryNotFound);
        error
    });
    keyspacepb::LoadKeyspaceResponse {
        header: header.map(|header| pdpb::ResponseHeader { error, ..header }),
        keyspace: known.then(|| keyspacepb::KeyspaceMeta {
            keyspace: Some(keyspacepb::keyspace_meta::Keyspace::Id(7)),
            ..Default::default()
        }),
    }
}

fn find<'a>(view: &'a [FakeRegion], key: &[u8]) -> Option<&'a FakeRegion> {
    view.iter()
        .find(|region| KeyRange::of(&region.region).contains(key))
}

fn region_response(
    header: Option<pdpb::ResponseHeader>,
    region: Option<&FakeRegion>,
) -> pdpb::GetRegionResponse {
    pdpb::GetRegionResponse {
        header,
        leader: region.and_then(|region| {
            let peers = &region.region.peers;
            let leads = |peer: &&Peer| Some(peer.store_id) == region.leader;
            peers.iter().find(leads).copied()
        }),
        region: region.map(|region| region.region.clone()),
        ..Default::default()
    }
}

/// A result that a test expects to be fine.
pub(crate) fn ok<T>(result: Result<T>) -> T {
    result.unwrap()
}
