//! Heartbeats of stores and of region leaders.
//!
//! *Place*: [`super::serve`] brings them; [`crate::reports`] and [`crate::pending`] keep what they say.
//!
//! *Life of a region heartbeat*:
//! 1. While another change of its part of the map is under way it waits.
//! 2. The descriptor is offered to the map: known, waiting for others, fitting, or history.
//! 3. Fitting: the replacement is proposed, and the heartbeat goes on when it is applied.
//! 4. The leader and its statistics are recorded; a stale term is refused.
//! 5. The region's operator, if it has one, is the answer; an answer with region id 0 asks for nothing.
//!
//! *Invariants*: the map changes only through the log; a refused heartbeat changes nothing.
//!
//! *Source*: `ARCHITECTURE.md`, How data would be lost.
//!
//! *Next stop*: [`crate::pending`].

use super::call::{Call, Reply};
use super::seat::Office;
use super::write::{Caller, MapChange, Purpose};
use super::{Member, Seat};
use crate::answer::{error, header, stores::unknown_store};
use crate::cluster::Cluster;
use crate::pending::{Offer, Replacement};
use crate::region_map::epoch_of;
use crate::schedule::step::{Ask, Reported};
use std::collections::BTreeSet;
use yadkv_proto::api::{PdRequest, PdResponse};
use yadkv_proto::id::{RegionId, StoreId};
use yadkv_proto::metapb::{NodeState, Peer, Region, StoreState};
use yadkv_proto::pdpb::{
    ChangePeerV2, ErrorType, Merge, RegionHeartbeatRequest, RegionHeartbeatResponse,
    StoreHeartbeatRequest, StoreHeartbeatResponse, TransferLeader,
};
use yadkv_proto::placementpb::ReplaceRegions;
use yadkv_proto::placementpb::command::Operation;
use yadkv_proto::time::{Moment, Now};

/// New operators that wait to be fetched; the rest travel with heartbeats.
const PUSHES_MAX: usize = 1024;

impl Member {
    /// A store says that it lives.
    pub(super) fn store_heartbeat(
        &mut self,
        request: StoreHeartbeatRequest,
        reply: Reply,
        now: Now,
    ) {
        let stats = request.stats.unwrap_or_default();
        let id = StoreId(stats.store_id);
        let cluster_id = self.cluster_id_on_wire();
        let mut response = StoreHeartbeatResponse {
            header: header(cluster_id),
            cluster_version: env!("CARGO_PKG_VERSION").to_owned(),
            state: NodeState::Serving as i32,
            ..StoreHeartbeatResponse::default()
        };
        if let Err((kind, message)) = self.check_store(id) {
            response.header = error(cluster_id, kind, message);
        } else if let Some(office) = self.office() {
            office.reports.store(stats, now.moment);
        }
        reply(Ok(PdResponse::StoreHeartbeat(response)));
    }

    fn check_store(&self, id: StoreId) -> Result<(), (ErrorType, String)> {
        match self.cluster.stores().get(&id) {
            None => Err((ErrorType::Unknown, unknown_store(id))),
            Some(store) if store.state() == StoreState::Tombstone => Err((
                ErrorType::StoreTombstone,
                format!("store {} is a tombstone", id.0),
            )),
            Some(_) => Ok(()),
        }
    }

    /// A region's leader reports.
    pub(super) fn region_heartbeat(
        &mut self,
        heartbeat: RegionHeartbeatRequest,
        reply: Reply,
        deadline: Moment,
        now: Now,
    ) {
        let store = StoreId(heartbeat.leader.map_or(0, |leader| leader.store_id));
        if let Err((kind, message)) = self.check_store(store) {
            return self.refuse_heartbeat(reply, kind, message);
        }
        let Some(region) = &heartbeat.region else {
            return self.refuse_heartbeat(
                reply,
                ErrorType::InvalidValue,
                "the heartbeat has no region".to_owned(),
            );
        };
        if self.is_replacing(region) {
            // Its leader says this once, so it must not be lost.
            let call = Call::Pd(PdRequest::RegionHeartbeat(heartbeat), reply);
            return self.park(call, deadline);
        }
        let id = RegionId(region.id);
        let Seat::Leader(office) = &mut self.seat else {
            return;
        };
        let stale = office
            .reports
            .lead(id)
            .is_some_and(|lead| heartbeat.term < lead.term.0);
        if stale {
            return self.refuse_heartbeat(
                reply,
                ErrorType::InvalidValue,
                "the term is stale".to_owned(),
            );
        }
        match office.pending.offer(self.cluster.regions(), region) {
            Offer::Refused(reason) => {
                let epoch = epoch_of(region);
                let message = format!(
                    "region {} at epoch ({}, {}): {reason}",
                    id.0, epoch.conf_ver, epoch.version
                );
                self.refuse_heartbeat(reply, ErrorType::InvalidValue, message);
            }
            Offer::Known | Offer::Waiting => self.region_heartbeat_applied(heartbeat, reply, now),
            Offer::Fits(replacement) => {
                self.queue_replacement(replacement, Some(Caller::Heartbeat(heartbeat, reply)))
            }
        }
    }

