//! Committed entries become data.
//!
//! *Place*: workers hand over [`ApplyTask`]s; the caller writes [`Prepared::batch`] to the data engine and
//! calls [`Prepared::finish`]; the [`Applied`] results go back to the workers.
//!
//! *Life of an entry*: handed down with its caller, or read from the log if apply was behind ([`queue`]) → decoded → its `now_ms` moves the region clock on → each command is judged under the
//! version it was checked under → changes staged, outcome noted → data and [`AppliedRecord`] of all regions
//! in one batch → written → clocks published → callers answered → worker told.
//!
//! *Invariants*: entries of a region are applied once and in order (asserted); what an entry does depends on
//! the entry and the applied state alone, never on a local clock; replies leave after the write.
//!
//! *Limits and failure*: a write holds about [`crate::config::Config::apply_bytes`] of entries. An entry that cannot be decoded was damaged or written by a later release: the
//! region must not go on, [`ApplyError`] stops the node. One that has to read damaged data ends what its replica applies,
//! and nothing else: the replica is replaced ([`crate::damage`]).
//!
//! *Source*: Raft paper section 5.3 (state machine safety).
//!
//! *Next stop*: [`queue`], [`staged`], then `engine`.

mod command;
mod members;
pub(crate) mod merge;
mod parked;
pub mod queue;
mod replica;
mod split;
mod staged;

pub use replica::{Change, MembersDone, MergedDone, Progress, SplitDone};

use crate::check::Point;
use crate::layout::{self, FORMAT};
use crate::planted::{self, Planted};
use crate::refusal;
use crate::respond::{Outcome, Responder};
use crate::view::{Directory, RegionView};
use command::Rejection;
use parked::{Parked, Until};
use prost::Message;
use queue::{ApplyTask, size};
use replica::Replica;
use staged::Staged;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use yadkv_consensus::{LogStore, MEMBERS_ENTRY};
use yadkv_engine::{Durability, Engine, WriteBatch};
use yadkv_proto::id::{Index, PeerId, RegionId, Term};
use yadkv_proto::metapb::{Region, RegionEpoch};
use yadkv_proto::storagepb::AppliedRecord;
use yadkv_proto::yadkvpb::command::Operation;
use yadkv_proto::yadkvpb::{Command, CommitMerge, LogEntry, RegionEntry};

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
    /// The log lacks something that is committed.
    #[error("committed entries cannot be read: {0}")]
    Log(String),
}

/// Applies the entries of the regions it was given.
pub struct Applier {
    engine: Arc<dyn Engine>,
    log: LogStore,
    directory: Arc<Directory>,
    replicas: BTreeMap<RegionId, Box<Replica>>,
    /// Being installed or destroyed.
    moving: BTreeSet<RegionId>,
    /// Entries up to here were applied for a merge, ahead of the region's own tasks.
    brought: BTreeMap<RegionId, Index>,
    parked: Parked,
    /// Bytes of entries of one write, about.
    bytes_max: usize,
}

/// Changes that wait to be written, and who waits for them.
pub struct Prepared {
    /// For the data engine, in one write.
    pub batch: WriteBatch,
    /// How it is written: buffered, since the log can replay it, unless its borders changed.
    pub durability: Durability,
    /// What did not fit any more: to be given back to [`queue::Queue`] before anything is taken from it.
    pub rest: Vec<ApplyTask>,
    /// Number of entries in it.
    pub entries: u64,
    progress: Vec<(Arc<RegionView>, Progress)>,
    /// Whose data is to be held as it is after the write, by their place in `progress`, and who compares it.
    checks: Vec<(usize, Region, (Index, PeerId))>,
    engine: Arc<dyn Engine>,
    answers: Answers,
}

/// Who hears what.
type Answers = Vec<(Responder, Result<Outcome, Rejection>)>;

/// What is being prepared.
struct Work {
    staged: Staged,
    touched: BTreeSet<RegionId>,
    answers: Answers,
    entries: u64,
    /// Of all entries.
    bytes: usize,
    /// What does not fit any more.
    rest: Vec<ApplyTask>,
    /// What fits in parts only: its next turn comes behind those.
    begun: Option<ApplyTask>,
}

/// Whether an entry was applied.
enum Step {
    Done,
    /// Nothing behind it before it is written.
    Pauses,
    /// Not before this region, which it merges, is no longer on the move.
    WaitsFor(RegionId),
    /// Not in this write: there is more to apply before it than fits.
    Later,
    /// Neither it nor any other: it has to read what is damaged.
    Halts,
}

