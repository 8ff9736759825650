//! What the thread keeps, cleans and gives back.

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
    let dead = || journal.statistics().dead_bytes;
    let before = dead();
    fill(&journal, 20..21);
    let died = dead() - before;
    assert!((5000..5500).contains(&died), "{died} of 5000");
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

#[test]
fn nothing_is_written_again_that_need_not_be_any_more() {
    let directory = tempfile::tempdir().expect("a directory");
    let journal = open_with(directory.path(), SMALL);
    fill(&journal, 0..3);
    let oldest = || journal.shared.state.lock().segments[0].number;
    let before = oldest();
    journal.shared.clean_if_due().expect("nothing to do");
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
