//! Stops writes before the disk is full, gives the space of shortened logs back, and waits for room where there is none.
//!
//! *Place*: beside the servers, whether or not a placement driver answers; `Front::submit` looks at the result.
//!
//! *Invariants*: the first look comes before the first request.
//!
//! *Limits and failure*: a look every [`INTERVAL`]; what is written in between comes out of the reserve. A write that
//! fails all the same ends the node, which begins again when there is room ([`wait_for_room`]). A file system that cannot
//! be asked counts as full. When the logs have half of what they may on the disk, not counted what they keep for later,
//! they are shortened, and the space of what was deleted is given back in the background if that is a sixteenth of it or
//! lets writes in; they are shortened too when what says where their entries are takes all the memory that it may. They are
//! not for a disk that is full: before entries leave, the data engine writes what it has in memory. Nor is space given back
//! there for which what is alive has to be written again, once most of the reserve is gone. What they keep for later goes
//! when that lets writes in; otherwise it is their own reserve on a full disk.
//!
//! *Next stop*: [`crate::pd`].

use crate::config::Config;
use crate::router::Router;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use yadkv_consensus::LogStore;
use yadkv_engine::Statistics;
use yadkv_storage_core::front::Front;
use yadkv_storage_core::room::Room;
use yadkv_storage_core::store::message::Input;

/// Writes are refused while less than this is free: hard states, applied entries and flushes still need room.
const RESERVE_BYTES: u64 = 256 << 20;
/// Below this much what other stores send is refused as well.
const LAST_BYTES: u64 = RESERVE_BYTES / 2;
/// Space is reclaimed when it is at least one part in so many of what the logs have on the disk, without what they keep for
/// later.
const RECLAIM_PART: u64 = 16;
/// At 200 MB/s the reserve lasts longer than this.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long a store whose disk was full is down at least: what is full may be something that is not looked at.
const WAIT_MIN: Duration = Duration::from_secs(2);

/// What is looked at, and who is told.
pub struct DiskWatch {
    /// Refuses writes while the disk or the logs are full.
    pub front: Arc<Front>,
    /// Whose logs are shortened.
    pub router: Router,
    /// All logs.
    pub log: LogStore,
    /// Where the disk is.
    pub data_dir: PathBuf,
    /// Told when writes are refused, or taken again.
    pub changed: Arc<Notify>,
    /// How large logs may be.
    pub settings: watch::Receiver<Config>,
    /// Memory for what says where entries are.
    index_bytes_max: u64,
    /// Bytes that the last look found on the disk.
    free: u64,
    reclaiming: Option<JoinHandle<()>>,
}

impl DiskWatch {
    /// A watch over the disk that holds the data. `changed` is woken when writes are refused, or taken again.
    pub fn new(
        front: Arc<Front>,
        router: Router,
        log: LogStore,
        settings: watch::Receiver<Config>,
        changed: Arc<Notify>,
    ) -> Self {
        let (data_dir, index_bytes_max) = {
            let config = settings.borrow();
            (config.store.data_dir.clone(), config.log_index_bytes())
        };
        Self {
            data_dir,
            index_bytes_max: index_bytes_max as u64,
            settings,
            front,
            router,
            log,
            changed,
            free: 0,
            reclaiming: None,
        }
    }

    /// Looks at once, then until it is dropped.
    pub async fn run(mut self) {
        let mut interval = tokio::time::interval(INTERVAL);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            self.look();
            self.reclaim();
        }
    }

    /// Has logs shortened and space given back, where it is time.
    fn reclaim(&mut self) {
        let log = self.log.engine().statistics();
        let bytes_max = self.log_bytes_max();
        if is_large(&log, bytes_max) || log.memory_bytes > self.index_bytes_max {
            self.router.offer(|| Input::ShortenLogs);
        }
        let runs = self
            .reclaiming
            .as_ref()
            .is_some_and(|job| !job.is_finished());
        let Some(space) = Space::due(&log, bytes_max, self.free).filter(|_| !runs) else {
            return;
        };
        let engine = self.log.engine().clone();
        self.reclaiming = Some(tokio::task::spawn_blocking(move || {
            let done = match space {
                Space::Kept => engine.give_back(),
                Space::All => engine.reclaim(),
            };
            if let Err(error) = done {
                tracing::error!(%error, "the space of logs cannot be reclaimed");
            }
        }));
    }

    fn log_bytes_max(&self) -> u64 {
        self.settings.borrow().store.log_size.as_u64()
    }

    fn log_bytes(&self) -> u64 {
        self.log.engine().statistics().disk_bytes
    }

    /// Refuses or allows writes from now on.
    pub fn look(&mut self) {
        let log_bytes = self.log_bytes();
        let available = fs4::available_space(&self.data_dir);
        let free = *available.as_ref().unwrap_or(&0);
        let room = match free {
            RESERVE_BYTES.. => Room::Plenty,
            LAST_BYTES.. => Room::Scarce,
            _ => Room::None,
        };
        self.free = free;
        // Every time: an offer to a worker that is behind may be lost.
        self.router.offer(|| Input::Room(room));
        let full = log_bytes > self.log_bytes_max() || room != Room::Plenty;
        let was = self.front.log_full.swap(full, Ordering::Relaxed);
        if full != was {
            self.changed.notify_one();
        }
        let data_dir = self.data_dir.display();
        if full && !was {
            tracing::warn!(
                %data_dir,
                ?available,
                needed = RESERVE_BYTES,
                log_bytes,
                log_bytes_max = self.log_bytes_max(),
                "writes are refused: free space on this disk, or raise store.log_size"
            );
        } else if was && !full {
            tracing::info!(%data_dir, ?available, log_bytes, "writes are taken again");
        }
    }
}

