//! A store's conversation with the placement driver, as `storage-node/server/src/pd` has it.
//!
//! *Place*: tasks of a store's process; they call placement drivers and schedule inputs for the workers.
//!
//! *Life*: identity (new disk: cluster id, store id, written and synced) → PutStore → wait for the first
//! regions → create them, mark it → store heartbeats, and region reports to the leader, for ever.
//!
//! *Invariants*: one member after the other is asked; what can pass is tried again after [`RETRY`].
//!
//! *Next stop*: [`crate::pd`].

use super::schedule;
use crate::calls::{Question, call};
use crate::sky::{Answer, Machine, Shared, StoreEvent};
use crate::tasks::sleep;
use futures::StreamExt;
use futures::channel::mpsc;
use futures::future::{Either, join, select};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use yadkv_engine::memory::Memory;
use yadkv_proto::api::{PdRequest, PdResponse};
use yadkv_proto::metapb::{NodeState, Region, Store, StoreState};
use yadkv_proto::pdpb::{self, RegionHeartbeatRequest, RequestHeader};
use yadkv_proto::storagepb::StoreRecord;
use yadkv_storage_core::damage;
use yadkv_storage_core::layout::FORMAT;
use yadkv_storage_core::store::message::ChangeTask;
use yadkv_storage_core::store::recover;
use yadkv_storage_core::view::Directory;

const RETRY: Duration = Duration::from_millis(200);
const CALL_TIMEOUT: Duration = Duration::from_secs(3);
const HEARTBEAT: Duration = Duration::from_secs(3);
/// Placement drivers of every simulated cluster.
pub const MEMBERS: usize = 3;

/// A store's line to the placement drivers.
#[derive(Clone)]
pub(super) struct Pd {
    pub(super) sky: Shared,
    pub(super) machine: Machine,
    life: u64,
}

impl Pd {
    pub(super) fn new(sky: Shared, machine: Machine) -> Self {
        let life = sky.lock().life(machine);
        Self { sky, machine, life }
    }

    /// Asks one member after the other until one answers, again and again.
    async fn insist<T: TryFrom<PdResponse>>(
        &self,
        request: impl Into<PdRequest>,
        good: impl Fn(&T) -> bool,
    ) -> T {
        let request = request.into();
        loop {
            for member in 0..MEMBERS {
                let answer = self.ask(member, request.clone()).await;
                if let Some(answer) = answer.and_then(|answer| T::try_from(answer).ok())
                    && good(&answer)
                {
                    return answer;
                }
            }
            sleep(&self.sky, self.machine, RETRY).await;
        }
    }

    /// Asks one member after the other, once.
    pub(super) async fn ask_any<T: TryFrom<PdResponse>>(
        &self,
        request: impl Into<PdRequest>,
    ) -> Option<T> {
        let request = request.into();
        for member in 0..MEMBERS {
            if let Some(answer) = self.ask(member, request.clone()).await {
                return T::try_from(answer).ok();
            }
        }
        None
    }

    async fn ask(&self, member: usize, request: PdRequest) -> Option<PdResponse> {
        let to = Machine::Pd(member);
        match call(
            &self.sky,
            self.machine,
            to,
            Question::Pd(request),
            CALL_TIMEOUT,
        )
        .await
        {
            Answer::Pd(response) => Some(*response),
            _ => None,
        }
    }

    async fn cluster(&self) -> u64 {
        let id = |members: &pdpb::GetMembersResponse| {
            members
                .header
                .as_ref()
                .map_or(0, |header| header.cluster_id)
        };
        let members = self
            .insist(pdpb::GetMembersRequest::default(), |members| {
                id(members) != 0
            })
            .await;
        id(&members)
    }

    pub(super) fn tell(&self, event: StoreEvent) {
        schedule(
            &mut self.sky.lock(),
            self.machine,
            self.life,
            Duration::ZERO,
            event,
        );
    }
}

fn header(cluster: u64, store: u64) -> Option<RequestHeader> {
    Some(RequestHeader {
        cluster_id: cluster,
        sender_id: store,
        ..Default::default()
    })
}

