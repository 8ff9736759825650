//! What workers have handed down and apply has not taken yet.
//!
//! *Place*: workers add to it and never wait; the apply thread takes from it.
//!
//! *Types to know*: [`Queue`], [`ApplyTask`], [`Order`].
//!
//! *Life of a task*: committed entries of a region → joined with what waits of the same region → taken by apply, a batch
//! at a time; what does not fit is given back, what fits in parts behind all others. What comes while
//! [`Queue::bytes_max`] is used up leaves its entries behind: only the position of its last one is kept, and apply reads
//! the log, where committed entries stay until they are applied.
//!
//! ```text
//! task of a region    entries 7 8 9 | in the log: 10 … 31    callers of 8, 12, 31
//! ```
//!
//! *Invariants*: tasks of a region keep their order, and so do orders behind what was handed down before them.
//!
//! *Limits*: entries in memory are bounded in bytes; tasks by the regions of the store and the orders before them; callers
//! by the requests that the store admits. So apply that is slow, or stands still, costs neither memory nor the heartbeats
//! of a worker that would wait for it.
//!
//! *Next stop*: [`super::Applier`].

use crate::respond::Responder;
use crate::snapshot::install::Move;
use std::collections::{BTreeMap, VecDeque};
use yadkv_proto::id::{Index, RegionId};
use yadkv_proto::yadkvpb::LogEntry;

/// Committed entries of one region, in order.
#[derive(Debug)]
pub struct ApplyTask {
    /// The region.
    pub region: RegionId,
    /// The first of the entries, or none.
    pub entries: Vec<LogEntry>,
    /// The last one. Those behind [`Self::entries`] are read from the log.
    pub last: Index,
    /// Callers of commands proposed here, by the entry that carries them: one per command, in order.
    pub responders: BTreeMap<Index, Vec<Responder>>,
}

/// What comes behind everything that was handed down before.
#[derive(Debug)]
pub enum Order {
    /// A replica is to be installed or destroyed.
    Move(Move),
    /// That is over.
    Settled(RegionId),
    /// Nobody answers for a replica any more.
    Forget(RegionId),
}

/// What apply does next.
#[derive(Debug)]
pub enum Next {
    /// Applies these in one batch.
    Apply(Vec<ApplyTask>),
    /// Carries this out.
    Carry(Order),
}

/// Everything that waits for apply.
#[derive(Debug)]
pub struct Queue {
    segments: VecDeque<Segment>,
    bytes: usize,
    bytes_max: usize,
}

/// Tasks, and the order that comes behind them.
#[derive(Debug, Default)]
struct Segment {
    turn: VecDeque<RegionId>,
    tasks: BTreeMap<RegionId, ApplyTask>,
    order: Option<Order>,
}

/// Bytes that an entry is counted with.
pub fn size(entry: &LogEntry) -> usize {
    entry.data.len() + entry.context.len()
}

impl ApplyTask {
    /// All of these entries; none if there are none.
    pub fn new(
        region: RegionId,
        entries: Vec<LogEntry>,
        responders: BTreeMap<Index, Vec<Responder>>,
    ) -> Option<Self> {
        let last = Index(entries.last()?.index);
        Some(Self {
            region,
            entries,
            last,
            responders,
        })
    }

    /// Adds what comes right behind it; its entries stay in the log if some before them do.
    pub(super) fn join(&mut self, mut later: Self) {
        if self.is_whole() {
            self.entries.append(&mut later.entries);
        }
        self.last = later.last;
        self.responders.append(&mut later.responders);
    }

    /// Whether all entries are in memory.
    fn is_whole(&self) -> bool {
        let last = self.entries.last();
        last.is_some_and(|entry| entry.index == self.last.0)
    }

    /// Leaves the entries to the log.
    pub(super) fn leave(&mut self) {
        self.entries = Vec::new();
    }

    /// Bytes of the entries in memory.
    pub fn bytes(&self) -> usize {
        self.entries.iter().map(size).sum()
    }
}

impl Queue {
    /// An empty queue that holds so many bytes of entries.
    pub fn new(bytes_max: usize) -> Self {
        Self {
            segments: VecDeque::new(),
            bytes: 0,
            bytes_max,
        }
    }

