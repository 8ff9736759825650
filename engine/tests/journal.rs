//! The journal against the engine in memory, and what it loses at a crash and refuses when it is damaged.
#![allow(clippy::unwrap_used, missing_docs)]

use bytes::Bytes;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use yadkv_engine::journal::{self, Journal, Keys, Options, QUIET, SLACK};
use yadkv_engine::memory::Memory;
use yadkv_engine::{Direction, Durability, Error, Family, LogEngine, WriteBatch};

const LOG: Family = Family(0);
const STATE: Family = Family(1);
const SEGMENT: u64 = 8 << 10;
/// The record that ends a full segment may have a block of its own.
const FILE: u64 = SEGMENT + (4 << 10);
/// Segments that are kept for later.
const KEPT: u64 = 4;

fn open(directory: &Path) -> Result<Journal, Error> {
    open_with(directory, QUIET)
}

/// One that marks its last record after this time only, and when it is closed.
fn open_with(directory: &Path, quiet: Duration) -> Result<Journal, Error> {
    let families = vec![Keys::Numbered, Keys::Any];
    let segment_bytes = SEGMENT;
    Journal::open(
        directory,
        Options {
            families,
            segment_bytes,
            kept_bytes: KEPT * segment_bytes,
            quiet,
        },
    )
}

fn key(group: u64, index: u64) -> Bytes {
    [group.to_be_bytes(), index.to_be_bytes()].concat().into()
}

/// Everything that an engine holds.
fn all(engine: &dyn LogEngine) -> Vec<(Family, Bytes, Bytes)> {
    [LOG, STATE]
        .into_iter()
        .flat_map(|family| range(engine, family, b"", b"", Direction::Forward))
        .collect()
}

fn range(
    engine: &dyn LogEngine,
    family: Family,
    start: &[u8],
    end: &[u8],
    direction: Direction,
) -> Vec<(Family, Bytes, Bytes)> {
    let mut pairs = Vec::new();
    let mut visit = |key: &[u8], value: &[u8]| {
        let (key, value) = (Bytes::copy_from_slice(key), Bytes::copy_from_slice(value));
        pairs.push((family, key, value));
        ControlFlow::Continue(())
    };
    engine
        .scan(family, start, end, direction, &mut visit)
        .unwrap();
    pairs
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// What a killed process would leave. The journal's own thread goes on meanwhile: newer files are copied first, so that
/// what it does between two copies is missing and not torn, and all once more if files came or went.
fn copy(from: &Path) -> tempfile::TempDir {
    loop {
        let (to, names) = (tempfile::tempdir().unwrap(), files(from));
        let copied = names.iter().rev().all(|file| {
            let to = to.path().join(file.file_name().unwrap());
            std::fs::copy(file, to).is_ok()
        });
        if copied && files(from) == names {
            return to;
        }
    }
}

fn flip(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at] ^= 0x10;
    std::fs::write(path, bytes).unwrap();
}

fn put(number: u64, size: usize) -> WriteBatch {
    let mut batch = WriteBatch::new();
    batch.put(LOG, key(1, number), vec![number as u8; size]);
    batch.put(STATE, "last", number.to_be_bytes().to_vec());
    batch
}

/// The last batch of [`put`] that is there; all before it are.
fn last(engine: &dyn LogEngine) -> u64 {
    let found = engine.get(STATE, b"last").unwrap();
    let last = found.map_or(0, |value| u64::from_be_bytes(value[..].try_into().unwrap()));
    let numbers = range(engine, LOG, b"", b"", Direction::Forward);
    let expected: Vec<_> = (1..=last).map(|number| key(1, number)).collect();
    let found: Vec<_> = numbers.into_iter().map(|(_, key, _)| key).collect();
    assert_eq!(found, expected);
    last
}

fn eventually(what: &str, condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < Duration::from_secs(30), "never: {what}");
        std::thread::yield_now();
    }
}

