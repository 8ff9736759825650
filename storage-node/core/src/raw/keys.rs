//! A caller's keys and the keys that are stored: the two raw key spaces.
//!
//! V1 keys are stored as they are. V2 keys (`r`, keyspace id in 3 bytes, user key) are stored, and compared
//! with region borders, in memcomparable form.
//!
//! *Place*: every raw request passes through it on the way in, scans on the way out.
//!
//! *Invariants*: `stored` keeps order, `shown` undoes it.
//!
//! *Limits*: a point key is 1 byte to 8 KiB, a keyspace's prefix not counted; bounds may be empty (none) and of any
//! length.
//!
//! *Next stop*: [`super::write`].

use crate::config::KEY_BYTES_MAX;
use crate::layout;
use bytes::{Bytes, BytesMut};
use yadkv_engine::Family;
use yadkv_proto::codec;
use yadkv_proto::key::KeyRange;
use yadkv_proto::kvrpcpb::{ApiVersion, Context};
use yadkv_proto::yadkvpb::Space;

/// First byte of every raw V2 key.
const V2_MARK: u8 = b'r';
/// Bytes before a V2 user key: the mark and the keyspace id.
const V2_PREFIX_LEN: usize = 4;

/// The request itself is wrong; the text says how. Answered in the response's `error`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub String);

/// One of the raw key spaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeySpace {
    space: Space,
}

impl KeySpace {
    /// The key space of a request, from its API version and column family.
    pub fn of(context: &Context, cf: &str) -> Result<Self, Invalid> {
        if !matches!(cf, "" | "default") {
            return Err(Invalid(format!(
                "unknown column family {cf:?}: raw requests use \"default\""
            )));
        }
        let space = match context.api_version() {
            ApiVersion::V1 | ApiVersion::V1ttl => Space::RawV1,
            ApiVersion::V2 => Space::RawV2,
            ApiVersion::V3 => {
                return Err(Invalid("API version 3 is not served: use 1 or 2".into()));
            }
        };
        Ok(Self { space })
    }

    /// The space as commands carry it.
    pub fn space(self) -> Space {
        self.space
    }

    /// The family that holds it.
    pub fn family(self) -> Family {
        layout::family(self.space)
    }

    /// The stored form of a point key.
    pub fn stored(self, key: &Bytes) -> Result<Bytes, Invalid> {
        let prefix_len = match self.space {
            Space::RawV1 => 0,
            Space::RawV2 if key.is_empty() => 0,
            Space::RawV2 if key[0] == V2_MARK && key.len() >= V2_PREFIX_LEN => V2_PREFIX_LEN,
            Space::RawV2 => {
                return Err(Invalid(
                    "an API V2 raw key begins with 'r' and a keyspace id of 3 bytes".into(),
                ));
            }
        };
        match key.len() - prefix_len {
            0 => Err(Invalid(
                "the key is empty: a key has 1 byte to 8 KiB".into(),
            )),
            bytes if bytes > KEY_BYTES_MAX => Err(Invalid(format!(
                "the key has {bytes} bytes: at most {KEY_BYTES_MAX} are allowed"
            ))),
            _ if self.space == Space::RawV2 => Ok(codec::encode(key)),
            _ => Ok(key.clone()),
        }
    }

    /// The stored form of a range `[start, end)`; empty bounds are open.
    pub fn stored_range(self, start: &Bytes, end: &Bytes) -> KeyRange {
        KeyRange {
            start: self.stored_bound(start),
            end: self.stored_bound(end),
        }
    }

    fn stored_bound(self, bound: &Bytes) -> Bytes {
        match self.space {
            Space::RawV1 => bound.clone(),
            Space::RawV2 if bound.is_empty() => Bytes::new(),
            Space::RawV2 => codec::encode(bound),
        }
    }

    /// The caller's form of a stored key, put together in `scratch` where it does not stand in the stored one; `None`
    /// if the stored bytes are damaged.
    pub fn shown<'a>(self, stored: &'a [u8], scratch: &'a mut BytesMut) -> Option<&'a [u8]> {
        match self.space {
            Space::RawV1 => Some(stored),
            Space::RawV2 => {
                scratch.clear();
                codec::decode_into(stored, scratch).ok()?;
                Some(scratch)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn space(version: ApiVersion) -> KeySpace {
        let mut context = Context::default();
        context.set_api_version(version);
        KeySpace::of(&context, "default").expect("a served version")
    }

    #[test]
    fn point_keys_are_checked() {
        let v1 = space(ApiVersion::V1);
        assert!(v1.stored(&Bytes::new()).is_err());
        assert!(v1.stored(&vec![0; KEY_BYTES_MAX].into()).is_ok());
        assert!(v1.stored(&vec![0; KEY_BYTES_MAX + 1].into()).is_err());
        let v2 = space(ApiVersion::V2);
        assert!(v2.stored(&Bytes::from_static(b"r\0\0")).is_err());
        assert!(v2.stored(&Bytes::from_static(b"x\0\0\0k")).is_err());
        assert!(v2.stored(&Bytes::from_static(b"r\0\0\0")).is_err(), "empty");
        assert!(KeySpace::of(&Context::default(), "lock").is_err());
    }

    #[test]
    fn a_damaged_key_is_not_shown() {
        let space = space(ApiVersion::V2);
        let stored = space.stored(&Bytes::from("r\0\0\0key")).expect("valid");
        let mut scratch = BytesMut::new();
        for cut in 0..stored.len() {
            assert_eq!(space.shown(&stored[..cut], &mut scratch), None, "{cut}");
        }
        assert_eq!(space.shown(&stored, &mut scratch), Some(&b"r\0\0\0key"[..]));
    }

    proptest! {
        #[test]
        fn shown_undoes_stored(key in proptest::collection::vec(any::<u8>(), 1..40)) {
            let key = Bytes::from([b"r\0\0\0".as_slice(), &key].concat());
            for version in [ApiVersion::V1, ApiVersion::V1ttl, ApiVersion::V2] {
                let space = space(version);
                let mut scratch = BytesMut::from("of the key before");
                let stored = space.stored(&key).expect("valid");
                prop_assert_eq!(space.shown(&stored, &mut scratch), Some(&key[..]));
            }
        }
    }
}
