//! Region look-ups: GetRegion, GetPrevRegion, GetRegionByID, ScanRegions, BatchScanRegions, QueryRegion.
//!
//! *Place*: called by [`super::read`].
//!
//! *Life of a look-up*: the keys say how the caller sees borders ([`View`]) → the true region is found →
//! its borders are shown through that view. Regions in which an encoded caller has no key are left out of
//! lists and of the way back, since they would look like `[x, x)`.
//!
//! *Invariants*: for every key of the caller's kind, the shown region contains the key iff the true one does.
//!
//! *Limits*: a scan with limit 0 or below shows every region.
//!
//! *Source*: `proto/README.md`, Headers and Which keys travel where.
//!
//! *Next stop*: [`super::stores`].

use super::Known;
use crate::border::View;
use bytes::Bytes;
use std::sync::Arc;
use yadkv_proto::api::{GetPrevRegion, GetPrevRegionResponse, GetRegionById};
use yadkv_proto::id::RegionId;
use yadkv_proto::key::KeyRange;
use yadkv_proto::metapb::Region;
use yadkv_proto::pdpb::{self, ErrorType, ResponseHeader};

/// The region that contains a key.
pub fn by_key(known: &Known<'_>, request: &pdpb::GetRegionRequest) -> pdpb::GetRegionResponse {
    let view = View::of([&request.region_key]);
    one(
        known,
        view,
        known.cluster.regions().by_key(&request.region_key),
    )
}

/// The region before the one that contains a key.
pub fn previous(known: &Known<'_>, request: &GetPrevRegion) -> GetPrevRegionResponse {
    let key = &request.0.region_key;
    let view = View::of([key]);
    GetPrevRegionResponse(one(known, view, before(known, view, key)))
}

/// The region with an id. Callers of this are encoded ones: raw V1 callers never look up by id.
pub fn by_id(known: &Known<'_>, request: &pdpb::GetRegionByIdRequest) -> GetRegionById {
    let region = known.cluster.regions().by_id(RegionId(request.region_id));
    GetRegionById(one(known, View::Encoded, region))
}

/// The regions of a range, in key order.
pub fn scan(known: &Known<'_>, request: &pdpb::ScanRegionsRequest) -> pdpb::ScanRegionsResponse {
    let range = KeyRange::new(request.start_key.clone(), request.end_key.clone());
    let view = View::of([&range.start, &range.end]);
    let mut response = pdpb::ScanRegionsResponse {
        header: header(known),
        ..Default::default()
    };
    for region in visible(known, view, &range).take(limit(request.limit)) {
        let shown = shown(known, view, region);
        response.region_metas.extend(shown.region.clone());
        response.leaders.push(shown.leader.unwrap_or_default());
        response.regions.push(shown);
    }
    response
}

/// The regions of several ranges, in the order of the ranges; one that holds the end of a range and the
/// start of the next is shown once.
pub fn batch_scan(
    known: &Known<'_>,
    request: &pdpb::BatchScanRegionsRequest,
) -> pdpb::BatchScanRegionsResponse {
    let view = View::of(
        request
            .ranges
            .iter()
            .flat_map(|range| [&range.start_key, &range.end_key]),
    );
    let mut response = pdpb::BatchScanRegionsResponse {
        header: header(known),
        ..Default::default()
    };
    let limit = limit(request.limit);
    let mut last = 0;
    for range in &request.ranges {
        let range = KeyRange::new(range.start_key.clone(), range.end_key.clone());
        for region in visible(known, view, &range) {
            if response.regions.len() >= limit {
                return response;
            }
            if region.id != last {
                response.regions.push(shown(known, view, region));
            }
            last = region.id;
        }
    }
    response
}

/// Many look-ups in one message: by key, by the key after, by id.
pub fn query(known: &Known<'_>, request: &pdpb::QueryRegionRequest) -> pdpb::QueryRegionResponse {
    let mut keys = request.keys.iter().chain(&request.prev_keys).peekable();
    let view = if keys.peek().is_some() {
        View::of(keys)
    } else {
        View::Encoded
    };
    let map = known.cluster.regions();
    let mut response = pdpb::QueryRegionResponse {
        header: header(known),
        ..Default::default()
    };
    let mut found: Vec<&Arc<Region>> = Vec::new();
    for key in &request.keys {
        let region = map.by_key(key);
        response
            .key_id_map
            .push(region.map_or(0, |region| region.id));
        found.extend(region);
    }
    for key in &request.prev_keys {
        let region = before(known, view, key);
        response
            .prev_key_id_map
            .push(region.map_or(0, |region| region.id));
        found.extend(region);
    }
    found.extend(request.ids.iter().filter_map(|id| map.by_id(RegionId(*id))));
    for region in found {
        let answer = pdpb::RegionResponse {
            region: Some(view.show(region)),
            leader: known.leader(region),
            down_peers: known.down(region),
            pending_peers: known.pending(region),
            ..Default::default()
        };
        response.regions_by_id.insert(region.id, answer);
    }
    response
}

fn before<'a>(known: &Known<'a>, view: View, key: &Bytes) -> Option<&'a Arc<Region>> {
    known
        .cluster
        .regions()
        .before(key)
        .find(|region| !view.hides(region))
}

fn limit(limit: i32) -> usize {
    usize::try_from(limit)
        .ok()
        .filter(|limit| *limit > 0)
        .unwrap_or(usize::MAX)
}

/// The regions in which the caller has keys of `range`.
fn visible<'a>(
    known: &Known<'a>,
    view: View,
    range: &'a KeyRange,
) -> impl Iterator<Item = &'a Arc<Region>> {
    let seen = move |region: &&Arc<Region>| {
        !view.hides(region) && KeyRange::of(&view.show(region)).overlaps(range)
    };
    known.cluster.regions().overlapping(range).filter(seen)
}

fn shown(known: &Known<'_>, view: View, region: &Region) -> pdpb::Region {
    pdpb::Region {
        region: Some(view.show(region)),
        leader: known.leader(region),
        down_peers: known.down(region),
        pending_peers: known.pending(region),
        ..pdpb::Region::default()
    }
}

fn one(known: &Known<'_>, view: View, region: Option<&Arc<Region>>) -> pdpb::GetRegionResponse {
    let mut response = pdpb::GetRegionResponse {
        header: header(known),
        ..Default::default()
    };
    if let Some(region) = region {
        response.region = Some(view.show(region));
        response.leader = known.leader(region);
        response.down_peers = known.down(region);
        response.pending_peers = known.pending(region);
    }
    response
}

fn header(known: &Known<'_>) -> Option<ResponseHeader> {
    if known.cluster.is_bootstrapped() {
        return known.header();
    }
    known.error(
        ErrorType::NotBootstrapped,
        "the cluster is not bootstrapped: too few stores have registered",
    )
}

#[cfg(test)]
#[path = "regions_tests.rs"]
mod tests;
