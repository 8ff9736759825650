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
//! lets writes in; they are shortened too when what says where their entries are takes all the memory that it may. What
//! they keep for later is given back when it lets writes in, and when the disk is full.
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
/// Space is reclaimed when it is at least one part in so many of what the logs have on the disk.
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
    /// What the last look found.
    room: Room,
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
            room: Room::Plenty,
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

    /// Has logs shortened, and space given back, when they have grown to half of what they may, or have no room.
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
        let space = Space::due(&log, bytes_max, self.room).filter(|_| !runs);
        self.reclaiming = space.map_or(self.reclaiming.take(), |space| {
            let engine = self.log.engine().clone();
            Some(tokio::task::spawn_blocking(move || {
                let done = match space {
                    Space::Kept => engine.give_back(),
                    Space::Dead => engine.reclaim(),
                };
                if let Err(error) = done {
                    tracing::error!(%error, "the space of logs cannot be reclaimed");
                }
            }))
        });
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
        self.room = room;
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

/// Whether the logs have half of what they may, in records.
fn is_large(log: &Statistics, bytes_max: u64) -> bool {
    log.disk_bytes.saturating_sub(log.kept_bytes) > bytes_max / 2
}

/// Space that logs give back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Space {
    /// What they keep for later.
    Kept,
    /// Of what was deleted, too, for which everything that is alive is written again.
    Dead,
}

impl Space {
    /// What is worth being given back now.
    fn due(log: &Statistics, bytes_max: u64, room: Room) -> Option<Self> {
        let lets_in = |bytes: u64| {
            log.disk_bytes > bytes_max && log.disk_bytes.saturating_sub(bytes) <= bytes_max
        };
        let records = log.disk_bytes.saturating_sub(log.kept_bytes);
        let much = log.dead_bytes > 0 && log.dead_bytes >= records / RECLAIM_PART;
        let cheap = lets_in(log.kept_bytes);
        let both = lets_in(log.kept_bytes.saturating_add(log.dead_bytes));
        if is_large(log, bytes_max) && (much || both && !cheap) {
            return Some(Self::Dead);
        }
        (log.kept_bytes > 0 && (cheap || room != Room::Plenty)).then_some(Self::Kept)
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

    fn due(kept_bytes: u64, dead_bytes: u64, bytes_max: u64, room: Room) -> Option<Space> {
        let log = Statistics {
            disk_bytes: 1600 + kept_bytes,
            kept_bytes,
            dead_bytes,
            memory_bytes: 0,
        };
        Space::due(&log, bytes_max, room)
    }

    #[test]
    fn all_is_written_again_for_a_sixteenth_or_to_let_writes_in() {
        let with = |bytes_max| {
            [0, 50, 99, 100].map(|dead| due(0, dead, bytes_max, Room::Plenty).is_some())
        };
        assert_eq!(with(3201), [false; 4], "half is left");
        assert_eq!(with(1600), [false, false, false, true]);
        assert_eq!(with(1550), [false, true, true, true], "it lets writes in");
        assert_eq!(with(1000), [false, false, false, true]);
    }

    #[test]
    fn what_is_kept_goes_first_and_only_where_it_is_needed() {
        let (kept, dead) = (Some(Space::Kept), Some(Space::Dead));
        let with = |kept, dead| {
            [3201, 1700, 1600, 1599].map(|bytes_max| due(kept, dead, bytes_max, Room::Plenty))
        };
        assert_eq!(with(100, 0), [None, None, kept, None]);
        assert_eq!(with(100, 99), [None, None, kept, dead]);
        assert_eq!(with(100, 100), [None, dead, dead, dead]);
        for room in [Room::Scarce, Room::None] {
            assert_eq!(due(100, 100, 1 << 20, room), kept);
            assert_eq!(due(0, 100, 1 << 20, room), None);
        }
    }
}
