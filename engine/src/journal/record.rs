//! Bytes of a record: one batch of changes, or a sign.
//!
//! *Place*: [`super::Journal`] makes records, [`super::open`] and [`super::keeper`] read them.
//!
//! Numbers are little-endian; a record begins at a multiple of 8.
//!
//! | at | bytes | content |
//! |---|---|---|
//! | 0 | 4 | CRC-32 of everything up to the values |
//! | 4 | 4 | kind: 1 batch, 2 mark, 3 end of the segment |
//! | 8 | 4 | number of the segment: what an earlier use of the file left is no record of this one |
//! | 12 | 4 | length of the changes |
//! | 16 | 8 | sequence number: each record has the one after the record before |
//! | 24 | 8 | records up to this sequence number were durable before this one was written |
//! | 32 | 8 | length of the values |
//! | 40 | | changes: kind 1 (1 put, 2 delete, 3 delete range) · family 1 · key length 4 · key · of a put: length 4 and CRC-32 4 of its value; of a range: end length 4 · end |
//! | | | values of all puts, one after another; zeros up to a multiple of 8 |
//!
//! *Invariants*: pinned by the tests below; a change of them is a new format number of segments.
//!
//! *Limits*: a record is below 2 GiB; whoever makes batches bounds them far below.
//!
//! *Next stop*: [`super::segment`].

use crate::{Family, Operation, WriteBatch};
use bytes::Bytes;

/// Bytes before the changes.
pub(super) const HEADER: usize = 40;
/// Where records may begin.
pub(super) const ALIGNMENT: usize = 8;
/// Bytes that the checksum covers begin here.
const COVERED: usize = 4;
const PUT: u8 = 1;
const DELETE: u8 = 2;
const DELETE_RANGE: u8 = 3;

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Changes.
    Batch = 1,
    /// Nothing but the word that what came before is durable.
    Mark = 2,
    /// The last record of its segment: the next one goes on.
    End = 3,
}

/// Where a record stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) kind: Kind,
    pub(super) segment: u32,
    pub(super) sequence: u64,
    pub(super) durable: u64,
}

/// Where a value lies in the bytes of its record, or of its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) offset: u32,
    pub(super) length: u32,
    pub(super) crc: u32,
}

/// A record that has no place yet.
pub(super) struct Draft {
    bytes: Vec<u8>,
    changes: usize,
    values: usize,
    /// Of each put in order, from the beginning of the record.
    pub(super) spans: Vec<Span>,
}

impl Draft {
    /// A record without changes.
    pub(super) fn sign() -> Self {
        Self::new(&WriteBatch::new())
    }

    pub(super) fn new(batch: &WriteBatch) -> Self {
        let operations = batch.operations();
        let mut bytes = Vec::with_capacity(HEADER + batch.bytes() + 24 * operations.len());
        bytes.resize(HEADER, 0);
        let mut spans = Vec::new();
        for operation in operations {
            match operation {
                Operation::Put(family, key, value) => {
                    begin(&mut bytes, PUT, *family, key);
                    let span = Span {
                        offset: 0,
                        length: length(value),
                        crc: crc32fast::hash(value),
                    };
                    bytes.extend(span.length.to_le_bytes());
                    bytes.extend(span.crc.to_le_bytes());
                    spans.push(span);
                }
                Operation::Delete(family, key) => begin(&mut bytes, DELETE, *family, key),
                Operation::DeleteRange(family, start, end) => {
                    begin(&mut bytes, DELETE_RANGE, *family, start);
                    bytes.extend(length(end).to_le_bytes());
                    bytes.extend_from_slice(end);
                }
            }
        }
        let values_at = bytes.len();
        let values = operations.iter().filter_map(|operation| match operation {
            Operation::Put(_, _, value) => Some(value),
            _ => None,
        });
        for (value, span) in values.zip(&mut spans) {
            span.offset = length(&bytes);
            bytes.extend_from_slice(value);
        }
        let values = bytes.len() - values_at;
        bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
        length(&bytes);
        Self {
            bytes,
            changes: values_at - HEADER,
            values,
            spans,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The bytes of the record at its place.
    pub(super) fn seal(&mut self, stamp: Stamp) -> &[u8] {
        let mut header = [0; HEADER];
        header[4..8].copy_from_slice(&(stamp.kind as u32).to_le_bytes());
        header[8..12].copy_from_slice(&stamp.segment.to_le_bytes());
        header[12..16].copy_from_slice(&(self.changes as u32).to_le_bytes());
        header[16..24].copy_from_slice(&stamp.sequence.to_le_bytes());
        header[24..32].copy_from_slice(&stamp.durable.to_le_bytes());
        header[32..40].copy_from_slice(&(self.values as u64).to_le_bytes());
        self.bytes[..HEADER].copy_from_slice(&header);
        let crc = crc32fast::hash(&self.bytes[COVERED..HEADER + self.changes]);
        self.bytes[..COVERED].copy_from_slice(&crc.to_le_bytes());
        &self.bytes
    }
}

fn begin(bytes: &mut Vec<u8>, kind: u8, family: Family, key: &[u8]) {
    bytes.extend([kind, family.0]);
    bytes.extend(length(key).to_le_bytes());
    bytes.extend_from_slice(key);
}

fn length(bytes: &[u8]) -> u32 {
    i32::try_from(bytes.len())
        .expect("whoever makes batches bounds them far below 2 GiB")
        .cast_unsigned()
}

/// A change as it is read; values lie in the bytes that were read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Put(Family, Bytes, Span),
    Delete(Family, Bytes),
    DeleteRange(Family, Bytes, Bytes),
}

/// A record that matches its checksum.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record<'a> {
    pub(super) stamp: Stamp,
    /// Where it begins.
    at: usize,
    changes: &'a [u8],
    values: &'a [u8],
}

