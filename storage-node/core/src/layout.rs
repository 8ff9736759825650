//! Where everything lies in the data engine (`kv/`).
//!
//! | family | key | value |
//! |---|---|---|
//! | `raw` | a raw V1 key as it is | raw value |
//! | `raw2` | the memcomparable form of a V2 key (prefix included) | raw value |
//! | `default`, `lock`, `write` | transactional data; empty until transactions exist | |
//! | `meta` | `01` | `StoreRecord` |
//! | `meta` | `02`, region id (8 bytes, big endian), `01` | `RegionRecord` |
//! | `meta` | `02`, region id, `02` | `AppliedRecord` |
//!
//! Raw value: one flag byte, then (flag 1) the expiry in milliseconds since the epoch, 8 bytes big endian,
//! then the value.
//!
//! *Place*: apply writes it, reads and recovery read it.
//!
//! *Invariants*: every record starts with its format version; golden tests pin the bytes.
//!
//! *Next stop*: [`crate::view`].

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::Message;
use yadkv_engine::{Engine, Family};
use yadkv_proto::id::RegionId;
use yadkv_proto::metapb::{Peer, Region};
use yadkv_proto::storagepb::{AppliedRecord, PeerState, RegionRecord, StoreRecord};
use yadkv_proto::yadkvpb::Space;

/// Raw V1 data.
pub const RAW: Family = Family(0);
/// Raw V2 data.
pub const RAW2: Family = Family(1);
/// Transactional values.
pub const DEFAULT: Family = Family(2);
/// Transactional locks.
pub const LOCK: Family = Family(3);
/// Transactional commit records.
pub const WRITE: Family = Family(4);
/// The store's own records.
pub const META: Family = Family(5);
/// Names of the families, in the order of their numbers.
pub const FAMILIES: [&str; 6] = ["raw", "raw2", "default", "lock", "write", "meta"];

/// Families that hold what belongs to regions.
pub const DATA: [Family; 5] = [RAW, RAW2, DEFAULT, LOCK, WRITE];

/// Format of every record.
pub const FORMAT: u32 = 1;

/// Key of the [`StoreRecord`].
pub const STORE_KEY: &[u8] = &[1];
const REGION_PREFIX: u8 = 2;
const REGION_RECORD: u8 = 1;
const APPLIED_RECORD: u8 = 2;
const FLAG_EXPIRES: u8 = 1;

/// A record that cannot be read; the store must not start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The bytes are not the record.
    #[error("{place}: {reason}")]
    Malformed {
        /// Family and key.
        place: String,
        /// What is wrong.
        reason: String,
    },
    /// Written by a later release: upgrade first.
    #[error("{place}: format {format} is newer than this release reads (1)")]
    TooNew {
        /// Family and key.
        place: String,
        /// The format found.
        format: u32,
    },
}

/// The family that holds a raw key space.
pub fn family(space: Space) -> Family {
    match space {
        Space::RawV1 => RAW,
        Space::RawV2 => RAW2,
    }
}

/// Key of a region's [`RegionRecord`].
pub fn region_key(region: RegionId) -> Bytes {
    meta_key(region, REGION_RECORD)
}

/// Key of a region's [`AppliedRecord`].
pub fn applied_key(region: RegionId) -> Bytes {
    meta_key(region, APPLIED_RECORD)
}

fn meta_key(region: RegionId, kind: u8) -> Bytes {
    let mut key = BytesMut::with_capacity(10);
    key.put_u8(REGION_PREFIX);
    key.put_u64(region.0);
    key.put_u8(kind);
    key.freeze()
}

/// Region id of a key that [`region_key`] made; `None` for any other key.
pub fn region_of_key(key: &[u8]) -> Option<RegionId> {
    let [REGION_PREFIX, id @ .., REGION_RECORD] = key else {
        return None;
    };
    Some(RegionId(u64::from_be_bytes(id.try_into().ok()?)))
}

/// A [`RegionRecord`] as it is stored.
pub fn region_record(region: &Region, peer: Peer, state: PeerState) -> Bytes {
    RegionRecord {
        format: FORMAT,
        region: Some(region.clone()),
        peer: Some(peer),
        state: state as i32,
        ..RegionRecord::default()
    }
    .encode_to_vec()
    .into()
}

/// Whether a record is of a replica that answers: not of one that was destroyed, or is being installed.
pub fn lives(record: &RegionRecord) -> bool {
    matches!(record.state(), PeerState::Normal | PeerState::Merging)
}

/// The bounds between which all region records lie.
pub const REGION_KEYS: (&[u8], &[u8]) = (&[REGION_PREFIX], &[REGION_PREFIX + 1]);

/// A raw value as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawValue {
    /// What the caller stored.
    pub value: Bytes,
    /// Milliseconds since the epoch from which on the value is gone; `None` never.
    pub expires_ms: Option<u64>,
}

