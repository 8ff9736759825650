//! Which workers wait for their disk, and since when.
//!
//! *Place*: each worker notes when a write of its log begins and ends; [`crate::front::Front`] looks before it hands a
//! request over.
//!
//! *Why*: a disk that hangs holds a worker for minutes. Other stores elect leaders within seconds, but a client that asks
//! here would wait for its own timeout, once for every call.
//!
//! *Next stop*: [`crate::front`].

use crate::store::Shard;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use yadkv_proto::id::RegionId;
use yadkv_proto::time::Moment;

/// A write that takes longer hangs: about as long as others wait before they elect a leader. Shorter, and a slow moment of
/// a disk turns clients away; longer, and they wait in vain.
pub const STUCK_AFTER: Duration = Duration::from_secs(1);

/// The writes under way.
#[derive(Debug)]
pub struct Writes(Vec<AtomicU64>);

impl Writes {
    /// Of so many workers, at least one.
    pub fn new(workers: usize) -> Self {
        Self((0..workers.max(1)).map(|_| AtomicU64::new(0)).collect())
    }

    /// A worker begins to write.
    pub fn begin(&self, worker: u64, now: Moment) {
        self.set(worker, now.0);
    }

    /// It is done.
    pub fn end(&self, worker: u64) {
        self.set(worker, 0);
    }

    fn set(&self, worker: u64, since: u64) {
        if let Some(slot) = self.0.get(worker as usize) {
            slot.store(since, Ordering::Relaxed);
        }
    }

    /// Whether the worker that owns a region hangs.
    pub fn hang(&self, region: RegionId, now: Moment) -> bool {
        let owner = Shard::owner(region, self.0.len() as u64);
        let since = self.0[owner as usize].load(Ordering::Relaxed);
        since != 0 && now.since(Moment(since)) > STUCK_AFTER
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_hangs_while_its_write_takes_long() {
        let (writes, region) = (Writes::new(2), RegionId(7));
        let owner = Shard::owner(region, 2);
        let began = Moment(5_000_000_000);
        let late = began.after(STUCK_AFTER + Duration::from_millis(1));
        writes.begin(1 - owner, began);
        assert!(!writes.hang(region, late), "another worker hangs");
        writes.begin(owner, began);
        assert!(!writes.hang(region, began.after(STUCK_AFTER)));
        assert!(writes.hang(region, late));
        writes.end(owner);
        assert!(!writes.hang(region, late));
    }
}
