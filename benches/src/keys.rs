//! Which record an operation is about.
//!
//! *Place*: part of [`crate::workload`].
//!
//! *Invariants*: nobody is sent to a record that may not be there yet ([`Inserted::there`]).
//!
//! *Source*: Gray and others, "Quickly Generating Billion-Record Synthetic Databases", 1994 (the zipfian law); the
//! published YCSB for its constant, and for scattering its popular numbers over all records.
//!
//! *Next stop*: [`crate::values`].

use bytes::Bytes;
use parking_lot::Mutex;
use rand::Rng;
use rand::distr::Distribution;
use rand::rngs::StdRng;
use rand_distr::Zipf;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use xxhash_rust::xxh3::xxh3_64;

/// YCSB's skew.
const SKEW: f64 = 0.99;
/// Items of the law whose popular ones are scattered, as in YCSB: the skew does not depend on the number of records.
const SCATTERED_ITEMS: f64 = 1e10;

/// Behind the keys of all records.
const BEHIND_ALL: &[u8] = b"userg";

/// How records are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    /// Each as often as any other.
    Uniform,
    /// One after another, all clients together, round and round; keys rise with their numbers.
    Sequential,
    /// Some far more often than others, anywhere.
    Zipfian,
    /// The later one was inserted, the more often.
    Latest,
}

impl Keys {
    /// Those that a load can be given.
    pub const ALL: [Self; 4] = [Self::Uniform, Self::Sequential, Self::Zipfian, Self::Latest];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Sequential => "sequential",
            Self::Zipfian => "zipfian",
            Self::Latest => "latest",
        }
    }
}

/// Chooses.
#[derive(Clone, Debug)]
pub(crate) struct Choice {
    keys: Keys,
    law: Zipf<f64>,
    turn: Arc<AtomicU64>,
}

/// Records that are there, and those that are being inserted.
#[derive(Debug)]
pub(crate) struct Inserted {
    pending: Mutex<Pending>,
    /// All records below are there.
    there: AtomicU64,
}

#[derive(Debug)]
struct Pending {
    next: u64,
    under_way: BTreeSet<u64>,
    /// Those of them that could not be written, for who inserts next.
    again: Vec<u64>,
}

impl Choice {
    pub(crate) fn new(keys: Keys, records: u64) -> Self {
        let items = match keys {
            Keys::Zipfian => SCATTERED_ITEMS,
            _ => records.max(1) as f64,
        };
        Self {
            keys,
            law: Zipf::new(items, SKEW)
                .expect("invariant: a skew and a number of items that the law knows"),
            turn: Arc::default(),
        }
    }

    /// The number of a record that is there.
    pub(crate) fn pick(&self, inserted: &Inserted, random: &mut StdRng) -> u64 {
        let records = inserted.there();
        // The law counts from 1.
        let rank = |random: &mut StdRng| self.law.sample(random) as u64 - 1;
        match self.keys {
            Keys::Uniform => random.random_range(0..records),
            Keys::Sequential => self.turn.fetch_add(1, Ordering::Relaxed) % records,
            Keys::Zipfian => xxh3_64(&rank(random).to_le_bytes()) % records,
            Keys::Latest => records - 1 - rank(random).min(records - 1),
        }
    }

    /// The key of a record: `user` and 16 hexadecimal digits, scattered so that neighbours share no region, unless the
    /// load is sequential.
    pub(crate) fn key(&self, number: u64) -> Bytes {
        Bytes::from(format!("user{:016x}", self.place(number)))
    }

    /// Before this key there are half as many more records as are counted from a number's on, about, if the load began with
    /// so many `records`.
    pub(crate) fn end(&self, number: u64, count: u32, records: u64) -> Bytes {
        let apart = match self.keys {
            Keys::Sequential => 1,
            _ => u64::MAX / records.max(1),
        };
        let all = u64::from(count).saturating_mul(3).div_ceil(2);
        let end = self.place(number).checked_add(all.saturating_mul(apart));
        match end {
            Some(end) => Bytes::from(format!("user{end:016x}")),
            None => Bytes::from_static(BEHIND_ALL),
        }
    }

    /// How many records at least are found from a number's on before `end`, if so many are asked for.
    pub(crate) fn least(&self, number: u64, count: u32, records: u64, end: &[u8]) -> u64 {
        let count = u64::from(count);
        match self.keys {
            Keys::Sequential => count.min(records.saturating_sub(number)),
            _ if end == BEHIND_ALL => 1,
            _ => count,
        }
    }

