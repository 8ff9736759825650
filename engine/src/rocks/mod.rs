//! The engine on RocksDB.
//!
//! *Place*: stores open two (`kv/`, `raft/`) and placement drivers two; they share one [`BlockCache`].
//!
//! *Types to know*: [`Rocks`], [`Options`] (`options`), `wal` (what RocksDB itself would overlook in its log).
//!
//! *Life of a batch*: [`LogEngine::write`] → one record of the write-ahead log (`*.log`), fsynced if asked → memtable
//! of each family → table files (`*.sst`) in the background → the log file is deleted. `kv/` has no such log
//! ([`Options::unlogged`]): there a synced batch waits for its tables.
//!
//! *Invariants*: every family is in the same log, or flushed together where there is none, so a batch over several
//! families is atomic at a crash too.
//! Checksums are verified on every read, in compaction and on open; there is no option to turn that off.
//!
//! *Limits and failure*: a directory that another process holds, or that was made by something else, is
//! [`Error::Open`]. Damage (`damage`) is [`Error::Corrupt`] with file and offset, on open where [`Options::verify`] says so
//! and in the log, otherwise on the read that meets it. A failed write or sync poisons the engine for the
//! rest of the process: what the disk holds is known again only after a restart.
//!
//! *Source*: the comments in RocksDB's `options.h` and `log_format.h`.
//!
//! *Next stop*: `wal`; the end of the tour.

mod activity;
mod damage;
mod held;
mod intake;
mod options;
mod place;

pub use activity::Activity;
pub use options::{BlockCache, Compression, Drop, FamilyOptions, Options};

use crate::wal;
use crate::{
    Cached, DamagedFile, Direction, Durability, Engine, Error, Family, LogEngine, Operation,
    Result, Snapshot, Statistics, Visitor, WriteBatch,
};
use bytes::Bytes;
use damage::Damage;
use place::{name_place, open_error};
use rocksdb::{
    ColumnFamily, DB, ErrorKind, FlushOptions, ReadOptions, ReadTier, WriteOptions, properties,
};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// Stands for plus infinity in a range deletion, which RocksDB wants to have an end. Keys are at most 8 KiB, 9.3
/// KiB encoded, so no key is as long a row of `FF`.
const AFTER_EVERY_KEY: [u8; 16 * 1024] = [0xFF; 16 * 1024];

/// What an operation takes in RocksDB's batch beside its key and value, at most.
const OPERATION_BYTES: usize = 16;

/// Read ahead this many bytes where everything will be read: one or two requests to the disk at a time.
const VERIFY_READAHEAD_BYTES: usize = 2 * 1024 * 1024;

/// One RocksDB database.
pub struct Rocks {
    db: DB,
    directory: PathBuf,
    /// Position = [`Family`].
    families: Vec<String>,
    /// What the database was opened with: RocksDB's counters are in it.
    database_options: rocksdb::Options,
    /// How tables of each family are made.
    table_options: Vec<rocksdb::Options>,
    logged: bool,
    damage: Damage,
    poisoned: OnceLock<String>,
    buffered: WriteOptions,
    synced: WriteOptions,
    read: ReadOptions,
    read_cached: ReadOptions,
    read_durable: ReadOptions,
}

