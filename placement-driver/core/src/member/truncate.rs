//! Shortening the log: the last entries stay, on every member alike, and what the state engine holds durably may leave.
//!
//! *Place*: [`super::apply`] counts what it applied; `round` takes a prefix out; the driver makes the state durable when
//! [`Member::flush`] asks for it, and says so with [`super::Input::Durable`].
//!
//! *Life of a prefix*:
//! ```text
//! more than `log.keep_entries` or `log.keep_bytes` lie behind it
//!   → the state engine is asked to be durable up to what is applied now → it is (Input::Durable)
//!   → the next round's batch takes the prefix out, together with where the log begins now
//! ```
//!
//! *Why each member decides alone*: a region's leader proposes its truncations, since it keeps a log as short as its
//! slowest replica allows, of thousands on one disk. There is one log here, of small entries. So every member keeps the
//! same last stretch, long enough for whoever may ask: a member that lacks at most as much is served from the log by
//! **any** leader, a new one too, which does not know yet who lacks what. No entry, no new command, nothing to agree on.
//!
//! *Invariants*: nothing leaves the log that the state engine could lose: without a log of its own it loses, at every
//! end of the process, what was not flushed. What a transfer under way will need after it stays.
//!
//! *Limits*: a cut is due when a sixteenth more than what is kept is there ([`SLACK`]), so flushes are that rare; a lost
//! answer is asked for again after [`ASK_MAX`]. Counted are stretches of a sixty-fourth of what is kept.
//!
//! *Source*: Raft paper section 7; `ARCHITECTURE.md`, How data would be lost.
//!
//! *Scenario*: `tests/scenarios/snapshot`.
//!
//! *Next stop*: [`super::sending`].

use super::{GROUP, Member};
use crate::config::LogConfig;
use crate::planted::{self, Planted};
use std::collections::VecDeque;
use std::time::Duration;
use yadkv_consensus::LogStore;
use yadkv_engine::WriteBatch;
use yadkv_proto::id::Index;
use yadkv_proto::time::{Moment, Now};
use yadkv_proto::yadkvpb::LogEntry;

/// The part of what is kept that may be there beyond it.
const SLACK: u64 = 16;
/// The part of what is kept that is counted as one.
const STRETCH: u64 = 64;
/// How long the state engine may take.
const ASK_MAX: Duration = Duration::from_secs(60);
/// Bytes that an entry takes besides its data, about.
const ENTRY_BYTES: u64 = 32;

/// Neighbouring entries.
#[derive(Clone, Copy, Debug, Default)]
struct Stretch {
    last: Index,
    entries: u64,
    bytes: u64,
}

/// What is known of the log's applied part.
#[derive(Debug, Default)]
pub(super) struct Truncation {
    /// What is still in the log and applied, oldest first.
    stretches: VecDeque<Stretch>,
    /// All of them.
    entries: u64,
    bytes: u64,
    /// When the state engine was asked.
    asked: Option<Moment>,
    /// What the state engine holds durably, at least.
    durable: Index,
}

impl Truncation {
    /// Counts what a log holds up to what is applied.
    pub(super) fn count(
        config: &LogConfig,
        log: &LogStore,
        applied: Index,
    ) -> Result<Self, yadkv_consensus::OpenError> {
        let mut counted = Self::default();
        let mut next = log.truncated_index(GROUP)?.unwrap_or_default().next();
        while next <= applied {
            for entry in log.entries(GROUP, next, applied)? {
                counted.applied(config, &entry);
                next = Index(entry.index).next();
            }
        }
        Ok(counted)
    }

    /// An entry was applied.
    pub(super) fn applied(&mut self, config: &LogConfig, entry: &LogEntry) {
        let full = |stretch: &Stretch| {
            stretch.entries * STRETCH >= config.keep_entries
                || stretch.bytes * STRETCH >= config.keep_bytes
        };
        if self.stretches.back().is_none_or(full) {
            self.stretches.push_back(Stretch::default());
        }
        let bytes = (entry.data.len() + entry.context.len()) as u64 + ENTRY_BYTES;
        if let Some(stretch) = self.stretches.back_mut() {
            stretch.last = Index(entry.index);
            stretch.entries += 1;
            stretch.bytes += bytes;
        }
        self.entries += 1;
        self.bytes += bytes;
    }

