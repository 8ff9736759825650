//! What RocksDB may lose at a crash and what it refuses: a killed process, torn and damaged files, a full stop
//! after a failed write.
#![cfg(feature = "rocks")]
#![allow(clippy::unwrap_used, missing_docs)]

use std::io::{BufRead, BufReader, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use yadkv_engine::rocks::{BlockCache, Compression, FamilyOptions, Options, Rocks};
use yadkv_engine::{
    Cached, Direction, Durability, Engine, Error, Family, LogEngine, Snapshot, WriteBatch,
};

const A: Family = Family(0);

fn options() -> Options {
    let mut families: Vec<_> = ["a", "b"].map(FamilyOptions::new).into();
    // Offsets in messages are of the bytes on disk; without compression each flipped one matters.
    families[0].compression = Compression::None;
    Options::new(families, BlockCache::new(1 << 20))
}

/// Where the process that is killed writes.
const KILLED_DIRECTORY: &str = "YADKV_TEST_KILLED_DIRECTORY";
/// The last batch that it syncs.
const SYNCED: usize = 100;

fn unlogged() -> Options {
    let mut options = options().unlogged();
    options.write_buffer_bytes = 4 << 20;
    options
}

fn tables(directory: &Path) -> usize {
    let names = std::fs::read_dir(directory).unwrap();
    let names = names.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter(|name| name.ends_with(".sst")).count()
}

fn key(number: usize) -> String {
    format!("{number:08}")
}

fn put(number: usize, size: usize) -> WriteBatch {
    let mut batch = WriteBatch::new();
    for family in [A, Family(1)] {
        batch.put(family, key(number), vec![number as u8; size]);
    }
    batch
}

fn fill(engine: &Rocks, numbers: std::ops::Range<usize>) {
    for number in numbers {
        let durability = if number % 10 == 0 {
            Durability::Synced
        } else {
            Durability::Buffered
        };
        engine.write(put(number, 100), durability).unwrap();
    }
}

fn copy(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.path().join(entry.file_name())).unwrap();
    }
    to
}

fn count(engine: &Rocks, family: Family) -> usize {
    let mut count = 0;
    engine
        .snapshot()
        .scan(family, b"", b"", Direction::Forward, &mut |found, _| {
            assert_eq!(found, key(count).as_bytes(), "a hole");
            count += 1;
            ControlFlow::Continue(())
        })
        .unwrap();
    count
}

fn file(directory: &Path, suffix: &str) -> PathBuf {
    let mut files: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_str().unwrap().ends_with(suffix))
        .filter(|path| path.metadata().unwrap().len() > 0)
        .collect();
    files.sort();
    files.pop().unwrap()
}

fn flip(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at] ^= 0x10;
    std::fs::write(path, bytes).unwrap();
}

fn refusal(directory: &Path, options: &Options) -> (String, String) {
    match Rocks::open(directory, options) {
        Err(Error::Corrupt { place, reason }) => (place, reason),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it opened"),
    }
}

#[test]
fn a_killed_process_leaves_a_prefix() {
    let directory = tempfile::tempdir().unwrap();
    let engine = Rocks::open(directory.path(), &options().verified()).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // Less than a memtable in all: files that come and go would make the copy something no kill leaves.
            for number in 0..3000 {
                let durability = if number % 8 == 0 {
                    Durability::Synced
                } else {
                    Durability::Buffered
                };
                engine.write(put(number, 3000), durability).unwrap();
            }
        });
        let mut before = 0;
        for _ in 0..10 {
            // Copies while it writes: the end of the log is torn like after a kill.
            let copy = copy(directory.path());
            let left = Rocks::open(copy.path(), &options().verified()).unwrap();
            let found = count(&left, A);
            assert_eq!(found, count(&left, Family(1)), "a torn batch");
            assert!(found >= before);
            before = found;
        }
        assert!(before > 0);
    });
}

