//! The first look at a call: who may answer it, and how.
//!
//! *Place*: [`super::Member`] brings every call here, and again when something changed for a parked one.
//!
//! *Life of a call*:
//! 1. GetMembers and GetClusterInfo: answered by every member at once.
//! 2. A follower that knows the leader refuses with its url; one that knows none parks the call.
//! 3. A leader that is not in office yet parks it.
//! 4. The cluster id is checked; then reads go to [`super::read`], timestamps to [`super::stamp`], changes to
//!    [`super::write`], heartbeats to [`super::heartbeat`], splits to [`super::split`], orders to [`super::order`].
//!
//! *Limits*: a parked call waits at most 1.5 s in all, however often it is looked at.
//!
//! *Source*: `proto/README.md`, Headers.
//!
//! *Next stop*: [`super::read`].

use super::call::{Call, Refusal, Reply};
use super::write::Purpose;
use super::{Member, Seat};
use crate::answer::{header, members, named_cluster};
use crate::ids;
use prost::Message;
use yadkv_proto::api::{PdRequest, PdResponse};
use yadkv_proto::id::ClusterId;
use yadkv_proto::metapb::Store;
use yadkv_proto::pdpb;
use yadkv_proto::placementpb::command::Operation;
use yadkv_proto::placementpb::{PutStore, RaiseGcSafePoint};
use yadkv_proto::time::{Moment, Now};

/// Bytes of what a store may register as.
const STORE_BYTES_MAX: usize = 16 << 10;

impl Member {
    /// Looks at a call for the first time.
    pub(super) fn serve(&mut self, call: Call, now: Now) {
        self.serve_until(call, Self::deadline(now), now);
    }

    /// Looks at a call that has to be answered by `deadline`.
    pub(super) fn serve_until(&mut self, call: Call, deadline: Moment, now: Now) {
        let call = match call {
            Call::Pd(request, reply) => match self.serve_anywhere(&request) {
                Some(answer) => return reply(answer),
                None => Call::Pd(request, reply),
            },
            call => call,
        };
        match &self.seat {
            Seat::Follower => match self.leader_url() {
                Some(url) => call.refuse(Refusal::NotLeader { leader: Some(url) }),
                None => self.park(call, deadline),
            },
            Seat::Elected { .. } => self.park(call, deadline),
            Seat::Leader(_) if self.cluster.id().is_none() => self.park(call, deadline),
            Seat::Leader(_) => self.serve_in_office(call, deadline, now),
        }
    }

    /// The calls that need no leader.
    fn serve_anywhere(&self, request: &PdRequest) -> Option<Result<PdResponse, Refusal>> {
        if !matches!(
            request,
            PdRequest::GetMembers(_) | PdRequest::GetClusterInfo(_)
        ) {
            return None;
        }
        let Some(ClusterId(id)) = self.cluster.id() else {
            return Some(Err(Refusal::Unavailable(
                "the cluster has no identity yet: no leader was ever elected",
            )));
        };
        let leader = self.node.leader();
        Some(Ok(match request {
            PdRequest::GetMembers(_) => {
                PdResponse::GetMembers(members::get_members(id, &self.config.members, leader))
            }
            _ => PdResponse::GetClusterInfo(members::get_cluster_info(id)),
        }))
    }

    fn serve_in_office(&mut self, call: Call, deadline: Moment, now: Now) {
        let (request, reply) = match call {
            Call::Pd(request, reply) => (request, reply),
            Call::Order(order, reply) => return self.order(order, reply, deadline, now),
            overview => return self.hold_read(overview, now),
        };
        let expected = self.cluster.id().unwrap_or_default();
        if let Some(found) = named_cluster(&request)
            .map(ClusterId)
            .filter(|found| *found != expected)
        {
            return reply(Err(Refusal::ClusterMismatch { expected, found }));
        }
        match request {
            PdRequest::Tso(_) | PdRequest::GetMinTs(_) => {
                self.wish_stamps(Call::Pd(request, reply), deadline, now);
            }
            PdRequest::AllocId(request) => self.alloc_id(request, reply, deadline),
            PdRequest::PutStore(request) => self.put_store(request.store, reply, false),
            PdRequest::Bootstrap(request) => self.put_store(request.store, reply, true),
            PdRequest::UpdateGcSafePoint(request) => {
                let raise = RaiseGcSafePoint {
                    safe_point: request.safe_point,
                };
                self.write(
                    Operation::RaiseGcSafePoint(raise),
                    Purpose::GcSafePoint(reply),
                );
            }
            PdRequest::StoreHeartbeat(request) => self.store_heartbeat(request, reply, now),
            PdRequest::RegionHeartbeat(request) => {
                self.region_heartbeat(request, reply, deadline, now)
            }
            PdRequest::AskBatchSplit(request) => self.ask_split(request, reply, deadline),
            PdRequest::ReportBatchSplit(request) => self.report_split(request, reply, deadline),
            read => self.hold_read(Call::Pd(read, reply), now),
        }
    }

    /// Queues a change; only a leader in office comes here.
    pub(super) fn write(&mut self, operation: Operation, purpose: Purpose) {
        match self.office() {
            Some(office) => office.writing.queue(operation, purpose),
            None => purpose.refuse(Refusal::NotLeader { leader: None }),
        }
    }

    /// AllocID: `id` is the first of `count` ids in a row.
    fn alloc_id(&mut self, request: pdpb::AllocIdRequest, reply: Reply, deadline: Moment) {
        let count = u64::from(request.count.max(1));
        if count > ids::COUNT_MAX {
            return reply(Err(Refusal::Invalid(format!(
                "{count} ids in one call, at most {}",
                ids::COUNT_MAX
            ))));
        }
        let header = header(self.cluster_id_on_wire());
        let Some(office) = self.office() else { return };
        let Some(ids) = office.ids.take(count) else {
            office.raise_ids(count);
            return self.park(Call::Pd(PdRequest::AllocId(request), reply), deadline);
        };
        let response = pdpb::AllocIdResponse {
            header,
            id: ids.start,
            count: count as u32,
        };
        reply(Ok(PdResponse::AllocId(response)));
    }

    /// PutStore, and the half of Bootstrap that matters here: the first regions are PD's own choice.
    fn put_store(&mut self, store: Option<Store>, reply: Reply, bootstrap: bool) {
        let store = store.unwrap_or_default();
        if let Err(reason) = check_store(&store) {
            return reply(Err(Refusal::Invalid(reason)));
        }
        let put = Operation::PutStore(PutStore { store: Some(store) });
        self.write(put, Purpose::PutStore(reply, bootstrap));
    }
}

fn check_store(store: &Store) -> Result<(), String> {
    if store.id == 0 {
        return Err("invalid store ID 0: ask for one with AllocID".to_owned());
    }
    if store.encoded_len() > STORE_BYTES_MAX {
        return Err(format!(
            "a store's registration has at most {STORE_BYTES_MAX} bytes"
        ));
    }
    let address = &store.address;
    let port = address
        .rsplit_once(':')
        .map(|(_, port)| port.parse::<u16>());
    if address.contains("://") || !matches!(port, Some(Ok(1..))) {
        return Err(format!("store address {address:?} is not host:port"));
    }
    Ok(())
}
