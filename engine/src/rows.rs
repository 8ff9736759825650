//! Rows that were read lately, in front of an engine: a look-up of one of them touches neither memtables nor blocks.
//!
//! *Place*: a store puts [`RowCache`] around its data engine, and everything that writes there goes through it.
//!
//! *Why*: a search in a memtable or a block meets a dozen places that are in no cache of the processor, this one meets three. Of
//! what a get takes, servers and client together, RocksDB had a third.
//!
//! *Life of a row*: a look-up misses and asks the engine → the row is kept, if no write of its shard began meanwhile or was under
//! way → look-ups find it → a write of its key takes it out **before** the engine gets the write, or room is needed
//! for others (CLOCK-Pro: what was read once goes first). A deletion of a range takes out everything, as does what names no
//! keys: to look for the rows of the range would take longer than to fill the cache again. A look-up that needs the disk
//! ([`Cached::Unknown`]) leaves nothing; its row is kept the next time.
//!
//! *Invariants*: a row is what the engine holds: it is kept only after a look at the engine that no write can have
//! overtaken, and no write begins while it is there.
//!
//! *Limits*: the bytes it is given, each of the [`SHARDS`] an equal part; no values above [`VALUE_BYTES_MAX`], whose
//! search is little beside the copying. Snapshots, scans and what may block pass it by.
//!
//! *Source*: Jiang, Chen and Zhang, "CLOCK-Pro: an effective improvement of the CLOCK replacement", USENIX 2005, as
//! `quick_cache` has it.
//!
//! *Next stop*: [`crate::journal`].

use crate::{
    Cached, DamagedFile, Direction, Durability, Engine, Family, Intake, LogEngine, Operation,
    Result, Snapshot, Stage, Statistics, Visitor, WriteBatch,
};
use bytes::Bytes;
use parking_lot::RwLock;
use quick_cache::unsync::{Cache, DefaultLifecycle};
use quick_cache::{Equivalent, Weighter};
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Parts with a lock of their own; a batch names those that it touches by the bits of a word.
pub const SHARDS: usize = u64::BITS as usize;
/// Largest value that is kept.
pub const VALUE_BYTES_MAX: usize = 16 << 10;
/// Largest value that lies beside its key.
const BESIDE_BYTES_MAX: usize = 4 << 10;
/// What a row takes beside key and value, about.
const ROW_BYTES: usize = 128;

/// An engine with rows in front of it. By default keys are hashed so that nobody can choose many that fall on one place
/// (SipHash under a key of this process).
pub struct RowCache<E, S = RandomState> {
    engine: Arc<E>,
    /// Whose rows are kept.
    families: Vec<Family>,
    shards: Vec<Shard<S>>,
    hasher: S,
}

/// What a cache has done so far, and holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RowCounts {
    /// Look-ups that found their row here.
    pub hits: u64,
    /// Look-ups that had to ask the engine.
    pub misses: u64,
    /// Bytes of rows.
    pub bytes: u64,
}

#[derive(Debug)]
struct Shard<S> {
    rows: RwLock<Rows<S>>,
    hits: AtomicU64,
    misses: AtomicU64,
}

#[derive(Debug)]
struct Rows<S> {
    kept: Cache<Row, Bytes, Weigh, S>,
    /// Writes that have begun so far, and those of them that have not ended.
    begun: u64,
    under_way: u64,
}

/// Where a row is in the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    family: Family,
    key: Bytes,
}

/// The same, of somebody else's key.
struct Look<'a> {
    family: Family,
    key: &'a [u8],
}

impl Look<'_> {
    /// The row, a small value right behind its key: whoever compares the key has brought the value's first bytes into
    /// the processor's cache. Larger ones are not copied for that.
    fn row(&self, value: &Bytes) -> (Row, Bytes) {
        let family = self.family;
        if value.len() > BESIDE_BYTES_MAX {
            let key = Bytes::copy_from_slice(self.key);
            return (Row { family, key }, value.clone());
        }
        let mut key = Bytes::from([self.key, value].concat());
        let value = key.split_off(self.key.len());
        (Row { family, key }, value)
    }
}

/// A look-up that found no row.
#[derive(Debug)]
struct Miss {
    /// The shard.
    number: usize,
    /// What [`Rows::quiet`] said.
    quiet: Option<u64>,
}

#[derive(Clone, Debug)]
struct Weigh;

impl Hash for Row {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let (family, key) = (self.family, &self.key[..]);
        Look { family, key }.hash(state);
    }
}

impl Hash for Look<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(self.key);
        state.write_u8(self.family.0);
    }
}

