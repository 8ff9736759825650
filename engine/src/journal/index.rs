//! Which pairs there are, and where the value of each lies.
//!
//! *Place*: [`super::Journal`] keeps one for each family, in memory, made anew from the segments at a start.
//!
//! *Limits*: a numbered family costs 16 bytes a pair where numbers follow each other, and up to 1 KiB for one that is
//! alone; another family costs keys and values.
//!
//! *Next stop*: [`super::record`].

use super::Keys;
use super::record::Span;
use crate::Direction;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::ops::Bound;

/// Pairs of one piece.
const CHUNK: usize = 64;
/// Bits of a key inside its piece.
const CHUNK_BITS: u32 = CHUNK.trailing_zeros();
/// Bytes that a pair of a family that is kept in memory costs beside key and value, about.
const KEPT_OVERHEAD: usize = 128;

/// Where a value lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Number of the segment.
    pub(super) segment: NonZeroU32,
    pub(super) span: Span,
}

/// A pair as it is found.
#[derive(Clone, Debug)]
pub(super) enum Found {
    /// To be read from its segment.
    At(Place),
    Value(Bytes),
}

/// The pairs of a family.
pub(super) enum Index {
    /// Keys of 16 bytes, as numbers; their values are in the segments only.
    Numbered(BTreeMap<u128, Box<Chunk>>),
    /// Few small pairs, kept whole.
    Kept {
        pairs: BTreeMap<Bytes, (Bytes, Place)>,
        bytes: usize,
    },
}

/// Pairs whose keys have all bits but the last ones in common.
pub(super) struct Chunk {
    places: [Option<Place>; CHUNK],
    used: usize,
}

impl Index {
    pub(super) fn new(keys: Keys) -> Self {
        match keys {
            Keys::Numbered => Self::Numbered(BTreeMap::new()),
            Keys::Any => Self::Kept {
                pairs: BTreeMap::new(),
                bytes: 0,
            },
        }
    }

    /// Whether a key may be put here.
    pub(super) fn takes(&self, key: &[u8]) -> bool {
        matches!(self, Self::Kept { .. }) || key.len() == size_of::<u128>()
    }

    /// Sets a key; where the value lies that it had before.
    pub(super) fn put(&mut self, key: &Bytes, value: &[u8], place: Place) -> Option<Place> {
        match self {
            Self::Numbered(chunks) => {
                let key = exactly(key).expect("whoever puts has asked whether the key is taken");
                let chunk = chunks.entry(key >> CHUNK_BITS).or_default();
                let old = chunk.places[inside(key)].replace(place);
                chunk.used += usize::from(old.is_none());
                old
            }
            Self::Kept { pairs, bytes } => {
                *bytes += key.len() + value.len() + KEPT_OVERHEAD;
                let value = Bytes::copy_from_slice(value);
                let (old, place) = pairs.insert(key.clone(), (value, place))?;
                *bytes -= key.len() + old.len() + KEPT_OVERHEAD;
                Some(place)
            }
        }
    }

    pub(super) fn delete(&mut self, key: &[u8]) -> Option<Place> {
        match self {
            Self::Numbered(chunks) => {
                let key = exactly(key)?;
                let block = key >> CHUNK_BITS;
                let chunk = chunks.get_mut(&block)?;
                let old = chunk.places[inside(key)].take()?;
                chunk.used -= 1;
                if chunk.used == 0 {
                    chunks.remove(&block);
                }
                Some(old)
            }
            Self::Kept { pairs, bytes } => {
                let (old, place) = pairs.remove(key)?;
                *bytes -= key.len() + old.len() + KEPT_OVERHEAD;
                Some(place)
            }
        }
    }

    /// Removes `[start, end)`, an empty end being plus infinity; where the values lay.
    pub(super) fn delete_range(&mut self, start: &[u8], end: &[u8]) -> Vec<Place> {
        if !end.is_empty() && start >= end {
            return Vec::new();
        }
        if let Self::Numbered(chunks) = self {
            let (Some(low), high) = (at_least(start), below(end)) else {
                return Vec::new();
            };
            return delete_numbers(chunks, low, high);
        }
        let mut places = Vec::new();
        loop {
            let some = self.range(start, end, Direction::Forward, CHUNK);
            if some.is_empty() {
                return places;
            }
            places.extend(some.iter().filter_map(|(key, _)| self.delete(key)));
        }
    }

    pub(super) fn get(&self, key: &[u8]) -> Option<Found> {
        match self {
            Self::Numbered(_) => self.place(key).map(Found::At),
            Self::Kept { pairs, .. } => {
                let (value, _) = pairs.get(key)?;
                Some(Found::Value(value.clone()))
            }
        }
    }