/// Finds out who this store is, writes it down, and opens the regions.
pub async fn identity(sky: Shared, machine: Machine, kv: Memory) {
    let pd = Pd::new(sky, machine);
    let known = recover::store_record(&kv).expect("the record is sound");
    if known.is_none() {
        let cluster = pd.cluster().await;
        let request = pdpb::AllocIdRequest {
            header: header(cluster, 0),
            count: 1,
        };
        let allocated: pdpb::AllocIdResponse = pd
            .insist(request, |answer: &pdpb::AllocIdResponse| answer.id != 0)
            .await;
        let record = StoreRecord {
            format: FORMAT,
            cluster_id: cluster,
            store_id: allocated.id,
            regions_created: false,
        };
        recover::write_store_record(&kv, &record).expect("memory engines fail only when told to");
    }
    pd.tell(StoreEvent::Open);
}

/// Whether somebody has to name the new peer of a change.
pub(super) fn lacks_id(task: &ChangeTask) -> bool {
    task.changes
        .iter()
        .any(|change| change.peer.is_some_and(|peer| peer.id == 0))
}

/// Gives the new peer of a change its id, and goes on with the change.
pub(super) async fn name(sky: Shared, machine: Machine, region: u64, mut task: Box<ChangeTask>) {
    let pd = Pd::new(sky, machine);
    let request = pdpb::AllocIdRequest {
        header: header(pd.cluster().await, 0),
        count: 1,
    };
    let allocated: Option<pdpb::AllocIdResponse> = pd.ask_any(request).await;
    let Some(id) = allocated.map(|answer| answer.id).filter(|id| *id != 0) else {
        return;
    };
    for peer in task
        .changes
        .iter_mut()
        .filter_map(|change| change.peer.as_mut())
    {
        peer.id = id;
    }
    pd.tell(StoreEvent::ChangePeers(region, task));
}

/// Registers, creates the first regions, and reports until the process ends.
pub async fn accompany(
    sky: Shared,
    machine: Machine,
    (kv, directory): (Memory, Arc<Directory>),
    record: StoreRecord,
    reports: mpsc::Receiver<RegionHeartbeatRequest>,
) {
    let pd = Pd::new(sky, machine);
    let header = header(record.cluster_id, record.store_id);
    let store = Store {
        id: record.store_id,
        address: machine.address(),
        state: StoreState::Up as i32,
        node_state: NodeState::Serving as i32,
        ..Default::default()
    };
    let put = pdpb::PutStoreRequest {
        header: header.clone(),
        store: Some(store),
    };
    let fine = |answer: &pdpb::PutStoreResponse| {
        answer
            .header
            .as_ref()
            .is_some_and(|header| header.error.is_none())
    };
    pd.insist(put, fine).await;
    if !record.regions_created {
        create_first_regions(&pd, &kv, &record, header.clone()).await;
    }
    join(
        heartbeats(&pd, (&kv, &directory), header.clone()),
        region_reports(&pd, header, reports),
    )
    .await;
}

async fn create_first_regions(
    pd: &Pd,
    kv: &Memory,
    record: &StoreRecord,
    header: Option<RequestHeader>,
) {
    let request = pdpb::IsBootstrappedRequest {
        header: header.clone(),
    };
    pd.insist(request, |answer: &pdpb::IsBootstrappedResponse| {
        answer.bootstrapped
    })
    .await;
    let request = pdpb::ScanRegionsRequest {
        header,
        ..Default::default()
    };
    let found = |answer: &pdpb::ScanRegionsResponse| !answer.regions.is_empty();
    let response: pdpb::ScanRegionsResponse = pd.insist(request, found).await;
    let regions: Vec<Region> = response
        .regions
        .into_iter()
        .filter_map(|region| region.region)
        .collect();
    let ours = |region: &&Region| {
        region
            .peers
            .iter()
            .any(|peer| peer.store_id == record.store_id)
    };
    let wanted = regions.iter().filter(ours).count();
    pd.tell(StoreEvent::Create(regions));
    while recover::load_regions(kv).map_or(0, |regions| regions.len()) < wanted {
        sleep(&pd.sky, pd.machine, Duration::from_millis(10)).await;
    }
    let record = StoreRecord {
        regions_created: true,
        ..*record
    };
    recover::write_store_record(kv, &record).expect("memory engines fail only when told to");
}