impl Applier {
    /// An applier without regions; `log` has the logs of those it will be given. A write holds about `bytes_max` of
    /// entries, and at least one.
    pub fn new(
        engine: Arc<dyn Engine>,
        log: LogStore,
        directory: Arc<Directory>,
        bytes_max: usize,
    ) -> Self {
        Self {
            engine,
            log,
            directory,
            replicas: BTreeMap::new(),
            moving: BTreeSet::new(),
            brought: BTreeMap::new(),
            parked: Parked::default(),
            bytes_max,
        }
    }

    /// The replica of a region is over, or begins anew from other state, until [`Applier::settled`]. What was prepared
    /// of it is written.
    pub fn moves(&mut self, region: RegionId) {
        self.forget(region);
        self.moving.insert(region);
    }

    /// Nobody answers for the replica of a region any more; what is on the disk of it stays.
    pub fn forget(&mut self, region: RegionId) {
        self.replicas.remove(&region);
        self.brought.remove(&region);
        self.parked.forget(region);
        self.directory.remove(region);
    }

    /// What the engines say of a region is true again: what waited for that goes on with the next
    /// [`Applier::prepare`]. Whether something does.
    pub fn settled(&mut self, region: RegionId) -> bool {
        self.moving.remove(&region);
        self.parked.settled(region)
    }

    /// After what was prepared is written: whether more can be prepared without a task.
    pub fn continues(&mut self) -> bool {
        self.parked.written()
    }

    /// Works out what the tasks change.
    pub fn prepare(&mut self, tasks: Vec<ApplyTask>) -> Result<Prepared, ApplyError> {
        let mut work = Work {
            staged: Staged::new(self.engine.clone()),
            touched: BTreeSet::new(),
            answers: Vec::new(),
            entries: 0,
            bytes: 0,
            rest: Vec::new(),
            begun: None,
        };
        for task in self.parked.resumed().into_iter().chain(tasks) {
            if let Some(task) = self.parked.join(task) {
                self.carry_out(task, &mut work)?;
            }
        }
        work.rest.extend(work.begun.take());
        let mut progress = Vec::with_capacity(work.touched.len());
        let mut checks = Vec::new();
        for region in work.touched {
            let Some(replica) = self.replicas.get_mut(&region) else {
                continue;
            };
            let over = replica.is_over();
            if !over {
                let record = replica.applied.record();
                work.staged.put_meta(layout::applied_key(region), record);
            }
            let Some(view) = self.directory.get(region) else {
                // Nobody answers for it, and nobody will.
                self.replicas.remove(&region);
                continue;
            };
            if over {
                view.end();
            }
            if let Some(check) = replica.check.take() {
                checks.push((progress.len(), replica.region.clone(), check));
            }
            progress.push((view, replica.take_progress()));
        }
        let (batch, durability) = work.staged.into_batch();
        Ok(Prepared {
            batch,
            durability,
            rest: work.rest,
            entries: work.entries,
            progress,
            checks,
            engine: self.engine.clone(),
            answers: work.answers,
        })
    }

    fn carry_out(&mut self, task: ApplyTask, work: &mut Work) -> Result<(), ApplyError> {
        let region = task.region;
        if self.directory.get(region).is_none() {
            return Err(ApplyError::Unknown(region));
        }
        if work.bytes >= self.bytes_max {
            work.rest.push(task);
            return Ok(());
        }
        let mut replica = self.take(region)?;
        if replica.halted {
            self.replicas.insert(region, replica);
            return Ok(());
        }
        work.touched.insert(region);
        let done = self.entries(&mut replica, task, work);
        self.replicas.insert(region, replica);
        done
    }

