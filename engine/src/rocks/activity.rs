//! What RocksDB does in the background, and how well reads are served from memory.
//!
//! *Place*: the store's meters ask for it before they are shown.
//!
//! *Invariants*: counted since the database was opened; only what RocksDB counts without looking at a clock, so that reads
//! pay next to nothing.
//!
//! *Limits*: each call asks RocksDB for a dozen numbers of each family, some under its lock: for seconds, not for requests.
//!
//! *Source*: the comments in RocksDB's `statistics.h` and `db.h`.
//!
//! *Next stop*: [`super::options`].

use super::Rocks;
use rocksdb::properties;
use rocksdb::statistics::Ticker;

/// Counters since the start, and states.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Activity {
    /// Blocks found in the cache.
    pub cache_hits: u64,
    /// Blocks that were read from a file.
    pub cache_misses: u64,
    /// Look-ups that a filter spared a table.
    pub filtered: u64,
    /// Look-ups that a memtable answered.
    pub memtable_hits: u64,
    /// Bytes of tables that flushes wrote.
    pub flush_bytes: u64,
    /// Bytes that compactions read.
    pub compaction_read_bytes: u64,
    /// Bytes that compactions wrote.
    pub compaction_write_bytes: u64,
    /// Microseconds that writes were held up for.
    pub stall_micros: u64,
    /// Bytes of memtables, those that are being flushed too.
    pub memtable_bytes: u64,
    /// Bytes that compactions have before them, about.
    pub pending_compaction_bytes: u64,
    /// Files of level 0, of all families.
    pub level0_files: u64,
    /// Flushes that run.
    pub flushes: u64,
    /// Compactions that run.
    pub compactions: u64,
    /// Whether writes are stopped until there are fewer files or memtables.
    pub stopped: bool,
    /// Bytes of blocks in the cache.
    pub cache_bytes: u64,
}

impl Rocks {
    /// What happens now, and what has happened since the start.
    pub fn activity(&self) -> Activity {
        let count = |ticker| self.database_options.get_ticker_count(ticker);
        let first = self.families.first().map(|name| self.handle(name));
        let of_all = |name| {
            let value = first.and_then(|family| self.db.property_int_value_cf(family, name).ok());
            value.flatten().unwrap_or(0)
        };
        Activity {
            cache_hits: count(Ticker::BlockCacheHit),
            cache_misses: count(Ticker::BlockCacheMiss),
            filtered: count(Ticker::BloomFilterUseful),
            memtable_hits: count(Ticker::MemtableHit),
            flush_bytes: count(Ticker::FlushWriteBytes),
            compaction_read_bytes: count(Ticker::CompactReadBytes),
            compaction_write_bytes: count(Ticker::CompactWriteBytes),
            stall_micros: count(Ticker::StallMicros),
            memtable_bytes: self.property(properties::SIZE_ALL_MEM_TABLES),
            pending_compaction_bytes: self.property(properties::ESTIMATE_PENDING_COMPACTION_BYTES),
            level0_files: self.level0_files(),
            flushes: of_all(properties::NUM_RUNNING_FLUSHES),
            compactions: of_all(properties::NUM_RUNNING_COMPACTIONS),
            stopped: self.property(properties::IS_WRITE_STOPPED) > 0,
            cache_bytes: of_all(properties::BLOCK_CACHE_USAGE),
        }
    }

    /// RocksDB has this one as text only.
    fn level0_files(&self) -> u64 {
        let name = properties::num_files_at_level(0);
        let families = self.families.iter().map(|family| self.handle(family));
        let texts = families.filter_map(|family| self.db.property_value_cf(family, &name).ok()?);
        texts.filter_map(|text| text.parse::<u64>().ok()).sum()
    }
}
