//! Splits: ids for new regions, and the report that one has happened.
//!
//! *Place*: a store asks before it proposes a split, and reports when it is applied; the parts' heartbeats say the
//! same later, one by one.
//!
//! *Life of a split*: AskBatchSplit gives ids, which are used or wasted → the store's region splits →
//! ReportBatchSplit offers all parts to the map at once → the replacement is proposed → answered when it is applied,
//! so that a store knows when clients find the new borders here.
//!
//! *Invariants*: ids never repeat; the map changes only by a set that tiles what it replaces; a report says nothing
//! that heartbeats could not say, and may come twice.
//!
//! *Limits*: [`CUTS_MAX`] cuts at once. A report that meets another change of the same regions waits for it, as calls
//! wait for a leader.
//!
//! *Source*: `ARCHITECTURE.md`, How data would be lost.
//!
//! *Next stop*: [`crate::pending`].

use super::call::{Call, Reply};
use super::write::Caller;
use super::{Member, Seat};
use crate::answer::{error, header};
use crate::pending::Offer;
use crate::region_map::{epoch_of, is_complete};
use std::collections::BTreeSet;
use yadkv_proto::api::{PdRequest, PdResponse};
use yadkv_proto::epoch;
use yadkv_proto::id::RegionId;
use yadkv_proto::key::KeyRange;
use yadkv_proto::metapb::Region;
use yadkv_proto::pdpb::{self, ErrorType, SplitId};
use yadkv_proto::time::Moment;

/// Cuts of one split.
const CUTS_MAX: usize = 1024;

/// Why a request is refused; nothing was done.
type Refused = (ErrorType, String);

impl Member {
    /// AskBatchSplit: an id for each new region and each of its peers.
    pub(super) fn ask_split(
        &mut self,
        request: pdpb::AskBatchSplitRequest,
        reply: Reply,
        deadline: Moment,
    ) {
        let cluster_id = self.cluster_id_on_wire();
        if let Err((kind, message)) = self.check_split(&request) {
            return reply(Ok(PdResponse::AskBatchSplit(pdpb::AskBatchSplitResponse {
                header: error(cluster_id, kind, message),
                ids: Vec::new(),
            })));
        }
        let peers = request
            .region
            .as_ref()
            .map_or(0, |region| region.peers.len());
        let count = u64::from(request.split_count) * (1 + peers as u64);
        let Some(office) = self.office() else { return };
        let Some(mut ids) = office.ids.take(count) else {
            office.raise_ids(count);
            return self.park(Call::Pd(PdRequest::AskBatchSplit(request), reply), deadline);
        };
        let cut = |_| SplitId {
            new_region_id: ids.next().unwrap_or_default(),
            new_peer_ids: ids.by_ref().take(peers).collect(),
        };
        let ids = (0..request.split_count).map(cut).collect();
        reply(Ok(PdResponse::AskBatchSplit(pdpb::AskBatchSplitResponse {
            header: header(cluster_id),
            ids,
        })));
    }

    fn check_split(&mut self, request: &pdpb::AskBatchSplitRequest) -> Result<(), Refused> {
        let invalid = |message: String| Err((ErrorType::InvalidValue, message));
        let count = request.split_count as usize;
        if !(1..=CUTS_MAX).contains(&count) {
            return invalid(format!("{count} cuts: ask for 1 to {CUTS_MAX}"));
        }
        let Some(region) = request.region.as_ref().filter(|region| is_complete(region)) else {
            return invalid("the region's descriptor is missing or incomplete".to_owned());
        };
        let id = RegionId(region.id);
        let Seat::Leader(office) = &self.seat else {
            return Ok(());
        };
        match self.cluster.regions().by_id(id) {
            Some(known) if epoch::is_stale(&epoch_of(region), &epoch_of(known)) => {
                invalid(format!(
                    "region {} has a newer epoch: ask again with the present one",
                    id.0
                ))
            }
            Some(_) => Ok(()),
            // A part of a split that was not reported yet may split on.
            None if office.pending.waits(id) => Ok(()),
            None => Err((
                ErrorType::RegionNotFound,
                format!(
                    "region {} is not in the map: report the split that made it first",
                    id.0
                ),
            )),
        }
    }

    /// ReportBatchSplit: all descriptors that took the place of one.
    pub(super) fn report_split(
        &mut self,
        request: pdpb::ReportBatchSplitRequest,
        reply: Reply,
        deadline: Moment,
    ) {
        if let Err(refused) = check_report(&request.regions) {
            return self.answer_report(reply, Err(refused));
        }
        if request.regions.iter().any(|part| self.is_replacing(part)) {
            let call = Call::Pd(PdRequest::ReportBatchSplit(request), reply);
            return self.park(call, deadline);
        }
        let Seat::Leader(office) = &mut self.seat else {
            return;
        };
        let map = self.cluster.regions();
        let mut fits = None;
        for region in &request.regions {
            match office.pending.offer(map, region) {
                Offer::Known | Offer::Waiting => {}
                Offer::Fits(replacement) => fits = Some(replacement),
                Offer::Refused(reason) => {
                    let message = format!("region {}: {reason}", region.id);
                    return self.answer_report(reply, Err((ErrorType::InvalidValue, message)));
                }
            }
        }
        match fits {
            Some(replacement) => self.queue_replacement(replacement, Some(Caller::Split(reply))),
            None => self.answer_report(reply, Ok(())),
        }
    }

    /// Whether a replacement is under way of a region that this descriptor names or touches.
    pub(super) fn is_replacing(&self, region: &Region) -> bool {
        let Seat::Leader(office) = &self.seat else {
            return false;
        };
        if office.replacing.is_empty() {
            return false;
        }
        let range = KeyRange::of(region);
        let touched = self.cluster.regions().overlapping(&range);
        let touched = touched.map(|other| other.id).chain([region.id]);
        touched
            .map(RegionId)
            .any(|id| office.replacing.contains(&id))
    }

    pub(super) fn answer_report(&self, reply: Reply, result: Result<(), Refused>) {
        let cluster_id = self.cluster_id_on_wire();
        let header = match result {
            Ok(()) => header(cluster_id),
            Err((kind, message)) => error(cluster_id, kind, message),
        };
        reply(Ok(PdResponse::ReportBatchSplit(
            pdpb::ReportBatchSplitResponse { header },
        )));
    }
}

/// Parts of one region lie side by side and have one epoch.
fn check_report(regions: &[Region]) -> Result<(), Refused> {
    let invalid = |message: String| Err((ErrorType::InvalidValue, message));
    if !(2..=CUTS_MAX + 1).contains(&regions.len()) {
        let parts = regions.len();
        return invalid(format!("{parts} parts: a split has 2 to {}", CUTS_MAX + 1));
    }
    if let Some(bad) = regions.iter().find(|region| !is_complete(region)) {
        return invalid(format!("descriptor of region {} is incomplete", bad.id));
    }
    let ids: BTreeSet<u64> = regions.iter().map(|region| region.id).collect();
    let side_by_side = regions.windows(2).all(|pair| {
        !pair[0].end_key.is_empty()
            && pair[0].end_key == pair[1].start_key
            && epoch_of(&pair[0]) == epoch_of(&pair[1])
    });
    if ids.len() != regions.len() || !side_by_side {
        return invalid("the parts do not lie side by side with one epoch".to_owned());
    }
    Ok(())
}
