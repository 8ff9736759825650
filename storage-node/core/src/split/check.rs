//! How large a region is, and where it is cut when it has grown too large.
//!
//! *Place*: whoever watches the sizes of regions calls [`check`] with a snapshot, off the threads that serve requests.
//!
//! *Life of a check*: each family is walked once and leaves samples → the samples of all families in key order → a
//! border at the first sample after every full part, moved down to a legal one.
//!
//! ```text
//! raw    |----|----|----|----|----|     a sample: a stretch of keys, known by its first key
//! raw2      |------|------|------|
//! cut            ^         ^            at first keys: exact for the family that the key is from
//! ```
//!
//! *Invariants*: borders rise, are legal and lie strictly inside the range.
//!
//! *Size of a part*: a *step* is a limit / `STEPS`, at least 1. A stretch of more than one key has less than 2 steps
//! of bytes and at most 1 step of keys; a pair of a step or more is a stretch of its own, counted where it lies. With
//! data in F families, a part that another one follows
//! - reaches its limit, of bytes less 2 × (F - 1) steps or of keys less F - 1 steps;
//! - exceeds none by more than 2 × F steps of bytes (or 2 × (F - 1) and its largest pair) or F steps of keys.
//!
//! The last part is at least half as large and less than one and a half times, with the same error. Two exceptions:
//! rows of one encoded key stay together, so the part with them may be larger and the part before them smaller, even
//! empty; and where more than [`CUTS_MAX`] cuts are wanted, the last part keeps the rest for the next check.
//!
//! *Limits and failure*: `SAMPLES_MAX` samples with `SAMPLE_KEY_BYTES_MAX` bytes of keys in memory. Beyond, each
//! two neighbours become one and a step is twice as long: the bounds above then hold with that step, those of bytes as
//! far as no pair of a step or more was joined. A region of 250 times each limit, these far above `STEPS`, with keys
//! of 256 bytes stays below.
//! Engine errors are passed on.
//!
//! *Next stop*: `engine`.

use super::border::{self, CUTS_MAX};
use crate::layout::{DEFAULT, LOCK, RAW, RAW2, WRITE};
use bytes::Bytes;
use std::ops::{AddAssign, ControlFlow, Sub};
use yadkv_engine::{Direction, Family, Snapshot};
use yadkv_proto::key::KeyRange;

/// The families that a region's data lies in.
const DATA: [Family; 5] = [RAW, RAW2, DEFAULT, LOCK, WRITE];
/// Steps of a limit.
const STEPS: u64 = 64;
/// Most samples of all families together; when there are more, neighbours are joined.
const SAMPLES_MAX: usize = 1 << 16;
/// Most bytes of all samples' keys, likewise.
const SAMPLE_KEY_BYTES_MAX: usize = 16 << 20;

/// How much makes a part. A limit of 0 cuts like 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of keys and values, as they are stored.
    pub bytes: u64,
    /// Pairs, over all families.
    pub keys: u64,
}

impl Limits {
    /// Whether a region of this size is cut: it has more than 1.5 times either limit.
    pub fn is_over(&self, size: Amount) -> bool {
        let exceeds = |amount: u64, limit: u64| amount > limit.saturating_add(limit / 2);
        exceeds(size.bytes, self.bytes) || exceeds(size.keys, self.keys)
    }

    /// Whether one of them is.
    pub fn are_reached(&self, amount: Amount) -> bool {
        amount.bytes >= self.bytes.max(1) || amount.keys >= self.keys.max(1)
    }

    fn halved(self) -> Self {
        Self {
            bytes: self.bytes.div_ceil(2),
            keys: self.keys.div_ceil(2),
        }
    }

    fn doubled(self) -> Self {
        Self {
            bytes: self.bytes.saturating_mul(2),
            keys: self.keys.saturating_mul(2),
        }
    }

    /// One of so many equal steps to the limits.
    pub fn step(self, steps: u64) -> Self {
        Self {
            bytes: (self.bytes / steps).max(1),
            keys: (self.keys / steps).max(1),
        }
    }
}

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// What is in the range, exactly.
    pub size: Amount,
    /// Where to cut, rising, at most [`CUTS_MAX`]. Empty if the region is not over its limits, if it is uncuttable, or
    /// if every border would leave too little behind it (it is hardly over, or a huge value lies near its end): check
    /// again when it has grown.
    pub borders: Vec<Bytes>,
    /// It is over its limits, but no key gives a legal border strictly inside: all begin with the encoding that the
    /// region starts with, or there is one key only, its start.
    pub uncuttable: bool,
}

