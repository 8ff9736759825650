//! The loop of a store worker thread: drain, round, one log write, the rest.
//!
//! *Place*: owns a `core::store::Worker` and the receiving end of its inbox.
//!
//! *Life of a loop*: wait for an input or the next tick → drain up to [`DRAIN_MAX`] → round → messages that may
//! leave → one write and one fsync for all touched regions → the rest.
//!
//! *Invariants*: missed ticks count once, so a stall never fires elections in a burst; nothing that depends on
//! the write leaves before it.
//!
//! *Limits and failure*: an engine error stops the node.
//!
//! *Next stop*: [`super::apply`].

use super::Failure;
use crate::clock;
use crate::config::Config;
use crate::metrics::Metrics;
use crate::metrics::raft::WORKER_IS_BEHIND;
use crate::pd::splits::Job;
use crate::router::{Mailbox, Message, Router};
use crate::threads::apply::Handovers;
use crate::threads::reads::ReadJob;
use crate::transport::Outgoing;
use crate::transport::snapshots::Snapshots;
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, TrySendError};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};
use yadkv_engine::{Durability, LogEngine, WriteBatch};
use yadkv_metrics::level;
use yadkv_proto::id::{Index, RegionId};
use yadkv_proto::pdpb::RegionHeartbeatRequest;
use yadkv_storage_core::apply::queue::Order;
use yadkv_storage_core::front::Front;
use yadkv_storage_core::peer::inspect::Waiting;
use yadkv_storage_core::refusal;
use yadkv_storage_core::store::message::{DigestTask, Effects, Input, SizeTask};
use yadkv_storage_core::store::{StoreError, Worker};

/// Inputs taken in before a round is made.
const DRAIN_MAX: usize = 4096;

/// A worker and everything it hands on to.
pub struct WorkerThread {
    /// The core.
    pub worker: Worker,
    /// Its inbox.
    pub inbox: Receiver<Message>,
    /// Apply results.
    pub mailbox: Arc<Mailbox>,
    /// The log engine.
    pub raft: Arc<dyn LogEngine>,
    /// Which worker it is.
    pub number: u64,
    /// What hears of writes that hang.
    pub front: Arc<Front>,
    /// Messages to other stores.
    pub outgoing: Outgoing,
    /// Committed entries, and replicas that come or go.
    pub apply: Handovers,
    /// Snapshots to other stores.
    pub snapshots: Snapshots,
    /// Confirmed reads.
    pub reads: Sender<ReadJob>,
    /// Regions to be measured; dropped when full, the worker names them again.
    pub sizes: Sender<SizeTask>,
    /// Data to be read for checks; dropped when full, the check names this replica as silent.
    pub digests: Sender<DigestTask>,
    /// Positions to be made durable; dropped when full, the worker asks again.
    pub flush: Sender<Vec<(RegionId, Index)>>,
    /// Ids for splits, and reports of them.
    pub splits: mpsc::Sender<Job>,
    /// New replicas of other workers.
    pub router: Router,
    /// Heartbeats to the placement driver; dropped when full, the next one makes it good.
    pub reports: mpsc::Sender<RegionHeartbeatRequest>,
    /// Raft tick.
    pub tick: Duration,
    /// Tells the core when others are in force.
    pub settings: watch::Receiver<Config>,
    /// Counters.
    pub metrics: Metrics,
    /// Where to report the end.
    pub failure: Failure,
}

impl WorkerThread {
    /// Runs until the node stops.
    pub fn run(mut self) {
        if let Err(error) = self.run_until_stopped() {
            self.failure.report("store worker", &error);
        }
    }

    fn run_until_stopped(&mut self) -> Result<(), StoreError> {
        let mut next_tick = Instant::now() + self.tick;
        let mut counted = Counted::default();
        let busy = self.metrics.raft.busy(self.number);
        let mut since = Instant::now();
        while !self.failure.stop.is_cancelled() {
            let (waits, waited) = self.wait(next_tick);
            self.drain(waits)?;
            self.take_mail()?;
            let now = Instant::now();
            busy.inc_by((now - since).saturating_sub(waited).as_secs_f64());
            since = now;
            if now >= next_tick {
                self.tick()?;
                next_tick = now + self.tick;
                self.count(&mut counted);
            }
            self.round()?;
        }
        Ok(())
    }

    fn tick(&mut self) -> Result<(), StoreError> {
        let now = clock::now();
        // An error means that the node is stopping.
        if self.settings.has_changed().unwrap_or(false) {
            let wanted = self.settings.borrow_and_update().core();
            self.worker
                .handle(Input::Configure(Box::new(wanted)), now)?;
        }
        let hangs = self.front.writes.hang(now.moment);
        self.worker.handle(Input::Hangs(hangs), now)?;
        self.worker.handle(Input::Tick, now)
    }

    fn take_mail(&mut self) -> Result<(), StoreError> {
        let mail = self.mailbox.take();
        if !mail.applied.is_empty() {
            let applied = mail.applied.into_values().collect();
            self.worker.handle(Input::Applied(applied), clock::now())?;
        }
        // After what was applied before.
        if !mail.moved.is_empty() {
            self.worker.handle(Input::Moved(mail.moved), clock::now())?;
        }
        if !mail.adopted.is_empty() {
            self.worker
                .handle(Input::Adopt(mail.adopted), clock::now())?;
        }
        Ok(())
    }

