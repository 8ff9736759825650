//! Whether the disk hangs: which workers wait for it, and since when.
//!
//! *Place*: each worker notes when the write of a round begins and ends, not the few of new replicas and early votes; [`crate::front::Front`] looks before it hands a
//! request over, the other workers look at every tick.
//!
//! *Why*: a disk that hangs holds a worker for minutes. Other stores elect leaders within seconds, but a client that asks
//! here would wait for its own timeout, once for every call. A worker that has nothing to write hears of it from the
//! others, and hands over what it leads before a request makes it hang as well.
//!
//! *Next stop*: [`crate::front`].

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
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

    /// Whether any worker hangs: they share the disk.
    pub fn hang(&self, now: Moment) -> bool {
        let since = self.0.iter().map(|slot| slot.load(Ordering::Relaxed));
        let mut begun = since.filter(|since| *since != 0);
        begun.any(|since| now.since(Moment(since)) > STUCK_AFTER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_disk_hangs_while_a_write_takes_long() {
        let writes = Writes::new(2);
        let began = Moment(5_000_000_000);
        let late = began.after(STUCK_AFTER + Duration::from_millis(1));
        assert!(!writes.hang(late));
        writes.begin(0, late);
        writes.begin(1, began);
        assert!(!writes.hang(began.after(STUCK_AFTER)));
        assert!(writes.hang(late));
        writes.end(1);
        assert!(!writes.hang(late));
    }
}