/// Measures what `snapshot` holds in `range` and chooses where to cut it. Reads every pair; errors are the engine's.
pub fn check(
    snapshot: &dyn Snapshot,
    range: &KeyRange,
    limits: &Limits,
) -> yadkv_engine::Result<Checked> {
    let mut sampler = Sampler::new(limits);
    for family in DATA {
        let mut visit = |key: &[u8], value: &[u8]| {
            sampler.visit(family, key, value);
            ControlFlow::Continue(())
        };
        let (start, end) = (&range.start, &range.end);
        snapshot.scan(family, start, end, Direction::Forward, &mut visit)?;
    }
    let mut checked = Checked {
        size: sampler.total,
        ..Checked::default()
    };
    if limits.is_over(checked.size) {
        checked.borders = choose(sampler, range, limits);
        checked.uncuttable = checked.borders.is_empty() && !has_border(snapshot, range)?;
    }
    Ok(checked)
}

/// Whether some key gives a legal border strictly inside. Legal borders keep order: the last keys tell.
fn has_border(snapshot: &dyn Snapshot, range: &KeyRange) -> yadkv_engine::Result<bool> {
    let mut found = false;
    for family in DATA {
        let mut visit = |key: &[u8], _: &[u8]| {
            found |= border::legal_inside(range, key).is_some();
            ControlFlow::Break(())
        };
        let (start, end) = (&range.start, &range.end);
        snapshot.scan(family, start, end, Direction::Backward, &mut visit)?;
    }
    Ok(found)
}

/// Bytes of keys and values, and number of pairs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// Bytes of keys and values.
    pub bytes: u64,
    /// Pairs.
    pub keys: u64,
}

impl AddAssign for Amount {
    fn add_assign(&mut self, other: Self) {
        self.bytes += other.bytes;
        self.keys += other.keys;
    }
}

impl Sub for Amount {
    type Output = Self;

    /// What is left; not below nothing.
    fn sub(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_sub(other.bytes),
            keys: self.keys.saturating_sub(other.keys),
        }
    }
}

/// A stretch of neighbouring keys of one family.
struct Sample {
    family: Family,
    first: Bytes,
    amount: Amount,
}

/// Turns pairs, family by family and in key order, into a bounded number of samples.
struct Sampler {
    samples: Vec<Sample>,
    /// Of the samples' first keys, bytes.
    key_bytes: usize,
    /// What fills a stretch.
    step: Limits,
    total: Amount,
}

impl Sampler {
    fn new(limits: &Limits) -> Self {
        Self {
            samples: Vec::new(),
            key_bytes: 0,
            step: limits.step(STEPS),
            total: Amount::default(),
        }
    }

    fn visit(&mut self, family: Family, key: &[u8], value: &[u8]) {
        let amount = Amount {
            bytes: (key.len() + value.len()) as u64,
            keys: 1,
        };
        self.total += amount;
        let stands_alone = self.step.are_reached(amount);
        match self.samples.last_mut() {
            Some(last)
                if last.family == family
                    && !stands_alone
                    && !self.step.are_reached(last.amount) =>
            {
                last.amount += amount;
            }
            _ => self.begin(family, key, amount),
        }
    }

    fn begin(&mut self, family: Family, key: &[u8], amount: Amount) {
        if self.samples.len() >= SAMPLES_MAX || self.key_bytes >= SAMPLE_KEY_BYTES_MAX {
            self.join_neighbours();
        }
        self.key_bytes += key.len();
        self.samples.push(Sample {
            family,
            first: Bytes::copy_from_slice(key),
            amount,
        });
    }

    fn join_neighbours(&mut self) {
        self.step = self.step.doubled();
        let mut joins_next = false;
        self.samples.dedup_by(|next, kept| {
            joins_next = !joins_next && next.family == kept.family;
            if joins_next {
                kept.amount += next.amount;
            }
            joins_next
        });
        self.key_bytes = self.samples.iter().map(|sample| sample.first.len()).sum();
    }
}

fn choose(sampler: Sampler, range: &KeyRange, limits: &Limits) -> Vec<Bytes> {
    let Sampler {
        mut samples, total, ..
    } = sampler;
    samples.sort_by(|left, right| left.first.cmp(&right.first));
    let mut borders: Vec<Bytes> = Vec::new();
    // The range above the last border, what lies below that border, and what lies below the sample.
    let mut open = range.clone();
    let (mut below_open, mut below) = (Amount::default(), Amount::default());
    for (number, sample) in samples.iter().enumerate() {
        if limits.are_reached(below - below_open)
            && let Some(border) = border::legal_inside(&open, &sample.first)
        {
            let below_border = below - moved_up(&samples[..number], &border);
            let is_rest_small = !limits.halved().are_reached(total - below_border);
            if is_rest_small || borders.len() == CUTS_MAX {
                break;
            }
            open.start = border.clone();
            below_open = below_border;
            borders.push(border);
        }
        below += sample.amount;
    }
    borders
}

/// What of these samples, sorted, falls behind a border that was moved down below their last keys.
fn moved_up(samples: &[Sample], border: &Bytes) -> Amount {
    let mut amount = Amount::default();
    let behind = samples.iter().rev();
    for sample in behind.take_while(|sample| sample.first >= *border) {
        amount += sample.amount;
    }
    amount
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
