//! Look-ups of raw and encoded callers over one map with raw borders in it.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::cluster::Cluster;
use crate::reports::Reports;
use yadkv_engine::WriteBatch;
use yadkv_proto::codec::encode;
use yadkv_proto::metapb::{Peer, RegionEpoch};
use yadkv_proto::placementpb::{Bootstrap, Command, LeaderHint, NoteLeaders, command::Operation};
use yadkv_proto::time::Moment;

fn peer_on(store_id: u64, region: u64) -> Peer {
    Peer {
        id: region + 10 * store_id,
        store_id,
        ..Peer::default()
    }
}

/// Regions 1 to 6: `-inf, enc(b), enc(b) 1, enc(b) 1 2 (not a key), enc(d), +inf` and a leader of region 2.
fn cluster() -> Cluster {
    let raw = |more: &[u8]| Bytes::from([b"c0000000", more].concat());
    let borders = [
        Bytes::new(),
        encode(b"b"),
        raw(b"\x01"),
        raw(b"\x02"),
        encode(b"d"),
        Bytes::new(),
    ];
    let mut regions = Vec::new();
    for (at, pair) in borders.windows(2).enumerate() {
        let id = at as u64 + 1;
        regions.push(Region {
            id,
            start_key: pair[0].clone(),
            end_key: pair[1].clone(),
            region_epoch: Some(RegionEpoch {
                conf_ver: 1,
                version: 1,
            }),
            peers: [1, 2].map(|store| peer_on(store, id)).into(),
            ..Region::default()
        });
    }
    let leaders = vec![LeaderHint {
        region_id: 2,
        peer: Some(regions[1].peers[0]),
        term: 6,
    }];
    let mut cluster = Cluster::default();
    for operation in [
        Operation::Bootstrap(Bootstrap { regions, now_ms: 1 }),
        Operation::NoteLeaders(NoteLeaders { leaders }),
    ] {
        let operation = Some(operation);
        cluster
            .apply(Command { operation }, &mut WriteBatch::new())
            .unwrap();
    }
    cluster
}

