//! Regions whose next entry cannot be applied yet.
//!
//! *Place*: owned by [`super::Applier`]. A region that takes another one in needs that one as its log says; while the
//! store installs a snapshot of it, the data is neither old nor new. And a check of the region's replicas wants its data
//! as one entry left it: what comes behind that entry waits for the write.
//!
//! *Life*: an entry has to wait → it and everything after it of this region is kept here, the others go on → the other
//! region is settled → the kept entries come first in the next batch.
//!
//! *Invariants*: the entries of a region keep their order. What is kept of a region that ends is given up, its callers
//! hear that the outcome is unknown.
//!
//! *Limits*: one installation, or one write, long.
//!
//! *Next stop*: [`super::merge`].

use super::ApplyTask;
use std::collections::BTreeMap;
use yadkv_proto::id::RegionId;

/// What waits, by region.
#[derive(Default)]
pub(super) struct Parked {
    waiting: BTreeMap<RegionId, Waiting>,
    resumed: Vec<ApplyTask>,
}

struct Waiting {
    until: Until,
    tasks: Vec<ApplyTask>,
}

/// What is waited for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Until {
    /// What was prepared before is written.
    Written,
    /// This region is no longer on the move.
    Settled(RegionId),
}

impl Parked {
    /// A task waits, and all that come behind it.
    pub(super) fn park(&mut self, task: ApplyTask, until: Until) {
        let region = task.region;
        let tasks = vec![task];
        self.waiting.insert(region, Waiting { until, tasks });
    }

    /// Keeps a task behind those of its region that wait; gives it back if there are none.
    pub(super) fn join(&mut self, task: ApplyTask) -> Option<ApplyTask> {
        match self.waiting.get_mut(&task.region) {
            Some(waiting) => {
                waiting.tasks.push(task);
                None
            }
            None => Some(task),
        }
    }

    /// A region is no longer on the move; whether somebody waited for that.
    pub(super) fn settled(&mut self, source: RegionId) -> bool {
        self.over(Until::Settled(source))
    }

    /// What was prepared is written; whether somebody waited for that.
    pub(super) fn written(&mut self) -> bool {
        self.over(Until::Written)
    }

    fn over(&mut self, until: Until) -> bool {
        let waited = |_: &RegionId, waiting: &mut Waiting| waiting.until == until;
        let over = self.waiting.extract_if(.., waited);
        self.resumed
            .extend(over.flat_map(|(_, waiting)| waiting.tasks));
        !self.resumed.is_empty()
    }

    /// What may go on.
    pub(super) fn resumed(&mut self) -> Vec<ApplyTask> {
        std::mem::take(&mut self.resumed)
    }

    /// A region is over.
    pub(super) fn forget(&mut self, region: RegionId) {
        self.waiting.remove(&region);
        self.resumed.retain(|task| task.region != region);
    }
}