impl<'a> Record<'a> {
    /// The record that begins `at` a place of a segment's bytes; nothing if none does.
    pub(super) fn read(bytes: &'a [u8], at: usize, segment: u32) -> Option<Self> {
        let rest = bytes.get(at..)?;
        let header = rest.first_chunk::<HEADER>()?;
        // First what is cheap: this runs over every place behind the end.
        if number(header, 8) != segment {
            return None;
        }
        let kind = match number(header, 4) {
            1 => Kind::Batch,
            2 => Kind::Mark,
            3 => Kind::End,
            _ => return None,
        };
        let changes_end = HEADER.checked_add(number(header, 12) as usize)?;
        let covered = rest.get(COVERED..changes_end)?;
        if crc32fast::hash(covered) != number(header, 0) {
            return None;
        }
        let values_end = changes_end.checked_add(usize::try_from(long(header, 32)).ok()?)?;
        Some(Self {
            stamp: Stamp {
                kind,
                segment,
                sequence: long(header, 16),
                durable: long(header, 24),
            },
            at,
            changes: &rest[HEADER..changes_end],
            values: rest.get(changes_end..values_end)?,
        })
    }

    /// Where the next record begins.
    pub(super) fn end(&self) -> usize {
        let end = self.at + HEADER + self.changes.len() + self.values.len();
        end.next_multiple_of(ALIGNMENT)
    }

    /// Its changes, each value checked; nothing if one does not match or they do not parse.
    pub(super) fn changes(&self) -> Option<Vec<Change>> {
        let (mut rest, mut values) = (self.changes, self.values);
        let mut offset = self.at + HEADER + self.changes.len();
        let mut changes = Vec::new();
        while !rest.is_empty() {
            let kind = take(&mut rest, 1)?[0];
            let family = Family(take(&mut rest, 1)?[0]);
            let key = field(&mut rest)?;
            changes.push(match kind {
                PUT => {
                    let head = take(&mut rest, 8)?;
                    let span = Span {
                        offset: u32::try_from(offset).ok()?,
                        length: number(head, 0),
                        crc: number(head, 4),
                    };
                    let value = take(&mut values, span.length as usize)?;
                    if crc32fast::hash(value) != span.crc {
                        return None;
                    }
                    offset += value.len();
                    Change::Put(family, key, span)
                }
                DELETE => Change::Delete(family, key),
                DELETE_RANGE => Change::DeleteRange(family, key, field(&mut rest)?),
                _ => return None,
            });
        }
        values.is_empty().then_some(changes)
    }
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(taken)
}

fn field(bytes: &mut &[u8]) -> Option<Bytes> {
    let length = number(take(bytes, 4)?, 0);
    Some(Bytes::copy_from_slice(take(bytes, length as usize)?))
}

fn number(bytes: &[u8], at: usize) -> u32 {
    let bytes = bytes[at..].first_chunk();
    u32::from_le_bytes(*bytes.expect("the caller has looked at the length"))
}

fn long(bytes: &[u8], at: usize) -> u64 {
    let bytes = bytes[at..].first_chunk();
    u64::from_le_bytes(*bytes.expect("the caller has looked at the length"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp {
        kind: Kind::Batch,
        segment: 7,
        sequence: 0x0102,
        durable: 0x0101,
    };

    fn batch() -> WriteBatch {
        let mut batch = WriteBatch::new();
        batch.put(Family(1), "ab", "value");
        batch.delete(Family(0), "c");
        batch.delete_range(Family(2), "d", "");
        batch
    }

    #[test]
    fn the_bytes_are_pinned() {
        let mut draft = Draft::new(&batch());
        let bytes = draft.seal(STAMP);
        let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let expected = concat!(
            "d94861d8010000000700000022000000",
            "020100000000000001010000000000000500000000000000",
            "0101020000006162050000003458771d",
            "02000100000063",
            "0302010000006400000000",
            "76616c7565",
            "00",
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn what_is_read_is_what_was_written() {
        let mut draft = Draft::new(&batch());
        let mut bytes = vec![0; 16];
        bytes.extend_from_slice(draft.seal(STAMP));
        let record = Record::read(&bytes, 16, 7).unwrap();
        assert_eq!(record.stamp, STAMP);
        assert_eq!(record.end(), bytes.len());
        let changes = record.changes().unwrap();
        let Change::Put(Family(1), key, span) = &changes[0] else {
            panic!("{changes:?}")
        };
        assert_eq!(key, "ab");
        let place = span.offset as usize..(span.offset + span.length) as usize;
        assert_eq!(&bytes[place], b"value");
        assert_eq!(span.offset - 16, draft.spans[0].offset);
        assert_eq!(changes[1], Change::Delete(Family(0), "c".into()));
        assert_eq!(
            changes[2],
            Change::DeleteRange(Family(2), "d".into(), Bytes::new())
        );
    }

    #[test]
    fn no_flipped_bit_is_overlooked() {
        let mut draft = Draft::new(&batch());
        let padding = 1;
        let bytes = draft.seal(STAMP).to_vec();
        for at in 0..bytes.len() - padding {
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << bit;
                let record = Record::read(&flipped, 0, 7);
                let changes = record.and_then(|record| record.changes());
                assert_eq!(changes, None, "byte {at} bit {bit}");
            }
        }
    }
}
