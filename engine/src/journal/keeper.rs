//! The thread of a journal: marks, cleaning of segments, and the next segment before it is needed.
//!
//! *Place*: [`super::Journal`] starts it with itself, and ends it.
//!
//! *Life of a look*: nothing was written for [`Options::quiet`] → a mark, synced: it vouches for the last record, which nothing
//! else does yet. Segments take more than they may → what is alive in the oldest one is written again at the end → all of
//! that durable → the oldest one is used again, or goes. No segment is prepared → one is made and filled with zeros. Who
//! wants the space back has all of them given back but one.
//!
//! *Invariants*: a pair is written again only if the index still has it there, under the same lock; a segment leaves when
//! the index knows nothing of it, and is used again only if nobody reads it; of those that are prepared the last one goes
//! first, so that no number is missing. While a segment is filled with zeros, marks are written when they are due, and
//! whoever needs the segment has it as far as it is.
//!
//! *Limits and failure*: pieces of [`CARRY_BYTES`]; one segment in memory. A failure poisons the engine.
//!
//! *Next stop*: the end of the tour.

use super::index::Place;
use super::record::{Draft, Kind, Span};
use super::segment::{self, Segment, damage};
use super::{Options, SLACK, Shared, State, open};
use crate::{Error, Family, Result, WriteBatch};
use bytes::Bytes;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Instant;

/// Bytes of pairs that are written again at once.
const CARRY_BYTES: usize = 1 << 20;
/// Segments that are kept for later, at most. A flush of the memtables lets a dozen go at once (a store's hold six
/// sixteenths of its memory, a segment half of one), and the next ones are soon needed.
const PREPARED_MAX: u64 = 16;
/// Why a journal takes no more writes when it is closed.
const CLOSED: &str = "the journal is closed";

/// Starts the thread.
pub(super) fn start(shared: &Arc<Shared>) -> Result<JoinHandle<()>> {
    let keeper = shared.clone();
    let thread = std::thread::Builder::new().name("journal".into());
    let started = thread.spawn(move || keeper.run());
    started.map_err(|error| Error::Open {
        directory: shared.directory.display().to_string(),
        reason: error.to_string(),
    })
}

/// Since when no record came.
struct Quiet {
    sequence: u64,
    since: Instant,
}

impl Quiet {
    fn from_now(sequence: u64) -> Self {
        Self {
            sequence,
            since: Instant::now(),
        }
    }
}

impl Options {
    /// Bytes that segments may take where this much is alive.
    fn bytes_max(&self, live: u64) -> u64 {
        2 * live + SLACK * self.segment_bytes
    }

    /// Segments that are kept for later; more are given back to the file system.
    fn prepared_max(&self) -> usize {
        let fit = self.kept_bytes / self.segment_bytes.max(1);
        fit.clamp(1, PREPARED_MAX) as usize
    }
}

impl Shared {
    /// No more writes; the last record gets its mark.
    pub(super) fn stop(&self) {
        let last = self.state.lock().sequence;
        // A failure means that nothing vouches for it: the next start decides.
        let _ = self.mark(last);
        let mut state = self.state.lock();
        state.poisoned.get_or_insert_with(|| CLOSED.to_owned());
        self.hurry.store(true, Ordering::Relaxed);
        self.wake.notify_all();
    }

    /// Looks until the journal is closed, or something fails: the next writer hears of that.
    fn run(&self) {
        loop {
            if let Err(error) = self.keep() {
                let mut state = self.state.lock();
                state.poisoned.get_or_insert_with(|| error.to_string());
                return;
            }
        }
    }

    /// One look, after waiting for a reason.
    fn keep(&self) -> Result<()> {
        let mut state = self.state.lock();
        state.healthy()?;
        let seen = state.sequence;
        let unmarked = state.marked < seen;
        let works = state.prepared.is_empty() || self.must_clean(&state);
        match (works, unmarked) {
            (true, _) => {}
            (false, true) => drop(self.wake.wait_for(&mut state, self.options.quiet)),
            (false, false) => self.wake.wait(&mut state),
        }
        state.healthy()?;
        let quiet = unmarked && !works && state.sequence == seen;
        let needs_one = state.prepared.is_empty();
        let cleans = self.must_clean(&state);
        drop(state);
        if quiet {
            self.mark(seen)?;
        }
        if needs_one {
            self.prepare()?;
        }
        if cleans {
            self.clean_if_due()?;
        }
        Ok(())
    }

