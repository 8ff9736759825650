//! Random histories of splits, merges and membership changes, reported in any order, any number of times.
#![allow(clippy::unwrap_used)]

use super::*;
use bytes::Bytes;
use proptest::prelude::*;
use yadkv_proto::metapb::{Peer, RegionEpoch};

fn region(id: u64, start: &str, end: &str, conf_ver: u64, version: u64) -> Region {
    Region {
        id,
        start_key: Bytes::copy_from_slice(start.as_bytes()),
        end_key: Bytes::copy_from_slice(end.as_bytes()),
        region_epoch: Some(RegionEpoch { conf_ver, version }),
        peers: vec![Peer {
            id: id * 10,
            store_id: 1,
            ..Peer::default()
        }],
        ..Region::default()
    }
}

fn map(regions: Vec<Region>) -> RegionMap {
    RegionMap::load(regions).unwrap()
}

fn ids(replacement: &Replacement) -> (Vec<u64>, Vec<u64>) {
    let removed = replacement.removed.iter().map(|id| id.0).collect();
    (
        removed,
        replacement.added.iter().map(|region| region.id).collect(),
    )
}

#[test]
fn a_split_waits_for_its_last_part() {
    let map = map(vec![region(1, "", "", 1, 1)]);
    let mut pending = Pending::default();
    assert_eq!(
        pending.offer(&map, &region(1, "m", "", 1, 3)),
        Offer::Waiting
    );
    assert_eq!(
        pending.offer(&map, &region(2, "", "c", 1, 3)),
        Offer::Waiting
    );
    let Offer::Fits(replacement) = pending.offer(&map, &region(3, "c", "m", 1, 3)) else {
        panic!("three parts cover the whole");
    };
    assert_eq!(ids(&replacement), (vec![1], vec![2, 3, 1]));
    assert!(pending.is_empty());
}

#[test]
fn a_merge_that_follows_an_unreported_split_brings_both_in() {
    let map = map(vec![region(1, "", "m", 1, 1), region(2, "m", "", 1, 1)]);
    let mut pending = Pending::default();
    // 1 split at c (into 3 and 1), then 1 merged into 2; nobody saw the split.
    assert_eq!(
        pending.offer(&map, &region(3, "", "c", 1, 2)),
        Offer::Waiting
    );
    let Offer::Fits(replacement) = pending.offer(&map, &region(2, "c", "", 1, 4)) else {
        panic!("the two cover the whole");
    };
    assert_eq!(ids(&replacement), (vec![1, 2], vec![3, 2]));
}

#[test]
fn history_and_contradictions_are_refused() {
    let map = map(vec![region(1, "", "m", 3, 5), region(2, "m", "", 1, 5)]);
    let mut pending = Pending::default();
    let refused = |offer| matches!(offer, Offer::Refused(_));
    assert_eq!(pending.offer(&map, &region(1, "", "m", 3, 5)), Offer::Known);
    assert!(
        refused(pending.offer(&map, &region(1, "", "m", 2, 6))),
        "conf_ver back"
    );
    assert!(
        refused(pending.offer(&map, &region(1, "", "c", 4, 5))),
        "range without version"
    );
    assert!(
        refused(pending.offer(&map, &region(9, "", "c", 1, 5))),
        "same version, other id"
    );
    assert!(
        refused(pending.offer(&map, &region(0, "", "c", 1, 9))),
        "no id"
    );
    assert!(
        refused(pending.offer(&map, &region(9, "c", "c", 1, 9))),
        "no keys"
    );
    assert_eq!(
        pending.offer(&map, &region(9, "", "c", 1, 7)),
        Offer::Waiting
    );
    assert!(
        refused(pending.offer(&map, &region(8, "b", "d", 1, 6))),
        "overtaken while waiting"
    );
    assert!(
        !refused(pending.offer(&map, &region(1, "", "m", 4, 5))),
        "membership only"
    );
}

