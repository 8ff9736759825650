//! The logs and hard states of all Raft groups of one process, in one engine.
//!
//! *Place*: servers open one store over the `raft/` engine; every [`crate::Node`] takes a clone of it. It calls
//! the engine; another log engine may take its place behind this type.
//!
//! *Types to know*: [`LogStore`]; [`crate::storage`] is the view of one group that raft-rs reads through.
//!
//! *Life of an append*: [`crate::Node::ready`] puts entries and hard state of one group into the caller's
//! batch → the caller adds those of other groups and writes all with one sync → [`crate::Node::persisted`]
//! tells the group's view what is durable now.
//!
//! *Invariants*: nothing is written here except the format record of an empty store; every other write goes
//! through the caller's batch. State of a group is created only where none exists (a child region's vote and
//! log may be older than the split that this store has yet to apply).
//!
//! *Limits and failure*: a store of a newer format is refused; damage names the group. Entries in memory are
//! bounded in bytes over all groups ([`crate::entry_cache`]).
//!
//! *Next stop*: [`crate::storage`].

use crate::entry_cache::Budget;
use crate::error::OpenError;
use crate::layout::{self, HardState, Malformed, Truncated};
use crate::planted::{self, Planted};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use yadkv_engine::{Direction, Durability, LogEngine, WriteBatch};
use yadkv_proto::id::{Index, PeerId, RegionId, Term};
use yadkv_proto::yadkvpb::LogEntry;

/// Position before the first entry of a bootstrapped or split group. An uninitialised replica starts at 0, so
/// that it is sent a snapshot and never a log from 1.
pub const FIRST_INDEX: Index = Index(5);
/// Entries that are read at once.
pub const READ_MAX: u64 = 256;
/// Bytes of entries after which a read ends.
pub const READ_BYTES_MAX: usize = 4 << 20;

/// Term of that position.
pub const FIRST_TERM: Term = Term(5);

/// Logs and hard states of many groups. Cheap to clone.
#[derive(Clone)]
pub struct LogStore {
    engine: Arc<dyn LogEngine>,
    budget: Arc<Budget>,
    /// Nodes that were opened over it.
    opened: Arc<AtomicU64>,
}

impl LogStore {
    /// Takes an engine opened with [`crate::FAMILIES`]. Entries of all groups in memory stay below
    /// `cache_bytes_max`. Checks the format, and writes it into an empty store.
    ///
    /// A killed process leaves what it wrote and never synced. Raft will count on all of it, as acknowledged entries
    /// and given votes, so it becomes durable before anybody reads it.
    pub fn open(engine: Arc<dyn LogEngine>, cache_bytes_max: usize) -> Result<Self, OpenError> {
        engine.sync()?;
        match engine.get(layout::STATE, layout::FORMAT_KEY)?.as_deref() {
            None => {
                let mut batch = WriteBatch::new();
                batch.put(layout::STATE, layout::FORMAT_KEY, vec![layout::FORMAT]);
                engine.write(batch, Durability::Synced)?;
            }
            Some(&[layout::FORMAT]) => {}
            Some(other) => {
                return Err(OpenError::TooNew {
                    found: other.first().copied().unwrap_or(u8::MAX),
                    known: layout::FORMAT,
                });
            }
        }
        Ok(Self {
            engine,
            budget: Budget::new(cache_bytes_max),
            opened: Arc::default(),
        })
    }

    /// The groups that have state here, ascending.
    pub fn groups(&self) -> Result<Vec<RegionId>, OpenError> {
        let (start, end) = layout::state_bounds();
        let mut groups = Vec::new();
        self.engine.scan(
            layout::STATE,
            &start,
            &end,
            Direction::Forward,
            &mut |key, _| {
                groups.extend(layout::hard_state_group(key));
                ControlFlow::Continue(())
            },
        )?;
        Ok(groups)
    }

    /// Adds the first state of a bootstrapped or split group to `batch`. False, and nothing added, if the group
    /// has state already: that is older than this call and must stay. So does the vote that the replica gave before it
    /// existed ([`crate::unborn`]).
    pub fn bootstrap(
        &self,
        group: RegionId,
        peer: PeerId,
        batch: &mut WriteBatch,
    ) -> Result<bool, OpenError> {
        // Group 0 is the placement driver's, which bootstraps at every start.
        let reset = planted::is(Planted::GroupStateReset) && group != RegionId(0);
        if self.truncated(group)?.is_some() && !reset {
            return Ok(false);
        }
        let early = self.hard_state(group)?;
        let early = early.filter(|state| state.peer == peer && state.term > FIRST_TERM && !reset);
        let first = HardState {
            peer,
            term: FIRST_TERM,
            ..HardState::default()
        };
        let state = HardState {
            commit: FIRST_INDEX,
            ..early.unwrap_or(first)
        };
        let truncated = Truncated {
            index: FIRST_INDEX,
            term: FIRST_TERM,
        };
        batch.put(
            layout::STATE,
            layout::hard_state_key(group),
            layout::encode_hard_state(&state),
        );
        batch.put(
            layout::STATE,
            layout::truncated_key(group),
            layout::encode_truncated(&truncated),
        );
        Ok(true)
    }