#[test]
fn a_directory_in_use_is_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let _engine = Rocks::open(directory.path(), &options()).unwrap();
    match Rocks::open(directory.path(), &options()) {
        Err(Error::Open {
            directory: named,
            reason,
        }) => {
            assert_eq!(named, directory.path().display().to_string());
            assert!(reason.contains("in use by a process"), "{reason}");
        }
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it opened"),
    }
}

#[test]
fn a_torn_tail_of_the_log_is_dropped() {
    let directory = tempfile::tempdir().unwrap();
    fill(&Rocks::open(directory.path(), &options()).unwrap(), 0..100);
    let log = file(directory.path(), ".log");
    let length = log.metadata().unwrap().len();
    std::fs::File::options()
        .write(true)
        .open(&log)
        .unwrap()
        .set_len(length - 5)
        .unwrap();
    let engine = Rocks::open(directory.path(), &options().verified()).unwrap();
    assert_eq!(count(&engine, A), 99);
}

#[test]
fn a_damaged_log_is_refused_with_file_and_offset() {
    let directory = tempfile::tempdir().unwrap();
    fill(&Rocks::open(directory.path(), &options()).unwrap(), 0..100);
    let length = file(directory.path(), ".log").metadata().unwrap().len() as usize;
    // All records are the same length, so the last header is one record before the end.
    let record = length / 100;
    for at in [4, 300, length / 2, length - record + 4, length - 1] {
        let copy = copy(directory.path());
        let log = file(copy.path(), ".log");
        flip(&log, at);
        let (place, _) = refusal(copy.path(), &options().verified());
        let (named, offset) = place.split_once(" offset ").unwrap();
        assert_eq!(named, log.display().to_string());
        let offset: usize = offset.parse().unwrap();
        assert!(offset <= at && at < offset + record + 7, "{at}: {place}");
    }
}

/// The process that [`a_killed_process_without_a_log_leaves_a_prefix`] kills.
#[test]
#[ignore = "runs until it is killed"]
fn write_without_a_log_until_killed() {
    let Ok(directory) = std::env::var(KILLED_DIRECTORY) else {
        return;
    };
    let engine = Rocks::open(directory, &unlogged()).unwrap();
    for number in 0..1_000_000 {
        let mut batch = put(number, 10);
        batch.put(A, key(number), vec![number as u8; 3000]);
        engine.write(batch, Durability::Buffered).unwrap();
        if number == SYNCED {
            engine.sync().unwrap();
            writeln!(std::io::stdout(), "synced").unwrap();
        }
    }
}

/// A process that ends here, whatever becomes of the test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The first family fills its memtables long before the second: unless they are flushed together, a kill leaves
/// more of one than of the other.
#[test]
fn a_killed_process_without_a_log_leaves_a_prefix() {
    for _ in 0..3 {
        let directory = tempfile::tempdir().unwrap();
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "write_without_a_log_until_killed"])
            .args(["--ignored", "--nocapture"])
            .env(KILLED_DIRECTORY, directory.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut child = Killed(child);
        let output = BufReader::new(child.0.stdout.take().unwrap());
        let mut lines = output.lines().map_while(Result::ok);
        // A test runner that names the test first does so on the same line.
        assert!(lines.any(|line| line.ends_with("synced")));
        let begun = Instant::now();
        while tables(directory.path()) < 8 {
            assert!(begun.elapsed() < Duration::from_secs(60), "no flush");
            std::thread::yield_now();
        }
        drop(child);
        let left = Rocks::open(directory.path(), &unlogged()).unwrap();
        let found = count(&left, A);
        assert_eq!(found, count(&left, Family(1)), "a torn flush");
        assert!(found > SYNCED, "{found}");
    }
}

