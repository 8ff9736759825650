//! The raw reads, evaluated on an engine under a region clock.
//!
//! *Place*: [`crate::read`] calls it once it is known that the engine holds everything the reader must see.
//!
//! *Life of a scan*: the caller's bounds → stored form → clamped to the region → walked on a snapshot →
//! expired values left out → keys shown in the caller's form.
//!
//! *Invariants*: the clock was read before the snapshot was taken, so a value that was live at that clock is
//! never reported gone; pages are cut by `limit` alone (clients take a short page for the region's end).
//!
//! *Limits and failure*: an answer above [`ANSWER_BYTES_MAX`] is refused; a damaged value or key ends the read with
//! an error that says where; nothing partial is returned.
//!
//! *Source*: `proto/README.md`, Raw calls; checksum: CRC-64/XZ.
//!
//! *Next stop*: `engine`.

use super::keys::{Invalid, KeySpace};
use crate::config::ANSWER_BYTES_MAX;
use crate::layout::{self, RawValue};
use crate::planted::{self, Planted};
use crate::refusal;
use crate::view::RegionView;
use bytes::{Bytes, BytesMut};
use std::ops::ControlFlow;
use yadkv_engine::{Cached, Direction, Engine, Snapshot, Visitor};
use yadkv_proto::key::KeyRange;
use yadkv_proto::kvrpcpb::{
    self, ChecksumAlgorithm, Context, KvPair, RawBatchGetResponse, RawBatchScanRequest,
    RawBatchScanResponse, RawChecksumRequest, RawChecksumResponse, RawGetKeyTtlResponse,
    RawGetResponse, RawScanRequest, RawScanResponse,
};

/// Pairs of an answer that room is made for before they are there.
const PAIRS_EXPECTED_MAX: u32 = 256;

const CRC64: crc::Crc<u64> = crc::Crc::<u64>::new(&crc::CRC_64_XZ);

/// Why a read gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The request is wrong: tell the caller.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// A point key outside the region: the caller refreshes its route.
    #[error("{}", .0.message)]
    Region(yadkv_proto::errorpb::Error),
    /// The answer would be larger than [`ANSWER_BYTES_MAX`]: the caller asks for less.
    #[error("the answer is larger than {ANSWER_BYTES_MAX} bytes: ask for fewer pairs at once")]
    TooLarge,
    /// The engine failed or holds damaged data: tell the caller, and the operator.
    #[error(transparent)]
    Engine(#[from] yadkv_engine::Error),
}

/// Bytes that the pairs of an answer are first packed into; each next block has twice as many.
const BLOCK_BYTES_MIN: usize = 16 << 10;
const BLOCK_BYTES_MAX: usize = 256 << 10;

/// Pairs side by side in few blocks of memory: one for each key and value would cost more than its bytes.
#[derive(Default)]
struct Packer {
    block: BytesMut,
    next_bytes: usize,
}

impl Packer {
    /// A pair, of which as many as `expected` may come, this one among them.
    fn pack(&mut self, key: &[u8], value: &[u8], expected: u32) -> (Bytes, Bytes) {
        let needed = key.len() + value.len();
        if self.block.capacity() < needed {
            let all = needed.saturating_mul(expected as usize);
            let next = self.next_bytes.clamp(BLOCK_BYTES_MIN, BLOCK_BYTES_MAX);
            self.next_bytes = 2 * next;
            self.block = BytesMut::with_capacity(next.min(all).max(needed));
        }
        self.block.extend_from_slice(key);
        self.block.extend_from_slice(value);
        let mut pair = self.block.split().freeze();
        let key = pair.split_to(key.len());
        (key, pair)
    }
}

/// Pairs on their way into an answer, and the memory they take.
#[derive(Default)]
struct Answer {
    pairs: Vec<KvPair>,
    packer: Packer,
    bytes: usize,
}

impl Answer {
    fn push(&mut self, key: Bytes, value: Bytes) -> Result<(), ReadError> {
        self.bytes += size_of::<KvPair>() + key.len() + value.len();
        if self.bytes > ANSWER_BYTES_MAX {
            return Err(ReadError::TooLarge);
        }
        self.pairs.push(KvPair {
            key,
            value,
            ..Default::default()
        });
        Ok(())
    }
}

/// What a read is evaluated on.
pub struct View<'a> {
    /// An unchanging state of the engine.
    pub snapshot: &'a dyn Snapshot,
    /// The region that is read.
    pub region: &'a RegionView,
    /// The region clock, read before the snapshot was taken.
    pub clock_ms: u64,
}

fn damaged(key: &[u8], reason: impl std::fmt::Display) -> yadkv_engine::Error {
    yadkv_engine::Error::Corrupt {
        place: format!("raw key {key:02x?}"),
        reason: reason.to_string(),
    }
}

