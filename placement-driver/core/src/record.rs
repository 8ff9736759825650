//! What the placement driver's engine holds, byte by byte.
//!
//! | family | key | value |
//! |---|---|---|
//! | `meta` | `cluster` | `placementpb.ClusterRecord`: identity, bounds, safe point, applied position |
//! | `meta` | `arrived` | `placementpb.ArrivedRecord`: a snapshot whose position the log may not begin at yet |
//! | `store` | store id, 8 bytes big-endian | `placementpb.StoreRecord` |
//! | `region` | region id, 8 bytes big-endian | `placementpb.RegionRecord` |
//! | `leader` | region id, 8 bytes big-endian | `placementpb.LeaderRecord` |
//! | `keyspace` | keyspace id, 4 bytes big-endian | `placementpb.KeyspaceRecord` |
//!
//! *Place*: [`crate::cluster`] reads everything at the start and writes what an entry changed, in one batch
//! with the applied position.
//!
//! *Invariants*: every value starts with field 1 = [`FORMAT`]; a reader refuses any other number.
//!
//! *Limits and failure*: a record that does not decode, or is newer than this release, stops the member at
//! its start, with the family and key in the message.
//!
//! *Next stop*: [`crate::cluster`].

use bytes::Bytes;
use prost::Message;
use std::ops::ControlFlow;
use yadkv_engine::{Direction, Engine, Family};
use yadkv_proto::placementpb::{
    ArrivedRecord, ClusterRecord, Entry, KeyspaceRecord, LeaderRecord, RegionRecord, StoreRecord,
};

/// Families that the placement driver's engine is opened with, in this order.
pub const FAMILIES: &[&str] = &["meta", "store", "region", "leader", "keyspace"];
/// The cluster record.
pub(crate) const META: Family = Family(0);
/// Stores by id.
pub(crate) const STORE: Family = Family(1);
/// Region descriptors by id.
pub(crate) const REGION: Family = Family(2);
/// Last known leaders by region id.
pub(crate) const LEADER: Family = Family(3);
/// Keyspaces by id.
pub(crate) const KEYSPACE: Family = Family(4);

/// All of them.
pub(crate) const ALL: [Family; 5] = [META, STORE, REGION, LEADER, KEYSPACE];

/// Key of the one lasting record in [`META`].
pub(crate) const CLUSTER_KEY: &[u8] = b"cluster";
/// Key of the other one, which is there while a snapshot is being installed.
pub(crate) const ARRIVED_KEY: &[u8] = b"arrived";
/// Format of all records and entries of this release.
pub const FORMAT: u32 = 1;

/// The engine's content cannot be used: the operator must look.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Reading failed.
    #[error("cannot read the placement driver's state: {0}")]
    Engine(#[from] yadkv_engine::Error),
    /// Bytes are not a record.
    #[error("damaged record {key} in family {family}: {reason}")]
    Damaged {
        /// Name of the family.
        family: &'static str,
        /// The key, in hexadecimal.
        key: String,
        /// What is wrong.
        reason: String,
    },
    /// A newer release wrote it.
    #[error("record {key} in family {family} has format {format}: start the release that wrote it")]
    TooNew {
        /// Name of the family.
        family: &'static str,
        /// The key, in hexadecimal.
        key: String,
        /// Its format.
        format: u32,
    },
}

impl LoadError {
    pub(crate) fn damaged(family: Family, key: &[u8], reason: impl ToString) -> Self {
        Self::Damaged {
            family: FAMILIES[usize::from(family.0)],
            key: hex(key),
            reason: reason.to_string(),
        }
    }
}

/// A message that starts with its format.
pub(crate) trait Versioned: Message + Default {
    fn format(&self) -> u32;
}

macro_rules! versioned {
    ($($name:ident),*) => {$(
        impl Versioned for $name {
            fn format(&self) -> u32 { self.format }
        }
    )*};
}
versioned!(
    ArrivedRecord,
    ClusterRecord,
    StoreRecord,
    RegionRecord,
    LeaderRecord,
    KeyspaceRecord,
    Entry
);