#[test]
fn without_a_log_a_synced_write_is_in_the_tables() {
    let directory = tempfile::tempdir().unwrap();
    let engine = Rocks::open(directory.path(), &unlogged()).unwrap();
    fill(&engine, 0..11);
    engine.write(put(11, 100), Durability::Buffered).unwrap();
    let copied = copy(directory.path());
    let left = Rocks::open(copied.path(), &unlogged()).unwrap();
    assert_eq!(count(&left, A), 11);
    let durable = |number| engine.get_durable(A, key(number).as_bytes()).unwrap();
    assert_eq!(durable(10), Some(vec![10; 100].into()));
    assert_eq!(durable(11), None, "it is in a memtable only");
    engine.write(WriteBatch::new(), Durability::Synced).unwrap();
    assert_eq!(durable(11), Some(vec![11; 100].into()));
    let copied = copy(directory.path());
    let left = Rocks::open(copied.path(), &unlogged()).unwrap();
    assert_eq!(count(&left, A), 12);
}

#[test]
fn a_damaged_table_is_never_served() {
    let directory = tempfile::tempdir().unwrap();
    {
        let engine = Rocks::open(directory.path(), &options()).unwrap();
        fill(&engine, 0..1000);
        engine.flush().unwrap();
    }
    let mut tables: Vec<_> = std::fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "sst"))
        .collect();
    tables.sort_by_key(|path| std::cmp::Reverse(path.metadata().unwrap().len()));
    let table = &tables[0];
    flip(table, 40_000);

    // A database that is checked on open refuses to.
    let (place, reason) = refusal(directory.path(), &options().verified());
    assert!(
        place.starts_with(&format!("{} offset ", table.display())),
        "{place}: {reason}"
    );

    // One that is not refuses the block, and goes on serving the others.
    let engine = Rocks::open(directory.path(), &options()).unwrap();
    let mut damaged = 0;
    // It may be of either family.
    let all = [A, Family(1)].into_iter();
    let all = all.flat_map(|family| (0..1000).map(move |number| (family, number)));
    for (family, number) in all {
        match engine.get(family, key(number).as_bytes()) {
            Ok(Some(value)) => assert_eq!(value, vec![number as u8; 100]),
            Ok(None) => panic!("{number} vanished"),
            Err(Error::Corrupt { place: named, .. }) => {
                assert_eq!(named, place);
                damaged += 1;
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert!((1..400).contains(&damaged), "{damaged}");
}

/// RocksDB alone takes a flipped length of a record for the end of the manifest, and opens as if what it names from there
/// on had never been.
#[test]
fn a_damaged_manifest_is_refused_wherever_it_is() {
    let directory = tempfile::tempdir().unwrap();
    {
        let engine = Rocks::open(directory.path(), &options()).unwrap();
        for round in 0..3 {
            fill(&engine, round * 20..round * 20 + 20);
            engine.reclaim().unwrap();
        }
    }
    let current = std::fs::read_to_string(directory.path().join("CURRENT")).unwrap();
    let length = directory
        .path()
        .join(current.trim())
        .metadata()
        .unwrap()
        .len();
    for at in 0..length as usize {
        let copied = copy(directory.path());
        flip(&copied.path().join(current.trim()), at);
        let opened = Rocks::open(copied.path(), &options());
        assert!(opened.is_err(), "byte {at} of {length}");
    }
}

#[test]
fn a_lost_file_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    {
        let engine = Rocks::open(directory.path(), &options()).unwrap();
        fill(&engine, 0..100);
        engine.flush().unwrap();
    }
    let without_current = copy(directory.path());
    std::fs::remove_file(without_current.path().join("CURRENT")).unwrap();
    let (place, _) = refusal(without_current.path(), &options());
    assert!(place.ends_with("CURRENT"), "{place}");

    let table = file(directory.path(), ".sst");
    std::fs::remove_file(&table).unwrap();
    let (place, reason) = refusal(directory.path(), &options());
    assert_eq!(place, table.display().to_string(), "{reason}");
}

#[test]
fn a_cold_cache_says_unknown() {
    let directory = tempfile::tempdir().unwrap();
    {
        let engine = Rocks::open(directory.path(), &options()).unwrap();
        fill(&engine, 0..100);
        let found = engine.get_cached(A, key(7).as_bytes()).unwrap();
        assert!(matches!(found, Cached::Found(_)), "in the memtable");
        engine.flush().unwrap();
    }
    let engine = Rocks::open(directory.path(), &options()).unwrap();
    let key = key(7);
    assert_eq!(
        engine.get_cached(A, key.as_bytes()).unwrap(),
        Cached::Unknown
    );
    let value = engine.get(A, key.as_bytes()).unwrap().unwrap();
    assert_eq!(
        engine.get_cached(A, key.as_bytes()).unwrap(),
        Cached::Found(value)
    );
}

#[test]
fn a_failed_write_is_final() {
    let directory = tempfile::tempdir().unwrap();
    let engine = Rocks::open(directory.path(), &options()).unwrap();
    fill(&engine, 0..10);
    std::fs::remove_dir_all(directory.path()).unwrap();
    assert!(matches!(engine.flush(), Err(Error::Poisoned(_))));
    let error = engine.write(put(10, 1), Durability::Buffered).unwrap_err();
    assert!(matches!(error, Error::Poisoned(_)));
    assert!(matches!(engine.sync(), Err(Error::Poisoned(_))));
}

#[test]
fn compaction_drops_what_it_may() {
    let directory = tempfile::tempdir().unwrap();
    let mut options = options();
    options.families[0].drop = Some(Arc::new(|found, _| found < key(50).as_bytes()));
    let engine = Rocks::open(directory.path(), &options).unwrap();
    fill(&engine, 0..100);
    engine.flush().unwrap();
    engine.compact();
    assert_eq!(engine.get(A, key(49).as_bytes()).unwrap(), None);
    assert!(engine.get(A, key(50).as_bytes()).unwrap().is_some());
    assert!(engine.get(Family(1), key(49).as_bytes()).unwrap().is_some());
    assert!(engine.statistics().disk_bytes > 0);
}

/// Many small keys make one table with a large index and a large filter. Both are to be read in parts: what a
/// look-up brings in must not grow with the table.
#[test]
#[cfg(target_os = "linux")]
fn a_look_up_reads_a_few_blocks_of_a_large_table() {
    const KEYS: usize = 400_000;
    const LOOK_UPS: usize = 200;
    const BYTES_PER_LOOK_UP_MAX: usize = 64 * 1024;

    let directory = tempfile::tempdir().unwrap();
    let small_cache = Options {
        block_cache: BlockCache::new(128 * 1024),
        ..options()
    };
    let engine = Rocks::open(directory.path(), &small_cache).unwrap();
    // Two tables that overlap, so that compaction writes a new one.
    for first in [0, 1] {
        let mut batch = WriteBatch::new();
        for number in (first..KEYS).step_by(2) {
            batch.put(A, key(number), "small");
        }
        engine.write(batch, Durability::Buffered).unwrap();
        engine.flush().unwrap();
    }
    engine.compact();
    let before = bytes_read_by_this_thread();
    for number in 0..LOOK_UPS {
        let key = key(number * 7919 % KEYS);
        assert_eq!(engine.get(A, key.as_bytes()).unwrap().unwrap(), "small");
    }
    let each = (bytes_read_by_this_thread() - before) / LOOK_UPS;
    assert!(each <= BYTES_PER_LOOK_UP_MAX, "{each} bytes a look-up");
}

/// A region that is measured or sent is read once: blocks that clients read again and again must not give way to it.
#[test]
fn scans_of_a_view_that_is_held_leave_the_cache_as_it_was() {
    const KEYS: usize = 10_000;

    let directory = tempfile::tempdir().unwrap();
    let cache = BlockCache::new(64 * 1024 * 1024);
    let options = Options {
        block_cache: cache.clone(),
        ..options()
    };
    let engine = Arc::new(Rocks::open(directory.path(), &options).unwrap());
    let mut batch = WriteBatch::new();
    for number in 0..KEYS {
        batch.put(A, key(number), vec![b'v'; 100]);
    }
    engine.write(batch, Durability::Buffered).unwrap();
    engine.flush().unwrap();
    let scan = |view: &dyn Snapshot| {
        let mut seen = 0;
        view.scan(A, b"", b"", Direction::Forward, &mut |_, _| {
            seen += 1;
            ControlFlow::Continue(())
        })
        .unwrap();
        assert_eq!(seen, KEYS);
    };
    // What is kept of indexes and filters.
    scan(&*engine.clone().hold());
    let before = cache.usage_bytes();
    scan(&*engine.clone().hold());
    assert_eq!(cache.usage_bytes(), before);
    scan(&*engine.snapshot());
    let blocks = cache.usage_bytes() - before;
    assert!(blocks > KEYS * 100, "{blocks} bytes of blocks");
}

#[cfg(target_os = "linux")]
fn bytes_read_by_this_thread() -> usize {
    let text = std::fs::read_to_string("/proc/thread-self/io").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("rchar: "));
    line.unwrap().parse().unwrap()
}