    /// Applies the entries of a task, as far as it goes; the rest is parked, or given back.
    fn entries(
        &mut self,
        replica: &mut Replica,
        mut task: ApplyTask,
        work: &mut Work,
    ) -> Result<(), ApplyError> {
        let mut entries = std::mem::take(&mut task.entries).into_iter().peekable();
        // Nobody knows a replica that is no member any more.
        let until = loop {
            if replica.is_over() || (entries.peek().is_none() && replica.applied.index >= task.last)
            {
                return Ok(());
            }
            if work.bytes >= self.bytes_max {
                task.entries.extend(entries);
                work.begun = Some(task);
                return Ok(());
            }
            let Some(entry) = entries.next() else {
                let first = replica.applied.index.next();
                entries = self
                    .read(task.region, first, task.last)?
                    .into_iter()
                    .peekable();
                continue;
            };
            let index = Index(entry.index);
            if self
                .brought
                .get(&task.region)
                .is_some_and(|end| index <= *end)
            {
                continue;
            }
            let waiting = task.responders.remove(&index).unwrap_or_default();
            match self.apply_entry(replica, &entry, waiting, work)? {
                Step::Done => {}
                Step::Halts => return Ok(()),
                Step::Pauses => break Until::Written,
                Step::WaitsFor(source) => {
                    task.entries.push(entry);
                    break Until::Settled(source);
                }
                Step::Later => {
                    task.entries.push(entry);
                    break Until::Written;
                }
            }
        };
        task.entries.extend(entries);
        self.parked.park(task, until);
        Ok(())
    }

    /// Entries that apply left in the log.
    fn read(
        &self,
        region: RegionId,
        first: Index,
        last: Index,
    ) -> Result<Vec<LogEntry>, ApplyError> {
        let read = self.log.entries(region, first, last);
        read.map_err(|error| ApplyError::Log(error.to_string()))
    }

    /// Applies one entry; one that has to read damaged data changes nothing.
    fn apply_entry(
        &mut self,
        replica: &mut Replica,
        entry: &LogEntry,
        waiting: Vec<Responder>,
        work: &mut Work,
    ) -> Result<Step, ApplyError> {
        let (applied, mark) = (replica.applied, (work.staged.mark(), work.answers.len()));
        match self.step(replica, entry, waiting, work) {
            Err(ApplyError::Engine(error @ yadkv_engine::Error::Corrupt { .. })) => {
                let region = applied.region;
                tracing::error!(region = region.0, %error, "the replica applies nothing any more");
                // A part of an entry must not stay.
                replica.applied = applied;
                work.staged.forget_since(mark.0);
                work.answers.truncate(mark.1);
                // Whoever acts on it writes after this batch, so what they did never outlives it.
                replica.halted = true;
                let key = layout::region_key(region);
                work.staged.put_meta(key, replica.record());
                if let Some(view) = self.directory.get(region) {
                    view.halt();
                }
                Ok(Step::Halts)
            }
            step => step,
        }
    }

    /// The replica of a region, to be put back.
    fn take(&mut self, region: RegionId) -> Result<Box<Replica>, ApplyError> {
        match self.replicas.remove(&region) {
            Some(replica) => Ok(replica),
            None => Ok(Box::new(Replica::load(&*self.engine, region)?)),
        }
    }

    /// Applies one entry.
    fn step(
        &mut self,
        replica: &mut Replica,
        entry: &LogEntry,
        responders: Vec<Responder>,
        work: &mut Work,
    ) -> Result<Step, ApplyError> {
        let region = replica.applied.region;
        let (index, term) = (Index(entry.index), Term(entry.term));
        assert_eq!(
            index,
            replica.applied.index.next(),
            "region {region}: entries apply in order"
        );
        let (packed, changes_members) = unpack(region, entry)?;
        // What a region that waits has applied after its PrepareMerge must not differ between its replicas.
        let clock_ms = match replica.merging {
            None => packed.now_ms.max(replica.applied.clock_ms),
            Some(_) => replica.applied.clock_ms,
        };
        let mut responders = responders.into_iter();
        if let [
            Command {
                version,
                operation: Some(Operation::CommitMerge(merge)),
            },
        ] = &packed.commands[..]
        {
            match self.merge(replica, *version, merge, work)? {
                Step::Done => {}
                step => return Ok(step),
            }
        } else {
            replica.applied.clock_ms = clock_ms;
            for command in packed.commands {
                let about_members = matches!(command.operation, Some(Operation::ChangePeers(_)));
                if about_members != changes_members {
                    let reason = "its kind and its commands do not fit".into();
                    return Err(ApplyError::Entry {
                        region,
                        index,
                        reason,
                    });
                }
                let outcome = command::apply(&mut work.staged, replica, command)?;
                if let Some(responder) = responders.next() {
                    work.answers.push((responder, outcome));
                }
            }
        }
        replica.applied.clock_ms = clock_ms.max(replica.applied.clock_ms);
        replica.applied.index = index;
        replica.applied.term = term;
        replica.consumed += size(entry) as u64;
        work.bytes += size(entry);
        work.entries += 1;
        match replica.check {
            Some(_) if !planted::is(Planted::CheckNotPaused) => Ok(Step::Pauses),
            _ => Ok(Step::Done),
        }
    }

