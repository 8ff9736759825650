//! Borders against the definition: no encoding is a proper prefix.

use super::*;
use proptest::prelude::*;

fn keys(keys: &[&'static str]) -> Vec<Bytes> {
    keys.iter()
        .map(|key| Bytes::from_static(key.as_bytes()))
        .collect()
}

/// Bytes that matter: padding, the marks and their neighbours, and one that is nothing of it.
fn byte() -> impl Strategy<Value = u8> {
    prop::sample::select(vec![0, 0, 0, 1, b'a', 0xF6, 0xF7, 0xF8, 0xFE, 0xFF, 0xFF])
}

fn bytes(length: std::ops::Range<usize>) -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(byte(), length)
}

/// Any bytes, or an encoding, cut or not, that goes on or not.
fn key() -> impl Strategy<Value = Bytes> {
    let row = (bytes(0..20), any::<prop::sample::Index>(), bytes(0..20));
    prop_oneof![
        bytes(0..40).prop_map(Bytes::from),
        (bytes(0..20), bytes(0..20)).prop_map(|(key, tail)| row_of(&key, &tail)),
        row.prop_map(|(key, at, tail)| {
            let mut row = codec::encode(&key).to_vec();
            row.truncate(at.index(row.len() + 1));
            row.extend(tail);
            row.into()
        }),
    ]
}

fn row_of(key: &[u8], tail: &[u8]) -> Bytes {
    [&codec::encode(key), tail].concat().into()
}

#[test]
fn plain_keys_stay_and_rows_go_down() {
    for key in [
        "",
        "a",
        "libfoo-dev",
        "user0000000000000042",
        "r\0\0\0plain",
    ] {
        assert_eq!(at_or_before(key.as_bytes()), key);
    }
    for key in [&b""[..], b"abc", b"12345678", b"1234567890"] {
        let encoding = codec::encode(key);
        assert_eq!(at_or_before(&encoding), encoding, "an encoding is legal");
        assert_eq!(at_or_before(&row_of(key, b"\0")), encoding);
        assert_eq!(at_or_before(&row_of(key, &encoding)), encoding);
    }
}

#[test]
fn only_what_is_strictly_inside_is_given() {
    let range = KeyRange::new("c", "p");
    assert_eq!(legal_inside(&range, b"d"), Some(Bytes::from_static(b"d")));
    for key in ["", "b", "c", "p", "q"] {
        assert_eq!(legal_inside(&range, key.as_bytes()), None, "{key}");
    }
    let encoding = codec::encode(b"abc");
    let of_rows = KeyRange::new(encoding.clone(), Bytes::new());
    let row = row_of(b"abc", b"row");
    assert_eq!(legal_inside(&of_rows, &row), None);
    assert_eq!(legal_inside(&KeyRange::default(), &row), Some(encoding));
    assert_eq!(legal_inside(&KeyRange::default(), b""), None);
}

#[test]
fn cuts_by_hand_are_refused_by_key() {
    let range = KeyRange::new("c", "p");
    assert_eq!(check(&range, &keys(&["d", "e", "libfoo-dev"])), Ok(()));
    assert_eq!(check(&range, &[]), Err(Unfit::Count(0)));
    let many = |count: usize| -> Vec<Bytes> {
        let keys = (0..count).map(|number| format!("d{number:05}").into());
        keys.collect()
    };
    assert_eq!(check(&range, &many(CUTS_MAX)), Ok(()));
    let refused = check(&range, &many(CUTS_MAX + 1));
    assert_eq!(refused, Err(Unfit::Count(CUTS_MAX + 1)));
    for cuts in [["e", "e"], ["e", "d"]] {
        let refused = check(&range, &keys(&cuts));
        assert_eq!(refused, Err(Unfit::NotRising(cuts[1].into())));
    }
    for border in ["c", "p"] {
        let refused = check(&range, &keys(&[border]));
        assert_eq!(refused, Err(Unfit::AtBorder(border.into())));
    }
    for outside in ["", "b", "q"] {
        let refused = check(&range, &keys(&[outside]));
        assert_eq!(refused, Err(Unfit::Outside(outside.into())));
    }
    let endless = KeyRange::new("c", "");
    let refused = check(&endless, &[Bytes::new()]);
    assert_eq!(refused, Err(Unfit::Outside(Bytes::new())), "no end is hit");
    assert_eq!(check(&endless, &keys(&["z"])), Ok(()));
}

#[test]
fn refusals_say_which_key_and_what_to_do() {
    let refused = check(&KeyRange::default(), &[row_of(b"dog", b"x")]).expect_err("a row");
    assert_eq!(
        refused.to_string(),
        r#"split key "dog\x00\x00\x00\x00\x00\xfax" parts rows of one encoded key: cut at its first 9 bytes"#
    );
    let long = Unfit::Outside(vec![b'k'; 9000].into()).to_string();
    assert!(long.contains("kk… (9000 bytes)\""), "{long}");
    assert!(long.len() < 200, "{long}");
}

proptest! {
    #[test]
    fn the_border_is_the_key_or_the_only_encoding_in_front(key in key()) {
        let encodings: Vec<_> = (0..key.len())
            .filter(|length| codec::is_encoded(&key[..*length]))
            .collect();
        prop_assert!(encodings.len() <= 1, "prefix-free");
        let length = encodings.first().copied().unwrap_or(key.len());
        let border = at_or_before(&key);
        prop_assert_eq!(&border[..], &key[..length]);
        prop_assert!(codec::is_legal_border(&border));
    }

    #[test]
    fn borders_keep_order(left in key(), right in key()) {
        let (low, high) = if left <= right { (left, right) } else { (right, left) };
        prop_assert!(at_or_before(&low) <= at_or_before(&high));
    }

    /// Rows of one encoded key are on one side of every border.
    #[test]
    fn rows_are_never_parted(cut in key(), owner in bytes(0..20), one in bytes(0..12), two in bytes(0..12)) {
        let border = at_or_before(&cut);
        let (one, two) = (row_of(&owner, &one), row_of(&owner, &two));
        prop_assert_eq!(one < border, two < border);
    }

    #[test]
    fn what_is_inside_passes_the_check(start in key(), end in key(), key in key()) {
        let range = KeyRange::new(start, end);
        let expected = check(&range, &[at_or_before(&key)]).ok().map(|()| at_or_before(&key));
        prop_assert_eq!(legal_inside(&range, &key), expected);
    }
}