    /// Proposes a change of the map, unless one of its regions, which others wait for, is in another that is under
    /// way: then the regions report again.
    pub(super) fn queue_replacement(&mut self, replacement: Replacement, caller: Option<Caller>) {
        let Seat::Leader(office) = &mut self.seat else {
            return;
        };
        let added = replacement.added.iter().map(|region| RegionId(region.id));
        let regions: BTreeSet<_> = replacement.removed.iter().copied().chain(added).collect();
        if regions
            .iter()
            .any(|region| office.replacing.contains(region))
        {
            return match caller {
                Some(Caller::Heartbeat(_, reply)) => {
                    self.answer_heartbeat(reply, RegionHeartbeatResponse::default());
                }
                Some(Caller::Split(reply)) => self.answer_report(reply, Ok(())),
                None => {}
            };
        }
        office.replacing.extend(&regions);
        let change = MapChange {
            regions: regions.into_iter().collect(),
            caller,
        };
        let replace = ReplaceRegions {
            removed: replacement.removed.iter().map(|id| id.0).collect(),
            added: replacement.added,
        };
        office.writing.queue(
            Operation::ReplaceRegions(replace),
            Purpose::Map(Box::new(change)),
        );
    }

    /// The map says what the heartbeat says, or will when others have reported: records it and answers.
    pub(super) fn region_heartbeat_applied(
        &mut self,
        heartbeat: RegionHeartbeatRequest,
        reply: Reply,
        now: Now,
    ) {
        let Some(region) = &heartbeat.region else {
            return;
        };
        let id = RegionId(region.id);
        if !self.has_region(id) {
            // A new part of a split whose siblings are missing: nothing to say about it yet.
            return self.answer_heartbeat(reply, RegionHeartbeatResponse::default());
        }
        let Seat::Leader(office) = &mut self.seat else {
            return;
        };
        match office.reports.region(&heartbeat, now.moment) {
            Err(reason) => {
                let message = format!("region {}: {reason}", id.0);
                return self.refuse_heartbeat(reply, ErrorType::InvalidValue, message);
            }
            Ok(true) => {
                office.to_note.insert(id);
            }
            Ok(false) => {}
        }
        let leader = heartbeat.leader.unwrap_or_default();
        let unfit = office.reports.unfit(region);
        let damaged = office.reports.damaged(region);
        let leaving = self.cluster.leaving_stores();
        let reported = Reported {
            region,
            leader,
            unfit: &unfit,
            damaged: &damaged,
            leaving: &leaving,
            map: self.cluster.regions(),
        };
        let asked = office.operators.observe(&reported, now.moment);
        let response = asked
            .map(|asked| ask(asked, region, leader))
            .unwrap_or_default();
        self.answer_heartbeat(reply, response);
    }

    /// New operators since the last call, with the stores that lead their regions. A driver with an open
    /// stream to such a store sends them at once; otherwise the answer to the next heartbeat brings them.
    pub fn pushes(&mut self) -> Vec<(StoreId, RegionHeartbeatResponse)> {
        match &mut self.seat {
            Seat::Leader(office) => std::mem::take(&mut office.pushes),
            _ => Vec::new(),
        }
    }

    fn answer_heartbeat(&self, reply: Reply, mut response: RegionHeartbeatResponse) {
        response.header = header(self.cluster_id_on_wire());
        reply(Ok(PdResponse::RegionHeartbeat(response)));
    }

    fn refuse_heartbeat(&self, reply: Reply, kind: ErrorType, message: String) {
        let response = RegionHeartbeatResponse {
            header: error(self.cluster_id_on_wire(), kind, message),
            ..RegionHeartbeatResponse::default()
        };
        reply(Ok(PdResponse::RegionHeartbeat(response)));
    }
}

impl Office {
    /// Lets the store that leads a region know of its operator.
    pub(super) fn push(&mut self, region: &Region, cluster: &Cluster, now: Moment) {
        let lead = self.reports.lead(RegionId(region.id));
        let Some(lead) = lead.filter(|_| self.pushes.len() < PUSHES_MAX) else {
            return;
        };
        let unfit = self.reports.unfit(region);
        let damaged = self.reports.damaged(region);
        let leaving = cluster.leaving_stores();
        let reported = Reported {
            region,
            leader: lead.peer,
            unfit: &unfit,
            damaged: &damaged,
            leaving: &leaving,
            map: cluster.regions(),
        };
        let leader = lead.peer;
        if let Some(asked) = self.operators.observe(&reported, now) {
            let mut response = ask(asked, region, leader);
            response.header = header(cluster.id().unwrap_or_default().0);
            self.pushes.push((StoreId(leader.store_id), response));
        }
    }
}

/// What a region's leader is told of its operator.
fn ask(asked: Ask, region: &Region, leader: Peer) -> RegionHeartbeatResponse {
    let mut response = RegionHeartbeatResponse {
        region_id: region.id,
        region_epoch: region.region_epoch,
        target_peer: Some(leader),
        ..RegionHeartbeatResponse::default()
    };
    match asked {
        Ask::Transfer(to) => {
            response.transfer_leader = Some(TransferLeader {
                peer: Some(to),
                peers: vec![to],
            });
        }
        Ask::Change(changes) => response.change_peer_v2 = Some(ChangePeerV2 { changes }),
        Ask::Merge(target) => {
            let target = Some(*target);
            response.merge = Some(Merge { target });
        }
    }
    response
}
