//! The newest entries of one log in memory, so that replication and apply seldom read the disk.
//!
//! *Place*: [`crate::storage`] asks it first and the engine second.
//!
//! Each group keeps its own run of entries; all groups of a store draw on one [`Budget`] of bytes:
//!
//! ```text
//! log     6 7 8 9 10 11 12     (12 is the last durable entry)
//! cache         9 10 11 12     always a suffix of the log, without holes
//! ```
//!
//! *Invariants*: the cache holds durable entries only ([`EntryCache::append`] is called after the batch was
//! written); it is empty or ends with the last entry of the log.
//!
//! *Limits and failure*: when the budget is used up, a group gives up its own oldest entries first and then
//! caches nothing; readers fall back to the engine. Entries that nobody will ask for again (applied here and
//! held by every peer) are given back by [`EntryCache::release`]. An entry may share the buffer of the frame
//! it came in; only its own bytes are counted.
//!
//! *Next stop*: [`crate::storage`].

use raft::eraftpb::Entry;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use yadkv_proto::id::Index;

/// What an entry costs besides its bytes.
const ENTRY_OVERHEAD_BYTES: usize = 96;

/// Bytes that the caches of all groups of one store may hold together.
#[derive(Debug)]
pub(crate) struct Budget {
    used: AtomicUsize,
    max: usize,
}

impl Budget {
    pub(crate) fn new(bytes_max: usize) -> Arc<Self> {
        Arc::new(Self {
            used: AtomicUsize::new(0),
            max: bytes_max,
        })
    }

    /// Bytes in use.
    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    fn take(&self, bytes: usize) -> bool {
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(bytes).filter(|after| *after <= self.max)
            })
            .is_ok()
    }

    fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// The newest entries of one group.
#[derive(Debug)]
pub(crate) struct EntryCache {
    entries: VecDeque<Entry>,
    budget: Arc<Budget>,
}

impl EntryCache {
    pub(crate) fn new(budget: Arc<Budget>) -> Self {
        Self {
            entries: VecDeque::new(),
            budget,
        }
    }

    /// First index held; `None` if empty.
    pub(crate) fn first(&self) -> Option<Index> {
        self.entries.front().map(|entry| Index(entry.index))
    }

    /// The entry at `index`, if held.
    pub(crate) fn get(&self, index: Index) -> Option<&Entry> {
        let offset = index.0.checked_sub(self.first()?.0)?;
        self.entries.get(usize::try_from(offset).ok()?)
    }

    /// The held entries from `index` on.
    pub(crate) fn from(&self, index: Index) -> impl Iterator<Item = &Entry> {
        let offset = self
            .first()
            .map_or(0, |first| index.0.saturating_sub(first.0));
        self.entries
            .iter()
            .skip(usize::try_from(offset).unwrap_or(usize::MAX))
    }

    /// Takes entries that have just become the durable end of the log.
    pub(crate) fn append(&mut self, entries: Vec<Entry>) {
        let Some(start) = entries.first().map(|entry| entry.index) else {
            return;
        };
        while self.entries.back().is_some_and(|last| last.index >= start) {
            self.drop_back();
        }
        if self
            .entries
            .back()
            .is_some_and(|last| last.index + 1 != start)
        {
            self.clear();
        }
        for entry in entries {
            self.push(entry);
        }
    }

    /// Gives entries up to `index` back to the budget.
    pub(crate) fn release(&mut self, index: Index) {
        while self.first().is_some_and(|first| first <= index) {
            self.drop_front();
        }
    }

    /// Gives everything back.
    pub(crate) fn clear(&mut self) {
        while !self.entries.is_empty() {
            self.drop_front();
        }
    }

    fn push(&mut self, entry: Entry) {
        let bytes = cost(&entry);
        while !self.budget.take(bytes) {
            if self.entries.is_empty() {
                return;
            }
            self.drop_front();
        }
        self.entries.push_back(entry);
    }

    fn drop_front(&mut self) {
        if let Some(entry) = self.entries.pop_front() {
            self.budget.give_back(cost(&entry));
        }
    }

    fn drop_back(&mut self) {
        if let Some(entry) = self.entries.pop_back() {
            self.budget.give_back(cost(&entry));
        }
    }
}

impl Drop for EntryCache {
    fn drop(&mut self) {
        self.clear();
    }
}

fn cost(entry: &Entry) -> usize {
    entry.data.len() + entry.context.len() + ENTRY_OVERHEAD_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(range: std::ops::Range<u64>, term: u64) -> Vec<Entry> {
        range
            .map(|index| Entry {
                index,
                term,
                data: vec![0; 100 - ENTRY_OVERHEAD_BYTES].into(),
                ..Entry::default()
            })
            .collect()
    }

    fn held(cache: &EntryCache) -> Vec<(u64, u64)> {
        cache
            .entries
            .iter()
            .map(|entry| (entry.index, entry.term))
            .collect()
    }

    #[test]
    fn a_conflicting_suffix_is_replaced() {
        let mut cache = EntryCache::new(Budget::new(1000));
        cache.append(entries(6..10, 6));
        cache.append(entries(8..9, 7));
        assert_eq!(held(&cache), [(6, 6), (7, 6), (8, 7)]);
        assert_eq!(cache.get(Index(8)).map(|entry| entry.term), Some(7));
        assert_eq!(cache.from(Index(7)).count(), 2);
    }

    #[test]
    fn the_oldest_leave_when_the_budget_is_used_up() {
        let budget = Budget::new(300);
        let mut cache = EntryCache::new(Arc::clone(&budget));
        cache.append(entries(6..11, 6));
        assert_eq!(held(&cache), [(8, 6), (9, 6), (10, 6)]);
        let mut other = EntryCache::new(Arc::clone(&budget));
        other.append(entries(6..8, 6));
        assert!(held(&other).is_empty());
        cache.release(Index(9));
        assert_eq!(budget.used(), 100);
        drop(cache);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn a_gap_empties_the_cache() {
        let mut cache = EntryCache::new(Budget::new(200));
        cache.append(entries(6..7, 6));
        cache.append(entries(9..10, 6));
        assert_eq!(held(&cache), [(9, 6)]);
    }
}
