//! Key ranges and epochs against naive models over a small key space.
#![allow(clippy::unwrap_used, missing_docs)]

use proptest::prelude::*;
use std::cmp::Ordering;
use yadkv_proto::epoch::{compare, is_stale};
use yadkv_proto::key::{KeyRange, min_end};
use yadkv_proto::metapb::RegionEpoch;

/// All keys that a range can tell apart when its borders are single bytes below 8 (or empty).
fn universe() -> Vec<Vec<u8>> {
    let mut keys = vec![vec![]];
    for byte in 0..9u8 {
        keys.push(vec![byte]);
        keys.push(vec![byte, 0]);
    }
    keys
}

fn border() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![1 => Just(vec![]), 3 => (0..8u8).prop_map(|byte| vec![byte])]
}

fn range() -> impl Strategy<Value = KeyRange> {
    (border(), border()).prop_map(|(start, end)| KeyRange::new(start, end))
}

fn set(range: &KeyRange) -> Vec<Vec<u8>> {
    let mut keys = universe();
    keys.retain(|key| range.contains(key));
    keys
}

fn epoch() -> impl Strategy<Value = RegionEpoch> {
    (0..4u64, 0..4u64).prop_map(|(conf_ver, version)| RegionEpoch { conf_ver, version })
}

proptest! {
    #[test]
    fn ranges_are_sets_of_keys(left in range(), right in range()) {
        let both: Vec<_> = set(&left).into_iter().filter(|key| right.contains(key)).collect();
        prop_assert_eq!(set(&left.intersect(&right)), both.clone());
        prop_assert_eq!(left.overlaps(&right), !both.is_empty());
        prop_assert_eq!(left.is_empty(), set(&left).is_empty());
        if left.covers(&right) {
            prop_assert_eq!(both, set(&right));
        } else if !left.is_empty() && !right.is_empty() {
            prop_assert_ne!(both, set(&right));
        }
    }

    #[test]
    fn the_smaller_end_ends_first(left in border(), right in border()) {
        let (left, right) = (left.into(), right.into());
        let end = min_end(&left, &right).clone();
        let smaller = KeyRange::new(bytes::Bytes::new(), end);
        for key in universe() {
            let in_both = [&left, &right].iter().all(|end| end.is_empty() || key[..] < end[..]);
            prop_assert_eq!(smaller.contains(&key), in_both);
        }
    }

    #[test]
    fn epochs_are_ordered(a in epoch(), b in epoch(), c in epoch()) {
        prop_assert_eq!(compare(&a, &b), compare(&b, &a).reverse());
        prop_assert_eq!(compare(&a, &b) == Ordering::Equal, a == b);
        if compare(&a, &b) != Ordering::Greater && compare(&b, &c) != Ordering::Greater {
            prop_assert_ne!(compare(&a, &c), Ordering::Greater);
        }
        // What grew in one part and shrank in none is newer and never stale.
        if a.version >= b.version && a.conf_ver >= b.conf_ver {
            prop_assert_ne!(compare(&a, &b), Ordering::Less);
            prop_assert!(!is_stale(&a, &b));
        } else {
            prop_assert!(is_stale(&a, &b));
        }
    }
}
