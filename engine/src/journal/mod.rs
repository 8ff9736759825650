//! An engine for logs: files that are only added to, and an index in memory that says where each value lies.
//!
//! *Place*: `consensus::log_store` keeps the logs and hard states of all groups in it: entries are written once, read by
//! peers that lag, and deleted from the front. Nothing is sorted, merged or written twice for that.
//!
//! *Types to know*: [`Journal`]; `index` (what there is), `segment` (one file), `record` (one batch).
//!
//! *Life of a batch*: a record at the end of the newest segment → index → sync, if asked; whoever waits for one sync is
//! served by the same one. *Life of a segment* (`keeper`): full → the next one → nothing of it is in the index any more,
//! or the little that is was written again at the end → used again under a later number.
//!
//! ```text
//!   oldest ──▶ newest            prepared
//!   [······][·#··#·][######][####▶   ][        ]     # in the index   · deleted or written anew
//! ```
//!
//! *Invariants*: a batch is one record, so it is kept whole or lost whole; a segment begins when all before it is durable;
//! segments leave oldest first, so a deletion outlives what it deletes.
//!
//! *Limits and failure*: the index is in memory ([`Statistics::memory_bytes`] counts it), and so are families of
//! [`Keys::Any`]. Segments take twice what is alive, and [`SLACK`] segments; up to sixteen more are kept for later. A
//! failed write or sync poisons the engine. Damage is found at the next start, or by the read that meets it.
//!
//! *Source*: Bitcask: A Log-Structured Hash Table for Fast Key/Value Data (Sheehy, Smith, 2010); cleaning of segments:
//! The Design and Implementation of a Log-Structured File System (Rosenblum, Ousterhout, 1992).
//!
//! *Next stop*: `open`, then `keeper`.

mod index;
mod keeper;
mod open;
mod record;
mod segment;
mod tail;

use crate::{
    Direction, Durability, Error, Family, LogEngine, Operation, Result, Statistics, Visitor,
    WriteBatch,
};
use bytes::Bytes;
use index::{Found, Index, Place};
use parking_lot::{Condvar, Mutex, MutexGuard};
use record::{Draft, Kind, Span, Stamp};
use segment::Segment;
use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Segments that there may be beyond twice what is alive.
pub const SLACK: u64 = 4;
/// Pairs that a scan looks up at once.
const SCAN_STEP: usize = 128;
/// What a pair costs in its segment beside its value, about.
const PAIR_BYTES: u64 = 32;

/// How the keys of a family look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    /// 16 bytes, many of them numbers that follow each other: 16 bytes of memory each; values stay on the disk.
    Numbered,
    /// Any bytes; few and small: they are kept in memory with their values.
    Any,
}

/// How to open a journal.
#[derive(Clone, Debug)]
pub struct Options {
    /// The families; their order gives the [`Family`] numbers.
    pub families: Vec<Keys>,
    /// Bytes of a segment, at most 1 GiB; a larger batch has one of its own. Small: more files, each with two more
    /// syncs; large: more to read again when one is cleaned, all at once in memory, and more zeros before one is used.
    pub segment_bytes: u64,
    /// Bytes of segments that are kept for later, about; one is in any case, sixteen at most. They count as
    /// [`Statistics::disk_bytes`] until [`LogEngine::give_back`] gives them back. Few: under load files are made anew, with
    /// zeros; many: a start reads each of them whole.
    pub kept_bytes: u64,
    /// Time without a record after which a mark vouches for the last one, at the cost of a sync: [`QUIET`].
    pub quiet: Duration,
}

/// Short enough that few records are ever without a mark, long enough that a journal in use writes none.
pub const QUIET: Duration = Duration::from_millis(50);

/// A log-structured engine.
pub struct Journal {
    shared: Arc<Shared>,
    keeper: Option<JoinHandle<()>>,
}

struct Shared {
    directory: PathBuf,
    options: Options,
    /// Whether records are written past the page cache.
    direct: bool,
    state: Mutex<State>,
    /// Wakes the keeper.
    wake: Condvar,
    /// Wakes who needs a segment that is being prepared.
    prepared: Condvar,
    /// Somebody waits for the segment that is being prepared, or the journal is closed: changed under the lock of `state`.
    hurry: AtomicBool,
    /// Held by who takes segments away or makes new ones, but for one that is needed at once.
    keeping: Mutex<()>,
    /// Held while somebody syncs: who comes meanwhile may find it done.
    syncing: Mutex<()>,
    /// Records up to this sequence number are durable.
    durable: AtomicU64,
}

