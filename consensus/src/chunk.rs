//! A state machine's pairs in numbered, checksummed chunks.
//!
//! *Place*: who sends a snapshot (a region's leader, the placement driver's) drives a [`Cutter`] over one view of its
//! engine; who receives it drives an [`Opener`]. Head, transport and installation are theirs.
//!
//! *Types to know*: [`Cutter`], [`Opener`].
//!
//! *Life of a snapshot*:
//! ```text
//! 0: the head, the caller's │ 1, 2, …: pairs of one family each, in the order of their keys │ n: that these were all
//! ```
//!
//! *Invariants*: an opener takes the chunks of a cutter in their order, each once, and nothing else.
//!
//! *Limits and failure*: a chunk holds about the bytes that its cutter was given, and at least one pair. What is damaged
//! or out of order is an error: the transfer is over.
//!
//! *Source*: Raft paper section 7.
//!
//! *Next stop*: [`crate::node`], which asks for snapshots.

use bytes::Bytes;
use prost::Message;
use std::ops::ControlFlow;
use yadkv_engine::{Direction, Family, Snapshot};
use yadkv_proto::key::KeyRange;
use yadkv_proto::yadkvpb::{SnapshotChunk, SnapshotHead, SnapshotPair, SnapshotPairs};

/// Of the pairs of a chunk.
const CRC: crc::Crc<u32, crc::Table<16>> = crc::Crc::<u32, crc::Table<16>>::new(&crc::CRC_32_ISCSI);

/// A chunk that does not continue the transfer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// Another one is due, or none.
    #[error("chunk {found} instead of {wanted}")]
    Order {
        /// What came.
        found: u64,
        /// What was due.
        wanted: u64,
    },
    /// The pairs are not those that were sent.
    #[error("chunk {0} has a wrong checksum")]
    Checksum(u64),
    /// The pairs cannot be read.
    #[error("chunk {number}: {reason}")]
    Malformed {
        /// Which one.
        number: u64,
        /// Why.
        reason: String,
    },
}

/// The chunk that every transfer begins with.
pub fn first(head: SnapshotHead) -> SnapshotChunk {
    SnapshotChunk {
        head: Some(head),
        ..SnapshotChunk::default()
    }
}

/// Cuts what a view holds in a range of some families into chunks.
#[derive(Clone, Debug)]
pub struct Cutter {
    families: &'static [Family],
    range: KeyRange,
    bytes_max: usize,
    /// Of the chunk that comes next.
    number: u64,
    /// The family that comes next, and where in it; none is left if it is beyond the last.
    family: usize,
    start: Vec<u8>,
    /// Of everything so far.
    sum: u32,
    done: bool,
}

impl Cutter {
    /// Begins, after the head. A chunk ends with the pair that fills `bytes_max`.
    pub fn new(families: &'static [Family], range: KeyRange, bytes_max: usize) -> Self {
        Self {
            families,
            start: range.start.to_vec(),
            range,
            bytes_max,
            number: 1,
            family: 0,
            sum: 0,
            done: false,
        }
    }

    /// The next chunk; `None` after the last. The view is always the same.
    pub fn next(&mut self, view: &dyn Snapshot) -> yadkv_engine::Result<Option<SnapshotChunk>> {
        if self.done {
            return Ok(None);
        }
        let mut chunk = SnapshotChunk {
            number: self.number,
            ..SnapshotChunk::default()
        };
        self.number += 1;
        while let Some(family) = self.families.get(self.family).copied() {
            let pairs = self.read(view, family)?;
            if !pairs.is_empty() {
                let family = u32::from(family.0);
                chunk.pairs = SnapshotPairs { family, pairs }.encode_to_vec().into();
                chunk.checksum = CRC.checksum(&chunk.pairs);
                self.sum = add(self.sum, chunk.checksum);
                return Ok(Some(chunk));
            }
        }
        self.done = true;
        chunk.last = true;
        chunk.checksum = self.sum;
        Ok(Some(chunk))
    }