#[derive(Clone, Debug)]
enum Step {
    Append(u64, u8, u16),
    Overwrite(u64, u64),
    Cut(u64, u64, u64),
    State(u8, u8),
    Forget(u8),
    ForgetRange(u8, u8),
    Sync,
    Reclaim,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..3_u64, 1..5_u8, 0..2000_u16).prop_map(|(group, count, size)| Step::Append(group, count, size)),
        2 => (0..3_u64, 0..40_u64).prop_map(|(group, index)| Step::Overwrite(group, index)),
        3 => (0..3_u64, 0..40_u64, 0..40_u64).prop_map(|(group, low, high)| Step::Cut(group, low, high)),
        3 => (0..8_u8, any::<u8>()).prop_map(|(key, value)| Step::State(key, value)),
        1 => (0..8_u8).prop_map(Step::Forget),
        1 => (0..8_u8, 0..8_u8).prop_map(|(low, high)| Step::ForgetRange(low, high)),
        1 => Just(Step::Sync),
        1 => Just(Step::Reclaim),
        1 => Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn it_holds_what_the_engine_in_memory_holds(steps in prop::collection::vec(step(), 1..120)) {
        let directory = tempfile::tempdir().unwrap();
        let model = Memory::new(2);
        let mut journal = open(directory.path()).unwrap();
        let mut next = [1_u64; 3];
        for step in steps {
            let mut batch = WriteBatch::new();
            match step {
                Step::Append(group, count, size) => {
                    for _ in 0..count {
                        let index = &mut next[group as usize];
                        batch.put(LOG, key(group, *index), vec![*index as u8; usize::from(size)]);
                        *index += 1;
                    }
                }
                Step::Overwrite(group, index) => batch.put(LOG, key(group, index), "other"),
                Step::Cut(group, low, high) => batch.delete_range(LOG, key(group, low), key(group, high)),
                Step::State(key, value) => batch.put(STATE, vec![key], vec![value]),
                Step::Forget(key) => batch.delete(STATE, vec![key]),
                Step::ForgetRange(low, high) => batch.delete_range(STATE, vec![low], vec![high]),
                Step::Sync => journal.sync().unwrap(),
                Step::Reclaim => journal.reclaim().unwrap(),
                Step::Reopen => {
                    drop(journal);
                    journal = open(directory.path()).unwrap();
                }
            }
            model.write(batch.clone(), Durability::Buffered).unwrap();
            journal.write(batch, Durability::Buffered).unwrap();
        }
        prop_assert_eq!(all(&journal), all(&model));
        for (family, key, value) in all(&model) {
            prop_assert_eq!(journal.get(family, &key).unwrap(), Some(value));
        }
        for bounds in [(0, 1), (5, 17), (3, 3), (9, 2)] {
            for direction in [Direction::Forward, Direction::Backward] {
                let (low, high) = (key(1, bounds.0), key(1, bounds.1));
                for (low, high) in [(&low[..], &high[..]), (&low[..], &[]), (&[], &high[..]), (&low[..7], &high[..9])] {
                    let found = range(&journal, LOG, low, high, direction);
                    prop_assert_eq!(found, range(&model, LOG, low, high, direction));
                }
            }
        }
        // Killed: what was written is there, synced or not.
        let left = copy(directory.path());
        prop_assert_eq!(all(&open(left.path()).unwrap()), all(&model));
    }

    /// A power loss: what was not synced may be there in parts, and what is there of it is a beginning.
    #[test]
    fn a_torn_end_loses_nothing_that_was_synced(
        synced in 0..30_u64,
        more in 0..30_u64,
        size in 0..1500_usize,
        holes in prop::collection::vec((0..64_usize, any::<bool>()), 0..4),
    ) {
        let directory = tempfile::tempdir().unwrap();
        // A mark would make durable what the test takes away again.
        let journal = open_with(directory.path(), Duration::MAX).unwrap();
        for number in 1..=synced {
            journal.write(put(number, size), Durability::Buffered).unwrap();
        }
        journal.sync().unwrap();
        let left = copy(directory.path());
        for number in synced + 1..=synced + more {
            journal.write(put(number, size), Durability::Buffered).unwrap();
        }
        let written = copy(directory.path());
        // Of the file that was written last, some blocks have not arrived. One that was only made longer, to be written
        // next, holds nothing yet.
        let first_change = |file: &PathBuf| {
            let before = std::fs::read(left.path().join(file.file_name().unwrap())).ok()?;
            let bytes = std::fs::read(file).unwrap();
            let before = before.iter().chain(std::iter::repeat(&0));
            bytes.iter().zip(before).position(|(one, other)| one != other)
        };
        let all = files(written.path());
        let changed: Vec<_> = all.iter().filter_map(|file| Some((file, first_change(file)?))).collect();
        // One that was ended before is durable.
        let ended = all.len() > files(left.path()).len();
        if let ([(file, first)], false) = (&changed[..], ended) {
            let before = std::fs::read(left.path().join(file.file_name().unwrap())).unwrap();
            let mut bytes = std::fs::read(file).unwrap();
            for (block, old) in holes {
                let start = first + block * 512;
                for at in start..(start + 512).min(bytes.len()) {
                    bytes[at] = if old { before.get(at).copied().unwrap_or(0) } else { 0 };
                }
            }
            std::fs::write(file, bytes).unwrap();
            let after = last(&open(written.path()).unwrap());
            prop_assert!((synced..=synced + more).contains(&after), "{synced} synced, {after} there");
            prop_assert_eq!(last(&open(written.path()).unwrap()), after, "a second start says the same");
        }
    }
}

