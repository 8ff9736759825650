//! Borders between raw and encoded keys: which bytes may be one, and how each caller is shown it.
//!
//! Raw V1 keys and memcomparable encodings share one key space. A border may be any bytes of which no valid
//! encoding is a proper prefix; towards transactional and API V2 callers it is shown as the least valid
//! encoding at or above it, which tiles the encoded keys identically.
//!
//! *Place*: [`crate::answer::regions`] shows region borders through [`View`]; [`crate::config`] checks
//! configured borders.
//!
//! *Types to know*: [`View`].
//!
//! *Invariants*: for every encoding `e` and border `b`: `e >= b` iff `e >= ceil(b)` (property test).
//!
//! *Source*: `hazards.md` section 3.
//!
//! *Next stop*: [`crate::region_map`].

use bytes::{BufMut, Bytes, BytesMut};
use std::fmt::Write;
use yadkv_proto::codec;
use yadkv_proto::metapb::Region;

const GROUP: usize = 8;
const MARK_FULL: u8 = 0xFF;

/// How a caller sees borders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// As they are: raw V1 callers, and whoever names no key.
    True,
    /// Through `ceil`: callers whose keys are encodings.
    Encoded,
}

impl View {
    /// The view of a caller that sent these keys: encoded if there is a key and every one is an encoding.
    /// Empty keys are infinities and say nothing.
    pub fn of<'a>(keys: impl IntoIterator<Item = &'a Bytes>) -> Self {
        let mut keys = keys.into_iter().filter(|key| !key.is_empty()).peekable();
        if keys.peek().is_some() && keys.all(|key| codec::is_encoded(key)) {
            Self::Encoded
        } else {
            Self::True
        }
    }

    /// The region as this caller is shown it.
    pub fn show(self, region: &Region) -> Region {
        let mut shown = region.clone();
        if self == Self::Encoded {
            shown.start_key = ceil(&region.start_key);
            shown.end_key = ceil(&region.end_key);
        }
        shown
    }

    /// Whether this caller has no key at all in the region.
    pub fn hides(self, region: &Region) -> bool {
        let end = &region.end_key;
        self == Self::Encoded && !end.is_empty() && ceil(&region.start_key) == ceil(end)
    }
}

/// The least valid encoding at or above a border. Empty stays empty: it is an infinity, not a key.
pub fn ceil(border: &Bytes) -> Bytes {
    if border.is_empty() || codec::is_encoded(border) {
        return border.clone();
    }
    let mut out = BytesMut::with_capacity(border.len() + 2 * (GROUP + 1));
    let mut rest = &border[..];
    loop {
        if rest.len() <= GROUP {
            // The border ends inside the group's data: zeros are the least that can follow.
            let mut data = [0; GROUP];
            data[..rest.len()].copy_from_slice(rest);
            return finish(out, data, 0);
        }
        let (group, after) = rest.split_at(GROUP + 1);
        let mut data = [0; GROUP];
        data.copy_from_slice(&group[..GROUP]);
        let mark = group[GROUP];
        if mark != MARK_FULL {
            // Bytes after a last group lie above it, so the mark itself no longer suffices.
            let least = mark + u8::from(!after.is_empty());
            return finish(out, data, least);
        }
        out.put_slice(group);
        rest = after;
    }
}

/// Ends an encoding with the least valid mark at or above `least` that `data` allows.
fn finish(mut out: BytesMut, data: [u8; GROUP], least: u8) -> Bytes {
    let zeros = data.iter().rev().take_while(|byte| **byte == 0).count();
    let mark = least.max(MARK_FULL - zeros as u8);
    out.put_slice(&data);
    out.put_u8(mark);
    if mark == MARK_FULL {
        out.put_slice(&codec::encode(b""));
    }
    out.freeze()
}

/// Whether `bytes` may be a border: no valid encoding is a proper prefix of them.
pub fn is_border(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    while rest.len() > GROUP + 1 {
        let (group, after) = rest.split_at(GROUP + 1);
        if group[GROUP] != MARK_FULL {
            return !codec::is_encoded(group);
        }
        rest = after;
    }
    true
}

