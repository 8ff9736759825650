//! Borders between raw and encoded keys: how each caller is shown one, and how people write it.
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
//! *Invariants*: for every encoding `e` and border `b`: `e >= b` iff `e >= ceil(b)` (property test in
//! `yadkv_proto::codec`).
//!
//! *Source*: `proto/README.md`, Which keys travel where.
//!
//! *Next stop*: [`crate::region_map`].

use bytes::{BufMut, Bytes, BytesMut};
use std::fmt::Write;
use yadkv_proto::codec::{self, ceil};
use yadkv_proto::metapb::Region;

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

/// Bytes as people write them: printable text with `\xNN` for the rest and for `\`.
pub fn show(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len()), |mut text, byte| {
            match byte {
                b'\\' => write!(text, "\\x{byte:02x}"),
                0x21..=0x7e => write!(text, "{}", char::from(*byte)),
                _ => write!(text, "\\x{byte:02x}"),
            }
            .expect("a String takes everything");
            text
        })
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

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(4096) })]

        #[test]
        fn text_reads_back(key in prop::collection::vec(any::<u8>(), 0..20)) {
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