fn with_known(test: impl FnOnce(&Known<'_>)) {
    let (cluster, reports) = (cluster(), Reports::new(Moment(0)));
    test(&Known {
        cluster: &cluster,
        reports: &reports,
        now: Moment(0),
    });
}

fn scan_ids(known: &Known<'_>, start: Bytes, end: Bytes, limit: i32) -> Vec<u64> {
    let request = pdpb::ScanRegionsRequest {
        start_key: start,
        end_key: end,
        limit,
        header: None,
    };
    let response = scan(known, &request);
    assert_eq!(response.regions.len(), response.region_metas.len());
    assert_eq!(response.regions.len(), response.leaders.len());
    response
        .region_metas
        .iter()
        .map(|region| region.id)
        .collect()
}

#[test]
fn raw_callers_see_true_borders_and_encoded_ones_valid_encodings() {
    with_known(|known| {
        let get = |key: Bytes| {
            by_key(
                known,
                &pdpb::GetRegionRequest {
                    region_key: key,
                    ..Default::default()
                },
            )
        };
        let raw = get(Bytes::from_static(b"c0000000\x01x")).region.unwrap();
        assert_eq!(
            (raw.id, raw.end_key),
            (3, Bytes::from_static(b"c0000000\x02"))
        );
        let encoded = get(encode(b"c")).region.unwrap();
        assert_eq!((encoded.id, encoded.end_key), (2, encode(b"c0000000")));
        assert_eq!(get(encode(b"c0000000")).region.unwrap().id, 4);
        assert_eq!(get(encode(b"c")).leader.unwrap().id, 12);
        assert!(get(encode(b"zz")).leader.is_none());
    });
}

#[test]
fn regions_without_an_encoded_key_are_left_out_for_encoded_callers_only() {
    with_known(|known| {
        assert_eq!(
            scan_ids(known, Bytes::new(), Bytes::new(), 0),
            [1, 2, 3, 4, 5]
        );
        assert_eq!(scan_ids(known, encode(b""), Bytes::new(), -1), [1, 2, 4, 5]);
        assert_eq!(scan_ids(known, encode(b"b"), encode(b"c0000000"), 9), [2]);
        assert_eq!(scan_ids(known, encode(b"b"), Bytes::new(), 2), [2, 4]);
        assert_eq!(
            scan_ids(known, Bytes::from_static(b"c"), Bytes::from_static(b"d"), 9),
            [2, 3, 4]
        );
        let request = pdpb::GetRegionRequest {
            region_key: encode(b"c0000000"),
            ..Default::default()
        };
        let found = previous(known, &GetPrevRegion(request)).0.region.unwrap();
        assert_eq!((found.id, found.end_key), (2, encode(b"c0000000")));
    });
}

#[test]
fn batches_and_queries_answer_in_order() {
    with_known(|known| {
        let range = |start: &str, end: &str| pdpb::KeyRange {
            start_key: encode(start.as_bytes()),
            end_key: encode(end.as_bytes()),
        };
        let request = pdpb::BatchScanRegionsRequest {
            ranges: vec![range("a", "bb"), range("bc", "bd"), range("e", "f")],
            limit: 9,
            ..Default::default()
        };
        let ids: Vec<_> = batch_scan(known, &request)
            .regions
            .iter()
            .map(|found| found.region.as_ref().unwrap().id)
            .collect();
        assert_eq!(ids, [1, 2, 5]);
        let request = pdpb::QueryRegionRequest {
            keys: vec![encode(b"a"), encode(b"e")],
            prev_keys: vec![encode(b"a"), encode(b"c0000000")],
            ids: vec![3, 99],
            ..Default::default()
        };
        let response = query(known, &request);
        assert_eq!(response.key_id_map, [1, 5]);
        assert_eq!(response.prev_key_id_map, [0, 2]);
        let mut ids: Vec<_> = response.regions_by_id.keys().copied().collect();
        ids.sort_unstable();
        assert_eq!(ids, [1, 2, 3, 5]);
    });
}

#[test]
fn before_bootstrap_the_header_says_so() {
    let (cluster, reports) = (Cluster::default(), Reports::new(Moment(0)));
    let known = Known {
        cluster: &cluster,
        reports: &reports,
        now: Moment(0),
    };
    let response = by_key(&known, &pdpb::GetRegionRequest::default());
    let error = response.header.unwrap().error.unwrap();
    assert_eq!(error.r#type, ErrorType::NotBootstrapped as i32);
    assert!(response.region.is_none());
}

#[test]
fn every_look_up_tells_who_lags_and_who_is_silent() {
    let cluster = cluster();
    let mut reports = Reports::new(Moment(0));
    let region = (**cluster.regions().by_id(RegionId(2)).unwrap()).clone();
    let (leader, other) = (peer_on(1, 2), peer_on(2, 2));
    let stranger = peer_on(3, 2);
    let down = |peer| pdpb::PeerStats {
        peer: Some(peer),
        down_seconds: 5,
    };
    let report = pdpb::RegionHeartbeatRequest {
        leader: Some(leader),
        term: 6,
        down_peers: vec![down(other), down(stranger)],
        pending_peers: vec![other, stranger],
        region: Some(region.clone()),
        ..Default::default()
    };
    let start = Moment(0);
    reports.region(&report, start).unwrap();
    let known = Known {
        cluster: &cluster,
        reports: &reports,
        now: start.after(std::time::Duration::from_secs(30)),
    };
    let silent = vec![pdpb::PeerStats {
        peer: Some(other),
        down_seconds: 35,
    }];
    let expected = (silent, vec![other]);
    let request = pdpb::GetRegionRequest {
        region_key: region.start_key.clone(),
        ..Default::default()
    };
    let found = by_key(&known, &request);
    assert_eq!((found.down_peers, found.pending_peers), expected);
    let request = pdpb::GetRegionByIdRequest {
        region_id: 2,
        ..Default::default()
    };
    let found = by_id(&known, &request).0;
    assert_eq!((found.down_peers, found.pending_peers), expected);
    let found = scan(&known, &Default::default()).regions.swap_remove(1);
    assert_eq!((found.down_peers, found.pending_peers), expected);
    let request = pdpb::QueryRegionRequest {
        ids: vec![2],
        ..Default::default()
    };
    let found = query(&known, &request).regions_by_id.remove(&2).unwrap();
    assert_eq!((found.down_peers, found.pending_peers), expected);
}