/// Decodes a record found at `key`.
pub(crate) fn decode<R: Versioned>(
    family: Family,
    key: &[u8],
    value: &[u8],
) -> Result<R, LoadError> {
    let record = R::decode(value).map_err(|error| LoadError::damaged(family, key, error))?;
    match record.format() {
        FORMAT => Ok(record),
        0 => Err(LoadError::damaged(family, key, "no format")),
        format => Err(LoadError::TooNew {
            family: FAMILIES[usize::from(family.0)],
            key: hex(key),
            format,
        }),
    }
}

/// Encodes a record.
pub(crate) fn encode(record: &impl Message) -> Bytes {
    record.encode_to_vec().into()
}

/// Key of a store, region or leader.
pub(crate) fn id_key(id: u64) -> Bytes {
    Bytes::copy_from_slice(&id.to_be_bytes())
}

/// Everything that members replicate, as records.
#[derive(Debug, Default)]
pub(crate) struct Records {
    pub(crate) cluster: Option<ClusterRecord>,
    pub(crate) stores: Vec<StoreRecord>,
    pub(crate) regions: Vec<RegionRecord>,
    pub(crate) leaders: Vec<LeaderRecord>,
    pub(crate) keyspaces: Vec<KeyspaceRecord>,
}

impl Records {
    /// All that an engine holds.
    pub(crate) fn load(engine: &dyn Engine) -> Result<Self, LoadError> {
        let mut records = Self::default();
        let view = engine.snapshot();
        for family in ALL {
            let mut added = Ok(true);
            let mut visit = |key: &[u8], value: &[u8]| {
                added = records.add(family, key, value);
                match added {
                    Ok(_) => ControlFlow::Continue(()),
                    Err(_) => ControlFlow::Break(()),
                }
            };
            view.scan(family, b"", b"", Direction::Forward, &mut visit)?;
            added?;
        }
        Ok(records)
    }

    /// One more; whether it is one that members replicate.
    pub(crate) fn add(
        &mut self,
        family: Family,
        key: &[u8],
        value: &[u8],
    ) -> Result<bool, LoadError> {
        match family {
            META if key == CLUSTER_KEY => self.cluster = Some(decode(family, key, value)?),
            STORE => self.stores.push(decode(family, key, value)?),
            REGION => self.regions.push(decode(family, key, value)?),
            LEADER => self.leaders.push(decode(family, key, value)?),
            KEYSPACE => self.keyspaces.push(decode(family, key, value)?),
            _ => return Ok(false),
        }
        Ok(true)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use yadkv_proto::metapb::{Peer, Region, RegionEpoch};

    /// What is on disk stays readable: these bytes may never change for format 1.
    #[test]
    fn region_record_bytes_are_golden() {
        let record = RegionRecord {
            format: FORMAT,
            region: Some(Region {
                id: 7,
                start_key: Bytes::from_static(b"a"),
                end_key: Bytes::from_static(b"b"),
                region_epoch: Some(RegionEpoch {
                    conf_ver: 1,
                    version: 2,
                }),
                peers: vec![Peer {
                    id: 8,
                    store_id: 9,
                    ..Peer::default()
                }],
                ..Region::default()
            }),
        };
        assert_eq!(
            hex(&encode(&record)),
            "0801121408071201611a01622204080110022a0408081009"
        );
        assert_eq!(
            decode::<RegionRecord>(REGION, b"k", &encode(&record)).unwrap(),
            record
        );
    }

    #[test]
    fn other_formats_are_refused_by_name() {
        let newer = encode(&StoreRecord {
            format: 2,
            store: None,
        });
        let error = decode::<StoreRecord>(STORE, &id_key(1), &newer).unwrap_err();
        assert_eq!(
            error.to_string(),
            "record 0000000000000001 in family store has format 2: start the release that wrote it"
        );
        assert!(decode::<StoreRecord>(STORE, b"k", b"\xff\xff").is_err());
        assert!(decode::<StoreRecord>(STORE, b"k", b"").is_err());
    }
}