impl Rocks {
    /// Opens the database in `directory`, creating it if there is none.
    ///
    /// Errors: [`Error::Open`] if another process holds it or the operating system refuses; [`Error::Corrupt`]
    /// if files are missing or damaged.
    pub fn open(directory: impl AsRef<Path>, options: &Options) -> Result<Self> {
        let directory = directory.as_ref().to_path_buf();
        std::fs::create_dir_all(&directory).map_err(|error| Error::Open {
            directory: directory.display().to_string(),
            reason: error.to_string(),
        })?;
        check_current(&directory)?;
        wal::verify(&directory)?;
        let damage = Damage::load(&directory)?;
        let mut options = options.clone();
        options.compactions &= damage.is_empty();
        let options = &options;
        let database = options.database(crate::direct::is_possible(&directory));
        let db = DB::open_cf_descriptors(&database, &directory, options.descriptors())
            .map_err(|error| open_error(&directory, &error))?;
        let mut buffered = WriteOptions::default();
        buffered.disable_wal(!options.logged);
        let mut synced = WriteOptions::default();
        synced.set_sync(true);
        let mut read_cached = ReadOptions::default();
        read_cached.set_read_tier(ReadTier::BlockCache);
        let mut read_durable = ReadOptions::default();
        read_durable.set_read_tier(ReadTier::Persisted);
        let engine = Self {
            db,
            directory,
            families: options
                .families
                .iter()
                .map(|family| family.name.clone())
                .collect(),
            table_options: options.tables(),
            logged: options.logged,
            damage,
            database_options: database,
            poisoned: OnceLock::new(),
            buffered,
            synced,
            read: ReadOptions::default(),
            read_cached,
            read_durable,
        };
        if options.verify {
            engine.verify()?;
        }
        Ok(engine)
    }

    /// Reads every block of every table file and checks it against its checksum, without filling the cache.
    pub fn verify(&self) -> Result<()> {
        for family in &self.families {
            let mut options = ReadOptions::default();
            options.fill_cache(false);
            options.set_readahead_size(VERIFY_READAHEAD_BYTES);
            options.set_total_order_seek(true);
            let mut pairs = self.db.raw_iterator_cf_opt(self.handle(family), options);
            pairs.seek_to_first();
            while pairs.valid() {
                pairs.next();
            }
            pairs.status().map_err(|error| self.read_error(&error))?;
        }
        Ok(())
    }

    /// Writes all memtables to table files, so that the log before is not needed any more.
    pub fn flush(&self) -> Result<()> {
        self.check_poison()?;
        let families: Vec<_> = self.families.iter().map(|name| self.handle(name)).collect();
        let mut options = FlushOptions::default();
        options.set_wait(true);
        self.db
            .flush_cfs_opt(&families, &options)
            .map_err(|error| self.poison(&error))
    }

    /// Rewrites all table files, applying deletions and [`FamilyOptions::drop`]. Slow: reads and writes everything.
    pub fn compact(&self) {
        for family in &self.families {
            self.db
                .compact_range_cf(self.handle(family), None::<&[u8]>, None::<&[u8]>);
        }
    }

    fn handle(&self, name: &str) -> &ColumnFamily {
        self.db
            .cf_handle(name)
            .expect("every family was opened with the database")
    }

    fn family(&self, family: Family) -> &ColumnFamily {
        let name = self
            .families
            .get(usize::from(family.0))
            .expect("the family is one of those the engine was opened with");
        self.handle(name)
    }

    fn read_error(&self, error: &rocksdb::Error) -> Error {
        match error.kind() {
            ErrorKind::Corruption => {
                self.note_damage(error);
                name_place(&self.directory, error)
            }
            _ => Error::Read(error.to_string()),
        }
    }

    fn check_poison(&self) -> Result<()> {
        match self.poisoned.get() {
            Some(reason) => Err(Error::Poisoned(reason.clone())),
            None => Ok(()),
        }
    }

    fn poison(&self, error: &rocksdb::Error) -> Error {
        if error.kind() == ErrorKind::Corruption {
            self.note_damage(error);
        }
        let reason = format!("{}: {error}", self.directory.display());
        Error::Poisoned(self.poisoned.get_or_init(|| reason).clone())
    }