/// Bytes of logs without what they keep for later.
fn used_bytes(log: &Statistics) -> u64 {
    log.disk_bytes.saturating_sub(log.kept_bytes)
}

fn is_large(log: &Statistics, bytes_max: u64) -> bool {
    used_bytes(log) > bytes_max / 2
}

/// Space that logs give back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Space {
    /// What they keep for later.
    Kept,
    /// That, and what was deleted, for which all that is alive is written again, a segment at a time.
    All,
}

impl Space {
    /// What is worth being given back now; what costs least goes first.
    fn due(log: &Statistics, bytes_max: u64, free: u64) -> Option<Self> {
        let is_over = |gone: u64| log.disk_bytes.saturating_sub(gone) > bytes_max;
        let is_full = |more: u64| free.saturating_add(more) < RESERVE_BYTES;
        let kept = log.kept_bytes;
        if is_over(0) && !is_over(kept) || is_full(0) && !is_full(kept) {
            return Some(Self::Kept);
        }
        let much = log.dead_bytes >= used_bytes(log) / RECLAIM_PART;
        let lets_in = is_over(0) && !is_over(kept.saturating_add(log.dead_bytes));
        // A segment or two, before the first one goes.
        let fits = free >= LAST_BYTES;
        (fits && is_large(log, bytes_max) && (much || lets_in)).then_some(Self::All)
    }
}

/// Whether an error says that a disk is full.
pub(crate) fn is_full(error: &dyn std::fmt::Display) -> bool {
    error.to_string().contains("No space left on device")
}

/// Waits until the disk of a directory has more room than the reserve, for [`WAIT_MIN`] at least, or until `shutdown`
/// fires: false then.
pub async fn wait_for_room(data_dir: &Path) {
    let mut interval = tokio::time::interval_at(Instant::now() + WAIT_MIN, INTERVAL);
    loop {
        interval.tick().await;
        // One that cannot be asked has none.
        if fs4::available_space(data_dir).is_ok_and(|free| free >= RESERVE_BYTES) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is due of logs with 1,600 bytes and what is kept.
    fn due(kept_bytes: u64, dead_bytes: u64, bytes_max: u64, free: u64) -> Option<Space> {
        let log = Statistics {
            disk_bytes: 1600 + kept_bytes,
            kept_bytes,
            dead_bytes,
            memory_bytes: 0,
        };
        Space::due(&log, bytes_max, free)
    }

    #[test]
    fn all_is_written_again_for_a_sixteenth_or_to_let_writes_in() {
        let (no, all) = (None, Some(Space::All));
        let with = |bytes_max| [0, 50, 99, 100].map(|dead| due(0, dead, bytes_max, RESERVE_BYTES));
        assert_eq!(with(3200), [no; 4], "it is not large");
        assert_eq!(with(1600), [no, no, no, all]);
        assert_eq!(with(1550), [no, all, all, all], "it lets writes in");
        assert_eq!(with(1000), [no, no, no, all]);
    }

    #[test]
    fn what_is_kept_goes_first_and_only_if_that_lets_writes_in() {
        let (no, kept, all) = (None, Some(Space::Kept), Some(Space::All));
        let with = |dead| {
            let bounds = [3200, 1700, 1600, 1599];
            bounds.map(|bytes_max| due(100, dead, bytes_max, RESERVE_BYTES))
        };
        assert_eq!(with(0), [no, no, kept, no]);
        assert_eq!(with(99), [no, no, kept, all]);
        assert_eq!(with(100), [no, all, kept, all]);

        let with = |free| [3200, 1700].map(|bytes_max| due(100, 100, bytes_max, free));
        assert_eq!(with(RESERVE_BYTES - 1), [kept, kept]);
        assert_eq!(with(RESERVE_BYTES - 100), [kept, kept]);
        assert_eq!(with(RESERVE_BYTES - 101), [no, all], "it lets nothing in");
        assert_eq!(with(LAST_BYTES), [no, all]);
        assert_eq!(with(LAST_BYTES - 1), [no, no], "it might not fit");
    }
}