#[test]
fn an_id_that_moved_waits_for_its_old_place() {
    let (old, left, right) = (
        region(1, "", "m", 1, 1),
        region(2, "m", "p", 1, 1),
        region(7, "p", "", 1, 1),
    );
    let mut map = map(vec![old, left, right]);
    let mut pending = Pending::default();
    // 1 split at c (into 3 and 1), took 2 and 7 in, and split at p (into 5 and 1).
    assert_eq!(
        pending.offer(&map, &region(1, "p", "", 1, 5)),
        Offer::Waiting
    );
    assert_eq!(
        pending.offer(&map, &region(5, "c", "p", 1, 5)),
        Offer::Waiting
    );
    deliver(&mut map, &mut pending, &region(3, "", "c", 1, 2));
    let replacement = pending.recheck(&map).unwrap();
    assert_eq!(ids(&replacement), (vec![7], vec![1]));
    map.replace(&replacement.removed, replacement.added)
        .unwrap();
}

/// The truth of which the map hears: splits, merges and membership changes by the book.
struct Truth {
    regions: Vec<Region>,
    next_id: u64,
    reports: Vec<Region>,
}

impl Truth {
    fn new() -> Self {
        let first = region(1, "", "", 1, 1);
        Self {
            regions: vec![first],
            next_id: 2,
            reports: Vec::new(),
        }
    }

    fn step(&mut self, kind: u8, pick: usize, border: u8) {
        let at = pick % self.regions.len();
        match kind % 3 {
            0 => self.split(at, Bytes::from(vec![border])),
            1 => self.merge(at),
            _ => {
                let changed = &mut self.regions[at];
                changed.region_epoch.as_mut().unwrap().conf_ver += 1;
                changed.peers[0].id += 1;
                self.reports.push(changed.clone());
            }
        }
    }

    fn split(&mut self, at: usize, border: Bytes) {
        let old = self.regions[at].clone();
        if border <= old.start_key || !KeyRange::of(&old).contains(&border) {
            return;
        }
        let (mut left, mut right) = (old.clone(), old);
        left.id = self.next_id;
        left.peers[0].id = self.next_id * 1000;
        self.next_id += 1;
        (left.end_key, right.start_key) = (border.clone(), border);
        for part in [&mut left, &mut right] {
            part.region_epoch.as_mut().unwrap().version += 1;
        }
        self.reports.extend([left.clone(), right.clone()]);
        self.regions.splice(at..=at, [left, right]);
    }

    fn merge(&mut self, at: usize) {
        if at + 1 >= self.regions.len() {
            return;
        }
        let source = &mut self.regions[at];
        let prepared = source.region_epoch.as_mut().unwrap();
        prepared.version += 1;
        prepared.conf_ver += 1;
        self.reports.push(source.clone());
        let (source, mut target) = (self.regions[at].clone(), self.regions[at + 1].clone());
        target.start_key = source.start_key.clone();
        let version = epoch_of(&source).version.max(epoch_of(&target).version) + 1;
        target.region_epoch.as_mut().unwrap().version = version;
        self.reports.push(target.clone());
        self.regions.splice(at..=at + 1, [target]);
    }
}

fn deliver(map: &mut RegionMap, pending: &mut Pending, report: &Region) {
    if let Offer::Fits(replacement) = pending.offer(map, report) {
        let before = map.clone();
        map.replace(&replacement.removed, replacement.added.clone())
            .unwrap();
        for new in map.iter() {
            let range = KeyRange::of(new);
            for old in before.overlapping(&range) {
                assert!(
                    epoch_of(new).version >= epoch_of(old).version,
                    "a version went back"
                );
            }
        }
        for added in &replacement.added {
            pending.prune(map, &KeyRange::of(added));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1024) })]

    /// `RegionMap::replace` asserts the tiling after every change. Whatever was lost or came late, once
    /// every living region has reported, the map is the truth.
    #[test]
    fn the_map_always_tiles_and_ends_as_the_truth(
        steps in prop::collection::vec((any::<u8>(), any::<usize>(), any::<u8>()), 1..40),
        order in prop::collection::vec((any::<prop::sample::Index>(), any::<bool>()), 0..80),
    ) {
        let mut truth = Truth::new();
        let mut map = map(truth.regions.clone());
        let mut pending = Pending::default();
        for (kind, pick, border) in steps {
            truth.step(kind, pick, border);
        }
        for (index, deliver_it) in order {
            if deliver_it && !truth.reports.is_empty() {
                deliver(&mut map, &mut pending, index.get(&truth.reports));
            }
        }
        for report in &truth.regions {
            deliver(&mut map, &mut pending, report);
        }
        let seen: Vec<Region> = map.iter().map(|region| (**region).clone()).collect();
        prop_assert_eq!(seen, truth.regions);
        prop_assert!(pending.is_empty());
    }
}