#[test]
fn a_damaged_table_is_remembered_and_taken_away() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("kv");
    {
        let engine = Rocks::open(&path, &unlogged()).unwrap();
        fill(&engine, 0..100);
        engine.flush().unwrap();
        engine.compact();
        assert_eq!(engine.damaged().unwrap(), []);
    }
    let table = largest_table(&path);
    flip(&table, 200);
    let name = table.file_name().unwrap().to_str().unwrap().to_owned();
    {
        let engine = Rocks::open(&path, &unlogged()).unwrap();
        let fails = |key: &String| match engine.get(A, key.as_bytes()) {
            Err(Error::Corrupt { .. }) => true,
            other => other.unwrap().is_none(),
        };
        let failing = (0..100).map(key).find(fails).unwrap();
        let found = engine.damaged().unwrap();
        let [file] = &found[..] else {
            panic!("one file is damaged: {found:?}");
        };
        assert_eq!(file.name, name);
        let inside = failing.as_bytes();
        assert!(*file.first <= *inside && *inside <= *file.last, "{file:?}");
    }
    // Another life knows it before it reads it, and merges nothing.
    let engine = Rocks::open(&path, &unlogged()).unwrap();
    let file = engine.damaged().unwrap().remove(0);
    for round in 0..8 {
        engine
            .write(put(200 + round, 100), Durability::Synced)
            .unwrap();
    }
    assert!(engine.discard_damaged(&file).unwrap());
    assert_eq!(engine.damaged().unwrap(), []);
    assert!(!table.exists());
    assert_eq!(engine.get(A, &file.first).unwrap(), None);
    assert!(engine.get(Family(1), &file.first).unwrap().is_some());
    assert!(engine.get(A, key(203).as_bytes()).unwrap().is_some());
    drop(engine);
    let engine = Rocks::open(&path, &unlogged()).unwrap();
    assert_eq!(engine.damaged().unwrap(), []);
    engine.compact();
    assert!(engine.get(A, key(207).as_bytes()).unwrap().is_some());
}

