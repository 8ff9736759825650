//! Checks over the memory engine.

use super::*;
use proptest::prelude::*;
use yadkv_engine::memory::Memory;
use yadkv_engine::{Durability, Engine, LogEngine, WriteBatch};
use yadkv_proto::codec;

const NO_LIMIT: u64 = 1 << 40;

/// Pairs with values of so many bytes.
fn engine(pairs: impl IntoIterator<Item = (Family, Bytes, usize)>) -> Memory {
    let engine = Memory::new(crate::layout::FAMILIES.len());
    let mut batch = WriteBatch::new();
    for (family, key, value_len) in pairs {
        batch.put(family, key, vec![7; value_len]);
    }
    engine
        .write(batch, Durability::Synced)
        .expect("no failure is injected");
    engine
}

fn checked(engine: &Memory, range: &KeyRange, bytes: u64, keys: u64) -> Checked {
    let limits = Limits { bytes, keys };
    check(&*engine.snapshot(), range, &limits).expect("no failure is injected")
}

fn amount(bytes: u64, keys: u64) -> Amount {
    Amount { bytes, keys }
}

/// What lies in each part.
fn parts(engine: &Memory, range: &KeyRange, borders: &[Bytes]) -> Vec<Amount> {
    let mut parts = Vec::new();
    let mut start = range.start.clone();
    for end in borders.iter().chain([&range.end]) {
        let part = KeyRange::new(start, end.clone());
        parts.push(checked(engine, &part, NO_LIMIT, NO_LIMIT).size);
        start = end.clone();
    }
    parts
}

fn keys_of_parts(engine: &Memory, range: &KeyRange, borders: &[Bytes]) -> Vec<u64> {
    let parts = parts(engine, range, borders);
    parts.iter().map(|part| part.keys).collect()
}

/// 20 bytes, as benchmarks write them.
fn user(number: u64) -> Bytes {
    format!("user{number:016}").into()
}

fn row(owner: &[u8], number: u64) -> Bytes {
    [&codec::encode(owner)[..], &number.to_be_bytes()]
        .concat()
        .into()
}

#[test]
fn only_above_one_and_a_half_limits_is_cut() {
    let limits = Limits { bytes: 11, keys: 4 };
    assert!(!limits.is_over(amount(16, 6)));
    assert!(limits.is_over(amount(17, 0)));
    assert!(limits.is_over(amount(0, 7)));
    let all = Limits {
        bytes: u64::MAX,
        keys: u64::MAX,
    };
    assert!(!all.is_over(amount(u64::MAX, u64::MAX)));

    let everything = KeyRange::default();
    let users = |count| engine((0..count).map(|number| (RAW, user(number), 80)));
    let found = checked(&users(1500), &everything, NO_LIMIT, 1000);
    let not_over = Checked {
        size: amount(150_000, 1500),
        ..Checked::default()
    };
    assert_eq!(found, not_over);
    // 67 stretches of 15 fill a part; 496 keys behind it are too few, 500 are not.
    let found = checked(&users(1501), &everything, NO_LIMIT, 1000);
    assert!(found.borders.is_empty() && !found.uncuttable, "{found:?}");
    let found = checked(&users(1505), &everything, NO_LIMIT, 1000);
    assert_eq!(found.borders, [user(1005)]);
    let found = checked(&users(1600), &everything, 40_000, NO_LIMIT);
    assert_eq!(found.borders, [user(406), user(812), user(1218)]);
}

#[test]
fn nothing_is_nothing() {
    let range = KeyRange::new("a", "b");
    assert_eq!(checked(&engine([]), &range, 16, 16), Checked::default());
    assert_eq!(checked(&engine([]), &range, 0, 0), Checked::default());
    let outside = ["a0", "b", "c", "Z"].map(|key| (RAW, Bytes::from(key), 99));
    let engine = engine(outside);
    let found = checked(&engine, &KeyRange::new("a1", "b"), 16, 16);
    assert_eq!(found, Checked::default());
}

#[test]
fn parts_of_one_key() {
    let engine = engine((0..5).map(|number| (RAW, user(number), 0)));
    for limit in [0, 1] {
        let found = checked(&engine, &KeyRange::default(), NO_LIMIT, limit);
        assert_eq!(found.borders, [1, 2, 3, 4].map(user), "limit {limit}");
    }
    let inner = KeyRange::new(user(1), user(4));
    let found = checked(&engine, &inner, NO_LIMIT, 1);
    assert_eq!(found.borders, [2, 3].map(user));
    let single = KeyRange::new(user(2), user(3));
    assert!(checked(&engine, &single, NO_LIMIT, 1).borders.is_empty());
}