    /// The end of what need not be kept, if that is enough to be worth it.
    fn due(&self, config: &LogConfig) -> Option<Index> {
        let (mut entries, mut bytes) = (0, 0);
        let mut end = None;
        for stretch in &self.stretches {
            let (gone, gone_bytes) = (entries + stretch.entries, bytes + stretch.bytes);
            if self.entries - gone < config.keep_entries
                && self.bytes - gone_bytes < config.keep_bytes
            {
                break;
            }
            (entries, bytes) = (gone, gone_bytes);
            end = Some(stretch.last);
        }
        let worth = entries * SLACK >= config.keep_entries || bytes * SLACK >= config.keep_bytes;
        end.filter(|_| worth)
    }

    /// The state engine holds everything up to `index` durably.
    pub(super) fn durable(&mut self, index: Index) {
        self.asked = None;
        self.durable = self.durable.max(index);
    }

    /// The last end of a stretch up to `limit`.
    fn end_within(&self, limit: Index) -> Option<Index> {
        let ends = self.stretches.iter().map(|stretch| stretch.last);
        ends.take_while(|end| *end <= limit).last()
    }

    /// Everything up to `end` has left.
    fn left(&mut self, end: Index) {
        while let Some(stretch) = self.stretches.front().copied()
            && stretch.last <= end
        {
            self.stretches.pop_front();
            self.entries -= stretch.entries;
            self.bytes -= stretch.bytes;
        }
    }
}

impl Member {
    /// The position up to which the state engine shall be made durable (`Engine::sync`, on any thread), if one is wanted:
    /// say that it is with [`super::Input::Durable`].
    pub fn flush(&mut self, now: Now) -> Option<Index> {
        let due = self.truncation.due(&self.config.log)?;
        let asked = self.truncation.asked;
        let waits = asked.is_some_and(|since| now.moment.since(since) < ASK_MAX);
        if due <= self.truncation.durable || waits || self.arrival.is_some() {
            return None;
        }
        self.truncation.asked = Some(now.moment);
        Some(self.cluster.applied().0)
    }

    /// The prefix that may leave now.
    pub(super) fn prefix(&self) -> Option<Index> {
        let due = self.truncation.due(&self.config.log)?;
        let durable = match planted::is(Planted::LogTruncatedBeforeFlush) {
            true => self.cluster.applied().0,
            false => self.truncation.durable,
        };
        // Nobody lacks nothing and is sent the state: what is left are the positions of transfers, and the log's end.
        let needed = self.node.replicated_index_within(0).unwrap_or(due);
        let limit = due.min(durable).min(needed);
        // `consensus` knows as applied what `persisted` told it.
        let limit = limit.min(self.node.applied_index());
        self.truncation.end_within(limit)
    }

    /// Takes it out of the log.
    pub(super) fn truncate(&mut self, batch: &mut WriteBatch) {
        if let Some(end) = self.prefix() {
            self.node.truncate(end, batch);
            self.truncation.left(end);
        }
    }

    /// Applied entries that the log holds.
    pub fn log_entries(&self) -> u64 {
        self.truncation.entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(keep_entries: u64, keep_bytes: u64) -> LogConfig {
        LogConfig {
            keep_entries,
            keep_bytes,
            ..LogConfig::default()
        }
    }

    fn fill(config: &LogConfig, entries: u64, bytes: usize) -> Truncation {
        let mut truncation = Truncation::default();
        for index in 1..=entries {
            let entry = LogEntry {
                index,
                data: vec![0; bytes].into(),
                ..LogEntry::default()
            };
            truncation.applied(config, &entry);
        }
        truncation
    }

    #[test]
    fn the_last_entries_stay() {
        let config = config(640, u64::MAX >> 8);
        for entries in [0, 1, 640, 679] {
            assert_eq!(fill(&config, entries, 10).due(&config), None, "{entries}");
        }
        let mut truncation = fill(&config, 700, 10);
        let end = truncation.due(&config);
        assert_eq!(end, Some(Index(60)), "whole stretches of ten");
        truncation.left(Index(60));
        assert_eq!(truncation.entries, 640);
        assert_eq!(truncation.due(&config), None);
    }

    #[test]
    fn the_last_bytes_stay() {
        let config = config(1 << 30, 64_000);
        assert_eq!(fill(&config, 64, 968).due(&config), None);
        let truncation = fill(&config, 100, 968);
        assert_eq!(truncation.due(&config), Some(Index(36)));
    }

    #[test]
    fn one_large_entry_takes_the_place_of_many() {
        let config = config(1 << 30, 64_000);
        let truncation = fill(&config, 3, 100_000);
        assert_eq!(truncation.due(&config), Some(Index(2)));
    }
}