fn live(key: &[u8], stored: Bytes, clock_ms: u64) -> Result<Option<RawValue>, yadkv_engine::Error> {
    let value = RawValue::decode(stored).map_err(|error| damaged(key, error))?;
    Ok(value.is_live(clock_ms).then_some(value))
}

/// A point read that may not touch the disk; `None` if the disk must be asked.
pub fn get_cached(
    engine: &dyn Engine,
    region: &RegionView,
    request: &kvrpcpb::RawGetRequest,
    clock_ms: u64,
) -> Result<Option<RawGetResponse>, ReadError> {
    let keys = key_space(request.context.as_deref(), &request.cf)?;
    let key = keys.stored(&request.key)?;
    inside(region, &key)?;
    let found = match engine.get_cached(keys.family(), &key)? {
        Cached::Unknown => return Ok(None),
        Cached::Missing => None,
        Cached::Found(stored) => live(&key, stored, clock_ms)?,
    };
    Ok(Some(get_response(found)))
}

fn inside(region: &RegionView, key: &[u8]) -> Result<(), ReadError> {
    if region.range().contains(key) {
        return Ok(());
    }
    Err(ReadError::Region(refusal::key_not_in_region(
        key,
        region.region(),
    )))
}

fn get_response(found: Option<RawValue>) -> RawGetResponse {
    match found {
        Some(found) => RawGetResponse {
            value: found.value,
            ..Default::default()
        },
        None => RawGetResponse {
            not_found: true,
            ..Default::default()
        },
    }
}

fn key_space(context: Option<&Context>, cf: &str) -> Result<KeySpace, Invalid> {
    KeySpace::of(context.unwrap_or(&Context::default()), cf)
}