    /// Cleans the oldest segment, if that is due when this has its turn: somebody else may have cleaned meanwhile.
    fn clean_if_due(&self) -> Result<()> {
        self.clean(self.options.prepared_max(), |state| self.must_clean(state))
    }

    /// Whether the oldest segment is empty, or all together are too many.
    fn must_clean(&self, state: &State) -> bool {
        let (mut all, mut live) = (0, 0);
        for segment in &state.segments {
            all += segment.end.load(Ordering::Relaxed);
            live += segment.live.load(Ordering::Relaxed);
        }
        let oldest = state.segments.front().filter(|_| state.segments.len() > 1);
        oldest.is_some_and(|oldest| {
            oldest.live.load(Ordering::Relaxed) == 0 || all > self.options.bytes_max(live)
        })
    }

    /// A mark behind the last record, both durable, unless another one came.
    fn mark(&self, last: u64) -> Result<()> {
        self.sync(last)?;
        let mut state = self.state.lock();
        if state.healthy()?.sequence != last || state.marked == last {
            return Ok(());
        }
        self.write(&mut state, Kind::Mark, Draft::sign())?;
        state.marked = state.sequence;
        let mark = state.sequence;
        drop(state);
        self.sync(mark)
    }

    /// Makes a segment while others write, with zeros in it unless somebody waits for it. None if there is one by now: who
    /// reclaims space may have kept one while this waited for its turn.
    fn prepare(&self) -> Result<()> {
        let _turn = self.keeping.lock();
        let mut quiet = {
            let state = self.state.lock();
            if !state.prepared.is_empty() {
                return Ok(());
            }
            Quiet::from_now(state.sequence)
        };
        self.prepare_by(|number| self.create(number, |_| self.fills_on(&mut quiet)))
    }

    /// Whether a segment goes on being filled; what a look would mark is marked meanwhile.
    fn fills_on(&self, quiet: &mut Quiet) -> bool {
        if self.hurry.load(Ordering::Relaxed) {
            return false;
        }
        let (seen, marked, full) = {
            let state = self.state.lock();
            let mark = Draft::sign().len() as u64;
            let full = state.current().is_full(mark, self.options.segment_bytes);
            (state.sequence, state.marked, full)
        };
        if seen == marked || quiet.sequence != seen {
            *quiet = Quiet::from_now(seen);
        }
        if quiet.since.elapsed() < self.options.quiet {
            return true;
        }
        // In a full segment the mark would wait for this very one. A failure has poisoned the journal.
        !full && self.mark(seen).is_ok()
    }

    /// Has a segment made under the next number; whoever needs one meanwhile waits for it.
    fn prepare_by(
        &self,
        make: impl FnOnce(NonZeroU32) -> std::io::Result<Arc<Segment>>,
    ) -> Result<()> {
        let number = {
            let mut state = self.state.lock();
            state.healthy()?;
            state.preparing = true;
            self.hurry.store(false, Ordering::Relaxed);
            state.next_number()
        };
        let made = make(number);
        let mut state = self.state.lock();
        state.preparing = false;
        let done = made.map_err(|error| self.poison(&mut state, &error));
        state.prepared.extend(done.as_ref().ok().cloned());
        self.prepared.notify_all();
        done.map(drop)
    }

    /// Gives back the space of everything that is deleted, but for the newest segment, and of what is kept for later, but
    /// for one segment: whoever needs the next one does not wait.
    pub(super) fn reclaim(&self) -> Result<()> {
        let newest = self.state.lock().healthy()?.current().number;
        loop {
            let oldest = self.state.lock().segments.front().map(|one| one.number);
            match oldest {
                Some(oldest) if oldest < newest => self.clean(1, |_| true)?,
                _ => return self.give_back(),
            }
        }
    }

    /// Gives back what is kept for later, but for one segment.
    pub(super) fn give_back(&self) -> Result<()> {
        self.give_back_by(|segment| self.remove(segment))
    }