struct State {
    index: Vec<Index>,
    /// Oldest first; the last one is written to.
    segments: VecDeque<Arc<Segment>>,
    /// What comes after it.
    prepared: VecDeque<Arc<Segment>>,
    /// The next number is taken: one more is about to come under it, or the file that had it is about to go.
    preparing: bool,
    /// Of the last record.
    sequence: u64,
    /// A mark vouches for all records up to this one.
    marked: u64,
    poisoned: Option<String>,
}

/// Whether a directory holds a journal.
pub fn exists(directory: &Path) -> bool {
    segment::numbers(directory).is_ok_and(|numbers| !numbers.is_empty())
}

impl Journal {
    /// Opens the journal in `directory`, or begins one. What is there is durable after that.
    ///
    /// Errors: [`Error::Open`] if the operating system refuses, or the files are of another release; [`Error::Corrupt`] if
    /// something that was durable is damaged or missing.
    pub fn open(directory: impl AsRef<Path>, options: Options) -> Result<Self> {
        let directory = directory.as_ref().to_path_buf();
        let (state, direct) = open::open(&directory, &options)?;
        let durable = AtomicU64::new(state.sequence);
        let shared = Arc::new(Shared {
            directory,
            options,
            direct,
            state: Mutex::new(state),
            wake: Condvar::new(),
            prepared: Condvar::new(),
            hurry: AtomicBool::new(false),
            keeping: Mutex::new(()),
            syncing: Mutex::new(()),
            durable,
        });
        let keeper = keeper::start(&shared)?;
        Ok(Self {
            shared,
            keeper: Some(keeper),
        })
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.shared.stop();
        if let Some(keeper) = self.keeper.take() {
            // It ends without a result; a panic of it was printed.
            let _ = keeper.join();
        }
    }
}

impl LogEngine for Journal {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>> {
        let found = self.shared.state.lock().look(family, key);
        found
            .map(|(found, segment)| value(found, segment))
            .transpose()
    }

    fn scan(
        &self,
        family: Family,
        start: &[u8],
        end: &[u8],
        direction: Direction,
        visit: &mut Visitor<'_>,
    ) -> Result<()> {
        let (mut start, mut end) = (start.to_vec(), end.to_vec());
        loop {
            let some = self.shared.some(family, (&start, &end), direction);
            let complete = some.len() < SCAN_STEP;
            let last = some.last().map(|(key, ..)| key.clone());
            for (key, found, segment) in some {
                if visit(&key, &value(found, segment)?) == ControlFlow::Break(()) {
                    return Ok(());
                }
            }
            match (last, direction) {
                (Some(last), Direction::Forward) if !complete => start = [&last[..], &[0]].concat(),
                (Some(last), Direction::Backward) if !complete => end = last.to_vec(),
                _ => return Ok(()),
            }
        }
    }

    fn write(&self, batch: WriteBatch, durability: Durability) -> Result<()> {
        let sequence = match batch.is_empty() {
            true => self.shared.state.lock().healthy()?.sequence,
            false => self.shared.append(&batch)?,
        };
        match durability {
            Durability::Buffered => Ok(()),
            Durability::Synced => self.shared.sync(sequence),
        }
    }

    fn sync(&self) -> Result<()> {
        let sequence = self.shared.state.lock().healthy()?.sequence;
        self.shared.sync(sequence)
    }

    fn give_back(&self) -> Result<()> {
        self.shared.give_back()
    }

    fn reclaim(&self) -> Result<()> {
        self.shared.reclaim()
    }

    fn statistics(&self) -> Statistics {
        let state = self.shared.state.lock();
        let files = state.segments.iter().chain(&state.prepared);
        Statistics {
            disk_bytes: files.map(|file| file.bytes_on_disk()).sum(),
            kept_bytes: state.kept_bytes(),
            dead_bytes: state.dead_bytes(),
            memory_bytes: state.index.iter().map(|index| index.bytes() as u64).sum(),
        }
    }
}

/// A pair, and where to read its value.
type Pair = (Bytes, Found, Option<Arc<Segment>>);

