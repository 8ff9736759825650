//! Data as a short list of hashes, and where two lists part.
//!
//! *Place*: [`super::Point`] makes lists, [`super::compare`] compares them.
//!
//! *Where a part ends*: after a key whose hash is a multiple of [`PAIRS_MEAN`], so that a pair too many or too few in one
//! replica changes the part that it lies in and none behind it; at the latest after [`PAIRS_MAX`] pairs or [`BYTES_MAX`].
//!
//! *Invariants*: equal data gives equal lists. Data that differs gives lists that differ, but for a chance of 2^-64.
//!
//! *Limits*: [`PARTS_MAX`] parts, the last one holds the rest. A list of pairs ends after [`PAIRS_MAX`] times two, or
//! [`KEY_BYTES_MAX`] of keys.
//!
//! *Source*: cutting by content: Muthitacharoen and others, "A low-bandwidth network file system", 2001, section 3.1.
//!
//! *Next stop*: `engine`.

use crate::layout::{DATA, RAW, RAW2, RawValue};
use bytes::Bytes;
use std::ops::ControlFlow;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};
use yadkv_engine::{Direction, Family, Result, Snapshot};
use yadkv_proto::key::KeyRange;
use yadkv_proto::yadkvpb::{DigestPart, DigestScope};

/// Pairs of a part, on average. Smaller: longer lists. Larger: more pairs to list where something differs.
const PAIRS_MEAN: u64 = 1024;
/// Most pairs of a part.
const PAIRS_MAX: u64 = 8 * PAIRS_MEAN;
/// Bytes of keys and values after which a part ends.
const BYTES_MAX: u64 = 16 << 20;
/// Most parts of a list: 16 million pairs.
const PARTS_MAX: usize = 16 << 10;
/// Bytes of a stored value that say when it expires.
const RAW_HEAD_BYTES: usize = 9;
/// Bytes of keys after which a list of pairs ends.
const KEY_BYTES_MAX: usize = 4 << 20;

/// Neighbouring pairs of one family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The family.
    pub family: Family,
    /// Their first key.
    pub first: Bytes,
    /// How many.
    pub pairs: u64,
    /// Of all keys and values.
    pub hash: u64,
}

impl Part {
    /// From another store.
    pub fn of(part: DigestPart) -> Self {
        Self {
            // No family has such a number: it differs from all.
            family: Family(u8::try_from(part.family).unwrap_or(u8::MAX)),
            first: part.first,
            pairs: part.pairs,
            hash: part.hash,
        }
    }

    /// For another store.
    pub fn into_message(self) -> DigestPart {
        DigestPart {
            family: u32::from(self.family.0),
            first: self.first,
            pairs: self.pairs,
            hash: self.hash,
        }
    }

    fn place(&self) -> (Family, &Bytes) {
        (self.family, &self.first)
    }
}

/// A stretch of one family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// The family.
    pub family: Family,
    /// From its first key on; an empty end is that of the region.
    pub range: KeyRange,
}

impl Scope {
    /// From another store; `None` if there is no such family.
    pub fn of(scope: DigestScope) -> Option<Self> {
        let mut data = DATA.into_iter();
        let family = data.find(|family| u32::from(family.0) == scope.family)?;
        let range = KeyRange::new(scope.start, scope.end);
        Some(Self { family, range })
    }

    /// For another store.
    pub fn into_message(self) -> DigestScope {
        DigestScope {
            family: u32::from(self.family.0),
            start: self.range.start,
            end: self.range.end,
        }
    }
}

/// The parts of everything in a range.
pub fn whole(view: &dyn Snapshot, range: &KeyRange, clock_ms: u64) -> Result<Vec<Part>> {
    let mut parts = Vec::new();
    for family in DATA {
        let mut open: Option<Open> = None;
        let mut visit = |key: &[u8], value: &[u8]| {
            if !is_visible(family, value, clock_ms) {
                return ControlFlow::Continue(());
            }
            let part = open.get_or_insert_with(|| Open::new(family, key));
            let is_cut = part.add(key, value) && parts.len() + 1 < PARTS_MAX;
            if is_cut {
                parts.extend(open.take().map(Open::close));
            }
            ControlFlow::Continue(())
        };
        view.scan(
            family,
            &range.start,
            &range.end,
            Direction::Forward,
            &mut visit,
        )?;
        parts.extend(open.map(Open::close));
    }
    Ok(parts)
}

