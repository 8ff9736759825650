//! Committed entries become data.
//!
//! *Place*: workers hand over [`ApplyTask`]s; the caller writes [`Prepared::batch`] to the data engine and
//! calls [`Prepared::finish`]; the [`Applied`] results go back to the workers.
//!
//! *Life of an entry*: decoded → its `now_ms` moves the region clock on → each command is judged under the
//! version it was checked under → changes staged, outcome noted → data and [`AppliedRecord`] of all regions
//! in one batch → written → clocks published → callers answered → worker told.
//!
//! *Invariants*: entries of a region are applied once and in order (asserted); what an entry does depends on
//! the entry and the applied state alone, never on a local clock; replies leave after the write.
//!
//! *Limits and failure*: an entry that cannot be decoded was damaged or written by a later release: the
//! region must not go on, [`ApplyError`] stops the node.
//!
//! *Source*: Raft paper section 5.3 (state machine safety).
//!
//! *Next stop*: [`staged`], then `engine`.

mod command;
mod members;
mod replica;
mod split;
mod staged;

pub use replica::{Change, MembersDone, Progress, SplitDone};

use crate::layout::{self, FORMAT};
use crate::refusal;
use crate::respond::{Outcome, Responder};
use crate::view::{Directory, RegionView};
use command::Rejection;
use prost::Message;
use replica::Replica;
use staged::Staged;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;
use yadkv_consensus::MEMBERS_ENTRY;
use yadkv_engine::{Durability, Engine, WriteBatch};
use yadkv_proto::id::{Index, RegionId, Term};
use yadkv_proto::storagepb::AppliedRecord;
use yadkv_proto::yadkvpb::command::Operation;
use yadkv_proto::yadkvpb::{LogEntry, RegionEntry};

/// Committed entries of one region, in order.
#[derive(Debug)]
pub struct ApplyTask {
    /// The region.
    pub region: RegionId,
    /// The entries.
    pub entries: Vec<LogEntry>,
    /// Callers of commands proposed here, by the entry that carries them: one per command, in order.
    pub responders: BTreeMap<Index, Vec<Responder>>,
}

/// How far a region is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The region.
    pub region: RegionId,
    /// Last applied entry.
    pub index: Index,
    /// Its term.
    pub term: Term,
    /// Region clock, milliseconds since the epoch.
    pub clock_ms: u64,
    /// Latest expiry ever written; 0 if none.
    pub latest_expiry_ms: u64,
}