impl Shared {
    /// The first pairs of a range; fewer than [`SCAN_STEP`] only if there are no more.
    fn some(
        &self,
        family: Family,
        (start, end): (&[u8], &[u8]),
        direction: Direction,
    ) -> Vec<Pair> {
        let state = self.state.lock();
        let index = state.family(family);
        let pairs = index.range(start, end, direction, SCAN_STEP);
        let with_segment = |(key, found)| {
            let segment = state.segment_of(&found);
            (key, found, segment)
        };
        pairs.into_iter().map(with_segment).collect()
    }

    /// Adds a batch and lets readers see it; its sequence number.
    fn append(&self, batch: &WriteBatch) -> Result<u64> {
        let draft = Draft::new(batch);
        let mut state = self.state.lock();
        state.healthy()?;
        self.add(&mut state, draft, batch)
    }

    fn add(
        &self,
        state: &mut MutexGuard<'_, State>,
        mut draft: Draft,
        batch: &WriteBatch,
    ) -> Result<u64> {
        let spans = std::mem::take(&mut draft.spans);
        let (segment, offset) = self.write(state, Kind::Batch, draft)?;
        state.apply(batch, &spans, segment, offset);
        // One call a mark: it looks again of its own accord while there is more.
        if state.marked + 1 == state.sequence {
            self.wake.notify_one();
        }
        Ok(state.sequence)
    }

    /// Writes a record, to the next segment if this one is full; where it is.
    fn write(
        &self,
        state: &mut MutexGuard<'_, State>,
        kind: Kind,
        mut draft: Draft,
    ) -> Result<(NonZeroU32, u32)> {
        let bytes = draft.len() as u64;
        while state.current().is_full(bytes, self.options.segment_bytes) {
            self.rotate(state)?;
        }
        let segment = state.current().clone();
        let offset = u32::try_from(segment.end.load(Ordering::Relaxed));
        let offset = offset.expect("a segment is full before 4 GiB");
        let written = segment.append(draft.seal(self.stamp(state, kind)));
        written.map_err(|error| self.poison(state, &error))?;
        Ok((segment.number, offset))
    }

    /// For the record after the last one.
    fn stamp(&self, state: &mut State, kind: Kind) -> Stamp {
        state.sequence += 1;
        Stamp {
            kind,
            segment: state.current().number.get(),
            sequence: state.sequence,
            durable: self.durable.load(Ordering::Relaxed),
        }
    }

    /// Ends the newest segment, durably, and begins the next one, unless somebody else did while this waited.
    fn rotate(&self, state: &mut MutexGuard<'_, State>) -> Result<()> {
        let last = state.current().clone();
        while state.preparing && state.prepared.is_empty() {
            self.hurry.store(true, Ordering::Relaxed);
            self.prepared.wait(state);
        }
        state.healthy()?;
        if state.current().number != last.number {
            return Ok(());
        }
        let ended = last
            .append(Draft::sign().seal(self.stamp(state, Kind::End)))
            .and_then(|()| last.sync());
        ended.map_err(|error| self.poison(state, &error))?;
        self.durable.fetch_max(state.sequence, Ordering::Relaxed);
        let next = match state.prepared.pop_front() {
            Some(next) => next,
            None => self
                .create(state.next_number(), |_| false)
                .map_err(|error| self.poison(state, &error))?,
        };
        state.segments.push_back(next);
        self.wake.notify_one();
        Ok(())
    }

    /// A new segment whose name is durable; zeros as in [`Segment::create`].
    fn create(
        &self,
        number: NonZeroU32,
        goes_on: impl FnMut(u64) -> bool,
    ) -> std::io::Result<Arc<Segment>> {
        let bytes = self.options.segment_bytes;
        let segment = Segment::create(&self.directory, number, bytes, self.direct, goes_on)?;
        segment::sync_directory(&self.directory)?;
        Ok(Arc::new(segment))
    }

    /// Returns when all records up to a sequence number are durable.
    fn sync(&self, sequence: u64) -> Result<()> {
        let _turn = self.syncing.lock();
        if self.durable.load(Ordering::Relaxed) >= sequence {
            return Ok(());
        }
        let (last, segment) = {
            let state = self.state.lock();
            state.healthy()?;
            (state.sequence, state.current().clone())
        };
        match segment.sync() {
            Ok(()) => {
                self.durable.fetch_max(last, Ordering::Relaxed);
                Ok(())
            }
            Err(error) => Err(self.poison(&mut self.state.lock(), &error)),
        }
    }

