//! The memcomparable encoding and the borders shown to encoded callers, against what they must be for all keys.
#![allow(clippy::unwrap_used, missing_docs)]

use proptest::prelude::*;
use yadkv_proto::codec::{ceil, decode, encode, encoded_len, is_encoded, is_legal_border};

/// Bytes that matter: padding, the marks and their neighbours, and one that is nothing of it.
fn byte() -> impl Strategy<Value = u8> {
    prop::sample::select(vec![0u8, 0, 0, 1, 0x61, 0xF6, 0xF7, 0xF8, 0xFE, 0xFF, 0xFF])
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(byte(), 0..30)
}

/// Any bytes, an encoding, or an encoding cut, changed or continued.
fn border() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        key(),
        key().prop_map(|key| encode(&key).to_vec()),
        (key(), any::<prop::sample::Index>(), key()).prop_map(|(key, at, tail)| {
            let mut border = encode(&key).to_vec();
            border.truncate(at.index(border.len() + 1));
            border.extend(tail);
            border
        }),
        (key(), any::<prop::sample::Index>(), byte()).prop_map(|(key, at, byte)| {
            let mut border = encode(&key).to_vec();
            let at = at.index(border.len());
            border[at] = byte;
            border
        }),
    ]
}

/// Keys whose encodings are near `border`: its data bytes cut anywhere, the last one raised or not, then zeros.
fn near(border: &[u8]) -> Vec<Vec<u8>> {
    let data: Vec<u8> = border
        .iter()
        .enumerate()
        .filter(|(at, _)| at % 9 != 8)
        .map(|(_, byte)| *byte)
        .collect();
    let mut keys = Vec::new();
    for cut in 0..=data.len() {
        let mut key = data[..cut].to_vec();
        for raised in [false, true] {
            if raised {
                match key.last_mut() {
                    Some(last) if *last < 0xFF => *last += 1,
                    _ => continue,
                }
            }
            for zeros in 0..=17 {
                let mut key = key.clone();
                key.resize(key.len() + zeros, 0);
                keys.push(key);
            }
        }
    }
    keys
}

fn inside(key: &[u8], start: &[u8], end: &[u8]) -> bool {
    key >= start && (end.is_empty() || key < end)
}

proptest! {
    #[test]
    fn encoding_round_trips(key in key()) {
        let encoded = encode(&key);
        prop_assert_eq!(encoded.len(), encoded_len(key.len()));
        prop_assert_eq!(decode(&encoded).unwrap(), key);
    }

    #[test]
    fn encoding_keeps_order_and_is_prefix_free(left in key(), right in key()) {
        let (a, b) = (encode(&left), encode(&right));
        prop_assert_eq!(left.cmp(&right), a.cmp(&b));
        prop_assert_eq!(left == right, a.starts_with(&b));
    }

    /// Whatever decodes is the encoding of what it decodes to: there is one form only.
    #[test]
    fn decoding_takes_encodings_only(bytes in border()) {
        if let Ok(key) = decode(&bytes) {
            prop_assert_eq!(encode(&key), bytes);
        }
    }

    #[test]
    fn a_border_is_legal_unless_an_encoding_is_a_proper_prefix(border in border()) {
        let cut = (0..border.len()).any(|length| is_encoded(&border[..length]));
        prop_assert_eq!(is_legal_border(&border), !cut);
    }

    /// ceil is the least encoding not below: it is one, it is not below, and none of many others lies between.
    #[test]
    fn ceil_is_the_least_encoding_not_below(border in border(), other in key()) {
        prop_assume!(!border.is_empty());
        let shown = ceil(&border);
        prop_assert!(is_encoded(&shown), "{shown:?}");
        prop_assert!(shown[..] >= border[..]);
        let mut found = false;
        for key in near(&border).into_iter().chain([other]) {
            let encoded = encode(&key);
            prop_assert!(!(encoded[..] >= border[..] && encoded < shown), "{key:?} lies between");
            found |= encoded == shown;
        }
        prop_assert!(found);
    }

    /// An encoded caller finds the same region by the borders it is shown as a store does by the true ones.
    #[test]
    fn ceil_tiles_encoded_keys_identically(
        borders in proptest::collection::btree_set(border(), 0..6),
        keys in proptest::collection::vec(key(), 1..20),
    ) {
        let mut all = vec![Vec::new()];
        all.extend(borders.into_iter().filter(|border| !border.is_empty()));
        all.push(Vec::new());
        let near: Vec<_> = all.iter().flat_map(|border| near(border)).step_by(7).collect();
        for pair in all.windows(2) {
            let (start, end) = (ceil(&pair[0]), ceil(&pair[1]));
            for key in keys.iter().chain(&near) {
                let key = encode(key);
                // An empty start is minus infinity, an empty end plus infinity, shown or true.
                prop_assert_eq!(inside(&key, &pair[0], &pair[1]), inside(&key, &start, &end));
            }
        }
    }
}

#[test]
fn the_bytes_are_those_of_the_specification() {
    let cases: [(&[u8], &[u8]); 4] = [
        (b"", &[0, 0, 0, 0, 0, 0, 0, 0, 0xF7]),
        (b"k5", &[b'k', b'5', 0, 0, 0, 0, 0, 0, 0xF9]),
        (b"1234567", b"1234567\x00\xFE"),
        (
            b"12345678",
            b"12345678\xFF\x00\x00\x00\x00\x00\x00\x00\x00\xF7",
        ),
    ];
    for (key, encoded) in cases {
        assert_eq!(encode(key), encoded);
    }
}

#[test]
fn borders_between_raw_keys_are_shown_as_the_next_encoding() {
    let cases: [(&[u8], &[u8]); 7] = [
        (b"", b""),
        (b"user", b"user\x00\x00\x00\x00\xFB"),
        // Eight bytes shared, the ninth no mark: the least that keeps them is what follows a full group.
        (
            b"username42",
            b"username\xFF\x00\x00\x00\x00\x00\x00\x00\x00\xF7",
        ),
        (
            b"12345678\xFF",
            b"12345678\xFF\x00\x00\x00\x00\x00\x00\x00\x00\xF7",
        ),
        // A mark that says more padding than there are zeros.
        (b"1234567\x00\xF8", b"1234567\x00\xFE"),
        // Behind an encoding: the next mark.
        (
            b"a\x00\x00\x00\x00\x00\x00\x00\xF8v",
            b"a\x00\x00\x00\x00\x00\x00\x00\xF9",
        ),
        (
            &[0xFF; 10],
            b"\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x00\x00\x00\x00\x00\x00\x00\xF8",
        ),
    ];
    for (border, shown) in cases {
        assert_eq!(ceil(border), shown, "{border:?}");
    }
}
