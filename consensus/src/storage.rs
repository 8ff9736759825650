//! One group's log as raft-rs reads it.
//!
//! *Place*: owned by the raft-rs node inside [`crate::Node`], which also calls the methods that write; reads go
//! to [`crate::terms`] and [`crate::entry_cache`] first and to the engine second.
//!
//! *Types to know*: [`GroupLog`].
//!
//! *Life of an append*: [`GroupLog::append`] puts entries, and deletions of a conflicting suffix, into the
//! caller's batch and changes nothing here → the batch is written → [`GroupLog::appended`] lets readers see it.
//! Between the two, raft-rs answers from its own unstable part and never asks this log about those positions.
//!
//! *Invariants*: positions `first..=last` are readable, without holes; an entry read from disk has the index of
//! its key, or the log is damaged.
//!
//! *Limits and failure*: raft-rs ends the process when its storage fails, so reads here never fail towards it:
//! they note the damage, return something harmless, and [`crate::Node`] throws away whatever raft-rs made of it
//! and goes into quarantine. Reads are bounded by the bytes asked for. A snapshot is a position only, the applied one:
//! the state itself is the caller's ([`crate::Config::sends_snapshots`]).
//!
//! *Source*: raft-rs, trait `Storage`.
//!
//! *Next stop*: `engine`.

use crate::entry_cache::EntryCache;
use crate::error::OpenError;
use crate::layout::{self, HardState, Truncated};
use crate::log_store::LogStore;
use crate::message;
use crate::terms::Terms;
use crate::{Members, config::Config};
use raft::eraftpb::{ConfState, Entry, Snapshot};
use raft::{GetEntriesContext, RaftState, Storage, StorageError};
use std::cell::RefCell;
use std::ops::ControlFlow;
use yadkv_engine::{Direction, WriteBatch};
use yadkv_proto::id::{Index, RegionId, Term};

/// The log, hard state and members of one group.
pub(crate) struct GroupLog {
    group: RegionId,
    store: LogStore,
    members: ConfState,
    /// What the state machine holds, as far as the node was told.
    applied: Index,
    sends_snapshots: bool,
    /// As on disk, except that `commit` may be ahead after a restart: then it is what the state machine durably holds.
    hard_state: HardState,
    truncated: Truncated,
    terms: Terms,
    cache: EntryCache,
    /// First damage found while reading; never cleared.
    damage: RefCell<Option<String>>,
}

impl GroupLog {
    /// Loads and checks the state of a group. `applied` is what the state machine holds; the commit position
    /// on disk may be behind it, since it is written only now and then.
    pub(crate) fn open(
        config: &Config,
        store: LogStore,
        members: &Members,
        applied: Index,
    ) -> Result<Self, OpenError> {
        let group = config.group;
        let (mut hard_state, truncated) = store.load(group)?;
        if hard_state.peer != config.peer {
            return Err(OpenError::OtherPeer {
                group,
                found: hard_state.peer,
                wanted: config.peer,
            });
        }
        let mut log = Self {
            group,
            cache: EntryCache::new(store.budget()),
            store,
            members: members.conf_state(),
            applied,
            sends_snapshots: config.sends_snapshots,
            hard_state,
            truncated,
            terms: Terms::new(truncated.index, truncated.term),
            damage: RefCell::new(None),
        };
        if let Some(last) = log.read_last()? {
            log.terms = Terms::new(Index(last.index), Term(last.term));
        }
        hard_state.commit = hard_state.commit.max(applied);
        log.hard_state = hard_state;
        log.check(applied)?;
        Ok(log)
    }

    // ANCHOR: check
    fn check(&self, applied: Index) -> Result<(), OpenError> {
        let (commit, last) = (self.hard_state.commit, self.terms.last());
        let reason = if applied < self.truncated.index {
            format!(
                "applied {applied} is before the log's start {}",
                self.truncated.index
            )
        } else if commit > last {
            format!("committed {commit} is beyond the log's end {last}")
        } else if self.terms.last_term() > self.hard_state.term {
            format!(
                "the last entry has {}, later than {}",
                self.terms.last_term(),
                self.hard_state.term
            )
        } else {
            return Ok(());
        };
        Err(OpenError::Damaged {
            group: self.group,
            reason,
        })
    }
    // ANCHOR_END: check

    /// The state machine holds everything up to `index`.
    pub(crate) fn applied(&mut self, index: Index) {
        self.applied = index;
    }