impl RawValue {
    /// The stored form.
    pub fn encode(value: &[u8], expires_ms: Option<u64>) -> Bytes {
        let mut out = BytesMut::with_capacity(value.len() + 9);
        match expires_ms {
            None => out.put_u8(0),
            Some(expires_ms) => {
                out.put_u8(FLAG_EXPIRES);
                out.put_u64(expires_ms);
            }
        }
        out.put_slice(value);
        out.freeze()
    }

    /// Reads the stored form.
    pub fn decode(mut stored: Bytes) -> Result<Self, RecordError> {
        let (value, expires_ms) = Self::look(&stored)?;
        let before = stored.len() - value.len();
        // Unlike a slice of it, what is left needs no count of who shares it.
        stored.advance(before);
        Ok(Self {
            value: stored,
            expires_ms,
        })
    }

    /// The parts of the stored form, where they are.
    pub fn look(stored: &[u8]) -> Result<(&[u8], Option<u64>), RecordError> {
        let malformed = |reason: &str| RecordError::Malformed {
            place: "raw value".into(),
            reason: reason.into(),
        };
        match stored {
            [0, value @ ..] => Ok((value, None)),
            [FLAG_EXPIRES, rest @ ..] => {
                let (expires, value) = rest
                    .split_first_chunk::<8>()
                    .ok_or_else(|| malformed("shorter than its expiry"))?;
                Ok((value, Some(u64::from_be_bytes(*expires))))
            }
            [_, ..] => Err(malformed("unknown flags")),
            [] => Err(malformed("empty")),
        }
    }

    /// Whether the value is visible under a region clock.
    pub fn is_live(&self, clock_ms: u64) -> bool {
        is_live(self.expires_ms, clock_ms)
    }
}

/// Whether what expires at some time is visible under a region clock.
pub fn is_live(expires_ms: Option<u64>, clock_ms: u64) -> bool {
    expires_ms.is_none_or(|expires| expires > clock_ms)
}

/// A record with a format version.
pub trait Record: Message + Default {
    /// The version it carries.
    fn format(&self) -> u32;
}

macro_rules! record {
    ($($name:ty),*) => {$(impl Record for $name {
        fn format(&self) -> u32 { self.format }
    })*};
}
record!(StoreRecord, RegionRecord, AppliedRecord);

/// Reads a record of the `meta` family; `None` if it is absent.
pub fn load<T: Record>(engine: &dyn Engine, key: &[u8]) -> Result<Option<T>, LoadError> {
    engine
        .get(META, key)?
        .map(|bytes| parse(key, bytes))
        .transpose()
        .map_err(LoadError::from)
}

/// Reads a record from its bytes; `key` names the place in an error.
pub fn parse<T: Record>(key: &[u8], bytes: Bytes) -> Result<T, RecordError> {
    let place = format!("kv family meta, key {key:02x?}");
    let record = T::decode(bytes).map_err(|error| RecordError::Malformed {
        place: place.clone(),
        reason: error.to_string(),
    })?;
    match record.format() {
        FORMAT => Ok(record),
        0 => Err(RecordError::Malformed {
            place,
            reason: "no format version".into(),
        }),
        format => Err(RecordError::TooNew { place, format }),
    }
}

/// Why a record could not be loaded; the store must not start.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] yadkv_engine::Error),
    /// The record is bad.
    #[error(transparent)]
    Record(#[from] RecordError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_pinned() {
        assert_eq!(
            &region_key(RegionId(0x0102))[..],
            [2, 0, 0, 0, 0, 0, 0, 1, 2, 1]
        );
        assert_eq!(
            &applied_key(RegionId(7))[..],
            [2, 0, 0, 0, 0, 0, 0, 0, 7, 2]
        );
        assert_eq!(region_of_key(&region_key(RegionId(9))), Some(RegionId(9)));
        assert_eq!(region_of_key(&applied_key(RegionId(9))), None);
    }

    #[test]
    fn values_are_pinned() {
        assert_eq!(&RawValue::encode(b"ab", None)[..], b"\x00ab");
        assert_eq!(
            &RawValue::encode(b"", Some(258))[..],
            [1, 0, 0, 0, 0, 0, 0, 1, 2]
        );
        for expires_ms in [None, Some(0), Some(u64::MAX)] {
            let stored = RawValue::encode(b"value", expires_ms);
            assert_eq!(
                RawValue::decode(stored),
                Ok(RawValue {
                    value: Bytes::from_static(b"value"),
                    expires_ms
                })
            );
        }
        assert!(RawValue::decode(Bytes::new()).is_err());
        assert!(RawValue::decode(Bytes::from_static(&[1, 0])).is_err());
        assert!(RawValue::decode(Bytes::from_static(&[9])).is_err());
    }

    #[test]
    fn a_record_from_the_future_is_refused() {
        let record = AppliedRecord {
            format: 2,
            ..Default::default()
        };
        let error =
            parse::<AppliedRecord>(&[1], record.encode_to_vec().into()).expect_err("too new");
        assert!(
            matches!(error, RecordError::TooNew { format: 2, .. }),
            "{error}"
        );
    }
}