    /// Adds to `batch` what a replica begins with whose state came by a snapshot of position (`index`, `term`): its log
    /// is empty after that. Whatever is there of the same replica loses its log and keeps term and vote; state of another
    /// (earlier) replica is forgotten. Doing it twice changes nothing, as long as the replica was not opened in between.
    pub fn reset(
        &self,
        group: RegionId,
        peer: PeerId,
        (index, term): (Index, Term),
        batch: &mut WriteBatch,
    ) -> Result<(), OpenError> {
        let known = self.hard_state(group)?;
        let mut state = known
            .filter(|state| state.peer == peer)
            .unwrap_or(HardState {
                peer,
                ..HardState::default()
            });
        if state.term < term {
            state.term = term;
            state.vote = PeerId::NONE;
        }
        state.commit = index;
        self.delete_log(group, batch);
        let truncated = Truncated { index, term };
        batch.put(
            layout::STATE,
            layout::hard_state_key(group),
            layout::encode_hard_state(&state),
        );
        batch.put(
            layout::STATE,
            layout::truncated_key(group),
            layout::encode_truncated(&truncated),
        );
        Ok(())
    }

    /// Adds the end of a replica to `batch`: nothing of the group stays.
    pub fn wipe(&self, group: RegionId, batch: &mut WriteBatch) {
        self.delete_log(group, batch);
        batch.delete(layout::STATE, layout::hard_state_key(group));
        batch.delete(layout::STATE, layout::truncated_key(group));
    }

    /// The replica that the log of a group belongs to; `None` if there is none, also where one that does not exist yet
    /// has voted ([`crate::unborn`]).
    pub fn owner(&self, group: RegionId) -> Result<Option<PeerId>, OpenError> {
        let begun = self.truncated(group)?.is_some();
        let state = self.hard_state(group)?.filter(|_| begun);
        Ok(state.map(|state| state.peer))
    }

    /// Entries `first..=last` as they are on the disk, at most [`READ_MAX`] of them and no more once they have
    /// [`READ_BYTES_MAX`], but at least one; an error if one is missing. The caller knows that they are committed, and
    /// were on this disk: nothing will ever replace them.
    pub fn entries(
        &self,
        group: RegionId,
        first: Index,
        last: Index,
    ) -> Result<Vec<LogEntry>, OpenError> {
        let damaged = |reason: String| OpenError::Damaged { group, reason };
        let end = last.min(Index(first.0.saturating_add(READ_MAX - 1)));
        let mut entries: Vec<LogEntry> = Vec::new();
        let (mut problem, mut bytes) = (None, 0);
        self.engine.scan(
            layout::LOG,
            &layout::entry_key(group, first),
            &layout::entry_key(group, end.next()),
            Direction::Forward,
            &mut |_, value| match layout::decode_entry(&bytes::Bytes::copy_from_slice(value)) {
                Ok(entry) => {
                    bytes += entry.data.len() + entry.context.len();
                    entries.push(entry);
                    match bytes >= READ_BYTES_MAX {
                        true => ControlFlow::Break(()),
                        false => ControlFlow::Continue(()),
                    }
                }
                Err(error) => {
                    problem = Some(error.to_string());
                    ControlFlow::Break(())
                }
            },
        )?;
        if let Some(reason) = problem {
            return Err(damaged(reason));
        }
        let mut wanted = first;
        for entry in &entries {
            if entry.index != wanted.0 {
                break;
            }
            wanted = wanted.next();
        }
        let cut = bytes >= READ_BYTES_MAX && wanted.0 == first.0 + entries.len() as u64;
        if wanted <= end && !cut {
            return Err(damaged(format!("entry {wanted} is missing")));
        }
        Ok(entries)
    }

    fn delete_log(&self, group: RegionId, batch: &mut WriteBatch) {
        batch.delete_range(
            layout::LOG,
            layout::entry_key(group, Index(0)),
            layout::entry_key(group, Index(u64::MAX)),
        );
    }

    pub(crate) fn hard_state(&self, group: RegionId) -> Result<Option<HardState>, OpenError> {
        let found = self
            .engine
            .get(layout::STATE, &layout::hard_state_key(group))?;
        let decode = |bytes: bytes::Bytes| layout::decode_hard_state(&bytes);
        found
            .map(decode)
            .transpose()
            .map_err(|error| OpenError::Damaged {
                group,
                reason: format!("hard state: {error}"),
            })
    }

    /// The last position that is no longer in a group's log, as the engine has it; `None` without such a group.
    pub fn truncated_index(&self, group: RegionId) -> Result<Option<Index>, OpenError> {
        Ok(self.truncated(group)?.map(|truncated| truncated.index))
    }

    /// The engine that holds everything.
    pub fn engine(&self) -> &Arc<dyn LogEngine> {
        &self.engine
    }

    /// A number for each node that is opened: a replica may be opened again in one life of the process.
    pub(crate) fn count_open(&self) -> u64 {
        self.opened.fetch_add(1, Ordering::Relaxed)
    }

    /// Bytes of entries held in memory, over all groups.
    pub fn cached_bytes(&self) -> usize {
        self.budget.used()
    }

    pub(crate) fn budget(&self) -> Arc<Budget> {
        Arc::clone(&self.budget)
    }

    /// The two state records of a group.
    pub(crate) fn load(&self, group: RegionId) -> Result<(HardState, Truncated), OpenError> {
        let state = self.hard_state(group)?.ok_or(OpenError::Missing(group))?;
        let truncated = self.truncated(group)?;
        let truncated = truncated.ok_or_else(|| no_position(group, Malformed::Damaged))?;
        Ok((state, truncated))
    }

    fn truncated(&self, group: RegionId) -> Result<Option<Truncated>, OpenError> {
        let key = layout::truncated_key(group);
        let found = self.engine.get(layout::STATE, &key)?;
        let decode = |bytes: bytes::Bytes| layout::decode_truncated(&bytes);
        let decoded = found.map(decode).transpose();
        decoded.map_err(|error| no_position(group, error))
    }
}

fn no_position(group: RegionId, error: Malformed) -> OpenError {
    OpenError::Damaged {
        group,
        reason: format!("truncated position: {error}"),
    }
}
