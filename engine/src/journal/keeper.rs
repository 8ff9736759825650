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
            let still = |state: &State| self.must_clean(state);
            self.clean(self.options.prepared_max(), still)?;
        }
        Ok(())
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
mod tests {
    use super::super::{Journal, Keys, QUIET};
    use super::*;
    use crate::{Durability, LogEngine};
    use parking_lot::MutexGuard;
    use std::collections::BTreeSet;
    use std::mem::ManuallyDrop;
    use std::os::unix::fs::MetadataExt;
    use std::path::{Path, PathBuf};
    use std::time::Duration;

    fn put(size: usize) -> WriteBatch {
        let mut batch = WriteBatch::new();
        batch.put(Family(0), vec![7; 16], vec![1; size]);
        batch
    }

    fn wait(journal: &Journal, state: &mut MutexGuard<'_, State>, until: impl Fn(&State) -> bool) {
        let end = Instant::now() + Duration::from_secs(20);
        while !until(state) {
            assert!(Instant::now() < end, "never as it should be");
            // Not all that is waited for is announced.
            let step = Duration::from_millis(10);
            journal.shared.prepared.wait_for(state, step);
        }
    }

    fn names(directory: &Path) -> BTreeSet<PathBuf> {
        let numbers = segment::numbers(directory).expect("readable");
        let path = |number| directory.join(segment::name(number));
        numbers.into_iter().map(path).collect()
    }

    /// What tells a file that has another name now from a new one.
    fn inodes(journal: &Journal) -> BTreeSet<u64> {
        let _turn = journal.shared.keeping.lock();
        let inode = |path: PathBuf| path.metadata().expect("a file").ino();
        let names = names(&journal.shared.directory);
        names.into_iter().map(inode).collect()
    }

    /// Two records of [`fill`] do not fit into one.
    const SMALL: u64 = 8 << 10;
    const KEPT: u64 = 256 << 20;

    fn open_with(directory: &Path, segment_bytes: u64) -> Journal {
        let options = Options {
            families: vec![Keys::Any],
            segment_bytes,
            kept_bytes: KEPT,
            quiet: QUIET,
        };
        Journal::open(directory, options).expect("opens")
    }

    fn fill(journal: &Journal, keys: std::ops::Range<u8>) {
        for key in keys {
            let mut batch = WriteBatch::new();
            batch.put(Family(0), vec![key], vec![1; 5000]);
            let written = journal.write(batch, Durability::Synced);
            written.expect("a record");
        }
    }

    fn delete_all(journal: &Journal) {
        let mut batch = WriteBatch::new();
        batch.delete_range(Family(0), vec![0], vec![255]);
        let written = journal.write(batch, Durability::Synced);
        written.expect("all deleted");
    }

    /// Waits until the keeper has let go of all segments but the newest one; how many are kept.
    fn kept(journal: &Journal) -> usize {
        let shared = &journal.shared;
        wait(journal, &mut shared.state.lock(), |state| {
            state.segments.len() == 1 && !state.prepared.is_empty()
        });
        // It may still be at the last one.
        let _turn = shared.keeping.lock();
        let kept = shared.state.lock().prepared.len();
        let files = names(&shared.directory).len();
        assert_eq!(files, kept + 1, "one is written to, the others are kept");
        kept
    }