    /// The next message, if one comes before the tick, and how long it was waited for.
    fn wait(&mut self, next_tick: Instant) -> (Option<Message>, Duration) {
        if self.worker.wants_round() || !self.inbox.is_empty() {
            return (self.inbox.try_recv().ok(), Duration::ZERO);
        }
        let began = Instant::now();
        let received = self.inbox.recv_deadline(next_tick);
        if matches!(received, Err(RecvTimeoutError::Disconnected)) {
            self.failure.stop.cancel();
        }
        (received.ok(), began.elapsed())
    }

    fn drain(&mut self, first: Option<Message>) -> Result<(), StoreError> {
        let rest = self.inbox.try_iter().take(DRAIN_MAX);
        let now = clock::now();
        for message in first.into_iter().chain(rest) {
            if let Message::Input(input) = message {
                self.mailbox.taken(&input);
                self.worker.handle(*input, now)?;
            }
        }
        Ok(())
    }

    fn round(&mut self) -> Result<(), StoreError> {
        let mut round = self.worker.round(clock::now());
        self.outgoing.send(std::mem::take(&mut round.send_now));
        let effects = std::mem::take(&mut round.effects);
        self.carry_out(effects);
        let batch = std::mem::take(&mut round.batch);
        if !batch.is_empty() {
            let regions = &self.metrics.raft.batch_regions;
            regions.observe(round.regions() as f64);
            self.write_log(batch, round.must_sync)?;
        }
        let effects = self.worker.persisted(round, clock::now());
        self.carry_out(effects);
        Ok(())
    }

    fn write_log(&self, batch: WriteBatch, must_sync: bool) -> Result<(), StoreError> {
        let metrics = &self.metrics.raft;
        metrics.written_bytes.inc_by(batch.bytes() as u64);
        self.front.writes.begin(self.number, clock::moment());
        let timer = metrics.write_seconds.start_timer();
        self.raft.write(batch, Durability::Buffered)?;
        timer.observe_duration();
        if must_sync {
            let timer = metrics.sync_seconds.start_timer();
            self.raft.sync()?;
            timer.observe_duration();
        }
        self.front.writes.end(self.number);
        Ok(())
    }

    fn carry_out(&mut self, effects: Effects) {
        self.outgoing.send(effects.send);
        self.metrics.raft.count(&effects.tally);
        let settled = effects.settled.into_iter().map(Order::Settled);
        let moves = effects.moves.into_iter().map(Order::Move);
        let forgotten = effects.forget.into_iter().map(Order::Forget);
        let orders = settled.chain(moves).chain(forgotten);
        self.apply.add(effects.apply, orders);
        for call in effects.merges {
            self.router.offer_to(call.target, Input::CommitMerge(call));
        }
        for (region, replaced) in effects.yields {
            self.router
                .offer_to(region, Input::Yield { region, replaced });
        }
        for task in effects.snapshots {
            self.snapshots.send(task);
        }
        for read in effects.reads {
            self.metrics.calls.index_reads.inc();
            if let Err(TrySendError::Full(ReadJob::Confirmed(read))) =
                self.reads.try_send(ReadJob::Confirmed(read))
            {
                read.responder
                    .refuse(refusal::busy("the read queue is full"));
            }
        }
        if !effects.adopt.is_empty() {
            self.router.adopt(effects.adopt);
        }
        if !effects.flush.is_empty() {
            let _ = self.flush.try_send(effects.flush);
        }
        for look in effects.looks {
            let _ = self.sizes.try_send(look);
        }
        for task in effects.digests {
            let _ = self.digests.try_send(task);
        }
        for report in &effects.checks {
            self.metrics.moves.checked(report);
        }
        self.metrics
            .moves
            .splits
            .inc_by(effects.split_reports.len() as u64);
        let ids = effects.ids.into_iter().map(Job::Ids);
        let reports = effects.split_reports.into_iter();
        let reports = reports.map(|(region, regions)| Job::Report(region, regions));
        let lookups = effects.lookups.into_iter();
        let lookups = lookups.map(Job::Locate);
        for job in ids.chain(reports).chain(lookups) {
            if let Err(mpsc::error::TrySendError::Full(job)) = self.splits.try_send(job) {
                job.refuse();
            }
        }
        for report in effects.reports {
            let _ = self.reports.try_send(report);
        }
    }

    fn count(&self, counted: &mut Counted) {
        let (tasks, left, bytes) = self.apply.waiting();
        let metrics = &self.metrics.apply;
        metrics.queue.set(level(tasks));
        metrics.queue_left.set(level(left));
        metrics.queue_bytes.set(level(bytes));
        let waiting = self.worker.waiting();
        let before = std::mem::replace(&mut counted.waiting, waiting);
        self.metrics.raft.show_waiting(waiting, before);
        let unread = self.mailbox.dropped();
        if unread > 0 {
            let counter = &self.metrics.raft.dropped_messages;
            counter
                .with_label_values(&[WORKER_IS_BEHIND])
                .inc_by(unread);
        }
        for (reason, total) in self.worker.dropped() {
            let before = counted.dropped.insert(reason, *total).unwrap_or(0);
            self.metrics
                .raft
                .dropped_messages
                .with_label_values(&[reason])
                .inc_by(total - before);
        }
    }
}

/// What the meters have of this worker.
#[derive(Default)]
struct Counted {
    dropped: BTreeMap<&'static str, u64>,
    waiting: Waiting,
}