    fn poison(&self, state: &mut State, error: &std::io::Error) -> Error {
        let reason = format!("{}: {error}", self.directory.display());
        Error::Poisoned(state.poisoned.get_or_insert(reason).clone())
    }
}

impl State {
    fn healthy(&self) -> Result<&Self> {
        match &self.poisoned {
            Some(reason) => Err(Error::Poisoned(reason.clone())),
            None => Ok(self),
        }
    }

    fn family(&self, family: Family) -> &Index {
        self.index
            .get(usize::from(family.0))
            .expect("the family is one of those the engine was opened with")
    }

    fn look(&self, family: Family, key: &[u8]) -> Option<(Found, Option<Arc<Segment>>)> {
        let found = self.family(family).get(key)?;
        let segment = self.segment_of(&found);
        Some((found, segment))
    }

    fn segment_of(&self, found: &Found) -> Option<Arc<Segment>> {
        match found {
            Found::Value(_) => None,
            Found::At(place) => Some(segment_of(&self.segments, *place).clone()),
        }
    }

    /// What [`Shared::give_back`] would give back.
    fn kept_bytes(&self) -> u64 {
        let kept = self.prepared.iter().skip(1);
        kept.map(|one| one.bytes_on_disk()).sum()
    }

    /// What [`Shared::reclaim`] would give back besides, about: of the records of all segments but the newest, what nothing
    /// is alive of. Room behind a segment's last record is not in it.
    fn dead_bytes(&self) -> u64 {
        let older = self.segments.len().saturating_sub(1);
        let dead = self.segments.iter().take(older).map(|one| {
            let live = one.live.load(Ordering::Relaxed);
            one.end.load(Ordering::Relaxed).saturating_sub(live)
        });
        dead.sum()
    }

    fn current(&self) -> &Arc<Segment> {
        self.segments.back().expect("a journal has a segment")
    }

    /// The number after all that there are.
    fn next_number(&self) -> NonZeroU32 {
        let last = self.prepared.back().or(self.segments.back());
        let next = last.map_or(Some(NonZeroU32::MIN), |last| last.number.checked_add(1));
        next.expect("four thousand million segments are never written")
    }

    /// Lets readers see what a record at a place of a segment has changed.
    fn apply(&mut self, batch: &WriteBatch, spans: &[Span], segment: NonZeroU32, offset: u32) {
        let mut spans = spans.iter();
        for operation in batch.operations() {
            let (Operation::Put(family, ..)
            | Operation::Delete(family, ..)
            | Operation::DeleteRange(family, ..)) = operation;
            let index = self
                .index
                .get_mut(usize::from(family.0))
                .expect("the family is one of those the engine was opened with");
            match operation {
                Operation::Put(_, key, value) => {
                    let span = *spans.next().expect("every put has a span");
                    let span = Span {
                        offset: offset + span.offset,
                        ..span
                    };
                    let place = Place { segment, span };
                    count(&self.segments, index.put(key, value, place), Some(place));
                }
                Operation::Delete(_, key) => count(&self.segments, index.delete(key), None),
                Operation::DeleteRange(_, start, end) => {
                    for old in index.delete_range(start, end) {
                        count(&self.segments, Some(old), None);
                    }
                }
            }
        }
    }
}

fn value(found: Found, segment: Option<Arc<Segment>>) -> Result<Bytes> {
    match (found, segment) {
        (Found::At(place), Some(segment)) => segment.value(place.span),
        (Found::Value(value), _) => Ok(value),
        (Found::At(_), None) => unreachable!("a place is looked up with its segment"),
    }
}

fn segment_of(segments: &VecDeque<Arc<Segment>>, place: Place) -> &Arc<Segment> {
    let oldest = segments.front().map_or(0, |first| first.number.get());
    let at = place.segment.get().checked_sub(oldest);
    at.and_then(|at| segments.get(at as usize))
        .expect("a segment stays while the index knows of it")
}

/// What is alive in the segments after a change.
fn count(segments: &VecDeque<Arc<Segment>>, old: Option<Place>, new: Option<Place>) {
    let bytes = |place: Place| PAIR_BYTES + u64::from(place.span.length);
    if let Some(new) = new {
        let live = &segment_of(segments, new).live;
        live.fetch_add(bytes(new), Ordering::Relaxed);
    }
    if let Some(old) = old {
        let live = &segment_of(segments, old).live;
        live.fetch_sub(bytes(old), Ordering::Relaxed);
    }
}
