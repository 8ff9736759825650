//! Where everything of a Raft group is kept in the log store, byte by byte.
//!
//! *Place*: [`crate::log_store`] and [`crate::storage`] write and read through it; nobody else knows a key.
//!
//! Numbers are big-endian, so that keys sort by group and then by index.
//!
//! | family | key | value |
//! |---|---|---|
//! | `state` | `00` | store format: `01` |
//! | `state` | `01` group:8 `01` | hard state: `01` peer:8 term:8 vote:8 commit:8 |
//! | `state` | `01` group:8 `02` | truncated: `01` index:8 term:8 |
//! | `log` | group:8 index:8 | entry: `01`, then `yadkvpb.LogEntry` in protobuf |
//!
//! The first byte of every value is the format of that record. The hard state carries the peer id, because a
//! later replica of the same region on the same store must never take over the vote of an earlier one.
//!
//! *Invariants*: the bytes are pinned by the tests below; a change of them is a new format number.
//!
//! *Limits and failure*: a record that does not decode is reported as [`Malformed`] and never guessed at.
//!
//! *Next stop*: [`crate::log_store`].

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message as _;
use yadkv_engine::Family;
use yadkv_engine::journal::Keys;
use yadkv_proto::id::{Index, PeerId, RegionId, Term};
use yadkv_proto::yadkvpb::LogEntry;

/// How the keys of the engine's families look, in the order it must be opened with.
pub const FAMILIES: &[Keys] = &[Keys::Numbered, Keys::Any];
/// Log entries.
pub(crate) const LOG: Family = Family(0);
/// Hard states and positions.
pub(crate) const STATE: Family = Family(1);
/// Key of the store's format record.
pub(crate) const FORMAT_KEY: &[u8] = &[0];
/// The store format that this code writes.
pub(crate) const FORMAT: u8 = 1;
/// First byte of every record about a group.
const GROUP: u8 = 1;
const HARD_STATE: u8 = 1;
const TRUNCATED: u8 = 2;
/// Format of hard state, truncated and entry records.
const RECORD: u8 = 1;

/// A record that is not what this code writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    #[error("record format {0} is newer than this program")]
    TooNew(u8),
    #[error("record has the wrong length or does not decode")]
    Damaged,
}

/// What Raft must remember over a restart, and of which replica it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct HardState {
    pub(crate) peer: PeerId,
    pub(crate) term: Term,
    pub(crate) vote: PeerId,
    pub(crate) commit: Index,
}

/// The last position that is no longer in the log (the position before the first entry).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Truncated {
    pub(crate) index: Index,
    pub(crate) term: Term,
}

pub(crate) fn hard_state_key(group: RegionId) -> Bytes {
    state_key(group, HARD_STATE)
}

pub(crate) fn truncated_key(group: RegionId) -> Bytes {
    state_key(group, TRUNCATED)
}

/// Bounds that enclose the state of every group.
pub(crate) fn state_bounds() -> ([u8; 1], [u8; 1]) {
    ([GROUP], [GROUP + 1])
}

/// The group of a hard state key; `None` for any other key.
pub(crate) fn hard_state_group(key: &[u8]) -> Option<RegionId> {
    match key {
        [GROUP, group @ .., HARD_STATE] => {
            Some(RegionId(u64::from_be_bytes(group.try_into().ok()?)))
        }
        _ => None,
    }
}

pub(crate) fn entry_key(group: RegionId, index: Index) -> Bytes {
    let mut key = BytesMut::with_capacity(16);
    key.put_u64(group.0);
    key.put_u64(index.0);
    key.freeze()
}

/// The index of an entry key; `None` if it is not one.
pub(crate) fn entry_index(key: &[u8]) -> Option<Index> {
    let tail: [u8; 8] = key.get(8..)?.try_into().ok()?;
    Some(Index(u64::from_be_bytes(tail)))
}

pub(crate) fn encode_hard_state(state: &HardState) -> Bytes {
    record(&[state.peer.0, state.term.0, state.vote.0, state.commit.0])
}

pub(crate) fn decode_hard_state(value: &[u8]) -> Result<HardState, Malformed> {
    let [peer, term, vote, commit] = numbers(value)?;
    Ok(HardState {
        peer: PeerId(peer),
        term: Term(term),
        vote: PeerId(vote),
        commit: Index(commit),
    })
}

pub(crate) fn encode_truncated(truncated: &Truncated) -> Bytes {
    record(&[truncated.index.0, truncated.term.0])
}