impl Equivalent<Row> for Look<'_> {
    fn equivalent(&self, row: &Row) -> bool {
        self.family == row.family && *self.key == *row.key
    }
}

impl Weighter<Row, Bytes> for Weigh {
    fn weight(&self, row: &Row, value: &Bytes) -> u64 {
        (row.key.len() + value.len() + ROW_BYTES) as u64
    }
}

impl<S: BuildHasher> Rows<S> {
    /// What has to be the same again for a look at the engine to be good; `None` while a write is under way.
    fn quiet(&self) -> Option<u64> {
        (self.under_way == 0).then_some(self.begun)
    }

    fn begin(&mut self) {
        self.begun += 1;
        self.under_way += 1;
    }

    fn clear(&mut self) {
        if !self.kept.is_empty() {
            self.kept.clear();
        }
    }
}

/// The shards of a write, as bits.
#[derive(Clone, Copy, Default)]
struct Touched(u64);

impl Touched {
    const ALL: Self = Self(u64::MAX);

    /// Whether it is touched for the first time.
    fn add(&mut self, shard: usize) -> bool {
        let bit = 1 << shard;
        let new = self.0 & bit == 0;
        self.0 |= bit;
        new
    }
}

impl<E, S: BuildHasher + Clone> RowCache<E, S> {
    /// Rows of some families, of up to about `bytes_max` bytes, in front of an engine.
    pub fn new(engine: Arc<E>, families: &[Family], bytes_max: usize, hasher: S) -> Self {
        let bytes = bytes_max / SHARDS;
        let shard = || {
            let rows = Cache::with(
                bytes / (1 << 10),
                bytes as u64,
                Weigh,
                hasher.clone(),
                DefaultLifecycle::default(),
            );
            Shard {
                rows: RwLock::new(Rows {
                    kept: rows,
                    begun: 0,
                    under_way: 0,
                }),
                hits: AtomicU64::new(0),
                misses: AtomicU64::new(0),
            }
        };
        Self {
            engine,
            families: families.to_vec(),
            shards: std::iter::repeat_with(shard).take(SHARDS).collect(),
            hasher,
        }
    }

    /// What it has done so far, and holds.
    pub fn counts(&self) -> RowCounts {
        let mut counts = RowCounts::default();
        for shard in &self.shards {
            counts.hits += shard.hits.load(Ordering::Relaxed);
            counts.misses += shard.misses.load(Ordering::Relaxed);
            counts.bytes += shard.rows.read().kept.weight();
        }
        counts
    }

    /// The shard of a row.
    fn number(&self, row: &Look<'_>) -> usize {
        // The cache within it takes the low and the highest bits of the same.
        (self.hasher.hash_one(row) >> 40) as usize % SHARDS
    }

    fn look(&self, row: &Look<'_>) -> std::result::Result<Bytes, Miss> {
        let number = self.number(row);
        let shard = &self.shards[number];
        let rows = shard.rows.read();
        if let Some(value) = rows.kept.get(row) {
            shard.hits.fetch_add(1, Ordering::Relaxed);
            return Ok(value.clone());
        }
        shard.misses.fetch_add(1, Ordering::Relaxed);
        let quiet = rows.quiet();
        Err(Miss { number, quiet })
    }

    /// Keeps what the engine held after a miss.
    fn keep(&self, miss: Miss, look: &Look<'_>, value: &Bytes) {
        if miss.quiet.is_none() || value.len() > VALUE_BYTES_MAX {
            return;
        }
        let (row, value) = look.row(value);
        let mut rows = self.shards[miss.number].rows.write();
        if rows.quiet() == miss.quiet {
            rows.kept.insert(row, value);
        }
    }

    /// Takes out what a write will change.
    fn begin(&self, operations: &[Operation]) -> Touched {
        let mut touched = Touched::default();
        for operation in operations {
            if !self.families.contains(&operation.family()) {
                continue;
            }
            match operation {
                Operation::Put(family, key, _) | Operation::Delete(family, key) => {
                    let family = *family;
                    let row = Look { family, key };
                    let number = self.number(&row);
                    let mut rows = self.shards[number].rows.write();
                    if touched.add(number) {
                        rows.begin();
                    }
                    rows.kept.remove(&row);
                }
                Operation::DeleteRange(..) => {
                    for (number, shard) in self.shards.iter().enumerate() {
                        let mut rows = shard.rows.write();
                        if touched.add(number) {
                            rows.begin();
                        }
                        rows.clear();
                    }
                }
            }
        }
        touched
    }