/// Every pair of a stretch as a part of its own.
pub fn pairs(view: &dyn Snapshot, scope: &Scope, clock_ms: u64) -> Result<Vec<Part>> {
    let Scope { family, range } = scope;
    let family = *family;
    let (mut parts, mut key_bytes) = (Vec::new(), 0);
    let mut visit = |key: &[u8], value: &[u8]| {
        if !is_visible(family, value, clock_ms) {
            return ControlFlow::Continue(());
        }
        let mut part = Open::new(family, key);
        part.add(key, value);
        parts.push(part.close());
        key_bytes += key.len();
        match parts.len() as u64 >= 2 * PAIRS_MAX || key_bytes >= KEY_BYTES_MAX {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    };
    view.scan(
        family,
        &range.start,
        &range.end,
        Direction::Forward,
        &mut visit,
    )?;
    Ok(parts)
}

/// Where lists part: the first family and key at which one of them has something that another lacks, and the end of what
/// begins there. `None` if they are the same.
pub fn first_difference(lists: &[&[Part]]) -> Option<Scope> {
    let longest = lists.iter().map(|list| list.len()).max()?;
    let differs = |number: &usize| {
        let mut parts = lists.iter().map(|list| list.get(*number));
        let first = parts.next().flatten();
        parts.any(|part| part != first)
    };
    let number = (0..longest).find(differs)?;
    let begins = lists.iter().filter_map(|list| list.get(number));
    let (family, start) = begins.map(Part::place).min()?;
    let mut end = Some(Bytes::new());
    for list in lists {
        let here = list.get(number).is_some_and(|part| part.family == family);
        let next = list.get(number + 1).filter(|part| part.family == family);
        end = match (here, next, end) {
            (false, _, end) => end,
            (true, None, _) => None,
            (true, Some(next), end) => end.map(|end| end.max(next.first.clone())),
        };
    }
    Some(Scope {
        family,
        range: KeyRange::new(start.clone(), end.unwrap_or_default()),
    })
}

/// Whether readers may see it. What cannot be understood is not the same as nothing.
fn is_visible(family: Family, value: &[u8], clock_ms: u64) -> bool {
    if family != RAW && family != RAW2 {
        return true;
    }
    let head = Bytes::copy_from_slice(&value[..value.len().min(RAW_HEAD_BYTES)]);
    RawValue::decode(head).map_or(true, |value| value.is_live(clock_ms))
}

/// A part that is being made.
struct Open {
    part: Part,
    bytes: u64,
    hash: Xxh3,
}

impl Open {
    fn new(family: Family, first: &[u8]) -> Self {
        Self {
            part: Part {
                family,
                first: Bytes::copy_from_slice(first),
                pairs: 0,
                hash: 0,
            },
            bytes: 0,
            hash: Xxh3::new(),
        }
    }

    /// Whether the part ends with this pair.
    fn add(&mut self, key: &[u8], value: &[u8]) -> bool {
        for piece in [key, value] {
            self.hash.update(&(piece.len() as u64).to_le_bytes());
            self.hash.update(piece);
        }
        self.part.pairs += 1;
        self.bytes += (key.len() + value.len()) as u64;
        xxh3_64(key).is_multiple_of(PAIRS_MEAN)
            || self.part.pairs >= PAIRS_MAX
            || self.bytes >= BYTES_MAX
    }

    fn close(mut self) -> Part {
        self.part.hash = self.hash.digest();
        self.part
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use yadkv_engine::memory::Memory;
    use yadkv_engine::{Durability, Engine, LogEngine, WriteBatch};

    type Pairs = BTreeMap<u32, u8>;

    fn key(number: u32) -> Bytes {
        Bytes::from(format!("k{number:06}"))
    }

    fn store(pairs: &Pairs) -> Memory {
        let memory = Memory::new(crate::layout::FAMILIES.len());
        let mut batch = WriteBatch::default();
        for (number, value) in pairs {
            batch.put(RAW, key(*number), RawValue::encode(&[*value], None));
        }
        memory.write(batch, Durability::Buffered).unwrap();
        memory
    }

    /// The first key at which they differ, found as a check finds it.
    fn found(one: &Memory, other: &Memory) -> Option<Bytes> {
        let range = KeyRange::new(Bytes::new(), Bytes::new());
        let whole = |memory: &Memory| whole(&*memory.snapshot(), &range, 0).unwrap();
        let scope = first_difference(&[&whole(one), &whole(other)])?;
        let pairs = |memory: &Memory| pairs(&*memory.snapshot(), &scope, 0).unwrap();
        let place = first_difference(&[&pairs(one), &pairs(other)]);
        Some(place.expect("the stretch differs").range.start)
    }

    proptest! {
        #[test]
        fn the_first_key_that_differs_is_found(
            start in 0..9000_u32,
            changes in prop::collection::btree_map(0..9000_u32, prop::option::of(1..3_u8), 0..6),
        ) {
            let pairs: Pairs = (start..9000).map(|number| (number, 0)).collect();
            let mut other = pairs.clone();
            for (number, value) in changes {
                match value {
                    Some(value) => other.insert(number, value),
                    None => other.remove(&number),
                };
            }
            let numbers = pairs.keys().chain(other.keys());
            let expected = numbers.filter(|number| pairs.get(number) != other.get(number)).min();
            prop_assert_eq!(found(&store(&pairs), &store(&other)), expected.copied().map(key));
        }
    }

    #[test]
    fn a_part_too_many_changes_few_parts() {
        let pairs: Pairs = (0..30_000).map(|number| (number, 0)).collect();
        let mut other = pairs.clone();
        other.remove(&15_000);
        let range = KeyRange::new(Bytes::new(), Bytes::new());
        let parts = [&pairs, &other].map(|pairs| {
            let memory = store(pairs);
            whole(&*memory.snapshot(), &range, 0).unwrap()
        });
        assert!(parts[0].len() > 15, "{}", parts[0].len());
        let lacks = |part: &&Part| !parts[1].contains(part);
        let differ = parts[0].iter().filter(lacks).count();
        assert!((1..=2).contains(&differ), "{differ}");
    }

    #[test]
    fn what_has_expired_is_not_compared() {
        let memory = store(&Pairs::from([(1, 1)]));
        let lasting = whole(&*memory.snapshot(), &KeyRange::default(), 5).unwrap();
        let mut batch = WriteBatch::default();
        batch.put(RAW, key(2), RawValue::encode(b"x", Some(5)));
        memory.write(batch, Durability::Buffered).unwrap();
        let digest = |clock_ms| whole(&*memory.snapshot(), &KeyRange::default(), clock_ms).unwrap();
        assert_eq!(digest(5), lasting);
        assert_ne!(digest(4), lasting);
    }
}