/// Apply cannot go on; stop the node and name the place.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// An entry is damaged or from a later release.
    #[error("region {region}: entry {index} cannot be applied: {reason}")]
    Entry {
        /// The region.
        region: RegionId,
        /// Position in its log.
        index: Index,
        /// What is wrong.
        reason: String,
    },
    /// A conditional write could not read.
    #[error(transparent)]
    Engine(#[from] yadkv_engine::Error),
    /// A stored value is damaged.
    #[error(transparent)]
    Record(#[from] layout::RecordError),
    /// The applied state could not be read.
    #[error(transparent)]
    Load(#[from] layout::LoadError),
    /// A task for a region that was never opened here: a bug of the caller.
    #[error("region {0} is not open for apply")]
    Unknown(RegionId),
}

/// Applies the entries of the regions it was given.
pub struct Applier {
    engine: Arc<dyn Engine>,
    directory: Arc<Directory>,
    replicas: BTreeMap<RegionId, Replica>,
}

/// Changes that wait to be written, and who waits for them.
pub struct Prepared {
    /// For the data engine, in one write.
    pub batch: WriteBatch,
    /// How it is written: buffered, since the log can replay it, unless a region changed.
    pub durability: Durability,
    progress: Vec<(Arc<RegionView>, Progress)>,
    answers: Vec<(Responder, Result<Outcome, Rejection>)>,
}

impl Applier {
    /// An applier without regions.
    pub fn new(engine: Arc<dyn Engine>, directory: Arc<Directory>) -> Self {
        Self {
            engine,
            directory,
            replicas: BTreeMap::new(),
        }
    }

    /// The replica of a region is over, or begins anew from other state. What was prepared of it is written.
    pub fn forget(&mut self, region: RegionId) {
        self.replicas.remove(&region);
        self.directory.remove(region);
    }

    /// Works out what the tasks change.
    pub fn prepare(&mut self, tasks: Vec<ApplyTask>) -> Result<Prepared, ApplyError> {
        let mut staged = Staged::new(self.engine.clone());
        let mut touched = BTreeMap::new();
        let mut answers = Vec::new();
        for mut task in tasks {
            let view = self
                .directory
                .get(task.region)
                .ok_or(ApplyError::Unknown(task.region))?;
            let replica = match self.replicas.entry(task.region) {
                Entry::Occupied(replica) => replica.into_mut(),
                Entry::Vacant(vacant) => vacant.insert(Replica::load(&*self.engine, task.region)?),
            };
            for entry in task.entries {
                // Nobody knows a replica that is no member any more.
                if replica.is_over() {
                    break;
                }
                let responders = task
                    .responders
                    .remove(&Index(entry.index))
                    .unwrap_or_default();
                apply_entry(&mut staged, replica, entry, responders, &mut answers)?;
            }
            touched.insert(task.region, view);
        }
        let mut progress = Vec::with_capacity(touched.len());
        for (region, view) in touched {
            if let Some(replica) = self.replicas.get_mut(&region) {
                if replica.is_over() {
                    view.end();
                } else {
                    staged.put_meta(layout::applied_key(region), replica.applied.record());
                }
                progress.push((view, replica.take_progress()));
            }
        }
        let (batch, durability) = staged.into_batch();
        Ok(Prepared {
            batch,
            durability,
            progress,
            answers,
        })
    }
}

impl Applied {
    /// The record that keeps it.
    pub fn record(&self) -> bytes::Bytes {
        AppliedRecord {
            format: FORMAT,
            index: self.index.0,
            term: self.term.0,
            clock_ms: self.clock_ms,
            latest_expiry_ms: self.latest_expiry_ms,
        }
        .encode_to_vec()
        .into()
    }
}

fn apply_entry(
    staged: &mut Staged,
    replica: &mut Replica,
    entry: LogEntry,
    responders: Vec<Responder>,
    answers: &mut Vec<(Responder, Result<Outcome, Rejection>)>,
) -> Result<(), ApplyError> {
    let index = Index(entry.index);
    let region = replica.applied.region;
    assert_eq!(
        index,
        replica.applied.index.next(),
        "region {region}: entries apply in order"
    );
    let refuse = |reason: String| ApplyError::Entry {
        region,
        index,
        reason,
    };
    let (changes_members, packed) = match entry.kind {
        0 => (false, entry.data),
        MEMBERS_ENTRY => (true, entry.context),
        other => {
            let reason = format!("entry kind {other} is not known to this release");
            return Err(refuse(reason));
        }
    };
    if !packed.is_empty() {
        let packed = RegionEntry::decode(packed).map_err(|error| refuse(error.to_string()))?;
        if packed.format != FORMAT {
            return Err(refuse(format!(
                "entry format {} is not known to this release",
                packed.format
            )));
        }
        let clock_ms = &mut replica.applied.clock_ms;
        *clock_ms = packed.now_ms.max(*clock_ms);
        let mut responders = responders.into_iter();
        for command in packed.commands {
            let about_members = matches!(command.operation, Some(Operation::ChangePeers(_)));
            if about_members != changes_members {
                return Err(refuse("its kind and its commands do not fit".into()));
            }
            let outcome = command::apply(staged, replica, command)?;
            if let Some(responder) = responders.next() {
                answers.push((responder, outcome));
            }
        }
    }
    replica.applied.index = index;
    replica.applied.term = Term(entry.term);
    Ok(())
}

impl Prepared {
    /// After the batch was written: publishes the clocks, answers the callers, tells what was applied.
    pub fn finish(self) -> Vec<Progress> {
        let mut done = Vec::with_capacity(self.progress.len());
        for (view, progress) in self.progress {
            view.advance_clock(progress.applied.clock_ms);
            done.push(progress);
        }
        for (responder, outcome) in self.answers {
            match outcome {
                Ok(outcome) => responder.done(outcome),
                Err(Rejection::EpochChanged(region)) => {
                    responder.refuse(refusal::epoch_not_match(vec![region]))
                }
                Err(Rejection::Invalid(reason)) => responder.invalid(reason),
            }
        }
        done
    }
}