    /// Takes everything out, for a change that names no keys.
    fn begin_anywhere(&self) -> Touched {
        for shard in &self.shards {
            let mut rows = shard.rows.write();
            rows.begin();
            rows.clear();
        }
        Touched::ALL
    }

    fn end(&self, touched: Touched) {
        for (number, shard) in self.shards.iter().enumerate() {
            if touched.0 & (1 << number) != 0 {
                shard.rows.write().under_way -= 1;
            }
        }
    }
}

impl<E: LogEngine, S: BuildHasher + Clone + Send + Sync> LogEngine for RowCache<E, S> {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>> {
        self.engine.get(family, key)
    }

    fn scan(
        &self,
        family: Family,
        start: &[u8],
        end: &[u8],
        direction: Direction,
        visit: &mut Visitor<'_>,
    ) -> Result<()> {
        self.engine.scan(family, start, end, direction, visit)
    }

    fn write(&self, batch: WriteBatch, durability: Durability) -> Result<()> {
        let touched = self.begin(batch.operations());
        let written = self.engine.write(batch, durability);
        self.end(touched);
        written
    }

    fn sync(&self) -> Result<()> {
        self.engine.sync()
    }

    fn give_back(&self) -> Result<()> {
        self.engine.give_back()
    }

    fn reclaim(&self) -> Result<()> {
        self.engine.reclaim()
    }

    fn statistics(&self) -> Statistics {
        self.engine.statistics()
    }
}

impl<E: Engine + 'static, S: BuildHasher + Clone + Send + Sync> Engine for RowCache<E, S> {
    fn get_cached(&self, family: Family, key: &[u8]) -> Result<Cached> {
        if !self.families.contains(&family) {
            return self.engine.get_cached(family, key);
        }
        let row = Look { family, key };
        let miss = match self.look(&row) {
            Ok(value) => return Ok(Cached::Found(value)),
            Err(miss) => miss,
        };
        let found = self.engine.get_cached(family, key)?;
        if let Cached::Found(value) = &found {
            self.keep(miss, &row, value);
        }
        Ok(found)
    }

    fn get_durable(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>> {
        self.engine.get_durable(family, key)
    }

    fn snapshot(&self) -> Box<dyn Snapshot + '_> {
        self.engine.snapshot()
    }

    fn hold(self: Arc<Self>) -> Box<dyn Snapshot + Send> {
        self.engine.clone().hold()
    }

    fn damaged(&self) -> Result<Vec<DamagedFile>> {
        self.engine.damaged()
    }

    fn discard_damaged(&self, file: &DamagedFile) -> Result<bool> {
        let touched = self.begin_anywhere();
        let discarded = self.engine.discard_damaged(file);
        self.end(touched);
        discarded
    }
}

