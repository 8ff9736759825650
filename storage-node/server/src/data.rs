//! The data directory: whose it is, who holds it, and the two engines in it.
//!
//! | path | content |
//! |---|---|
//! | `LOCK` | held exclusively while a process uses the directory |
//! | `kv/` | data of all regions; no log of its own, what was not flushed is replayed from the Raft logs |
//! | `kv.staged/` | snapshots that are arriving |
//! | `raft/` | logs and hard states of all regions; synced |
//!
//! *Place*: [`crate::node`] opens it first.
//!
//! *Invariants*: a directory belongs to one store of one cluster (`StoreRecord` in `kv/`); `raft/` never goes
//! missing while `kv/` knows a store.
//!
//! *Limits and failure*: damage found while opening ends the process, with file and offset.
//!
//! *Next stop*: `yadkv_engine::rocks`, `yadkv_engine::journal`.

use crate::config::Config;
use fs4::fs_std::FileExt;
use std::fs::{self, File};
use std::hash::RandomState;
use std::path::Path;
use std::sync::Arc;
use yadkv_consensus::LogStore;
use yadkv_engine::journal::{self, Journal, QUIET};
use yadkv_engine::rocks::{BlockCache, FamilyOptions, Options, Rocks};
use yadkv_engine::rows::RowCache;
use yadkv_engine::{Engine, Intake};
use yadkv_proto::storagepb::StoreRecord;
use yadkv_storage_core::layout;
use yadkv_storage_core::store::{StoreError, recover};

/// Why a data directory cannot be used; tell the operator.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The operating system refused something.
    #[error("{path}: {source}")]
    Io {
        /// The path.
        path: String,
        /// What it said.
        source: std::io::Error,
    },
    /// Another process has it.
    #[error("{0} is in use by another process: stop it, or choose another --data-dir")]
    InUse(String),
    /// An engine is damaged or locked.
    #[error(transparent)]
    Engine(#[from] yadkv_engine::Error),
    /// A record is damaged.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The logs do not fit the data.
    #[error("{path}: {reason}")]
    Log {
        /// The path.
        path: String,
        /// What is wrong.
        reason: String,
    },
}

/// An opened data directory; the lock is held as long as this lives.
pub struct Data {
    /// Data of all regions.
    pub kv: Arc<dyn Engine>,
    /// The same engine, as it takes snapshots in.
    pub intake: Arc<dyn Intake>,
    /// The same engine, as it tells of itself; everything that changes data goes through `kv` and `intake`.
    pub rocks: Arc<Rocks>,
    /// What stands in front of it.
    pub rows: Arc<RowCache<Rocks>>,
    /// Their logs.
    pub log: LogStore,
    /// Who it belongs to; `None` if it is new.
    pub record: Option<StoreRecord>,
    _lock: File,
}

impl Data {
    /// Opens or creates the directory.
    pub fn open(config: &Config) -> Result<Self, OpenError> {
        let root = &config.store.data_dir;
        let io = |path: &Path| {
            let path = path.display().to_string();
            move |source| OpenError::Io { path, source }
        };
        fs::create_dir_all(root).map_err(io(root))?;
        let lock_path = root.join("LOCK");
        let lock = File::create(&lock_path).map_err(io(&lock_path))?;
        let locked = lock.try_lock_exclusive().map_err(io(&lock_path))?;
        if !locked {
            return Err(OpenError::InUse(root.display().to_string()));
        }
        let raft_path = root.join("raft");
        let raft_existed = journal::exists(&raft_path);
        let cache = BlockCache::new(config.cache_bytes());
        let families = layout::FAMILIES.map(FamilyOptions::new).into();
        let mut options = Options::new(families, cache).unlogged();
        options.write_buffer_bytes = config.data_memtable_bytes();
        options.background_rate = config.store.background_rate.as_u64();
        let rocks = Arc::new(Rocks::open(root.join("kv"), &options)?);
        let (families, bytes) = ([layout::RAW, layout::RAW2], config.row_bytes());
        let rows = RowCache::new(rocks.clone(), &families, bytes, RandomState::new());
        let rows = Arc::new(rows);
        let (kv, intake): (Arc<dyn Engine>, Arc<dyn Intake>) = (rows.clone(), rows.clone());
        let record = recover::store_record(&*kv)?;
        if record.is_some() && !raft_existed {
            return Err(OpenError::Log {
                path: raft_path.display().to_string(),
                reason: "the Raft logs are gone: this store must not vote again. Give it an empty --data-dir".into(),
            });
        }
        let options = journal::Options {
            families: yadkv_consensus::FAMILIES.to_vec(),
            segment_bytes: config.log_segment_bytes(),
            kept_bytes: config.log_kept_bytes(),
            quiet: QUIET,
        };
        let raft = Arc::new(Journal::open(&raft_path, options)?);
        let log_error = |error: yadkv_consensus::OpenError| OpenError::Log {
            path: raft_path.display().to_string(),
            reason: error.to_string(),
        };
        let log = LogStore::open(raft, config.entry_bytes()).map_err(log_error)?;
        let orphaned = record.is_none() && !log.groups().map_err(log_error)?.is_empty();
        if orphaned {
            return Err(OpenError::Log {
                path: root.join("kv").display().to_string(),
                reason:
                    "the data is gone, but Raft logs are there: give this store an empty --data-dir"
                        .into(),
            });
        }
        Ok(Self {
            kv,
            intake,
            rocks,
            rows,
            log,
            record,
            _lock: lock,
        })
    }
}
