//! What a RocksDB database is opened with.
//!
//! *Place*: servers fill [`Options`] from their configuration; [`super::Rocks::open`] translates it.
//!
//! *Next stop*: [`super::Rocks`].

use rocksdb::statistics::StatsLevel;
use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, Cache, ColumnFamilyDescriptor, DBCompressionType,
    DBRecoveryMode, LogLevel, SliceTransform, compaction_filter::Decision,
};
use std::ffi::c_int;
use std::sync::Arc;

/// RocksDB's own text logs: this many files of at most [`INFO_LOG_BYTES_MAX`].
const INFO_LOGS_MAX: usize = 4;
const INFO_LOG_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Memtables a family may have before writes to it wait: one filling, the others being flushed.
const MEMTABLES_PER_FAMILY_MAX: c_int = 4;

/// Index and filter of a table are cut into blocks of this size, so that a look-up brings in only the two it needs.
/// Whole, those of a table with a million small keys are megabytes: larger than a shard of the block cache, and then
/// read from the file again by every look-up.
const METADATA_BLOCK_BYTES: usize = 4 * 1024;

/// Keys between two of which a block knows the places. A look-up walks over the others; with large values each step is a
/// miss of the processor's cache. Fewer than RocksDB's 16, and a block of small records grows by a few bytes a key.
const RESTART_INTERVAL: c_int = 4;

/// Part of a memtable that tells which keys are not in it: most look-ups need not search it then.
const MEMTABLE_BLOOM_RATIO: f64 = 0.02;

/// Bytes that an entry of the cache takes, on average: between the blocks of metadata and those of data. Too many, and
/// the cache runs out of places before it is full; too few, and places take memory that nothing uses.
const ENTRY_BYTES: usize = 8 * 1024;

/// Bytes that a compaction reads at a time. Large ones keep the disk from what clients wait for: the log's writes. Where each
/// read takes 5 ms a compaction gets 50 MB a second.
const COMPACTION_READ_BYTES: usize = 256 * 1024;

/// How often [`Options::background_rate`] lets some more bytes through: often, so that they come in small portions.
const RATE_PERIOD_MICROS: i64 = 10_000;
/// Flushes go before compactions, except one time in so many.
const RATE_FAIRNESS: i32 = 10;

/// Smallest memtable; below, flushes make tables too small to be worth a file.
const MEMTABLE_BYTES_MIN: usize = 1024 * 1024;
/// Memory that a memtable takes at a time, at least and at most: large pieces, which the allocator lays side by side on large
/// pages; little beside all memtables.
const ARENA_BYTES_MIN: usize = 64 * 1024;
const ARENA_BYTES_MAX: usize = 4 * 1024 * 1024;

/// See [`FamilyOptions::level0_files`]. Twice RocksDB's own: level 1 is rewritten half as often, and filters and the rows in
/// front of the engine spare most reads the search.
const LEVEL0_FILES: u16 = 8;
/// Level 0 may hold about this many memtables of entries: most are deleted before they are ever rewritten.
const LEVEL0_FILES_OF_LOGS: u16 = 20;

/// Compression of level 0, and of all below: what is flushed is merged soon.
const BY_LEVEL: [DBCompressionType; 2] = [DBCompressionType::None, DBCompressionType::Lz4];

/// How blocks of table files are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// LZ4 below level 0.
    Lz4,
    /// The same, and Zstandard on the last level, where most data rests.
    Lz4ThenZstd,
}

/// Tells whether a pair may be dropped when its table is rewritten. It runs at any time, on any thread, ignoring
/// snapshots: only what no reader may still ask for may be dropped.
pub type Drop = Arc<dyn Fn(&[u8], &[u8]) -> bool + Send + Sync>;

/// One column family.
#[derive(Clone)]
pub struct FamilyOptions {
    /// Its name on disk.
    pub name: String,
    /// Bytes of a table block before compression: 4–64 KiB. Small blocks read less for a point look-up, large
    /// ones compress better.
    pub block_bytes: usize,
    /// Bits a key costs in the Bloom filter; 0 = no filter. 10 gives about 1 % false positives.
    pub bloom_bits_per_key: f64,
    /// Keys that share this many first bytes share a filter entry as well; 0 = none.
    pub prefix_bytes: usize,
    /// Compression of its blocks.
    pub compression: Compression,
    /// Files of level 0 that start a compaction, 2 or more; three times as many slow writes down. Few: reads find
    /// less to search, and the same data is rewritten more often. Many suit data that is hardly read and soon
    /// deleted.
    pub level0_files: u16,
    /// What compaction may drop; nothing by default.
    pub drop: Option<Drop>,
}