    /// Some pairs of a family, and where the next ones are.
    fn read(
        &mut self,
        view: &dyn Snapshot,
        family: Family,
    ) -> yadkv_engine::Result<Vec<SnapshotPair>> {
        let (mut pairs, mut bytes) = (Vec::new(), 0);
        let visit = &mut |key: &[u8], value: &[u8]| {
            bytes += key.len() + value.len();
            pairs.push(SnapshotPair {
                key: Bytes::copy_from_slice(key),
                value: Bytes::copy_from_slice(value),
            });
            match bytes >= self.bytes_max {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        };
        let forward = Direction::Forward;
        view.scan(family, &self.start, &self.range.end, forward, visit)?;
        match pairs.last() {
            // The least key after it.
            Some(last) if bytes >= self.bytes_max => self.start = [&last.key[..], &[0]].concat(),
            _ => {
                self.family += 1;
                self.start = self.range.start.to_vec();
            }
        }
        Ok(pairs)
    }
}

/// The sum of everything, with one chunk more.
fn add(sum: u32, chunk: u32) -> u32 {
    CRC.checksum(&((u64::from(sum) << 32) | u64::from(chunk)).to_be_bytes())
}

/// Opens the chunks behind the head.
#[derive(Clone, Debug)]
pub struct Opener {
    wanted: u64,
    /// Of everything so far.
    sum: u32,
    over: bool,
}

impl Default for Opener {
    fn default() -> Self {
        Self {
            wanted: 1,
            sum: 0,
            over: false,
        }
    }
}

impl Opener {
    /// The pairs of the next chunk; `None` for the last one.
    pub fn open(&mut self, chunk: SnapshotChunk) -> Result<Option<SnapshotPairs>, ChunkError> {
        let number = chunk.number;
        if number != self.wanted || chunk.head.is_some() || self.over {
            return Err(ChunkError::Order {
                found: number,
                wanted: self.wanted,
            });
        }
        self.wanted += 1;
        let sum = match chunk.last {
            true => self.sum,
            false => CRC.checksum(&chunk.pairs),
        };
        if sum != chunk.checksum {
            return Err(ChunkError::Checksum(number));
        }
        if chunk.last {
            self.over = true;
            return Ok(None);
        }
        self.sum = add(self.sum, sum);
        let pairs = SnapshotPairs::decode(chunk.pairs);
        let malformed = |error: prost::DecodeError| ChunkError::Malformed {
            number,
            reason: error.to_string(),
        };
        pairs.map(Some).map_err(malformed)
    }

    /// Number of the chunk that is due.
    pub fn wanted(&self) -> u64 {
        self.wanted
    }

    /// Whether the last one came.
    pub fn is_over(&self) -> bool {
        self.over
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use yadkv_engine::memory::Memory;
    use yadkv_engine::{Durability, Engine, LogEngine, WriteBatch};

    static FAMILIES: [Family; 3] = [Family(0), Family(1), Family(2)];

    /// Chunks of "b", "c" and "d" in two of three families.
    fn chunks(bytes_max: usize) -> Vec<SnapshotChunk> {
        let engine = Memory::new(3);
        let mut batch = WriteBatch::new();
        for key in ["a", "b", "c", "d", "e"] {
            batch.put(Family(0), key, "1");
            batch.put(Family(2), key, "2");
        }
        engine.write(batch, Durability::Synced).unwrap();
        let view = engine.snapshot();
        let mut cutter = Cutter::new(&FAMILIES, KeyRange::new("b", "e"), bytes_max);
        std::iter::from_fn(|| cutter.next(&*view).unwrap()).collect()
    }

    fn open(chunks: Vec<SnapshotChunk>) -> Result<String, ChunkError> {
        let mut opener = Opener::default();
        let mut seen = String::new();
        for chunk in chunks {
            let Some(pairs) = opener.open(chunk)? else {
                seen.push('.');
                continue;
            };
            seen.push_str(&format!("{}:", pairs.family));
            for pair in pairs.pairs {
                seen.push_str(&String::from_utf8_lossy(&pair.key));
            }
        }
        Ok(seen)
    }

    #[test]
    fn what_is_cut_is_opened() {
        let ends = [
            (1, "0:b0:c0:d2:b2:c2:d."),
            (4, "0:bc0:d2:bc2:d."),
            (99, "0:bcd2:bcd."),
        ];
        for (bytes_max, seen) in ends {
            assert_eq!(open(chunks(bytes_max)).unwrap(), seen, "{bytes_max}");
        }
    }

    #[test]
    fn nothing_is_taken_that_was_not_cut_so() {
        let missing = ChunkError::Order {
            found: 3,
            wanted: 2,
        };
        type Damage = fn(&mut Vec<SnapshotChunk>);
        let cases: [(Damage, ChunkError); 5] = [
            (|chunks| drop(chunks.remove(1)), missing.clone()),
            (|chunks| chunks.swap(1, 2), missing),
            (|chunks| chunks[1].checksum ^= 1, ChunkError::Checksum(2)),
            (
                |chunks| chunks[1].pairs.truncate(0),
                ChunkError::Checksum(2),
            ),
            // The end comes too early.
            (
                |chunks| {
                    let mut last = chunks.pop().unwrap();
                    chunks.pop();
                    last.number -= 1;
                    chunks.push(last);
                },
                ChunkError::Checksum(6),
            ),
        ];
        for (damage, error) in cases {
            let mut sent = chunks(1);
            damage(&mut sent);
            assert_eq!(open(sent), Err(error));
        }
    }
}