    fn translate(&self, batch: &WriteBatch) -> rocksdb::WriteBatch {
        // Keys and values, and what RocksDB says before each of them.
        let bytes = batch.bytes() + batch.operations().len() * OPERATION_BYTES;
        let mut out = rocksdb::WriteBatch::with_capacity_bytes(bytes);
        for operation in ordered(batch.operations()) {
            match operation {
                Operation::Put(family, key, value) => out.put_cf(self.family(*family), key, value),
                Operation::Delete(family, key) => out.delete_cf(self.family(*family), key),
                Operation::DeleteRange(family, start, end) if end.is_empty() => {
                    out.delete_range_cf(self.family(*family), &start[..], &AFTER_EVERY_KEY[..]);
                }
                Operation::DeleteRange(family, start, end) if start < end => {
                    out.delete_range_cf(self.family(*family), start, end);
                }
                Operation::DeleteRange(..) => {}
            }
        }
        out
    }

    fn property(&self, name: &rocksdb::properties::PropName) -> u64 {
        // A property that cannot be read counts as nothing: statistics never fail a server.
        self.families
            .iter()
            .filter_map(|family| {
                self.db
                    .property_int_value_cf(self.handle(family), name)
                    .ok()
                    .flatten()
            })
            .sum()
    }
}

impl LogEngine for Rocks {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>> {
        self.db
            .get_pinned_cf_opt(self.family(family), key, &self.read)
            .map(|found| found.map(|value| Bytes::copy_from_slice(&value)))
            .map_err(|error| self.read_error(&error))
    }

    fn scan(
        &self,
        family: Family,
        start: &[u8],
        end: &[u8],
        direction: Direction,
        visit: &mut Visitor<'_>,
    ) -> Result<()> {
        self.snapshot().scan(family, start, end, direction, visit)
    }

    fn write(&self, batch: WriteBatch, durability: Durability) -> Result<()> {
        self.check_poison()?;
        let synced = durability == Durability::Synced;
        let options = if synced && self.logged {
            &self.synced
        } else {
            &self.buffered
        };
        if !batch.is_empty() {
            self.db
                .write_opt(self.translate(&batch), options)
                .map_err(|error| self.poison(&error))?;
        }
        // RocksDB writes no log record for an empty batch, so nothing would carry the sync.
        if synced && (batch.is_empty() || !self.logged) {
            self.sync()?;
        }
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        if !self.logged {
            return self.flush();
        }
        self.check_poison()?;
        self.db.flush_wal(true).map_err(|error| self.poison(&error))
    }

    fn give_back(&self) -> Result<()> {
        Ok(())
    }

    fn reclaim(&self) -> Result<()> {
        self.flush()?;
        self.compact();
        Ok(())
    }

    fn statistics(&self) -> Statistics {
        Statistics {
            disk_bytes: self.property(properties::TOTAL_SST_FILES_SIZE)
                + log_bytes(&self.directory),
            kept_bytes: 0,
            dead_bytes: 0,
            memory_bytes: self.property(properties::CUR_SIZE_ALL_MEM_TABLES)
                + self.property(properties::ESTIMATE_TABLE_READERS_MEM),
        }
    }
}

impl Engine for Rocks {
    fn get_cached(&self, family: Family, key: &[u8]) -> Result<Cached> {
        let found = self
            .db
            .get_pinned_cf_opt(self.family(family), key, &self.read_cached);
        match found {
            Ok(Some(value)) => Ok(Cached::Found(Bytes::copy_from_slice(&value))),
            Ok(None) => Ok(Cached::Missing),
            Err(error) if error.kind() == ErrorKind::Incomplete => Ok(Cached::Unknown),
            Err(error) => Err(self.read_error(&error)),
        }
    }

    fn get_durable(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>> {
        if self.logged {
            // What is in the log and what of it is synced is not told apart.
            self.sync()?;
        }
        self.db
            .get_pinned_cf_opt(self.family(family), key, &self.read_durable)
            .map(|found| found.map(|value| Bytes::copy_from_slice(&value)))
            .map_err(|error| self.read_error(&error))
    }

    fn snapshot(&self) -> Box<dyn Snapshot + '_> {
        Box::new(View::new(self, true))
    }

    fn hold(self: Arc<Self>) -> Box<dyn Snapshot + Send> {
        held::hold(self)
    }