impl FamilyOptions {
    /// A family for point look-ups and scans: 16 KiB blocks, 10 filter bits, LZ4.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            block_bytes: 16 * 1024,
            bloom_bits_per_key: 10.0,
            prefix_bytes: 0,
            compression: Compression::Lz4,
            level0_files: LEVEL0_FILES,
            drop: None,
        }
    }

    /// A family for log entries: written once, read only by peers that lag, deleted from the front.
    pub fn log(name: impl Into<String>) -> Self {
        Self {
            compression: Compression::None,
            level0_files: LEVEL0_FILES_OF_LOGS,
            ..Self::new(name)
        }
    }
}

/// Memory for uncompressed blocks, shared by all databases of a process.
#[derive(Clone)]
pub struct BlockCache(Cache);

impl BlockCache {
    /// A cache of at most `bytes`; blocks that were not asked for lately leave first. Look-ups take no lock.
    pub fn new(bytes: usize) -> Self {
        Self(Cache::new_hyper_clock_cache(bytes, ENTRY_BYTES))
    }

    /// Bytes used now.
    pub fn usage_bytes(&self) -> usize {
        self.0.get_usage()
    }
}

/// How to open a database.
#[derive(Clone)]
pub struct Options {
    /// The column families; their order gives the [`crate::Family`] numbers.
    pub families: Vec<FamilyOptions>,
    /// Shared with the other databases of the process.
    pub block_cache: BlockCache,
    /// Bytes of all memtables together. Too small: many small flushes, then compaction; too large: a long
    /// recovery, and memory gone.
    pub write_buffer_bytes: usize,
    /// Whether batches are in a write-ahead log before they are in tables. Without one, what was not flushed is
    /// gone with the process, and a synced write is a flush; all families are flushed together, so that a prefix
    /// of the batches stays.
    pub logged: bool,
    /// Threads for flushes and compactions, at least 2.
    pub background_jobs: u16,
    /// Bytes that flushes and compactions may write in a second; 0 = as fast as they can. In bursts they would take the
    /// disk from whoever syncs a log on it. Too small: writes wait for them.
    pub background_rate: u64,
    /// Above this many bytes of log the oldest memtable is flushed, so that the log before it can go.
    pub wal_bytes_max: u64,
    /// Whether tables are merged in the background; never while a damaged one is known.
    pub compactions: bool,
    /// Whether to read and check every table block on open. Worth its time where the database is small.
    pub verify: bool,
}

impl Options {
    /// Options for `families`: 64 MiB of memtables, 256 MiB of log, 2 background jobs.
    pub fn new(families: Vec<FamilyOptions>, block_cache: BlockCache) -> Self {
        Self {
            families,
            block_cache,
            write_buffer_bytes: 64 * 1024 * 1024,
            logged: true,
            background_jobs: 2,
            background_rate: 0,
            wal_bytes_max: 256 * 1024 * 1024,
            compactions: true,
            verify: false,
        }
    }

    /// The same with a full check on open, as `raft/` wants it.
    pub fn verified(mut self) -> Self {
        self.verify = true;
        self
    }

    /// The same without a write-ahead log, as `kv/` wants it, whose batches come again out of the Raft log.
    pub fn unlogged(mut self) -> Self {
        self.logged = false;
        self
    }