#[test]
fn package_names_are_cut() {
    let roots = ["foo", "boost", "qt5core5", "python3.11-minimal", "c6"];
    let names = roots.iter().flat_map(|root| {
        ["", "-dev", "-doc", "-dbgsym", "-1", "-common", "t64:any"].map(|end| (root, end))
    });
    let names: Vec<Bytes> = names
        .flat_map(|(root, end)| (0..20).map(move |n| format!("lib{root}{n}{end}").into()))
        .collect();
    let engine = engine(names.iter().map(|name| (RAW, name.clone(), 40)));
    let everything = KeyRange::default();
    let found = checked(&engine, &everything, NO_LIMIT, 100);
    assert!(found.borders.iter().all(|border| names.contains(border)));
    let keys = keys_of_parts(&engine, &everything, &found.borders);
    assert_eq!(keys, [100; 7]);
}

#[test]
fn v1_and_v2_are_cut_at_the_same_borders() {
    let v2 = |number: u64| codec::encode(&[b"r\0\0\x01", &user(number)[..]].concat());
    let v1_low = (0..1000).map(|number| (RAW, user(number), 10));
    let v2_rows = (0..1000).map(|number| (RAW2, v2(number), 10));
    // Above the V2 keys and among them: the spaces overlap.
    let v1_among = (0..500).map(|number| (RAW, v2(2 * number), 10));
    let engine = engine(v1_low.chain(v2_rows).chain(v1_among));
    let everything = KeyRange::default();
    let found = checked(&engine, &everything, NO_LIMIT, 640);
    assert_eq!(found.size.keys, 2500);
    // "r\0\0\x01" is below "user": 1500 keys of V2 and V1 among each other, then V1 alone.
    let keys = keys_of_parts(&engine, &everything, &found.borders);
    assert_eq!(keys.iter().sum::<u64>(), 2500);
    assert_eq!(keys.len(), 4, "{keys:?}");
    assert!(
        keys[..3].iter().all(|keys| keys.abs_diff(640) <= 2 * 10),
        "{keys:?}"
    );
    assert!(keys[3] >= 320, "{keys:?}");
}

#[test]
fn transactional_families_count() {
    let rows = |family, owner: &'static [u8]| (0..100).map(move |n| (family, row(owner, n), 12));
    let families = [(DEFAULT, b"a"), (LOCK, b"b"), (WRITE, b"c")];
    let engine = engine(
        families
            .into_iter()
            .flat_map(|(family, owner)| rows(family, owner)),
    );
    let found = checked(&engine, &KeyRange::default(), NO_LIMIT, 100);
    assert_eq!((found.size.bytes, found.size.keys), (300 * 29, 300));
    assert_eq!(found.borders, [codec::encode(b"b"), codec::encode(b"c")]);
}

#[test]
fn rows_of_one_encoded_key_stay_together() {
    let encoding = codec::encode(b"abc");
    let rows = engine((0..4000).map(|number| (RAW, row(b"abc", number), 40)));
    let within = KeyRange::new(encoding.clone(), Bytes::new());
    let found = checked(&rows, &within, NO_LIMIT, 500);
    let uncuttable = Checked {
        size: amount(4000 * 57, 4000),
        borders: Vec::new(),
        uncuttable: true,
    };
    assert_eq!(found, uncuttable);
    let found = checked(&rows, &KeyRange::default(), NO_LIMIT, 500);
    assert_eq!(found.borders, [encoding], "the only border there is");
    assert!(!found.uncuttable);
}

#[test]
fn what_a_lowered_border_moves_up_counts_there() {
    // 300 keys, 900 rows of one key, 700 keys: the limit is reached inside the rows.
    let pairs = (0..300).map(|number| (RAW, Bytes::from(format!("a{number:03}")), 1));
    let pairs = pairs.chain((0..900).map(|number| (RAW, row(b"m", number), 1)));
    let pairs = pairs.chain((0..700).map(|number| (RAW, Bytes::from(format!("z{number:03}")), 1)));
    let engine = engine(pairs);
    let everything = KeyRange::default();
    let found = checked(&engine, &everything, NO_LIMIT, 640);
    assert_eq!(found.borders[0], codec::encode(b"m"));
    let keys = keys_of_parts(&engine, &everything, &found.borders);
    assert_eq!(keys, [300, 900, 700]);
}