    fn damaged(&self) -> Result<Vec<DamagedFile>> {
        self.damaged_files()
    }

    fn discard_damaged(&self, file: &DamagedFile) -> Result<bool> {
        self.discard_file(file)
    }
}

/// A view of one moment.
struct View<'a> {
    engine: &'a Rocks,
    snapshot: rocksdb::Snapshot<'a>,
    /// Whether blocks that its scans read stay in the cache.
    fills_cache: bool,
}

impl<'a> View<'a> {
    fn new(engine: &'a Rocks, fills_cache: bool) -> Self {
        Self {
            engine,
            snapshot: engine.db.snapshot(),
            fills_cache,
        }
    }
}

impl Snapshot for View<'_> {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>> {
        self.snapshot
            .get_pinned_cf(self.engine.family(family), key)
            .map(|found| found.map(|value| Bytes::copy_from_slice(&value)))
            .map_err(|error| self.engine.read_error(&error))
    }

    fn scan(
        &self,
        family: Family,
        start: &[u8],
        end: &[u8],
        direction: Direction,
        visit: &mut Visitor<'_>,
    ) -> Result<()> {
        if !end.is_empty() && start >= end {
            return Ok(());
        }
        let mut options = ReadOptions::default();
        options.fill_cache(self.fills_cache);
        options.set_total_order_seek(true);
        options.set_iterate_lower_bound(start);
        if !end.is_empty() {
            options.set_iterate_upper_bound(end);
        }
        let mut pairs = self
            .snapshot
            .raw_iterator_cf_opt(self.engine.family(family), options);
        match direction {
            Direction::Forward => pairs.seek_to_first(),
            Direction::Backward => pairs.seek_to_last(),
        }
        while let Some((key, value)) = pairs.item() {
            if visit(key, value) == ControlFlow::Break(()) {
                return Ok(());
            }
            match direction {
                Direction::Forward => pairs.next(),
                Direction::Backward => pairs.prev(),
            }
        }
        pairs
            .status()
            .map_err(|error| self.engine.read_error(&error))
    }
}

/// Refuses a directory that has data files but lost the file that names them: RocksDB would take it for a new
/// database and delete what it finds.
fn check_current(directory: &Path) -> Result<()> {
    let entries = std::fs::read_dir(directory).map_err(|error| Error::Open {
        directory: directory.display().to_string(),
        reason: error.to_string(),
    })?;
    let names: Vec<String> = entries
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    let current = names.iter().any(|name| name == "CURRENT");
    // A creation that was interrupted leaves a manifest at most; only tables and logs hold data.
    let data = names
        .iter()
        .find(|name| name.ends_with(".sst") || name.ends_with(".log"));
    match data {
        Some(data) if !current => Err(Error::Corrupt {
            place: directory.join("CURRENT").display().to_string(),
            reason: format!("the file is missing although {data} exists"),
        }),
        _ => Ok(()),
    }
}

/// The operations by key, if their order does not matter but for those of one key: where keys follow each other, a
/// memtable finds the place of one near that of the one before.
fn ordered(operations: &[Operation]) -> Vec<&Operation> {
    let mut ordered: Vec<_> = operations.iter().collect();
    if ordered.iter().all(|operation| point(operation).is_some()) {
        ordered.sort_by_key(|operation| point(operation));
    }
    ordered
}

/// Where an operation changes something, if that is one key.
fn point(operation: &Operation) -> Option<(Family, &[u8])> {
    match operation {
        Operation::Put(family, key, _) | Operation::Delete(family, key) => Some((*family, key)),
        Operation::DeleteRange(..) => None,
    }
}

/// Bytes of all log files; 0 if the directory cannot be read.
fn log_bytes(directory: &Path) -> u64 {
    let files = wal::log_files(directory).unwrap_or_default();
    files
        .iter()
        .filter_map(|path| path.metadata().ok())
        .map(|metadata| metadata.len())
        .sum()
}