/// The largest table: one of the first family, which is not compressed.
fn largest_table(directory: &Path) -> PathBuf {
    let entries = std::fs::read_dir(directory).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let tables = paths.filter(|path| path.extension().is_some_and(|kind| kind == "sst"));
    let bytes = |path: &PathBuf| path.metadata().unwrap().len();
    tables.max_by_key(bytes).unwrap()
}

#[test]
fn what_is_taken_in_lies_below_everything_else() {
    use yadkv_engine::Intake;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("kv");
    let engine = Rocks::open(&path, &unlogged()).unwrap();
    fill(&engine, 500..600);
    let mut stage = engine.stage("set").unwrap();
    for number in 0..400 {
        stage.put(A, key(number).as_bytes(), &[7; 100]).unwrap();
    }
    stage.finish().unwrap();
    engine.ingest("set").unwrap();
    engine.write(put(1000, 10), Durability::Synced).unwrap();
    let table = largest_table(&path);
    flip(&table, 2000);
    drop(engine);
    let engine = Rocks::open(&path, &unlogged()).unwrap();
    let met = (0..400).any(|number| engine.get(A, key(number).as_bytes()).is_err());
    assert!(met);
    let file = engine.damaged().unwrap().remove(0);
    assert!(engine.discard_damaged(&file).unwrap(), "{file:?}");
}
