//! The region cache against a plain list with the same rules.
#![allow(clippy::unwrap_used)]

use super::*;
use proptest::prelude::*;

fn peers(count: u64) -> Vec<Peer> {
    (1..=count)
        .map(|id| Peer {
            id,
            store_id: id,
            ..Default::default()
        })
        .collect()
}

fn region(id: u64, start: &[u8], end: &[u8], version: u64, conf_ver: u64) -> Region {
    Region {
        id,
        start_key: Bytes::copy_from_slice(start),
        end_key: Bytes::copy_from_slice(end),
        region_epoch: Some(RegionEpoch { conf_ver, version }),
        peers: peers(3),
        ..Default::default()
    }
}

/// A region with borders of one byte, 0 standing for infinity.
fn any_region() -> impl Strategy<Value = Region> {
    (1..6u64, 0..12u8, 0..12u8, 1..5u64, 1..3u64).prop_map(|(id, start, end, version, conf_ver)| {
        let border = |byte: u8| if byte == 0 { vec![] } else { vec![byte] };
        region(id, &border(start), &border(end), version, conf_ver)
    })
}

/// The same rules on a plain list.
#[derive(Default)]
struct Naive(Vec<Region>);

impl Naive {
    fn insert(&mut self, region: &Region) {
        let range = KeyRange::of(region);
        let epoch = region.region_epoch.unwrap();
        if range.is_empty() {
            return;
        }
        let newer = self.0.iter().any(|known| {
            let seen = known.region_epoch.unwrap();
            KeyRange::of(known).overlaps(&range)
                && if known.id == region.id {
                    (seen.version, seen.conf_ver) > (epoch.version, epoch.conf_ver)
                } else {
                    seen.version > epoch.version
                }
        });
        if !newer {
            self.0.retain(|known| !KeyRange::of(known).overlaps(&range));
            self.0.push(region.clone());
        }
    }

    fn locate(&self, key: &[u8]) -> Option<&Region> {
        self.0
            .iter()
            .find(|known| KeyRange::of(known).contains(key))
    }
}

proptest! {
    #[test]
    fn the_cache_is_the_naive_list(regions in proptest::collection::vec(any_region(), 1..40)) {
        let mut cache = RegionCache::new(1000);
        let mut naive = Naive::default();
        for region in regions {
            cache.insert(region.clone(), None);
            naive.insert(&region);
            prop_assert_eq!(cache.len(), naive.0.len());
            for byte in 0..13u8 {
                for key in [vec![], vec![byte], vec![byte, 0]] {
                    let found = cache.locate(&key);
                    prop_assert_eq!(found.as_ref().map(|route| &route.region), naive.locate(&key));
                }
                // Right below a border lies what contains the keys just under it.
                let below = cache.locate_below(&[byte + 1]).map(|route| route.region.clone());
                prop_assert_eq!(below.as_ref(), naive.locate(&[byte, 0xFF]));
            }
        }
    }

    /// An old view fills the gap it is wanted for and changes no key that was covered.
    #[test]
    fn an_old_view_fills_gaps_only(
        regions in proptest::collection::vec(any_region(), 1..10),
        old in any_region(),
        wanted in 0..13u8,
    ) {
        let mut cache = RegionCache::new(1000);
        for region in regions {
            cache.insert(region, None);
        }
        let all = |cache: &RegionCache| -> Vec<_> {
            (0..26u8)
                .map(|half| cache.locate(&vec![half / 2, 0][..1 + usize::from(half) % 2]))
                .map(|route| route.map(|route| route.region.clone()))
                .collect()
        };
        let before = all(&cache);
        cache.insert_gap(&old, None, |gap| gap.contains(&[wanted]));
        let after = all(&cache);
        for (before, after) in before.iter().zip(&after) {
            prop_assert!(before.is_none() || before == after);
        }
        let covered = KeyRange::of(&old).contains(&[wanted]);
        let found = cache.locate(&[wanted]);
        prop_assert_eq!(found.is_some(), covered || before[usize::from(wanted) * 2].is_some());
    }

    #[test]
    fn the_cache_stays_small(regions in proptest::collection::vec(any_region(), 1..40), max in 1..4usize) {
        let mut cache = RegionCache::new(max);
        for region in regions {
            if cache.insert(region.clone(), None) {
                let found = cache.locate(&region.start_key).unwrap();
                prop_assert_eq!(&found.region, &region, "a newcomer is not its own victim");
            }
            prop_assert!(cache.len() <= max);
        }
    }
}

#[test]
fn only_the_first_of_many_failures_moves_the_leader() {
    let mut cache = RegionCache::new(10);
    cache.insert(region(1, b"", b"", 1, 1), None);
    let route = cache.locate(b"a").unwrap();
    cache.next_peer(&route);
    cache.next_peer(&route);
    cache.forget(&route);
    assert_eq!(cache.locate(b"a").unwrap().leader().id, 2);
}

#[test]
fn a_route_is_dropped_when_every_voter_was_tried() {
    let mut cache = RegionCache::new(10);
    let mut three = region(1, b"", b"", 1, 1);
    three.peers[1].set_role(PeerRole::Learner);
    cache.insert(three, Some(&peers(3)[2]));
    let route = cache.locate(b"a").unwrap();
    assert_eq!(route.leader().id, 3);
    cache.next_peer(&route);
    let route = cache.locate(b"a").unwrap();
    assert_eq!(route.leader().id, 1, "learners cannot lead");
    cache.next_peer(&route);
    assert!(cache.locate(b"a").is_none());
}

#[test]
fn a_hint_is_followed_if_the_peer_is_known() {
    let mut cache = RegionCache::new(10);
    cache.insert(region(1, b"", b"", 1, 1), None);
    cache.follow(&cache.locate(b"a").unwrap(), &peers(3)[1]);
    let route = cache.locate(b"a").unwrap();
    assert_eq!(route.leader().id, 2);
    cache.follow(&route, &peers(9)[8]);
    assert!(cache.locate(b"a").is_none());
}