#[test]
fn a_flipped_byte_is_refused_or_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let journal = open(directory.path()).unwrap();
    for number in 1..=60 {
        journal.write(put(number, 300), Durability::Synced).unwrap();
    }
    let expected = all(&journal);
    drop(journal);
    let mut refused = 0;
    for file in files(directory.path()) {
        let length = file.metadata().unwrap().len() as usize;
        for at in (0..length).step_by(7) {
            let copied = copy(directory.path());
            let damaged = copied.path().join(file.file_name().unwrap());
            flip(&damaged, at);
            match open(copied.path()) {
                Ok(journal) => assert!(all(&journal) == expected, "{damaged:?} byte {at}"),
                Err(Error::Corrupt { place, .. }) => {
                    let (named, offset) = place.split_once(" offset ").unwrap();
                    assert_eq!(named, damaged.display().to_string());
                    assert!(offset.parse::<usize>().unwrap() <= at, "{place}: {at}");
                    refused += 1;
                }
                Err(other) => panic!("{other}"),
            }
        }
    }
    // Two segments and a half are full of records.
    assert!(refused > 60 * 300 / 7, "{refused}");
}

/// Without a mark the last record could be a torn one; every other one is vouched for by those behind it.
#[test]
fn a_flipped_byte_of_a_killed_process_costs_the_last_record_at_most() {
    let directory = tempfile::tempdir().unwrap();
    let journal = open(directory.path()).unwrap();
    for number in 1..=20 {
        journal.write(put(number, 100), Durability::Synced).unwrap();
    }
    let left = copy(directory.path());
    let file = files(left.path()).swap_remove(0);
    for at in 64..4000 {
        let copied = copy(left.path());
        flip(&copied.path().join(file.file_name().unwrap()), at);
        if let Ok(journal) = open(copied.path()) {
            assert!(last(&journal) >= 19, "byte {at}: {}", last(&journal));
        }
    }
}

#[test]
fn a_quiet_journal_vouches_for_its_last_record() {
    let directory = tempfile::tempdir().unwrap();
    let journal = open(directory.path()).unwrap();
    journal.write(put(1, 100), Durability::Synced).unwrap();
    eventually("the flip of the last record is refused", || {
        let copied = copy(directory.path());
        flip(&files(copied.path())[0], 64 + 20);
        open(copied.path()).is_err()
    });
    assert_eq!(last(&journal), 1);
}

#[test]
fn a_damaged_value_is_never_served() {
    let directory = tempfile::tempdir().unwrap();
    let journal = open(directory.path()).unwrap();
    journal.write(put(1, 1000), Durability::Synced).unwrap();
    journal.write(put(2, 1000), Durability::Synced).unwrap();
    flip(&files(directory.path())[0], 64 + 500);
    let read = journal.get(LOG, &key(1, 1));
    assert!(matches!(read, Err(Error::Corrupt { .. })), "{read:?}");
    assert_eq!(
        journal.get(LOG, &key(1, 2)).unwrap(),
        Some(vec![2; 1000].into())
    );
}

#[test]
fn a_missing_file_is_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let journal = open(directory.path()).unwrap();
    for number in 1..=100 {
        journal
            .write(put(number, 1000), Durability::Synced)
            .unwrap();
    }
    drop(journal);
    let all = files(directory.path());
    for missing in &all[1..all.len() - 2] {
        let copied = copy(directory.path());
        let path = copied.path().join(missing.file_name().unwrap());
        std::fs::remove_file(&path).unwrap();
        let refused = open(copied.path()).err().map(|error| error.to_string());
        let named = refused.is_some_and(|error| error.contains(&*path.to_string_lossy()));
        assert!(named, "{path:?}");
    }
}

/// A process that was killed while it filled a segment with zeros.
#[test]
fn a_segment_that_was_half_filled_is_used() {
    let directory = tempfile::tempdir().unwrap();
    let journal = open(directory.path()).unwrap();
    journal.write(put(1, 1000), Durability::Synced).unwrap();
    drop(journal);
    let newest = files(directory.path()).pop().unwrap();
    let number: u32 = newest
        .file_stem()
        .unwrap()
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    let next = newest.with_file_name(format!("{:010}.log", number + 1));
    std::fs::write(&next, [0; 4096]).unwrap();
    let journal = open(directory.path()).unwrap();
    for number in 2..=50 {
        journal
            .write(put(number, 1000), Durability::Synced)
            .unwrap();
    }
    drop(journal);
    let journal = open(directory.path()).unwrap();
    assert_eq!(last(&journal), 50);
}

#[test]
fn what_is_no_journal_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("CURRENT"), "MANIFEST-000001").unwrap();
    let refused = open(directory.path()).err().unwrap().to_string();
    assert!(refused.contains("earlier release"), "{refused}");

    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("0000000001.log"), [7; 100]).unwrap();
    assert!(matches!(open(directory.path()), Err(Error::Corrupt { .. })));
    assert!(journal::exists(directory.path()));
}