impl<E: Intake, S: BuildHasher + Clone + Send + Sync> Intake for RowCache<E, S> {
    fn stage(&self, name: &str) -> Result<Box<dyn Stage + '_>> {
        self.engine.stage(name)
    }

    fn ingest(&self, name: &str) -> Result<()> {
        let touched = self.begin_anywhere();
        let ingested = self.engine.ingest(name);
        self.end(touched);
        ingested
    }

    fn discard(&self, name: &str) -> Result<()> {
        self.engine.discard(name)
    }

    fn staged(&self) -> Result<Vec<String>> {
        self.engine.staged()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::memory::{Fault, Memory};
    use proptest::prelude::*;
    use std::thread;

    const FAMILY: Family = Family(0);

    fn cache(bytes: usize) -> RowCache<Memory> {
        let engine = Arc::new(Memory::new(3));
        RowCache::new(engine, &[FAMILY, Family(1)], bytes, RandomState::new())
    }

    fn put(cache: &RowCache<Memory>, key: &str, value: &str) {
        let mut batch = WriteBatch::new();
        batch.put(FAMILY, key.to_owned(), value.to_owned());
        cache.write(batch, Durability::Buffered).unwrap();
    }

    fn get(cache: &RowCache<Memory>, key: &str) -> Cached {
        cache.get_cached(FAMILY, key.as_bytes()).unwrap()
    }

    fn found(value: &str) -> Cached {
        Cached::Found(Bytes::copy_from_slice(value.as_bytes()))
    }

    /// A look-up that misses, up to its look at the engine.
    fn half(cache: &RowCache<Memory>, key: &'static str) -> impl FnOnce(&RowCache<Memory>) {
        let row = || Look {
            family: FAMILY,
            key: key.as_bytes(),
        };
        let miss = cache.look(&row()).unwrap_err();
        let value = cache.engine.get(FAMILY, key.as_bytes()).unwrap().unwrap();
        move |cache| cache.keep(miss, &row(), &value)
    }

    #[test]
    fn what_was_read_is_found_again_until_it_is_written() {
        let cache = cache(1 << 20);
        put(&cache, "a", "1");
        assert_eq!(cache.counts(), RowCounts::default(), "nobody has read it");
        for _ in 0..3 {
            assert_eq!(get(&cache, "a"), found("1"));
        }
        let counts = cache.counts();
        assert_eq!((counts.hits, counts.misses), (2, 1));
        put(&cache, "a", "2");
        assert_eq!(cache.counts().bytes, 0);
        assert_eq!(get(&cache, "a"), found("2"));
        assert_eq!(get(&cache, "b"), Cached::Missing);
        assert_eq!(cache.get_cached(Family(1), b"a").unwrap(), Cached::Missing);
    }

    #[test]
    fn small_values_lie_right_behind_their_keys() {
        for (key, bytes) in [("", 0), ("k", 1), ("k", BESIDE_BYTES_MAX)] {
            let value = Bytes::from(vec![7; bytes]);
            let look = Look {
                family: FAMILY,
                key: key.as_bytes(),
            };
            let (row, kept) = look.row(&value);
            assert_eq!((&row.key[..], &kept), (key.as_bytes(), &value));
            assert_eq!(row.key.as_ptr_range().end, kept.as_ptr());
        }
        let large = Bytes::from(vec![7; BESIDE_BYTES_MAX + 1]);
        let (_, kept) = Look {
            family: FAMILY,
            key: b"k",
        }
        .row(&large);
        assert_eq!(kept.as_ptr(), large.as_ptr(), "it was copied");
        let cache = cache(1 << 20);
        for (key, value) in [("", ""), ("k", ""), ("", "v")] {
            put(&cache, key, value);
            for _ in 0..2 {
                assert_eq!(get(&cache, key), found(value));
            }
        }
        assert_eq!(cache.counts().hits, 3);
    }

    #[test]
    fn families_of_others_stay_outside() {
        let cache = cache(1 << 20);
        let mut batch = WriteBatch::new();
        batch.put(Family(2), "a", "1");
        let touched = cache.begin(batch.operations());
        assert_eq!(touched.0, 0);
        cache.write(batch, Durability::Buffered).unwrap();
        for _ in 0..2 {
            assert_eq!(cache.get_cached(Family(2), b"a").unwrap(), found("1"));
        }
        assert_eq!(cache.counts(), RowCounts::default());
    }

    #[test]
    fn a_look_that_a_deleted_range_overtakes_leaves_nothing() {
        let cache = cache(1 << 20);
        put(&cache, "a", "old");
        let keep = half(&cache, "a");
        let mut batch = WriteBatch::new();
        batch.delete_range(FAMILY, "", "b");
        cache.write(batch, Durability::Buffered).unwrap();
        keep(&cache);
        assert_eq!(get(&cache, "a"), Cached::Missing);
    }

    #[test]
    fn a_write_that_fails_hides_nothing() {
        let cache = cache(1 << 20);
        put(&cache, "a", "old");
        assert_eq!(get(&cache, "a"), found("old"));
        cache.engine.fail_writes(Fault::Write, 0);
        let mut batch = WriteBatch::new();
        batch.put(FAMILY, "a", "new");
        assert!(cache.write(batch, Durability::Buffered).is_err());
        for _ in 0..2 {
            assert_eq!(get(&cache, "a"), found("old"), "as the engine has it");
        }
        assert_eq!(cache.counts().hits, 1, "the write has ended");
    }

    #[test]
    fn a_look_that_a_write_overtakes_leaves_nothing() {
        let cache = cache(1 << 20);
        put(&cache, "a", "old");
        let keep = half(&cache, "a");
        put(&cache, "a", "new");
        keep(&cache);
        assert_eq!(get(&cache, "a"), found("new"));
    }

    #[test]
    fn a_look_during_a_write_leaves_nothing() {
        let cache = cache(1 << 20);
        put(&cache, "a", "old");
        let mut batch = WriteBatch::new();
        batch.put(FAMILY, "a", "new");
        let touched = cache.begin(batch.operations());
        let keep = half(&cache, "a");
        cache.engine.write(batch, Durability::Buffered).unwrap();
        cache.end(touched);
        keep(&cache);
        assert_eq!(get(&cache, "a"), found("new"));
    }

    #[test]
    fn a_look_between_two_writes_at_once_leaves_nothing() {
        let cache = cache(1 << 20);
        put(&cache, "a", "old");
        let batch = || {
            let mut batch = WriteBatch::new();
            batch.put(FAMILY, "a", "new");
            batch
        };
        let first = cache.begin(batch().operations());
        let second = cache.begin(batch().operations());
        cache.end(first);
        let keep = half(&cache, "a");
        cache.engine.write(batch(), Durability::Buffered).unwrap();
        keep(&cache);
        cache.end(second);
        assert_eq!(get(&cache, "a"), found("new"));
    }

    #[test]
    fn what_is_taken_in_or_away_is_not_hidden() {
        let cache = cache(1 << 20);
        put(&cache, "a", "old");
        assert_eq!(get(&cache, "a"), found("old"));
        let mut stage = cache.stage("set").unwrap();
        stage.put(FAMILY, b"a", b"new").unwrap();
        stage.finish().unwrap();
        let keep = half_after_clear(&cache);
        cache.ingest("set").unwrap();
        keep(&cache);
        assert_eq!(get(&cache, "a"), found("new"));
        let file = DamagedFile {
            name: "7.sst".into(),
            family: FAMILY,
            first: "a".into(),
            last: "a".into(),
        };
        cache.engine.damage(file.clone());
        assert!(cache.discard_damaged(&file).unwrap());
        assert_eq!(get(&cache, "a"), Cached::Missing);
    }

    /// A look-up under way whose row nobody has kept before.
    fn half_after_clear(cache: &RowCache<Memory>) -> impl FnOnce(&RowCache<Memory>) {
        cache.end(cache.begin_anywhere());
        half(cache, "a")
    }

    #[test]
    fn rows_take_no_more_than_they_may() {
        const BYTES: usize = 256 << 10;
        let cache = cache(BYTES);
        let value = "v".repeat(1000);
        for key in 0..2000 {
            let key = key.to_string();
            put(&cache, &key, &value);
            get(&cache, &key);
            assert!(cache.counts().bytes <= BYTES as u64);
        }
        assert!(cache.counts().bytes > BYTES as u64 / 2);
        put(&cache, "large", &"v".repeat(VALUE_BYTES_MAX + 1));
        get(&cache, "large");
        let before = cache.counts().hits;
        get(&cache, "large");
        assert_eq!(cache.counts().hits, before);
    }

    #[test]
    fn readers_beside_writers_never_go_back() {
        let cache = cache(1 << 20);
        put(&cache, "a", "0");
        let last = AtomicU64::new(0);
        thread::scope(|scope| {
            scope.spawn(|| {
                for number in 1..20_000_u64 {
                    put(&cache, "a", &number.to_string());
                    last.store(number, Ordering::SeqCst);
                }
            });
            for _ in 0..2 {
                scope.spawn(|| {
                    let mut seen = 0;
                    while seen < 19_999 {
                        let least = last.load(Ordering::SeqCst).max(seen);
                        let Cached::Found(value) = get(&cache, "a") else {
                            panic!("the key is there");
                        };
                        seen = std::str::from_utf8(&value).unwrap().parse().unwrap();
                        assert!(seen >= least, "{seen} after {least}");
                    }
                });
            }
        });
    }

    #[derive(Clone, Debug)]
    enum Step {
        Write(Vec<(u8, u8)>),
        Delete(u8),
        DeleteRange(u8, u8),
        Read(u8),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            prop::collection::vec((0..16_u8, any::<u8>()), 1..4).prop_map(Step::Write),
            (0..16_u8).prop_map(Step::Delete),
            (0..16_u8, 0..17_u8).prop_map(|(start, end)| Step::DeleteRange(start, end)),
            (0..16_u8).prop_map(Step::Read),
        ];
        prop::collection::vec(step, 1..60)
    }

    proptest! {
        #[test]
        fn it_holds_what_the_engine_holds(steps in steps()) {
            let cache = cache(64 << 10);
            for step in steps {
                let mut batch = WriteBatch::new();
                match step {
                    Step::Write(ref pairs) => for (key, value) in pairs {
                        batch.put(FAMILY, vec![*key], vec![*value]);
                    },
                    Step::Delete(key) => batch.delete(FAMILY, vec![key]),
                    Step::DeleteRange(start, end) => {
                        // 16 stands for the end of all keys.
                        let end = if end == 16 { vec![] } else { vec![end] };
                        batch.delete_range(FAMILY, vec![start], end);
                    }
                    Step::Read(_) => {}
                }
                cache.write(batch, Durability::Buffered).unwrap();
                if let Step::Read(key) = step {
                    let expected = cache.engine.get_cached(FAMILY, &[key]).unwrap();
                    prop_assert_eq!(cache.get_cached(FAMILY, &[key]).unwrap(), expected);
                }
            }
        }
    }
}