    /// Has the segments that are prepared removed, the last one first, until one is left. Whoever has used that one up
    /// meanwhile waits for the file that is about to go, and makes one under its number.
    fn give_back_by(&self, remove: impl Fn(&Segment) -> std::io::Result<()>) -> Result<()> {
        let _turn = self.keeping.lock();
        loop {
            let last = {
                let mut state = self.state.lock();
                state.healthy()?;
                if state.prepared.len() < 2 {
                    return Ok(());
                }
                state.preparing = true;
                state.prepared.pop_back()
            };
            let removed = last.map_or(Ok(()), |last| remove(&last));
            let mut state = self.state.lock();
            state.preparing = false;
            let done = removed.map_err(|error| self.poison(&mut state, &error));
            self.prepared.notify_all();
            done?;
        }
    }

    /// Durably: a number that is missing between others would be damage.
    fn remove(&self, segment: &Segment) -> std::io::Result<()> {
        std::fs::remove_file(segment.path())?;
        segment::sync_directory(&self.directory)
    }

    /// Empties the oldest segment and takes it away, for later if fewer than `kept_max` are kept. Nothing if it is not
    /// wanted any more when this has its turn.
    fn clean(&self, kept_max: usize, wanted: impl FnOnce(&State) -> bool) -> Result<()> {
        let _turn = self.keeping.lock();
        let oldest = {
            let state = self.state.lock();
            match state.healthy()?.segments.front() {
                Some(oldest) if state.segments.len() > 1 && wanted(&state) => oldest.clone(),
                _ => return Ok(()),
            }
        };
        if oldest.live.load(Ordering::Relaxed) > 0 {
            self.carry(&oldest)?;
        }
        let sequence = self.state.lock().sequence;
        self.sync(sequence)?;
        self.retire(oldest, kept_max)
    }

    /// Writes again what the index has in a segment.
    fn carry(&self, segment: &Segment) -> Result<()> {
        let bytes = Bytes::from(segment.bytes()?);
        let Some(puts) = open::puts(&bytes, segment.number) else {
            return Err(damage(segment.path(), 0, "a record is damaged"));
        };
        let mut some = Vec::new();
        let mut carried = 0;
        for (family, key, span) in puts {
            let place = Place {
                segment: segment.number,
                span,
            };
            if self.state.lock().family(family).place(&key) != Some(place) {
                continue;
            }
            carried += span.length as usize;
            some.push((family, key, place));
            if carried >= CARRY_BYTES {
                self.write_again(&bytes, std::mem::take(&mut some))?;
                carried = 0;
            }
        }
        self.write_again(&bytes, some)
    }

    fn write_again(&self, bytes: &Bytes, pairs: Vec<(Family, Bytes, Place)>) -> Result<()> {
        let mut state = self.state.lock();
        state.healthy()?;
        let mut batch = WriteBatch::new();
        for (family, key, place) in pairs {
            if state.family(family).place(&key) == Some(place) {
                let Span { offset, length, .. } = place.span;
                let value = offset as usize..offset as usize + length as usize;
                batch.put(family, key, bytes.slice(value));
            }
        }
        match batch.is_empty() {
            true => Ok(()),
            false => self.add(&mut state, Draft::new(&batch), &batch).map(drop),
        }
    }

    /// Uses the oldest segment, of which nothing is alive, for later records, or takes it away.
    fn retire(&self, oldest: Arc<Segment>, kept_max: usize) -> Result<()> {
        let again = {
            let mut state = self.state.lock();
            state.healthy()?;
            state.segments.pop_front();
            // Nobody can find it any more; who has found it before may still read.
            let read = Arc::strong_count(&oldest) > 1;
            let large = oldest.bytes_on_disk() > 2 * self.options.segment_bytes;
            !read && !large && state.prepared.len() < kept_max
        };
        if again {
            return self.prepare_by(|number| {
                let (old, directory) = (oldest.path(), &self.directory);
                let segment = Segment::recycle(old, directory, number, self.direct)?;
                Ok(Arc::new(segment))
            });
        }
        self.remove(&oldest)
            .map_err(|error| self.poison(&mut self.state.lock(), &error))
    }
}

#[cfg(test)]
#[path = "keeper_tests.rs"]
mod tests;