pub(crate) fn decode_truncated(value: &[u8]) -> Result<Truncated, Malformed> {
    let [index, term] = numbers(value)?;
    Ok(Truncated {
        index: Index(index),
        term: Term(term),
    })
}

pub(crate) fn encode_entry(entry: &LogEntry) -> Bytes {
    let mut value = BytesMut::with_capacity(1 + entry.encoded_len());
    value.put_u8(RECORD);
    entry
        .encode(&mut value)
        .expect("a growing buffer takes every message");
    value.freeze()
}

pub(crate) fn decode_entry(value: &Bytes) -> Result<LogEntry, Malformed> {
    let body = body(value)?;
    LogEntry::decode(value.slice_ref(body)).map_err(|_| Malformed::Damaged)
}

fn state_key(group: RegionId, kind: u8) -> Bytes {
    let mut key = BytesMut::with_capacity(10);
    key.put_u8(GROUP);
    key.put_u64(group.0);
    key.put_u8(kind);
    key.freeze()
}

fn record(numbers: &[u64]) -> Bytes {
    let mut value = BytesMut::with_capacity(1 + 8 * numbers.len());
    value.put_u8(RECORD);
    for number in numbers {
        value.put_u64(*number);
    }
    value.freeze()
}

fn body(value: &[u8]) -> Result<&[u8], Malformed> {
    match value.split_first() {
        Some((&RECORD, body)) => Ok(body),
        Some((&0, _)) | None => Err(Malformed::Damaged),
        Some((&format, _)) => Err(Malformed::TooNew(format)),
    }
}

fn numbers<const N: usize>(value: &[u8]) -> Result<[u64; N], Malformed> {
    let body = body(value)?;
    if body.len() != 8 * N {
        return Err(Malformed::Damaged);
    }
    let mut numbers = [0; N];
    for (number, bytes) in numbers.iter_mut().zip(body.chunks_exact(8)) {
        *number = u64::from_be_bytes(bytes.try_into().map_err(|_| Malformed::Damaged)?);
    }
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn golden_keys() {
        assert_eq!(hex(&hard_state_key(RegionId(2))), "01000000000000000201");
        assert_eq!(hex(&truncated_key(RegionId(2))), "01000000000000000202");
        assert_eq!(
            hex(&entry_key(RegionId(2), Index(0x0306))),
            "00000000000000020000000000000306"
        );
    }

    #[test]
    fn golden_records() {
        let state = HardState {
            peer: PeerId(11),
            term: Term(6),
            vote: PeerId(12),
            commit: Index(7),
        };
        let bytes = encode_hard_state(&state);
        assert_eq!(
            hex(&bytes),
            "01000000000000000b0000000000000006000000000000000c0000000000000007"
        );
        assert_eq!(decode_hard_state(&bytes), Ok(state));

        let truncated = Truncated {
            index: Index(5),
            term: Term(5),
        };
        let bytes = encode_truncated(&truncated);
        assert_eq!(hex(&bytes), "0100000000000000050000000000000005");
        assert_eq!(decode_truncated(&bytes), Ok(truncated));

        let entry = LogEntry {
            kind: 0,
            term: 6,
            index: 7,
            data: Bytes::from_static(b"ab"),
            context: Bytes::new(),
        };
        let bytes = encode_entry(&entry);
        assert_eq!(hex(&bytes), "011006180722026162");
        assert_eq!(decode_entry(&bytes), Ok(entry));
    }

    #[test]
    fn keys_are_read_back() {
        assert_eq!(
            hard_state_group(&hard_state_key(RegionId(7))),
            Some(RegionId(7))
        );
        assert_eq!(hard_state_group(&truncated_key(RegionId(7))), None);
        assert_eq!(hard_state_group(b"\x01\x01"), None);
        assert_eq!(
            entry_index(&entry_key(RegionId(1), Index(9))),
            Some(Index(9))
        );
        assert_eq!(entry_index(b"short"), None);
    }

    #[test]
    fn other_records_are_refused() {
        assert_eq!(decode_truncated(b""), Err(Malformed::Damaged));
        assert_eq!(decode_truncated(b"\x01abc"), Err(Malformed::Damaged));
        assert_eq!(decode_truncated(b"\x02\0\0\0\0"), Err(Malformed::TooNew(2)));
        assert_eq!(
            decode_entry(&Bytes::from_static(b"\x01\xff\xff")),
            Err(Malformed::Damaged)
        );
    }
}
