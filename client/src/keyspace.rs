//! From an application's keys to what travels, and back.
//!
//! *Place*: every call maps its keys here; `routing` works in region space only.
//!
//! ```text
//!            application   command           region space
//!   V1       key           key               key
//!   V2       key           'r' ks3 key       encode('r' ks3 key)
//! ```
//!
//! *Invariants*: the maps keep order. An empty range end is plus infinity for the application; in V2 that is the
//! end of the keyspace.
//!
//! *Source*: `proto/README.md`, Which keys travel where.
//!
//! *Next stop*: `routing::cache`.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use yadkv_proto::codec;
use yadkv_proto::key::KeyRange;
use yadkv_proto::kvrpcpb::ApiVersion;
use yadkv_proto::metapb::Region;

/// The key space a client works in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Keyspace {
    V1,
    /// The four bytes before every key.
    V2([u8; 4]),
}

impl Keyspace {
    /// Keyspace `id` of API V2; ids have 24 bits.
    pub(crate) fn v2(id: u32) -> Self {
        let [_, a, b, c] = id.to_be_bytes();
        Self::V2([b'r', a, b, c])
    }

    pub(crate) fn api_version(&self) -> ApiVersion {
        match self {
            Self::V1 => ApiVersion::V1,
            Self::V2(_) => ApiVersion::V2,
        }
    }

    /// The key as commands carry it.
    pub(crate) fn command(&self, key: &[u8]) -> Bytes {
        match self {
            Self::V1 => Bytes::copy_from_slice(key),
            Self::V2(prefix) => {
                let mut out = BytesMut::with_capacity(prefix.len() + key.len());
                out.put_slice(prefix);
                out.put_slice(key);
                out.freeze()
            }
        }
    }

    /// A range as commands carry it. An empty end stays plus infinity in V1 and becomes the keyspace's in V2.
    pub(crate) fn command_range(&self, range: &KeyRange) -> KeyRange {
        let end = match self {
            Self::V2(prefix) if range.end.is_empty() => {
                let next = u32::from_be_bytes(*prefix) + 1;
                Bytes::copy_from_slice(&next.to_be_bytes())
            }
            _ if range.end.is_empty() => Bytes::new(),
            _ => self.command(&range.end),
        };
        KeyRange::new(self.command(&range.start), end)
    }

    /// Where a command's key lies in region space. An empty border (V1 only) stays infinite.
    pub(crate) fn place(&self, command: &[u8]) -> Bytes {
        match self {
            Self::V1 => Bytes::copy_from_slice(command),
            Self::V2(_) => codec::encode(command),
        }
    }

    /// The command key at a border of region space.
    ///
    /// Borders of regions in the cache are encodings or empty ([`Keyspace::shown`]).
    pub(crate) fn at_border(&self, border: &Bytes) -> Bytes {
        match self {
            Self::V1 => border.clone(),
            Self::V2(_) if border.is_empty() => Bytes::new(),
            Self::V2(_) => codec::decode(border).expect("ceil gives encodings only"),
        }
    }

    /// A region with borders as this key space sees them: whoever sent it may have shown true ones.
    pub(crate) fn shown(&self, mut region: Region) -> Region {
        if let Self::V2(_) = self {
            region.start_key = codec::ceil(&region.start_key);
            region.end_key = codec::ceil(&region.end_key);
        }
        region
    }

    /// The key to ask the placement driver for, so that it shows the borders this key space needs.
    ///
    /// A raw V1 key that happens to be an encoding would be taken for an encoded caller's. The key after it lies
    /// in the same region, since no border continues an encoding, and is none itself.
    pub(crate) fn asked(&self, place: &Bytes) -> Bytes {
        match self {
            Self::V1 => unmistakable(place),
            Self::V2(_) => place.clone(),
        }
    }

    /// The application's key of a command's key; `None` if it belongs to another keyspace.
    pub(crate) fn application(&self, mut command: Bytes) -> Option<Bytes> {
        if let Self::V2(prefix) = self {
            if !command.starts_with(prefix) {
                return None;
            }
            command.advance(prefix.len());
        }
        Some(command)
    }
}

/// `key`, or if it is an encoding the key right after it, which is none: so asked, true borders are shown.
pub(crate) fn unmistakable(key: &Bytes) -> Bytes {
    if !codec::is_encoded(key) {
        return key.clone();
    }
    let mut out = BytesMut::with_capacity(key.len() + 1);
    out.put_slice(key);
    out.put_u8(0);
    out.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn v2_keys_have_a_prefix_and_an_encoding() {
        let keyspace = Keyspace::v2(0x01_02_03);
        let command = keyspace.command(b"k");
        assert_eq!(&command[..], b"r\x01\x02\x03k");
        assert_eq!(keyspace.place(&command), codec::encode(&command));
        assert_eq!(keyspace.at_border(&keyspace.place(&command)), command);
        assert_eq!(keyspace.application(command), Some(Bytes::from("k")));
        assert_eq!(keyspace.application(Bytes::from("r\0\0\0k")), None);
    }

    #[test]
    fn the_end_of_a_keyspace_is_the_next_one() {
        let range = KeyRange::default();
        let all = Keyspace::v2(7).command_range(&range);
        assert_eq!(
            (&all.start[..], &all.end[..]),
            (&b"r\0\0\x07"[..], &b"r\0\0\x08"[..])
        );
        let last = Keyspace::v2(0xFF_FF_FF).command_range(&range);
        assert_eq!(&last.end[..], b"s\0\0\0");
        assert_eq!(Keyspace::V1.command_range(&range), range);
    }

    #[test]
    fn a_raw_key_is_never_taken_for_an_encoding() {
        let encoding = codec::encode(b"abc");
        assert!(!codec::is_encoded(&Keyspace::V1.asked(&encoding)));
        assert_eq!(Keyspace::V1.asked(&Bytes::from("abc")), "abc");
    }
}
