//! Regions whose next entry cannot be applied yet.
//!
//! *Place*: owned by [`super::Applier`]. A region that takes another one in needs that one as its log says; while the
//! store installs a snapshot of it, the data is neither old nor new. And a check of the region's replicas wants its data
//! as one entry left it: what comes behind that entry waits for the write.
//!
//!
//! *Life*: an entry has to wait → it and everything after it of this region is kept here, the others go on → the other
//! region is settled, or the write done → what is kept comes first in the next batch.
//!
//! *Invariants*: the entries of a region keep their order. What is kept of a region that ends is given up, its callers
//! hear that the outcome is unknown.
//!
//! *Limits*: one installation, or one write, long. What waits for an installation leaves its entries in the log.
//!
//! *Next stop*: [`super::merge`].

use super::queue::ApplyTask;
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
    task: ApplyTask,
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
    pub(super) fn park(&mut self, mut task: ApplyTask, until: Until) {
        if let Until::Settled(_) = until {
            task.leave();
        }
        self.waiting.insert(task.region, Waiting { until, task });
    }

    /// Keeps a task behind those of its region that wait; gives it back if there are none.
    pub(super) fn join(&mut self, task: ApplyTask) -> Option<ApplyTask> {
        match self.waiting.get_mut(&task.region) {
            Some(waiting) => {
                waiting.task.join(task);
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
        self.resumed.extend(over.map(|(_, waiting)| waiting.task));
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