    /// The members have changed.
    pub(crate) fn set_members(&mut self, members: &Members) {
        self.members = members.conf_state();
    }

    /// The first damage found while reading.
    pub(crate) fn damage(&self) -> Option<String> {
        self.damage.borrow().clone()
    }

    pub(crate) fn is_damaged(&self) -> bool {
        self.damage.borrow().is_some()
    }

    pub(crate) fn hard_state(&self) -> HardState {
        self.hard_state
    }

    /// Puts `entries` into `batch`, and takes out of the log what they replace.
    pub(crate) fn append(&self, entries: &[Entry], batch: &mut WriteBatch) {
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else {
            return;
        };
        let old_last = self.terms.last().0;
        assert!(
            first.index > self.truncated.index.0 && first.index <= old_last + 1,
            "an append continues or overwrites the log"
        );
        for entry in entries {
            let key = layout::entry_key(self.group, Index(entry.index));
            let value = layout::encode_entry(&message::entry_out(entry.clone()));
            batch.put(layout::LOG, key, value);
        }
        for index in last.index + 1..=old_last {
            batch.delete(layout::LOG, layout::entry_key(self.group, Index(index)));
        }
    }

    /// Puts the hard state into `batch`.
    pub(crate) fn put_hard_state(&self, state: &HardState, batch: &mut WriteBatch) {
        batch.put(
            layout::STATE,
            layout::hard_state_key(self.group),
            layout::encode_hard_state(state),
        );
    }

    /// What [`Self::append`] put into a batch is durable now.
    pub(crate) fn appended(&mut self, entries: Vec<Entry>) {
        for entry in &entries {
            self.terms.append(Index(entry.index), Term(entry.term));
        }
        self.cache.append(entries);
    }

    /// What [`Self::put_hard_state`] put into a batch is durable now.
    pub(crate) fn hard_state_written(&mut self, state: HardState) {
        self.hard_state = state;
    }

    /// Takes entries up to `index` out of the log: what is behind it stays readable. In one batch, so that the log and
    /// where it begins never disagree; nobody reads in between.
    pub(crate) fn truncate(&mut self, index: Index, batch: &mut WriteBatch) {
        assert!(
            index > self.truncated.index && index <= self.terms.last(),
            "a log is cut off inside"
        );
        let Some(term) = self.term_at(index) else {
            // Damage, which is noted: nothing is taken out of such a log.
            return;
        };
        batch.delete_range(
            layout::LOG,
            layout::entry_key(self.group, self.truncated.index.next()),
            layout::entry_key(self.group, index.next()),
        );
        self.truncated = Truncated { index, term };
        batch.put(
            layout::STATE,
            layout::truncated_key(self.group),
            layout::encode_truncated(&self.truncated),
        );
        self.cache.release(index);
    }

    /// The last position that is no longer in the log.
    pub(crate) fn truncated_index(&self) -> Index {
        self.truncated.index
    }

    /// Nobody will read entries up to `index` soon.
    pub(crate) fn release(&mut self, index: Index) {
        self.cache.release(index);
    }

    /// The term at a position of the log; `None` outside of it, or if it cannot be read.
    pub(crate) fn term_at(&self, index: Index) -> Option<Term> {
        if index == self.truncated.index {
            return Some(self.truncated.term);
        }
        if index < self.truncated.index || index > self.terms.last() {
            return None;
        }
        if let Some(term) = self.terms.get(index) {
            return Some(term);
        }
        if let Some(entry) = self.cache.get(index) {
            return Some(Term(entry.term));
        }
        self.read(index, index.next(), u64::MAX)
            .first()
            .map(|entry| Term(entry.term))
    }

