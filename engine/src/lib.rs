//! An ordered key-value engine with column families, and a smaller one for logs: two small traits.
//!
//! *Place*: `consensus::log_store` calls the one for logs: files that are added to (`journal`); the apply side of stores
//! and placement drivers calls the other one: RocksDB (`rocks`, a cargo feature). `memory` is both, and can lose what a
//! real disk would lose.
//!
//! *Types to know*: [`Engine`], [`LogEngine`], [`Snapshot`], [`WriteBatch`]; [`Intake`] for many pairs at once.
//!
//! *Life of a batch*: built by a core → [`LogEngine::write`], atomic over all families → visible to every later
//! read → durable at once ([`Durability::Synced`]) or with the next synced batch or [`LogEngine::sync`].
//!
//! *Invariants*: batches become durable in the order they were written, so a crash keeps a prefix of them.
//!
//! *Limits and failure*: a failed write or sync poisons the engine, every later write fails too: what the
//! disk holds is unknown and the process must stop. Damage found while reading is [`Error::Corrupt`].
//!
//! *Next stop*: [`memory`], then [`rows`], [`journal`] and `rocks`.

pub mod batch;
mod direct;
pub mod intake;
pub mod journal;
pub mod memory;
#[cfg(feature = "rocks")]
pub mod rocks;
pub mod rows;
#[cfg(any(feature = "rocks", test))]
mod wal;

pub use batch::{Operation, WriteBatch};
pub use intake::{Intake, Stage};

use bytes::Bytes;
use std::ops::ControlFlow;
use std::sync::Arc;

/// A column family: its position in the list the engine was opened with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Family(pub u8);

/// Whether a write waits for the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// May be lost at a power loss and, by an engine without a log of its own, at the end of the process.
    Buffered,
    /// On disk, together with everything written before, when the call returns.
    Synced,
}

/// Which way a scan walks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Ascending from the start.
    Forward,
    /// Descending from the end.
    Backward,
}

/// What a look-up that may not touch the disk found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cached {
    /// The value.
    Found(Bytes),
    /// The key is certainly absent.
    Missing,
    /// The disk must be asked: call [`LogEngine::get`] where blocking is allowed.
    Unknown,
}

/// What an operator watches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Bytes the engine occupies on disk.
    pub disk_bytes: u64,
    /// How many of them [`LogEngine::give_back`] would give back now: of what is kept for later, all but the first file.
    pub kept_bytes: u64,
    /// About how many of them [`LogEngine::reclaim`] would give back besides: of what was deleted or overwritten, and of what
    /// stands around records. 0 as well if the engine does not know, whose space nobody reclaims then.
    pub dead_bytes: u64,
    /// Bytes it holds in memory (memtables, caches, readers).
    pub memory_bytes: u64,
}

/// An engine error, by what the caller does next.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Bytes on disk are not what was written. Never serve them; name the place to the operator.
    #[error("damaged data in {place}: {reason}")]
    Corrupt {
        /// File and offset, as exactly as known.
        place: String,
        /// What does not match.
        reason: String,
    },
    /// Another process holds the directory, or it cannot be opened. Tell the operator.
    #[error("cannot open {directory}: {reason}")]
    Open {
        /// The directory.
        directory: String,
        /// What the operating system or the engine says.
        reason: String,
    },
    /// A write or sync failed, now or before: stop the process, never retry.
    #[error("write failed, the engine takes no more writes: {0}")]
    Poisoned(String),
    /// A read failed for a reason other than damage. The caller may retry or answer with an error.
    #[error("read failed: {0}")]
    Read(String),
}

/// A table file with damaged bytes in it. What it holds of other keys may be sound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DamagedFile {
    /// Its name, without directory.
    pub name: String,
    /// The family that it is of.
    pub family: Family,
    /// Its first key.
    pub first: Bytes,
    /// Its last key.
    pub last: Bytes,
}

/// Result of an engine call.
pub type Result<T> = std::result::Result<T, Error>;

/// Called once per pair of a scan; break to end it.
pub type Visitor<'a> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'a;

/// What a store of logs needs of an engine. All methods may be called from any thread.
pub trait LogEngine: Send + Sync {
    /// The value of a key. May block on the disk.
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>>;

    /// Visits the pairs with `start <= key < end` (empty `end`: to the last key), in `direction`. What is written
    /// meanwhile is seen or not.
    fn scan(
        &self,
        family: Family,
        start: &[u8],
        end: &[u8],
        direction: Direction,
        visit: &mut Visitor<'_>,
    ) -> Result<()>;

    /// Applies a batch atomically. Readers see all of it or nothing.
    fn write(&self, batch: WriteBatch, durability: Durability) -> Result<()>;

    /// Makes everything written so far durable.
    fn sync(&self) -> Result<()>;

    /// Gives back the space that is kept for later, but for what the next write may need. Call it where blocking is
    /// allowed.
    fn give_back(&self) -> Result<()>;

    /// Gives back the space of what was deleted, and of what is kept for later. May rewrite everything that is left: call
    /// it seldom, and where blocking is allowed.
    fn reclaim(&self) -> Result<()>;

    /// Space used, at most some seconds old.
    fn statistics(&self) -> Statistics;
}

/// An ordered key-value engine. All methods may be called from any thread.
pub trait Engine: LogEngine {
    /// The value of a key if that is known without touching the disk.
    fn get_cached(&self, family: Family, key: &[u8]) -> Result<Cached>;

    /// The value that a key would have if the machine lost its power now. May block on the disk.
    fn get_durable(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>>;

    /// An unchanging view of everything written so far.
    fn snapshot(&self) -> Box<dyn Snapshot + '_>;

    /// The same, for another thread, a later moment, or much that is read once: its scans leave caches to those who come
    /// again. What is overwritten or deleted meanwhile keeps its space: let go of it soon.
    fn hold(self: Arc<Self>) -> Box<dyn Snapshot + Send>;

    /// Table files in which reads have met damaged bytes, now or in an earlier life, and that are still there.
    fn damaged(&self) -> Result<Vec<DamagedFile>>;

    /// Takes a damaged file away, and every other one that lies within its keys, without reading them; whether that was
    /// possible. What they hold is lost: nobody may need those keys here any more.
    fn discard_damaged(&self, file: &DamagedFile) -> Result<bool>;
}

/// An unchanging view of an engine.
pub trait Snapshot {
    /// The value of a key.
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>>;

    /// Visits the pairs with `start <= key < end` (empty `end`: to the last key), in `direction`.
    fn scan(
        &self,
        family: Family,
        start: &[u8],
        end: &[u8],
        direction: Direction,
        visit: &mut Visitor<'_>,
    ) -> Result<()>;
}