/// Logs that are shortened from the front, beside one that is not: files are used again, and what stays is carried along.
#[test]
fn segments_are_used_again_and_lose_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let journal = open(directory.path()).unwrap();
    let mut seen = BTreeSet::new();
    for number in 1..=2000_u64 {
        let mut batch = WriteBatch::new();
        batch.put(LOG, key(2, number), vec![number as u8; 500]);
        if let Some(old) = number.checked_sub(20) {
            batch.delete_range(LOG, key(2, 0), key(2, old));
        }
        if number % 100 == 0 {
            batch.put(LOG, key(1, number), "stays");
            batch.put(STATE, number.to_be_bytes().to_vec(), "stays too");
        }
        journal.write(batch, Durability::Synced).unwrap();
        seen.extend(files(directory.path()));
    }
    assert!(seen.len() > 2000 * 500 / SEGMENT as usize, "{}", seen.len());
    let expected = all(&journal);
    assert_eq!(expected.len(), 21 + 20 + 20);
    eventually("few segments are left", || {
        journal.statistics().disk_bytes <= (SLACK + 4 + KEPT) * FILE
    });
    drop(journal);
    let journal = open(directory.path()).unwrap();
    assert!(all(&journal) == expected);
    journal.reclaim().unwrap();
    assert!(all(&journal) == expected);
    // What is alive takes two, or parts of three; one is kept for later.
    assert!(journal.statistics().disk_bytes <= 5 * FILE);
    assert!(journal.statistics().dead_bytes < SEGMENT);
    assert_eq!(journal.statistics().kept_bytes, 0);
}

#[test]
fn a_batch_larger_than_a_segment_is_one_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let journal = open(directory.path()).unwrap();
    for number in 1..=3 {
        journal
            .write(put(number, 5 * SEGMENT as usize), Durability::Synced)
            .unwrap();
    }
    drop(journal);
    let journal = open(directory.path()).unwrap();
    assert_eq!(last(&journal), 3);
    let mut batch = WriteBatch::new();
    batch.delete_range(LOG, key(1, 0), key(1, 4));
    batch.put(STATE, "last", 0_u64.to_be_bytes().to_vec());
    journal.write(batch, Durability::Synced).unwrap();
    eventually("its space is given back", || {
        // One that is gone meanwhile is not large.
        let length = |file: &PathBuf| file.metadata().map_or(0, |metadata| metadata.len());
        files(directory.path())
            .iter()
            .all(|file| length(file) <= SEGMENT)
    });
    assert_eq!(last(&journal), 0);
}

#[test]
fn many_writers_share_syncs_and_lose_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let journal = open(directory.path()).unwrap();
    std::thread::scope(|scope| {
        for group in 0..4 {
            let journal = &journal;
            scope.spawn(move || {
                for number in 1..=200 {
                    let mut batch = WriteBatch::new();
                    batch.put(LOG, key(group, number), vec![group as u8; 100]);
                    journal.write(batch, Durability::Synced).unwrap();
                }
            });
        }
    });
    let left = copy(directory.path());
    assert_eq!(all(&open(left.path()).unwrap()).len(), 800);
}

#[test]
fn a_failed_write_is_final() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("gone");
    let journal = open(&path).unwrap();
    journal.write(put(1, 10), Durability::Synced).unwrap();
    std::fs::remove_dir_all(&path).unwrap();
    // No segment can be made any more.
    let failed =
        (2..1000).find_map(|number| journal.write(put(number, 1000), Durability::Synced).err());
    assert!(matches!(failed, Some(Error::Poisoned(_))), "{failed:?}");
    let again = journal.write(put(1, 10), Durability::Buffered);
    assert!(matches!(again, Err(Error::Poisoned(_))), "{again:?}");
    assert!(matches!(journal.sync(), Err(Error::Poisoned(_))));
}

/// What is damaged is not written again as if it were sound.
#[test]
fn damage_that_is_met_while_segments_are_cleaned_ends_the_writes() {
    let directory = tempfile::tempdir().unwrap();
    let journal = open(directory.path()).unwrap();
    // More than a block: the last one is written again with what comes.
    journal.write(put(1, 5000), Durability::Synced).unwrap();
    flip(&files(directory.path())[0], 64 + 500);
    let failed = (2..2000).find_map(|number| {
        let mut batch = put(number, 1000);
        batch.delete_range(LOG, key(1, 2), key(1, number));
        journal.write(batch, Durability::Synced).err()
    });
    let reason = failed.expect("the first pair is never deleted").to_string();
    assert!(reason.contains("0000000001.log"), "{reason}");
    assert!(open(directory.path()).is_err());
}