impl View<'_> {
    fn point(&self, keys: KeySpace, key: &Bytes) -> Result<Option<RawValue>, ReadError> {
        let key = keys.stored(key)?;
        inside(self.region, &key)?;
        let found = match self.snapshot.get(keys.family(), &key) {
            Err(yadkv_engine::Error::Corrupt { .. })
                if planted::is(Planted::DamageReadAsMissing) =>
            {
                None
            }
            found => found?,
        };
        match found {
            Some(stored) => Ok(live(&key, stored, self.clock_ms)?),
            None => Ok(None),
        }
    }

    /// RawGet.
    pub fn get(&self, request: &kvrpcpb::RawGetRequest) -> Result<RawGetResponse, ReadError> {
        let keys = key_space(request.context.as_deref(), &request.cf)?;
        Ok(get_response(self.point(keys, &request.key)?))
    }

    /// RawBatchGet: existing keys only, in request order.
    pub fn batch_get(
        &self,
        request: &kvrpcpb::RawBatchGetRequest,
    ) -> Result<RawBatchGetResponse, ReadError> {
        let keys = key_space(request.context.as_deref(), &request.cf)?;
        let mut answer = Answer::default();
        for key in &request.keys {
            if let Some(found) = self.point(keys, key)? {
                answer.push(key.clone(), found.value)?;
            }
        }
        Ok(RawBatchGetResponse {
            pairs: answer.pairs,
            ..Default::default()
        })
    }

    /// RawGetKeyTTL: the seconds left, rounded up; 0 without expiry.
    pub fn ttl(
        &self,
        request: &kvrpcpb::RawGetKeyTtlRequest,
    ) -> Result<RawGetKeyTtlResponse, ReadError> {
        let keys = key_space(request.context.as_deref(), &request.cf)?;
        Ok(match self.point(keys, &request.key)? {
            None => RawGetKeyTtlResponse {
                not_found: true,
                ..Default::default()
            },
            Some(found) => {
                let left_ms = found
                    .expires_ms
                    .map_or(0, |expires| expires.saturating_sub(self.clock_ms));
                RawGetKeyTtlResponse {
                    ttl: left_ms.div_ceil(1000),
                    ..Default::default()
                }
            }
        })
    }

    /// RawScan: `start <= key < end` ascending; reversed, `start` is the exclusive upper bound.
    pub fn scan(&self, request: &RawScanRequest) -> Result<RawScanResponse, ReadError> {
        let keys = key_space(request.context.as_deref(), &request.cf)?;
        let (direction, range) = if request.reverse {
            (
                Direction::Backward,
                keys.stored_range(&request.end_key, &request.start_key),
            )
        } else {
            (
                Direction::Forward,
                keys.stored_range(&request.start_key, &request.end_key),
            )
        };
        let mut answer = Answer::default();
        self.collect(
            keys,
            &range,
            direction,
            request.limit,
            request.key_only,
            &mut answer,
        )?;
        Ok(RawScanResponse {
            kvs: answer.pairs,
            ..Default::default()
        })
    }

    /// RawBatchScan: each range like a scan; a range without end stops where the next one starts.
    pub fn batch_scan(
        &self,
        request: &RawBatchScanRequest,
    ) -> Result<RawBatchScanResponse, ReadError> {
        let keys = key_space(request.context.as_deref(), &request.cf)?;
        let mut answer = Answer::default();
        for (position, range) in request.ranges.iter().enumerate() {
            let open_end = request
                .ranges
                .get(position + 1)
                .map_or_else(Bytes::new, |next| next.start_key.clone());
            let end = if range.end_key.is_empty() {
                open_end
            } else {
                range.end_key.clone()
            };
            let (direction, stored) = if request.reverse {
                (
                    Direction::Backward,
                    keys.stored_range(&end, &range.start_key),
                )
            } else {
                (
                    Direction::Forward,
                    keys.stored_range(&range.start_key, &end),
                )
            };
            if stored.is_empty() {
                return Err(
                    Invalid("Invalid KeyRanges: a start is not below its end".into()).into(),
                );
            }
            self.collect(
                keys,
                &stored,
                direction,
                request.each_limit,
                request.key_only,
                &mut answer,
            )?;
        }
        Ok(RawBatchScanResponse {
            kvs: answer.pairs,
            ..Default::default()
        })
    }

    /// RawChecksum: the exclusive or of each pair's CRC-64/XZ, so that order and borders do not matter.
    pub fn checksum(&self, request: &RawChecksumRequest) -> Result<RawChecksumResponse, ReadError> {
        if request.algorithm != ChecksumAlgorithm::Crc64Xor as i32 {
            return Err(Invalid(format!(
                "unknown checksum algorithm {}: use 0",
                request.algorithm
            ))
            .into());
        }
        let keys = key_space(request.context.as_deref(), "")?;
        let mut response = RawChecksumResponse::default();
        for range in &request.ranges {
            let stored = keys.stored_range(&range.start_key, &range.end_key);
            self.walk(keys, &stored, Direction::Forward, &mut |key, value| {
                let mut digest = CRC64.digest();
                digest.update(key);
                digest.update(value);
                response.checksum ^= digest.finalize();
                response.total_kvs += 1;
                response.total_bytes += (key.len() + value.len()) as u64;
                ControlFlow::Continue(())
            })?;
        }
        Ok(response)
    }

    fn collect(
        &self,
        keys: KeySpace,
        range: &KeyRange,
        direction: Direction,
        limit: u32,
        key_only: bool,
        answer: &mut Answer,
    ) -> Result<(), ReadError> {
        let mut left = limit;
        if left == 0 {
            return Ok(());
        }
        let mut pushed = Ok(());
        answer.pairs.reserve(left.min(PAIRS_EXPECTED_MAX) as usize);
        self.walk(keys, range, direction, &mut |key, value| {
            let shown: &[u8] = if key_only { &[] } else { value };
            let (key, value) = answer.packer.pack(key, shown, left);
            pushed = answer.push(key, value);
            left -= 1;
            if left == 0 || pushed.is_err() {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })?;
        pushed
    }

    /// Visits the live pairs of a range inside the region, keys in the caller's form.
    fn walk(
        &self,
        keys: KeySpace,
        range: &KeyRange,
        direction: Direction,
        visit: &mut Visitor<'_>,
    ) -> Result<(), ReadError> {
        let KeyRange { start, end } = range.intersect(self.region.range());
        if !end.is_empty() && start >= end {
            return Ok(());
        }
        let mut failure = None;
        let mut scratch = BytesMut::new();
        self.snapshot.scan(
            keys.family(),
            &start,
            &end,
            direction,
            &mut |key, stored| {
                let value = match RawValue::look(stored) {
                    Ok((value, expires)) if layout::is_live(expires, self.clock_ms) => value,
                    Ok(_) => return ControlFlow::Continue(()),
                    Err(error) => {
                        failure = Some(damaged(key, error));
                        return ControlFlow::Break(());
                    }
                };
                match keys.shown(key, &mut scratch) {
                    Some(key) => visit(key, value),
                    None => {
                        failure = Some(damaged(key, "no memcomparable encoding"));
                        ControlFlow::Break(())
                    }
                }
            },
        )?;
        failure.map_or(Ok(()), |error| Err(error.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_lie_side_by_side_and_take_about_what_they_need() {
        let mut packer = Packer::default();
        let pairs: [(&[u8], &[u8]); 5] = [
            (b"a", b""),
            (b"", b"one"),
            (b"b", &[7; 3 * BLOCK_BYTES_MAX]),
            (b"c", &[8; 100]),
            (b"", b""),
        ];
        for (number, (key, value)) in pairs.into_iter().enumerate() {
            let packed = packer.pack(key, value, 5);
            assert!(packed.0 == key && packed.1 == value, "pair {number}");
        }
        for (expected, most) in [(1, 13), (100, 1300), (u32::MAX, BLOCK_BYTES_MIN)] {
            let mut packer = Packer::default();
            let _pair = packer.pack(b"key", &[1; 10], expected);
            let room = packer.block.capacity() + 13;
            assert!(room <= most, "{room} bytes where {expected} are expected");
        }
    }
}