    /// What one flush lets go is there for the records of the next one, across a restart, too.
    #[test]
    fn segments_that_are_let_go_at_once_are_kept_for_later() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut journal = open_with(directory.path(), SMALL);
        for restarts in [false, true] {
            fill(&journal, 0..40);
            assert!(names(directory.path()).len() >= 40);
            delete_all(&journal);
            let mut now = kept(&journal);
            if restarts {
                drop(journal);
                journal = open_with(directory.path(), SMALL);
                now = kept(&journal);
            }
            assert!((12..=16).contains(&now), "{now} are kept");
            let before = inodes(&journal);
            fill(&journal, 0..12);
            let after = inodes(&journal);
            assert!(before.is_superset(&after), "no other file is needed");
            assert!(journal.shared.state.lock().segments.len() >= 12);
        }
    }

    #[test]
    fn fewer_are_kept_where_they_are_larger() {
        for (mebibytes, kept) in [(1, 16), (8, 16), (16, 16), (32, 8), (64, 4), (1024, 1)] {
            let options = Options {
                families: Vec::new(),
                segment_bytes: mebibytes << 20,
                kept_bytes: KEPT,
                quiet: QUIET,
            };
            assert_eq!(options.prepared_max(), kept, "{mebibytes} MiB");
        }
        // The files are small ones: only the option says that segments are large.
        let directory = tempfile::tempdir().expect("a directory");
        let journal = open_with(directory.path(), SMALL);
        fill(&journal, 0..40);
        delete_all(&journal);
        assert!(kept(&journal) >= 12);
        fill(&journal, 0..10);
        drop(journal);
        let journal = open_with(directory.path(), 32 << 20);
        delete_all(&journal);
        assert_eq!(kept(&journal), 8);
    }

    #[test]
    fn space_that_is_kept_for_later_is_counted_and_given_back() {
        let directory = tempfile::tempdir().expect("a directory");
        let journal = open_with(directory.path(), SMALL);
        // One is of its own, and stays as large as it is.
        let mut batch = WriteBatch::new();
        batch.put(Family(0), vec![0], vec![1; 12_000]);
        let written = journal.write(batch, Durability::Synced);
        written.expect("a record");
        fill(&journal, 1..40);
        delete_all(&journal);
        assert!(kept(&journal) >= 12);
        let used = || journal.statistics().disk_bytes;
        let (newest, prepared) = {
            let mut state = journal.shared.state.lock();
            // A mark would come in between.
            wait(&journal, &mut state, |state| state.marked == state.sequence);
            let length = |one: &Arc<Segment>| one.path().metadata().expect("a file").len();
            let prepared: Vec<u64> = state.prepared.iter().map(length).collect();
            (length(state.current()), prepared)
        };
        assert!(prepared.iter().any(|bytes| *bytes > SMALL), "{prepared:?}");
        assert_eq!(used(), newest + prepared.iter().sum::<u64>());
        let kept_bytes = || journal.statistics().kept_bytes;
        assert_eq!(kept_bytes(), prepared.iter().skip(1).sum::<u64>());
        assert_eq!(journal.statistics().dead_bytes, 0);

        journal.give_back().expect("given back");
        assert_eq!(kept_bytes(), 0);
        assert_eq!(journal.shared.state.lock().prepared.len(), 1);
        assert_eq!(kept(&journal), 1);
        assert!(used() <= 2 * SMALL + 12_000, "{}", used());
        fill(&journal, 0..40);
        journal.reclaim().expect("nothing to reclaim");
        drop(journal);
        let journal = open_with(directory.path(), SMALL);
        let found = journal.get(Family(0), &[39]).expect("readable");
        assert_eq!(found.map(|value| value.len()), Some(5000));
    }

    /// Files of larger segments: of records larger than a segment, or of a store that had more memory before.
    #[test]
    fn files_that_are_too_large_are_not_kept_for_later() {
        let directory = tempfile::tempdir().expect("a directory");
        let journal = open_with(directory.path(), 8 * SMALL);
        fill(&journal, 0..40);
        drop(journal);
        let journal = open_with(directory.path(), SMALL);
        fill(&journal, 40..45);
        let written = journal.write(put(5 * SMALL as usize), Durability::Synced);
        written.expect("a record of its own");
        fill(&journal, 45..50);
        delete_all(&journal);
        assert!(kept(&journal) >= 5);
        let state = journal.shared.state.lock();
        for segment in &state.prepared {
            assert!(segment.bytes_on_disk() <= 2 * SMALL);
        }
    }

    /// Somebody else may have cleaned between the keeper's look and its turn.
    #[test]
    fn nothing_is_written_again_that_need_not_be_any_more() {
        let directory = tempfile::tempdir().expect("a directory");
        let journal = open_with(directory.path(), SMALL);
        fill(&journal, 0..3);
        let oldest = || journal.shared.state.lock().segments[0].number;
        let before = oldest();
        let still = |state: &State| journal.shared.must_clean(state);
        journal.shared.clean(1, still).expect("nothing to do");
        assert_eq!(oldest(), before);
        journal.shared.clean(1, |_| true).expect("cleaned");
        assert!(oldest() > before);
    }

    /// The number of the file that is about to go is the one that comes next.
    #[test]
    fn whoever_needs_a_segment_while_others_are_given_back_has_one() {
        let directory = tempfile::tempdir().expect("a directory");
        let journal = open_with(directory.path(), SMALL);
        fill(&journal, 0..20);
        delete_all(&journal);
        assert!(kept(&journal) >= 12);
        std::thread::scope(|scope| {
            let (journal, writer) = (&journal, std::cell::Cell::new(None));
            let given_back = journal.shared.give_back_by(|segment| {
                if journal.shared.state.lock().prepared.len() == 1 {
                    journal.shared.hurry.store(false, Ordering::Relaxed);
                    // The first one is there, the second one is not.
                    let writes = scope.spawn(|| fill(journal, 0..2));
                    wait(journal, &mut journal.shared.state.lock(), |_| {
                        journal.shared.hurry.load(Ordering::Relaxed) || writes.is_finished()
                    });
                    assert!(!writes.is_finished(), "it does not wait");
                    writer.set(Some(writes));
                }
                journal.shared.remove(segment)
            });
            given_back.expect("given back");
            let writes = writer.take().expect("one was left");
            writes.join().expect("both are written");
        });
        fill(&journal, 2..10);
        drop(journal);
        let journal = open_with(directory.path(), SMALL);
        let found = journal.get(Family(0), &[9]).expect("readable");
        assert!(found.is_some());
    }

    /// The keeper decides before it has its turn; somebody else may keep a segment in between.
    #[test]
    fn no_segment_is_made_where_one_is_kept_by_now() {
        let directory = tempfile::tempdir().expect("a directory");
        let journal = open_with(directory.path(), SMALL);
        assert_eq!(kept(&journal), 1);
        journal.shared.prepare().expect("nothing to do");
        assert_eq!(kept(&journal), 1);
    }

    /// The mark would go to the next segment, which is the one that is being filled.
    #[test]
    fn a_mark_that_is_due_does_not_wait_for_the_segment_that_is_filled() {
        let directory = tempfile::tempdir().expect("a directory");
        let options = Options {
            families: vec![Keys::Numbered],
            segment_bytes: 8 << 10,
            kept_bytes: KEPT,
            quiet: Duration::ZERO,
        };
        // Closing it would wait for a keeper that waits for itself.
        let journal = ManuallyDrop::new(Journal::open(directory.path(), options).expect("opens"));
        let prepared = |state: &mut MutexGuard<'_, State>| {
            wait(&journal, state, |state| !state.prepared.is_empty());
        };
        let mut state = journal.shared.state.lock();
        prepared(&mut state);
        let batch = put(8030);
        let draft = Draft::new(&batch);
        let added = journal.shared.add(&mut state, draft, &batch);
        added.expect("a record");
        assert!(state.current().is_full(40, 8 << 10), "no room for a mark");
        for prepared in state.prepared.drain(..) {
            std::fs::remove_file(prepared.path()).expect("a file");
        }
        prepared(&mut state);
        drop(state);
        let written = journal.write(put(100), Durability::Synced);
        written.expect("a record in the next segment");
        drop(ManuallyDrop::into_inner(journal));
    }
}