    /// `direct`: whether tables can be written past the page cache.
    pub(super) fn database(&self, direct: bool) -> rocksdb::Options {
        let mut options = rocksdb::Options::default();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        options.set_paranoid_checks(true);
        // Other damage than an unfinished record at the very end is found before ([`crate::wal`]).
        options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
        // Otherwise the applied index could be in a table before the data that it stands for.
        options.set_atomic_flush(!self.logged);
        // Old bytes in a reused log file cannot be told from damage.
        options.set_recycle_log_file_num(0);
        // A log file that the manifest knows of must be there and be as long as it was.
        options.set_track_and_verify_wals_in_manifest(true);
        options.set_max_total_wal_size(self.wal_bytes_max);
        options.set_db_write_buffer_size(self.write_buffer_bytes);
        options.set_max_background_jobs(c_int::from(self.background_jobs.max(2)));
        if let Ok(rate @ 1..) = i64::try_from(self.background_rate) {
            options.set_ratelimiter(rate, RATE_PERIOD_MICROS, RATE_FAIRNESS);
        }
        options.set_use_direct_io_for_flush_and_compaction(direct);
        options.set_compaction_readahead_size(COMPACTION_READ_BYTES);
        options.set_bytes_per_sync(1024 * 1024);
        options.set_keep_log_file_num(INFO_LOGS_MAX);
        options.set_max_log_file_size(INFO_LOG_BYTES_MAX);
        options.set_log_level(LogLevel::Warn);
        options.enable_statistics();
        options.set_statistics_level(StatsLevel::ExceptHistogramOrTimers);
        options
    }

    pub(super) fn descriptors(&self) -> Vec<ColumnFamilyDescriptor> {
        let families = self.families.iter();
        families
            .map(|family| ColumnFamilyDescriptor::new(&family.name, self.family(family)))
            .chain(self.unused_default())
            .collect()
    }

    /// How tables of each family are made.
    pub(super) fn tables(&self) -> Vec<rocksdb::Options> {
        let families = self.families.iter();
        families.map(|family| self.family(family)).collect()
    }

    /// RocksDB insists on a family called `default`.
    fn unused_default(&self) -> Option<ColumnFamilyDescriptor> {
        let used = self.families.iter().any(|family| family.name == "default");
        (!used).then(|| ColumnFamilyDescriptor::new("default", rocksdb::Options::default()))
    }

    fn family(&self, family: &FamilyOptions) -> rocksdb::Options {
        let mut table = BlockBasedOptions::default();
        table.set_block_cache(&self.block_cache.0);
        table.set_block_size(family.block_bytes);
        table.set_cache_index_and_filter_blocks(true);
        table.set_pin_l0_filter_and_index_blocks_in_cache(true);
        table.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
        table.set_partition_filters(true);
        table.set_metadata_block_size(METADATA_BLOCK_BYTES);
        table.set_pin_top_level_index_and_filter(true);
        table.set_format_version(5);
        table.set_block_restart_interval(RESTART_INTERVAL);
        if family.bloom_bits_per_key > 0.0 {
            table.set_bloom_filter(family.bloom_bits_per_key, false);
        }
        let mut options = rocksdb::Options::default();
        options.set_memtable_whole_key_filtering(true);
        options.set_memtable_prefix_bloom_ratio(MEMTABLE_BLOOM_RATIO);
        options.set_block_based_table_factory(&table);
        options.set_write_buffer_size((self.write_buffer_bytes / 2).max(MEMTABLE_BYTES_MIN));
        let arena = (self.write_buffer_bytes / 64).clamp(ARENA_BYTES_MIN, ARENA_BYTES_MAX);
        options.set_arena_block_size(arena);
        options.set_max_write_buffer_number(MEMTABLES_PER_FAMILY_MAX);
        options.set_level_compaction_dynamic_level_bytes(true);
        options.set_disable_auto_compactions(!self.compactions);
        let level0_files = c_int::from(family.level0_files.max(2));
        options.set_level_zero_file_num_compaction_trigger(level0_files);
        options.set_level_zero_slowdown_writes_trigger(3 * level0_files);
        options.set_level_zero_stop_writes_trigger(4 * level0_files);
        if family.prefix_bytes > 0 {
            options.set_prefix_extractor(SliceTransform::create_fixed_prefix(family.prefix_bytes));
        }
        match family.compression {
            Compression::None => options.set_compression_type(DBCompressionType::None),
            Compression::Lz4 => options.set_compression_per_level(&BY_LEVEL),
            Compression::Lz4ThenZstd => {
                options.set_compression_per_level(&BY_LEVEL);
                options.set_bottommost_compression_type(DBCompressionType::Zstd);
            }
        }
        if let Some(drop) = family.drop.clone() {
            options.set_compaction_filter("yadkv.drop", move |_level, key, value| {
                if drop(key, value) {
                    Decision::Remove
                } else {
                    Decision::Keep
                }
            });
        }
        options
    }
}