#[test]
fn huge_values_are_parts_of_their_own() {
    let everything = KeyRange::default();
    let huge = engine((0..3).map(|number| (RAW, user(number), 1_000_000)));
    let found = checked(&huge, &everything, 20_000, NO_LIMIT);
    assert_eq!(found.borders, [1, 2].map(user));

    // One huge value: nothing to part it from, and too little behind it.
    let one = engine([(RAW, user(5), 1_000_000), (RAW, user(6), 10)]);
    let found = checked(&one, &everything, 20_000, NO_LIMIT);
    assert!(found.borders.is_empty() && !found.uncuttable, "{found:?}");
    let alone = KeyRange::new(user(5), user(6));
    let found = checked(&one, &alone, 20_000, NO_LIMIT);
    assert!(found.borders.is_empty() && found.uncuttable, "{found:?}");

    // A huge value of another family counts where it lies, not where small keys before it begin.
    let users = (0..100).map(|number| (RAW, user(number), 180));
    let others = [(RAW2, user(0), 1), (RAW2, user(90), 1_000_000)];
    let mixed = engine(users.chain(others));
    let found = checked(&mixed, &everything, 12_800, NO_LIMIT);
    assert_eq!(found.borders, [user(64)]);
}

#[test]
fn a_small_rest_is_not_cut_off() {
    let everything = KeyRange::default();
    // A step of 10 keys divides the limit: parts are exact.
    let cases: [(u64, &[u64]); 4] = [
        (960, &[960]),
        (961, &[640, 321]),
        (1599, &[640, 959]),
        (1600, &[640, 640, 320]),
    ];
    for (count, expected) in cases {
        let engine = engine((0..count).map(|number| (RAW, user(number), 1)));
        let found = checked(&engine, &everything, NO_LIMIT, 640);
        let keys = keys_of_parts(&engine, &everything, &found.borders);
        assert_eq!(keys, expected);
    }
}

#[test]
fn cuts_are_bounded() {
    let count = CUTS_MAX as u64 + 500;
    let engine = engine((0..count).map(|number| (RAW, user(number), 1)));
    let found = checked(&engine, &KeyRange::default(), NO_LIMIT, 1);
    assert_eq!(found.borders.len(), CUTS_MAX);
    assert_eq!(found.borders.last(), Some(&user(CUTS_MAX as u64)));
}

#[test]
fn samples_are_bounded() {
    let mut sampler = Sampler::new(&Limits {
        bytes: 64,
        keys: 64,
    });
    // An odd number of keys each: joined without care, neighbours of two families would meet.
    let counts = [40_001, 1, 90_003];
    for (family, count) in counts.into_iter().enumerate() {
        for number in 0..count {
            sampler.visit(Family(family as u8), &user(number), b"");
            assert!(sampler.samples.len() <= SAMPLES_MAX);
        }
    }
    let step = sampler.step.keys;
    assert!(step > 1, "neighbours were joined");
    let families = sampler
        .samples
        .chunk_by(|one, two| one.family == two.family);
    let mut kept: Vec<u64> = Vec::new();
    for samples in families {
        assert!(samples.is_sorted_by(|one, two| one.first < two.first));
        assert!(samples.iter().all(|sample| sample.amount.keys <= step));
        kept.push(samples.iter().map(|sample| sample.amount.keys).sum());
    }
    assert_eq!(
        kept, counts,
        "nothing is lost or counted for another family"
    );
    assert_eq!(sampler.total.keys, counts.iter().sum::<u64>());
}

#[test]
fn keys_of_samples_are_bounded() {
    let mut sampler = Sampler::new(&Limits {
        bytes: 64,
        keys: 64,
    });
    let longest = 9 << 10;
    for number in 0..3 * (SAMPLE_KEY_BYTES_MAX / longest) as u64 {
        let key = [&number.to_be_bytes()[..], &vec![b'k'; longest - 8]].concat();
        sampler.visit(RAW, &key, b"");
        assert!(sampler.key_bytes <= SAMPLE_KEY_BYTES_MAX + longest);
    }
    let held: usize = sampler
        .samples
        .iter()
        .map(|sample| sample.first.len())
        .sum();
    assert_eq!(held, sampler.key_bytes);
}