/// Bytes as people write them: printable text with `\xNN` for the rest, and for `,` and `\`.
pub fn show(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len()), |mut text, byte| {
            match byte {
                b'\\' | b',' => write!(text, "\\x{byte:02x}"),
                0x21..=0x7e => write!(text, "{}", char::from(*byte)),
                _ => write!(text, "\\x{byte:02x}"),
            }
            .expect("a String takes everything");
            text
        })
}

/// Borders as [`parse_list`] reads them.
pub fn show_list(borders: &[Bytes]) -> String {
    let shown: Vec<_> = borders.iter().map(|border| show(border)).collect();
    shown.join(",")
}

/// Reads borders separated by commas; the empty text is no border. Errors say what is wrong.
pub fn parse_list(text: &str) -> Result<Vec<Bytes>, String> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    text.split(',').map(parse).collect()
}

/// Reads `hex:` and digits, or text with `\xNN` (and `\\`).
pub fn parse(text: &str) -> Result<Bytes, String> {
    if let Some(digits) = text.strip_prefix("hex:") {
        if digits.len() % 2 != 0 {
            return Err(format!("{text} has an odd number of digits"));
        }
        let pairs = digits.as_bytes().chunks(2);
        return pairs
            .map(|pair| hex_byte(pair).ok_or(format!("{text} is not hexadecimal")))
            .collect();
    }
    let mut out = BytesMut::new();
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let (byte, after) = match (first, after) {
            (b'\\', [b'\\', after @ ..]) => (b'\\', after),
            (b'\\', [b'x', high, low, after @ ..]) => match hex_byte(&[*high, *low]) {
                Some(byte) => (byte, after),
                None => return Err(format!("{text} has a bad \\xNN")),
            },
            (b'\\', _) => return Err(format!("{text} has a \\ without xNN or \\")),
            (byte, after) => (*byte, after),
        };
        out.put_u8(byte);
        rest = after;
    }
    Ok(out.freeze())
}

fn hex_byte(pair: &[u8]) -> Option<u8> {
    let text = std::str::from_utf8(pair).ok()?;
    let digits = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    digits.then(|| u8::from_str_radix(text, 16).ok()).flatten()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Bytes near the marks and the zeros, where mistakes would sit.
    fn bytes(max: usize) -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![
            Just(0),
            Just(1),
            Just(0xF7),
            Just(0xF8),
            Just(0xFE),
            Just(0xFF),
            any::<u8>()
        ];
        prop::collection::vec(byte, 0..max)
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(4096) })]

        #[test]
        fn ceil_is_the_least_encoding_at_or_above(border in bytes(30), keys in prop::collection::vec(bytes(24), 1..16)) {
            let border = Bytes::from(border);
            let shown = ceil(&border);
            prop_assume!(!border.is_empty());
            prop_assert!(codec::is_encoded(&shown));
            prop_assert!(shown >= border);
            for key in keys {
                let encoded = codec::encode(&key);
                prop_assert_eq!(encoded >= border, encoded >= shown);
            }
        }

        #[test]
        fn ceil_of_cut_and_extended_encodings(key in bytes(20), cut in 0usize..30, more in bytes(12), other in bytes(20)) {
            let encoded = codec::encode(&key);
            let cut = cut.min(encoded.len());
            let border = Bytes::from([&encoded[..cut], &more[..]].concat());
            prop_assume!(!border.is_empty());
            let shown = ceil(&border);
            prop_assert!(codec::is_encoded(&shown) && shown >= border);
            for candidate in [codec::encode(&key), codec::encode(&other)] {
                prop_assert_eq!(candidate >= border, candidate >= shown);
            }
            if cut == encoded.len() {
                prop_assert_eq!(is_border(&border), more.is_empty());
            }
        }

        #[test]
        fn text_reads_back(key in bytes(20)) {
            prop_assert_eq!(parse(&show(&key)).unwrap(), Bytes::from(key));
        }
    }

    #[test]
    fn views() {
        let encoded = codec::encode(b"k");
        let raw = Bytes::from_static(b"k");
        assert_eq!(View::of([&encoded, &Bytes::new()]), View::Encoded);
        assert_eq!(View::of([&encoded, &raw]), View::True);
        assert_eq!(View::of([&Bytes::new(), &Bytes::new()]), View::True);
        assert_eq!(parse("hex:6b35").unwrap(), &b"k5"[..]);
        assert!(parse("hex:6b3").is_err() && parse("hex:zz").is_err() && parse("a\\q").is_err());
    }
}