    fn place(&self, number: u64) -> u64 {
        match self.keys {
            Keys::Sequential => number,
            _ => number.wrapping_mul(0x9E37_79B9_7F4A_7C15),
        }
    }
}

impl Inserted {
    pub(crate) fn new(records: u64) -> Self {
        let pending = Pending {
            next: records,
            under_way: BTreeSet::new(),
            again: Vec::new(),
        };
        Self {
            pending: Mutex::new(pending),
            there: AtomicU64::new(records),
        }
    }

    fn there(&self) -> u64 {
        self.there.load(Ordering::Acquire)
    }

    /// The number of a new record.
    pub(crate) fn begin(&self) -> u64 {
        let mut pending = self.pending.lock();
        if let Some(number) = pending.again.pop() {
            return number;
        }
        let number = pending.next;
        pending.next += 1;
        pending.under_way.insert(number);
        number
    }

    /// It is there, or nobody knows.
    pub(crate) fn end(&self, number: u64, written: bool) {
        let mut pending = self.pending.lock();
        if !written {
            return pending.again.push(number);
        }
        pending.under_way.remove(&number);
        let there = pending.under_way.first().copied().unwrap_or(pending.next);
        self.there.store(there, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::SeedableRng;
    use std::collections::BTreeMap;

    fn drawn(keys: Keys, records: u64) -> BTreeMap<u64, u32> {
        let (choice, inserted) = (Choice::new(keys, records), Inserted::new(records));
        let mut random = StdRng::seed_from_u64(7);
        let mut counts = BTreeMap::new();
        for _ in 0..100_000 {
            *counts
                .entry(choice.pick(&inserted, &mut random))
                .or_default() += 1;
        }
        counts
    }

    #[test]
    fn sequential_keys_rise_and_come_round() {
        let counts = drawn(Keys::Sequential, 1000);
        assert!((0..1000).all(|number| counts[&number] == 100));
        let choice = Choice::new(Keys::Sequential, 1000);
        assert!((0..999).all(|number| choice.key(number) < choice.key(number + 1)));
    }

    #[test]
    fn a_scan_has_an_end_with_enough_and_not_many_more_records_before_it() {
        for (keys, records) in [
            (Keys::Sequential, 1000),
            (Keys::Uniform, 1000),
            (Keys::Uniform, 7919),
        ] {
            let choice = Choice::new(keys, records);
            let all: BTreeSet<_> = (0..records).map(|number| choice.key(number)).collect();
            for (number, count) in
                (0..records).flat_map(|number| [1, 2, 3, 10, 100].map(|count| (number, count)))
            {
                let (start, end) = (choice.key(number), choice.end(number, count, records));
                let found = all.range(start..end.clone()).count() as u64;
                let least = choice.least(number, count, records, &end);
                let most = 2 * u64::from(count) + 2;
                assert!(
                    (least..=most).contains(&found),
                    "{number}, {count}: {found}"
                );
            }
        }
    }

    #[test]
    fn what_could_not_be_inserted_is_nobody_s_until_it_is() {
        let inserted = Inserted::new(10);
        let (first, second) = (inserted.begin(), inserted.begin());
        inserted.end(second, true);
        inserted.end(first, false);
        assert_eq!(inserted.there(), 10);
        assert_eq!(inserted.begin(), first);
        inserted.end(first, true);
        assert_eq!((inserted.there(), inserted.begin()), (12, 12));
    }

    /// With a skew of 0.99 the most popular of 10^10 items gets 1 of 26.5 requests, of 1,000 items 1 of 7.7.
    #[test]
    fn popular_records_are_as_popular_as_the_law_says() {
        let counts = drawn(Keys::Zipfian, 1_000_000);
        let most = counts.values().max().copied().unwrap_or_default();
        assert!((3600..4000).contains(&most), "{most}");
        let counts = drawn(Keys::Latest, 1000);
        assert!((12_400..13_500).contains(&counts[&999]), "{}", counts[&999]);
    }

    proptest! {
        #[test]
        fn no_record_is_picked_that_is_still_being_inserted(
            ends in Just((0..20_u64).collect::<Vec<_>>()).prop_shuffle(),
            first in 1..50_u64,
        ) {
            let inserted = Inserted::new(first);
            let numbers: Vec<u64> = (0..20).map(|_| inserted.begin()).collect();
            let mut open: BTreeSet<u64> = numbers.iter().copied().collect();
            for at in ends {
                let number = numbers[at as usize];
                open.remove(&number);
                inserted.end(number, true);
                let expected = open.first().copied().unwrap_or(first + 20);
                prop_assert_eq!(inserted.there(), expected);
            }
        }
    }
}