    /// Bytes of entries in memory.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Tasks that wait.
    pub fn len(&self) -> usize {
        self.segments.iter().map(|one| one.tasks.len()).sum()
    }

    /// Those of them that have entries in the log only.
    pub fn left(&self) -> usize {
        let tasks = self.segments.iter().flat_map(|one| one.tasks.values());
        tasks.filter(|task| !task.is_whole()).count()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// Adds committed entries.
    pub fn add(&mut self, tasks: impl IntoIterator<Item = ApplyTask>) {
        for mut task in tasks {
            let mut bytes = task.bytes();
            let full = self.bytes + bytes > self.bytes_max;
            let segment = self.open();
            let waiting = segment.tasks.get_mut(&task.region);
            if full || waiting.as_ref().is_some_and(|before| !before.is_whole()) {
                task.leave();
                bytes = 0;
            }
            match waiting {
                Some(before) => before.join(task),
                None => {
                    segment.turn.push_back(task.region);
                    segment.tasks.insert(task.region, task);
                }
            }
            self.bytes += bytes;
        }
    }

    /// Takes back what was not applied, before anything else is taken; in this order, and behind regions that wait.
    pub fn give_back(&mut self, tasks: Vec<ApplyTask>) {
        if !tasks.is_empty() && self.segments.is_empty() {
            self.segments.push_front(Segment::default());
        }
        for mut task in tasks {
            if self.bytes + task.bytes() > self.bytes_max {
                task.leave();
            }
            let segment = self
                .segments
                .front_mut()
                .expect("invariant: one was pushed if there was none");
            match segment.tasks.remove(&task.region) {
                Some(later) => {
                    self.bytes -= later.bytes();
                    task.join(later);
                }
                None => segment.turn.push_back(task.region),
            }
            self.bytes += task.bytes();
            segment.tasks.insert(task.region, task);
        }
    }

    /// Adds an order behind everything that waits.
    pub fn order(&mut self, order: Order) {
        self.open().order = Some(order);
    }

    /// The segment that tasks go into.
    fn open(&mut self) -> &mut Segment {
        if self.segments.back().is_none_or(|last| last.order.is_some()) {
            self.segments.push_back(Segment::default());
        }
        self.segments
            .back_mut()
            .expect("invariant: one was pushed if there was none")
    }

    /// Takes tasks with about `bytes_max` of entries in memory, at least one; or an order, if it is its turn.
    pub fn next(&mut self, bytes_max: usize) -> Option<Next> {
        let segment = self.segments.front_mut()?;
        let (mut taken, mut bytes) = (Vec::new(), 0);
        while bytes < bytes_max {
            let Some(task) = segment
                .turn
                .pop_front()
                .and_then(|region| segment.tasks.remove(&region))
            else {
                break;
            };
            bytes += task.bytes();
            taken.push(task);
        }
        self.bytes -= bytes;
        if !taken.is_empty() {
            if segment.tasks.is_empty() && segment.order.is_none() {
                self.segments.pop_front();
            }
            return Some(Next::Apply(taken));
        }
        let order = self.segments.pop_front()?.order?;
        Some(Next::Carry(order))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entries(range: std::ops::Range<u64>) -> Vec<LogEntry> {
        range
            .map(|index| LogEntry {
                index,
                data: vec![0; 100].into(),
                ..LogEntry::default()
            })
            .collect()
    }

    fn task(region: u64, range: std::ops::Range<u64>) -> ApplyTask {
        ApplyTask::new(RegionId(region), entries(range), BTreeMap::new()).expect("entries")
    }

    fn shown(next: Option<Next>) -> String {
        match next {
            None => "nothing".into(),
            Some(Next::Carry(order)) => format!("{order:?}"),
            Some(Next::Apply(tasks)) => {
                let one = |task: &ApplyTask| {
                    let held: Vec<_> = task.entries.iter().map(|entry| entry.index).collect();
                    format!("{}: {held:?} to {}", task.region.0, task.last.0)
                };
                tasks.iter().map(one).collect::<Vec<_>>().join(", ")
            }
        }
    }

    #[test]
    fn entries_beyond_the_bytes_stay_in_the_log() {
        let mut queue = Queue::new(300);
        queue.add([task(1, 6..8), task(2, 6..7), task(1, 8..10)]);
        queue.add([task(1, 10..11)]);
        assert_eq!((queue.bytes(), queue.len(), queue.left()), (300, 2, 1));
        assert_eq!(shown(queue.next(1000)), "1: [6, 7] to 10, 2: [6] to 6");
        assert_eq!(queue.bytes(), 0);
        queue.add([task(1, 11..13)]);
        assert_eq!(shown(queue.next(1000)), "1: [11, 12] to 12");
        assert_eq!(shown(queue.next(1000)), "nothing");
        assert!(queue.is_empty());
    }

    #[test]
    fn regions_take_turns() {
        let mut queue = Queue::new(1000);
        queue.add([task(2, 6..7), task(1, 6..7)]);
        assert_eq!(shown(queue.next(100)), "2: [6] to 6");
        queue.add([task(2, 7..8)]);
        assert_eq!(shown(queue.next(100)), "1: [6] to 6");
        assert_eq!(shown(queue.next(100)), "2: [7] to 7");
    }

    #[test]
    fn what_is_given_back_stays_before_what_came_later() {
        let mut queue = Queue::new(1000);
        queue.add([task(1, 6..9), task(2, 6..7)]);
        let Some(Next::Apply(mut tasks)) = queue.next(100) else {
            panic!("a task")
        };
        queue.add([task(1, 9..10)]);
        queue.order(Order::Forget(RegionId(1)));
        tasks[0].entries.remove(0);
        queue.give_back(tasks);
        assert_eq!(shown(queue.next(100)), "2: [6] to 6");
        assert_eq!(shown(queue.next(100)), "1: [7, 8, 9] to 9");
        assert_eq!(shown(queue.next(100)), "Forget(RegionId(1))");
        assert!(queue.is_empty());
    }

    #[test]
    fn an_order_keeps_its_place() {
        let mut queue = Queue::new(1000);
        queue.order(Order::Settled(RegionId(9)));
        queue.add([task(1, 6..7)]);
        queue.order(Order::Forget(RegionId(1)));
        queue.add([task(1, 7..8)]);
        assert_eq!(shown(queue.next(1000)), "Settled(RegionId(9))");
        assert_eq!(shown(queue.next(1000)), "1: [6] to 6");
        assert_eq!(shown(queue.next(1000)), "Forget(RegionId(1))");
        assert_eq!(shown(queue.next(1000)), "1: [7] to 7");
    }

    proptest! {
        #[test]
        fn every_region_gets_all_positions_in_order(
            steps in proptest::collection::vec((0_u64..4, 1_u64..5, 0_usize..600), 1..60),
            bytes_max in 0_usize..2000,
        ) {
            let mut queue = Queue::new(bytes_max);
            let (mut given, mut taken) = ([0_u64; 4], [0_u64; 4]);
            // Applies tasks; of each with more than two entries in memory the rest is given back.
            let take = |queue: &mut Queue, bytes: usize, taken: &mut [u64; 4]| {
                let Some(Next::Apply(mut tasks)) = queue.next(bytes) else { return false };
                let mut rest = Vec::new();
                for task in &mut tasks {
                    if task.entries.len() > 2 {
                        rest.push(ApplyTask {
                            region: task.region,
                            entries: task.entries.split_off(2),
                            last: task.last,
                            responders: BTreeMap::new(),
                        });
                        task.last = Index(task.entries[1].index);
                    }
                }
                queue.give_back(rest);
                for task in tasks {
                    let place = &mut taken[task.region.0 as usize];
                    for entry in &task.entries {
                        *place += 1;
                        assert_eq!(entry.index, *place, "in order, without a hole");
                    }
                    assert!(task.last.0 >= *place);
                    *place = task.last.0;
                }
                true
            };
            for (region, count, batch) in steps {
                let first = given[region as usize] + 1;
                queue.add([task(region, first..first + count)]);
                given[region as usize] += count;
                prop_assert!(queue.bytes() <= bytes_max);
                if batch < 300 {
                    take(&mut queue, batch + 1, &mut taken);
                }
            }
            while take(&mut queue, 200, &mut taken) {}
            prop_assert_eq!(given, taken);
            prop_assert_eq!((queue.bytes(), queue.is_empty()), (0, true));
        }
    }
}