async fn heartbeats(
    pd: &Pd,
    (kv, directory): (&Memory, &Directory),
    header: Option<RequestHeader>,
) {
    let store_id = header.as_ref().map_or(0, |header| header.sender_id);
    loop {
        // What cannot be looked at breaks a law elsewhere.
        let damage = damage::named(kv, directory).unwrap_or_default();
        let stats = pdpb::StoreStats {
            damaged_regions_id: damage.regions.iter().map(|region| region.0).collect(),
            is_busy: !damage.files.is_empty(),
            store_id,
            capacity: 1 << 40,
            available: 1 << 39,
            ..Default::default()
        };
        let request = pdpb::StoreHeartbeatRequest {
            header: header.clone(),
            stats: Some(stats),
            ..Default::default()
        };
        for member in 0..MEMBERS {
            if pd.ask(member, request.clone().into()).await.is_some() {
                break;
            }
        }
        if pd.sky.lock().places.machine(pd.machine).chance(200) {
            pd.tell(StoreEvent::Flush);
        }
        sleep(&pd.sky, pd.machine, HEARTBEAT).await;
    }
}

async fn region_reports(
    pd: &Pd,
    header: Option<RequestHeader>,
    mut reports: mpsc::Receiver<RegionHeartbeatRequest>,
) {
    loop {
        let leader = |answer: &pdpb::GetMembersResponse| answer.leader.is_some();
        let members: pdpb::GetMembersResponse =
            pd.insist(pdpb::GetMembersRequest::default(), leader).await;
        let url = members
            .leader
            .and_then(|leader| leader.client_urls.into_iter().next());
        if let Some(Machine::Pd(leader)) = url.as_deref().and_then(Machine::at) {
            pd.tell(StoreEvent::ReportAll);
            stream(pd, leader, &header, &mut reports).await;
        }
        sleep(&pd.sky, pd.machine, RETRY).await;
    }
}

/// One stream to the leader, until it answers no more.
async fn stream(
    pd: &Pd,
    leader: usize,
    header: &Option<RequestHeader>,
    reports: &mut mpsc::Receiver<RegionHeartbeatRequest>,
) {
    let life = || pd.sky.lock().life(Machine::Pd(leader));
    let begun = life();
    loop {
        // A leader that is gone is noticed by asking, as a keep-alive would.
        let idle = pin!(sleep(&pd.sky, pd.machine, HEARTBEAT));
        let report = match select(reports.next(), idle).await {
            Either::Left((report, _)) => report,
            Either::Right(_) => {
                let request = pdpb::GetMembersRequest::default();
                let Some(PdResponse::GetMembers(members)) = pd.ask(leader, request.into()).await
                else {
                    return;
                };
                let url = members
                    .leader
                    .and_then(|leader| leader.client_urls.into_iter().next());
                let leads = url.as_deref().and_then(Machine::at) == Some(Machine::Pd(leader));
                // One that has started again knows nothing of this stream.
                if !leads || life() != begun {
                    return;
                }
                continue;
            }
        };
        let Some(mut report) = report else { return };
        report.header = header.clone();
        match pd.ask(leader, report.into()).await {
            Some(PdResponse::RegionHeartbeat(operator)) => {
                if let Some(task) = ChangeTask::of(&operator) {
                    let event = StoreEvent::ChangePeers(operator.region_id, Box::new(task));
                    pd.tell(event);
                }
                if let Some(to) = operator.transfer_leader.and_then(|transfer| transfer.peer) {
                    pd.tell(StoreEvent::Transfer(operator.region_id, to));
                }
            }
            _ => return,
        }
    }
}