    /// Where the value of a key lies.
    pub(super) fn place(&self, key: &[u8]) -> Option<Place> {
        match self {
            Self::Numbered(chunks) => {
                let key = exactly(key)?;
                chunks.get(&(key >> CHUNK_BITS))?.places[inside(key)]
            }
            Self::Kept { pairs, .. } => pairs.get(key).map(|(_, place)| *place),
        }
    }

    /// The first `most` pairs of `[start, end)` in a direction, an empty end being plus infinity.
    pub(super) fn range(
        &self,
        start: &[u8],
        end: &[u8],
        direction: Direction,
        most: usize,
    ) -> Vec<(Bytes, Found)> {
        if !end.is_empty() && start >= end {
            return Vec::new();
        }
        match self {
            Self::Numbered(chunks) => {
                let (Some(low), high) = (at_least(start), below(end)) else {
                    return Vec::new();
                };
                let pairs = numbers(chunks, low, high, direction);
                let pairs = pairs.map(|(key, place)| {
                    (Bytes::copy_from_slice(&key.to_be_bytes()), Found::At(place))
                });
                pairs.take(most).collect()
            }
            Self::Kept { pairs, .. } => {
                let end = match end.is_empty() {
                    true => Bound::Unbounded,
                    false => Bound::Excluded(end),
                };
                let pairs = pairs.range::<[u8], _>((Bound::Included(start), end));
                let found = |(key, (value, _)): (&Bytes, &(Bytes, Place))| {
                    (key.clone(), Found::Value(value.clone()))
                };
                match direction {
                    Direction::Forward => pairs.map(found).take(most).collect(),
                    Direction::Backward => pairs.rev().map(found).take(most).collect(),
                }
            }
        }
    }

    /// Bytes in memory, about.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Numbered(chunks) => chunks.len() * (size_of::<Chunk>() + size_of::<u128>()),
            Self::Kept { bytes, .. } => *bytes,
        }
    }
}

impl Default for Chunk {
    fn default() -> Self {
        Self {
            places: [None; CHUNK],
            used: 0,
        }
    }
}

/// A key of a numbered family as a number; nothing if it cannot be one.
fn exactly(key: &[u8]) -> Option<u128> {
    Some(u128::from_be_bytes(key.try_into().ok()?))
}

/// The first number whose key is not before a bound; nothing if there is none.
fn at_least(bound: &[u8]) -> Option<u128> {
    let mut padded = [0; size_of::<u128>()];
    match bound.get(..padded.len()) {
        Some(beginning) if bound.len() > padded.len() => exactly(beginning)?.checked_add(1),
        _ => {
            padded[..bound.len()].copy_from_slice(bound);
            exactly(&padded)
        }
    }
}

/// The first number whose key is not before the end of a range; nothing if all are.
fn below(end: &[u8]) -> Option<u128> {
    match end.is_empty() {
        true => None,
        false => at_least(end),
    }
}

fn inside(key: u128) -> usize {
    (key % CHUNK as u128) as usize
}

/// The pairs from `low` on and, if there is a `high`, below it.
fn numbers(
    chunks: &BTreeMap<u128, Box<Chunk>>,
    low: u128,
    high: Option<u128>,
    direction: Direction,
) -> Box<dyn Iterator<Item = (u128, Place)> + '_> {
    let last = match high {
        Some(high) if high <= low => return Box::new(std::iter::empty()),
        Some(high) => high - 1,
        None => u128::MAX,
    };
    let chunks = chunks.range(low >> CHUNK_BITS..=last >> CHUNK_BITS);
    let pairs = chunks.flat_map(|(block, chunk)| {
        let places = chunk.places.iter().enumerate();
        places.filter_map(move |(at, place)| Some(((block << CHUNK_BITS) + at as u128, (*place)?)))
    });
    let pairs = pairs.filter(move |(key, _)| (low..=last).contains(key));
    match direction {
        Direction::Forward => Box::new(pairs),
        Direction::Backward => Box::new(pairs.rev()),
    }
}

fn delete_numbers(
    chunks: &mut BTreeMap<u128, Box<Chunk>>,
    low: u128,
    high: Option<u128>,
) -> Vec<Place> {
    let doomed: Vec<_> = numbers(chunks, low, high, Direction::Forward).collect();
    for (key, _) in &doomed {
        let block = key >> CHUNK_BITS;
        if let Some(chunk) = chunks.get_mut(&block) {
            chunk.places[inside(*key)] = None;
            chunk.used -= 1;
            if chunk.used == 0 {
                chunks.remove(&block);
            }
        }
    }
    doomed.into_iter().map(|(_, place)| place).collect()
}