    /// The region takes another one in, if nothing has changed since.
    fn merge(
        &mut self,
        replica: &mut Replica,
        version: u64,
        merge: &CommitMerge,
        work: &mut Work,
    ) -> Result<Step, ApplyError> {
        let epoch = RegionEpoch {
            version,
            conf_ver: merge.conf_ver,
        };
        if replica.region.region_epoch != Some(epoch) || replica.merging.is_some() {
            return Ok(Step::Done);
        }
        let source = RegionId(merge.source.as_ref().map_or(0, |source| source.id));
        let step = self.bring(source, merge.prepared.as_ref(), work)?;
        if let Step::Done = step {
            let mut brought = self.take(source)?;
            if merge::take_in(&mut work.staged, replica, &mut brought).is_ok() {
                // What its own worker has handed over, or will, is done.
                self.parked.forget(source);
            }
            self.replicas.insert(source, brought);
        }
        Ok(step)
    }

    /// Applies the log of a region up to its PrepareMerge, over as many writes as that takes.
    fn bring(
        &mut self,
        source: RegionId,
        prepared: Option<&LogEntry>,
        work: &mut Work,
    ) -> Result<Step, ApplyError> {
        let Some(prepared) = prepared else {
            return Err(ApplyError::Unknown(source));
        };
        if self.moving.contains(&source) {
            return Ok(Step::WaitsFor(source));
        }
        let mut replica = self.take(source)?;
        work.touched.insert(source);
        let before = replica.clone();
        // A region that ends is not compared.
        replica.check = None;
        let mut stops = Step::Done;
        'brought: while replica.applied.index.0 < prepared.index {
            let next = replica.applied.index.next();
            let entries = match next.0 == prepared.index {
                true => vec![prepared.clone()],
                false => self
                    .log
                    .entries(source, next, Index(prepared.index - 1))
                    .map_err(|error| ApplyError::Log(error.to_string()))?,
            };
            for entry in entries {
                if work.bytes >= self.bytes_max {
                    stops = Step::Later;
                    break 'brought;
                }
                let step = self.step(&mut replica, &entry, Vec::new(), work);
                replica.check = None;
                match step {
                    Ok(step @ (Step::WaitsFor(_) | Step::Later)) => {
                        stops = step;
                        break 'brought;
                    }
                    Ok(_) => {}
                    Err(error) => {
                        self.replicas.insert(source, before);
                        return Err(error);
                    }
                }
            }
        }
        // Its own worker has handed these over as well, or will.
        self.brought.insert(source, replica.applied.index);
        self.replicas.insert(source, replica);
        Ok(stops)
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

/// What an entry carries, and whether it changes members.
fn unpack(region: RegionId, entry: &LogEntry) -> Result<(RegionEntry, bool), ApplyError> {
    let refuse = |reason: String| ApplyError::Entry {
        region,
        index: Index(entry.index),
        reason,
    };
    let (changes_members, packed) = match entry.kind {
        0 => (false, &entry.data),
        MEMBERS_ENTRY => (true, &entry.context),
        other => {
            let reason = format!("entry kind {other} is not known to this release");
            return Err(refuse(reason));
        }
    };
    if packed.is_empty() {
        return Ok((RegionEntry::default(), changes_members));
    }
    let packed = RegionEntry::decode(packed.clone()).map_err(|error| refuse(error.to_string()))?;
    if packed.format != FORMAT {
        return Err(refuse(format!(
            "entry format {} is not known to this release",
            packed.format
        )));
    }
    Ok((packed, changes_members))
}

impl Prepared {
    // ANCHOR: finish
    /// After the batch was written: publishes the clocks, answers the callers, tells what was applied.
    pub fn finish(self) -> Vec<Progress> {
        let mut done = Vec::with_capacity(self.progress.len());
        let mut all = self.progress;
        for (number, region, (index, asked_by)) in self.checks {
            let progress = &mut all[number].1;
            let at = (index, progress.applied.clock_ms);
            let view = self.engine.clone().hold();
            progress.check = Some(Point::new(region, at, asked_by, view));
        }
        for (view, progress) in all {
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
    // ANCHOR_END: finish
}