    /// Entries `low..high` from the engine, at most `bytes_max` but at least one; fewer if the log is damaged.
    fn read(&self, low: Index, high: Index, bytes_max: u64) -> Vec<Entry> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut bytes = 0_u64;
        let mut cut = false;
        let mut problem = None;
        let scanned = self.store.engine().scan(
            layout::LOG,
            &layout::entry_key(self.group, low),
            &layout::entry_key(self.group, high),
            Direction::Forward,
            &mut |key, value| {
                let wanted = Index(low.0 + entries.len() as u64);
                match decode(key, value, wanted) {
                    Ok(entry) => {
                        bytes += size(&entry);
                        if bytes > bytes_max && !entries.is_empty() {
                            cut = true;
                            return ControlFlow::Break(());
                        }
                        entries.push(entry);
                        ControlFlow::Continue(())
                    }
                    Err(reason) => {
                        problem = Some(reason);
                        ControlFlow::Break(())
                    }
                }
            },
        );
        if let Err(error) = scanned {
            problem = Some(error.to_string());
        }
        let next = Index(low.0 + entries.len() as u64);
        if problem.is_none() && !cut && next < high {
            problem = Some(format!("entry {next} is missing"));
        }
        if let Some(reason) = problem {
            self.note_damage(reason);
        }
        entries
    }

    fn read_last(&self) -> Result<Option<Entry>, OpenError> {
        let mut last = None;
        let start = layout::entry_key(self.group, self.truncated.index.next());
        let end = layout::entry_key(self.group, Index(u64::MAX));
        self.store.engine().scan(
            layout::LOG,
            &start,
            &end,
            Direction::Backward,
            &mut |key, value| {
                let index = layout::entry_index(key).unwrap_or_default();
                last = Some(decode(key, value, index));
                ControlFlow::Break(())
            },
        )?;
        last.transpose().map_err(|reason| OpenError::Damaged {
            group: self.group,
            reason,
        })
    }

    /// Notes the first damage: nothing of this log is believed any more.
    pub(crate) fn note_damage(&self, reason: String) {
        self.damage
            .borrow_mut()
            .get_or_insert_with(|| format!("log of {}: {reason}", self.group));
    }
}

impl Storage for GroupLog {
    fn initial_state(&self) -> raft::Result<RaftState> {
        let state = raft::eraftpb::HardState {
            term: self.hard_state.term.0,
            vote: self.hard_state.vote.0,
            commit: self.hard_state.commit.0,
            ..Default::default()
        };
        Ok(RaftState::new(state, self.members.clone()))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _context: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        if low <= self.truncated.index.0 {
            return Err(StorageError::Compacted.into());
        }
        assert!(
            high <= self.terms.last().0 + 1,
            "raft-rs asks for durable entries only"
        );
        let bytes_max = max_size.into().unwrap_or(u64::MAX);
        let cached = self.cache.first().map_or(high, |first| first.0.min(high));
        let mut entries = Vec::new();
        if low < cached {
            entries = self.read(Index(low), Index(cached), bytes_max);
            if low + entries.len() as u64 != cached {
                return Ok(entries);
            }
        }
        let mut bytes: u64 = entries.iter().map(size).sum();
        let start = low.max(cached);
        for entry in self.cache.from(Index(start)) {
            bytes += size(entry);
            if entry.index >= high || (bytes > bytes_max && !entries.is_empty()) {
                break;
            }
            entries.push(entry.clone());
        }
        Ok(entries)
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        let index = Index(index);
        if index < self.truncated.index {
            return Err(StorageError::Compacted.into());
        }
        if index > self.terms.last() {
            return Err(StorageError::Unavailable.into());
        }
        // 0 is no term: it makes raft-rs treat the position as not matching, and the node is in quarantine
        // before anything that follows from it can leave.
        Ok(self.term_at(index).unwrap_or(Term::NONE).0)
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.truncated.index.0 + 1)
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.terms.last().0)
    }

    fn snapshot(&self, _request_index: u64, _to: u64) -> raft::Result<Snapshot> {
        let term = self.term_at(self.applied);
        let (true, Some(term)) = (self.sends_snapshots, term) else {
            return Err(StorageError::SnapshotTemporarilyUnavailable.into());
        };
        let mut snapshot = Snapshot::default();
        let metadata = snapshot.mut_metadata();
        metadata.index = self.applied.0;
        metadata.term = term.0;
        metadata.set_conf_state(self.members.clone());
        Ok(snapshot)
    }
}

fn decode(key: &[u8], value: &[u8], index: Index) -> Result<Entry, String> {
    let value = bytes::Bytes::copy_from_slice(value);
    let entry = layout::decode_entry(&value).map_err(|error| format!("entry {index}: {error}"))?;
    if layout::entry_index(key) != Some(index) || entry.index != index.0 {
        return Err(format!("entry {index} is missing"));
    }
    message::entry_in(entry).map_err(|error| format!("entry {index}: {error}"))
}

fn size(entry: &Entry) -> u64 {
    raft::util::entry_approximate_size(entry) as u64
}