/// Keys of V1 (plain) or V2, in several families, without rows that must stay together.
fn pairs() -> impl Strategy<Value = Vec<(Family, Bytes, usize)>> {
    let value_len = prop_oneof![9 => 0..200_usize, 1 => 200..6000_usize];
    let pair = (any::<bool>(), 0..5000_u64, value_len);
    proptest::collection::vec(pair, 1..600).prop_map(|pairs| {
        let place = |(encoded, number, value_len)| match encoded {
            true => (RAW2, codec::encode(&user(number)), value_len),
            false => (RAW, user(number), value_len),
        };
        pairs.into_iter().map(place).collect()
    })
}

/// Rows of few encoded keys and plain keys, in all families.
fn rows() -> impl Strategy<Value = Vec<(Family, Bytes, usize)>> {
    let family = prop::sample::select(DATA.to_vec());
    let owner = prop::sample::select(vec![&b""[..], b"a", b"abcdefgh", b"abcdefghi", b"z"]);
    let key = prop_oneof![
        (owner, 0..200_u64).prop_map(|(owner, number)| row(owner, number)),
        (0..200_u64).prop_map(user),
        proptest::collection::vec(any::<u8>(), 1..20).prop_map(Bytes::from),
    ];
    proptest::collection::vec((family, key, 0..200_usize), 0..400)
}

proptest! {
    #[test]
    fn parts_have_their_sizes(pairs in pairs(), keys in 16..200_u64, bytes in 2000..40_000_u64) {
        let everything = KeyRange::default();
        let engine = engine(pairs.iter().cloned());
        let limits = Limits { bytes, keys };
        let found = checked(&engine, &everything, bytes, keys);
        prop_assert!(found.borders.is_empty() || limits.is_over(amount(found.size.bytes, found.size.keys)));
        let sizes = parts(&engine, &everything, &found.borders);
        let Some((last, full)) = sizes.split_last() else { unreachable!("there is a part") };

        let families = 2;
        let step = limits.step(STEPS);
        let largest = pairs.iter().map(|(_, key, value_len)| key.len() + value_len).max().unwrap_or(0);
        let more_keys = families * step.keys;
        let more_bytes = 2 * (families - 1) * step.bytes + (2 * step.bytes).max(largest as u64);
        let (less_keys, less_bytes) = ((families - 1) * step.keys, 2 * (families - 1) * step.bytes);
        for part in full {
            prop_assert!(part.keys + less_keys >= keys || part.bytes + less_bytes >= bytes, "{part:?}");
            prop_assert!(part.keys <= keys + more_keys, "{part:?}");
            prop_assert!(part.bytes <= bytes + more_bytes, "{part:?}");
        }
        if !full.is_empty() {
            prop_assert!(2 * (last.keys + less_keys) >= keys || 2 * (last.bytes + less_bytes) >= bytes, "{last:?}");
        }
        prop_assert!(last.keys <= keys * 3 / 2 + more_keys, "{last:?}");
        prop_assert!(last.bytes <= bytes * 3 / 2 + more_bytes, "{last:?}");
    }

    #[test]
    fn borders_are_fit_to_cut_at(
        rows in rows(),
        keys in 0..100_u64,
        bytes in 0..10_000_u64,
        start in prop_oneof![Just(Bytes::new()), Just(codec::encode(b"a")), Just(user(20))],
        end in prop_oneof![Just(Bytes::new()), Just(codec::encode(b"abcdefghi")), Just(user(150))],
    ) {
        let range = KeyRange::new(start, end);
        let engine = engine(rows.iter().cloned());
        let limits = Limits { bytes, keys };
        let found = checked(&engine, &range, bytes, keys);

        let inside: std::collections::BTreeMap<_, _> = rows
            .iter()
            .filter(|(_, key, _)| range.contains(key))
            .map(|(family, key, value_len)| ((family, key), key.len() + value_len))
            .collect();
        prop_assert_eq!(found.size.keys, inside.len() as u64);
        prop_assert_eq!(found.size.bytes, inside.values().sum::<usize>() as u64);
        if !found.borders.is_empty() {
            prop_assert_eq!(border::check(&range, &found.borders), Ok(()));
        }
        let is_over = limits.is_over(amount(found.size.bytes, found.size.keys));
        prop_assert!(is_over || found.borders.is_empty());
        let has_border = inside.keys().any(|(_, key)| border::legal_inside(&range, key).is_some());
        prop_assert_eq!(found.uncuttable, is_over && !has_border);
    }
}
