//! A worker thread: drain, round, log write, fsync, the rest.
//!
//! *Place*: the same order as `storage-node/server/src/threads/worker.rs`; each arrow is an event of its own,
//! so that a crash, a message or a reader can come in between.
//!
//! ```text
//! Loop: inputs, apply results, tick → round → send_now, effects
//!   → LogWritten: the batch is in the file → LogSynced: and on the disk → persisted → effects → Loop …
//! ```
//!
//! *Invariants*: while a batch is being written the worker takes nothing in; missed ticks count once.
//!
//! *Next stop*: [`super::apply`].

use super::{StoreHost, Trap};
use crate::check::replicas;
use crate::nemesis::{Action, Step};
use crate::planted::{self, Planted};
use crate::sky::{Event, Machine, Message, Shared, StoreEvent};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;
use yadkv_engine::{Durability, LogEngine, WriteBatch};
use yadkv_proto::id::RegionId;
use yadkv_proto::time::Moment;
use yadkv_proto::yadkvpb::Envelope;
use yadkv_storage_core::apply::Progress;
use yadkv_storage_core::apply::queue::Order;
use yadkv_storage_core::snapshot::install::Moved;
use yadkv_storage_core::store::message::{Effects, Input, Round};
use yadkv_storage_core::store::{Shard, Worker};

/// Inputs taken in before a round is made.
const DRAIN_MAX: usize = 4096;
const TICK: Duration = Duration::from_millis(100);

/// A worker and its inbox.
pub struct WorkerHost {
    /// The core.
    pub worker: Worker,
    inbox: VecDeque<Input>,
    mailbox: BTreeMap<RegionId, Progress>,
    /// Replicas that came or went: after what was applied before.
    moved: Vec<Moved>,
    doing: Doing,
    next_tick: Moment,
    /// When the last round began.
    last_round: Moment,
}

enum Doing {
    /// Waiting for an input or a tick.
    Nothing,
    /// A loop is scheduled.
    Scheduled,
    /// The batch is on its way to the file.
    Writing(Box<(Round, WriteBatch)>),
    /// The batch is on its way to the disk.
    Syncing(Box<Round>),
}

impl WorkerHost {
    pub(super) fn new(worker: Worker, now: Moment) -> Self {
        Self {
            worker,
            inbox: VecDeque::new(),
            mailbox: BTreeMap::new(),
            moved: Vec::new(),
            doing: Doing::Nothing,
            next_tick: now.after(TICK),
            last_round: now,
        }
    }
}

impl StoreHost {
    fn worker(&mut self, number: usize) -> Option<&mut WorkerHost> {
        self.running()?.workers.get_mut(number)
    }

    /// Gives an input to the worker that owns a region.
    pub(super) fn input(&mut self, sky: &Shared, region: RegionId, input: Input) {
        let number = Shard::owner(region, self.workers) as usize;
        if let Some(worker) = self.worker(number) {
            worker.inbox.push_back(input);
            self.wake(sky, number);
        }
    }

    /// When the worker that owns a region began its last round: what a cached clock would say.
    pub(super) fn last_round(&mut self, region: RegionId) -> Option<Moment> {
        let number = Shard::owner(region, self.workers) as usize;
        Some(self.worker(number)?.last_round)
    }

    /// Gives an input to every worker.
    pub(super) fn broadcast(&mut self, sky: &Shared, input: impl Fn() -> Input) {
        for number in 0..self.workers as usize {
            if let Some(worker) = self.worker(number) {
                worker.inbox.push_back(input());
                self.wake(sky, number);
            }
        }
    }

    /// Apply results for the workers, joined by region.
    pub(super) fn applied(&mut self, sky: &Shared, results: Vec<Progress>) {
        for progress in results {
            let region = progress.applied.region;
            let number = Shard::owner(region, self.workers) as usize;
            if let Some(worker) = self.worker(number) {
                match worker.mailbox.entry(region) {
                    Entry::Occupied(mut earlier) => earlier.get_mut().absorb(progress),
                    Entry::Vacant(vacant) => drop(vacant.insert(progress)),
                }
                self.wake(sky, number);
            }
        }
    }

    /// A replica came or went.
    pub(super) fn moved(&mut self, sky: &Shared, moved: Moved) {
        let number = Shard::owner(moved.region, self.workers) as usize;
        if let Some(worker) = self.worker(number) {
            worker.moved.push(moved);
            self.wake(sky, number);
        }
    }

    fn wake(&mut self, sky: &Shared, number: usize) {
        let Some(worker) = self.worker(number) else {
            return;
        };
        if matches!(worker.doing, Doing::Nothing) {
            worker.doing = Doing::Scheduled;
            let mut sky = sky.lock();
            let delay = sky.places.machine(self.machine()).micros(5, 60);
            self.later(&mut sky, delay, StoreEvent::Loop(number));
        }
    }

    pub(super) fn tick(&mut self, sky: &Shared, number: usize) {
        {
            let mut sky = sky.lock();
            self.later(&mut sky, TICK, StoreEvent::Tick(number));
        }
        self.wake(sky, number);
    }

    pub(super) fn make_round(&mut self, sky: &Shared, number: usize) {
        let now = sky.lock().clock(self.machine());
        let Some(host) = self.worker(number) else {
            return;
        };
        host.last_round = now.moment;
        let failed = "memory engines fail only when told to";
        for input in host.inbox.drain(..host.inbox.len().min(DRAIN_MAX)) {
            host.worker.handle(input, now).expect(failed);
        }
        let applied: Vec<_> = std::mem::take(&mut host.mailbox).into_values().collect();
        if !applied.is_empty() {
            host.worker
                .handle(Input::Applied(applied), now)
                .expect(failed);
        }
        let moved = std::mem::take(&mut host.moved);
        if !moved.is_empty() {
            host.worker.handle(Input::Moved(moved), now).expect(failed);
        }
        if now.moment >= host.next_tick {
            host.worker.handle(Input::Tick, now).expect(failed);
            host.next_tick = now.moment.after(TICK);
        }
        let mut round = host.worker.round(now);
        let send_now = std::mem::take(&mut round.send_now);
        let effects = std::mem::take(&mut round.effects);
        let batch = std::mem::take(&mut round.batch);
        let wait = !batch.is_empty();
        host.doing = Doing::Writing(Box::new((round, batch)));
        self.spring_trap(sky, &send_now);
        self.send(sky, send_now);
        self.carry_out(sky, effects);
        if !wait {
            return self.write_log(sky, number);
        }
        let mut sky = sky.lock();
        let delay = sky.places.machine(self.machine()).micros(10, 60);
        self.later(&mut sky, delay, StoreEvent::LogWritten(number));
    }

    pub(super) fn write_log(&mut self, sky: &Shared, number: usize) {
        let Some(host) = self.worker(number) else {
            return;
        };
        let Doing::Writing(writing) = std::mem::replace(&mut host.doing, Doing::Nothing) else {
            return;
        };
        let (round, batch) = *writing;
        let sync = round.must_sync;
        host.doing = Doing::Syncing(Box::new(round));
        let votes = has_vote(&batch);
        if !batch.is_empty() {
            let written = self.raft.write(batch, Durability::Buffered);
            written.expect("memory engines fail only when told to");
        }
        if !sync {
            return self.log_synced(sky, number);
        }
        let delay = fsync(sky, self.machine());
        if votes && let Some(trap) = self.trap {
            self.cut_power(sky, trap, delay);
        }
        self.later(&mut sky.lock(), delay, StoreEvent::LogSynced(number));
    }

    pub(super) fn log_synced(&mut self, sky: &Shared, number: usize) {
        let now = sky.lock().clock(self.machine());
        let disk = self.raft.clone();
        let Some(host) = self.worker(number) else {
            return;
        };
        let Doing::Syncing(round) = std::mem::replace(&mut host.doing, Doing::Nothing) else {
            return;
        };
        if round.must_sync && !planted::is(Planted::FsyncSkipped) {
            disk.sync().expect("memory engines fail only when told to");
        }
        let effects = host.worker.persisted(*round, now);
        let more = host.worker.wants_round()
            || !host.inbox.is_empty()
            || !host.mailbox.is_empty()
            || !host.moved.is_empty()
            || now.moment >= host.next_tick;
        self.carry_out(sky, effects);
        if more {
            self.wake(sky, number);
        }
    }

    fn carry_out(&mut self, sky: &Shared, effects: Effects) {
        self.send(sky, effects.send);
        let settled = effects.settled.into_iter().map(Order::Settled);
        let moves = effects.moves.into_iter().map(Order::Move);
        let forgotten = effects.forget.into_iter().map(Order::Forget);
        let orders = settled.chain(moves).chain(forgotten).collect();
        self.hand_over(sky, effects.apply, orders);
        for call in effects.merges {
            self.input(sky, call.target, Input::CommitMerge(call));
        }
        for (region, replaced) in effects.yields {
            self.input(sky, region, Input::Yield { region, replaced });
        }
        for task in effects.snapshots {
            self.send_later(sky, task);
        }
        for lookup in effects.lookups {
            self.locate(sky, lookup);
        }
        for read in effects.reads {
            self.serve_later(sky, read);
        }
        for adopted in effects.adopt {
            let region = RegionId(adopted.region.id);
            self.input(sky, region, Input::Adopt(vec![adopted]));
        }
        self.tell_splits(sky, effects.ids, effects.split_reports);
        if !effects.flush.is_empty() {
            let mut sky = sky.lock();
            let delay = sky.places.machine(self.machine()).millis(1, 400);
            self.later(&mut sky, delay, StoreEvent::Flushed(effects.flush));
        }
        for look in effects.looks {
            let mut sky = sky.lock();
            let delay = sky.places.machine(self.machine()).millis(1, 50);
            self.later(&mut sky, delay, StoreEvent::Look(Box::new(look)));
        }
        for task in effects.digests {
            let mut sky = sky.lock();
            let delay = sky.places.machine(self.machine()).millis(1, 400);
            self.later(&mut sky, delay, StoreEvent::Digest(Box::new(task)));
        }
        for report in effects.checks {
            replicas::checked(&mut sky.lock(), &report);
        }
        if let Some(running) = self.running() {
            for report in effects.reports {
                // Full: the next report makes it good.
                let _ = running.reports.try_send(report);
            }
        }
    }

    fn send(&mut self, sky: &Shared, envelopes: Vec<Envelope>) {
        let machine = self.machine();
        let mut sky = sky.lock();
        for envelope in envelopes {
            let store = envelope.to.map_or(0, |peer| peer.store_id);
            let Some(to) = sky.stores.get(&store).copied().map(Machine::Store) else {
                continue;
            };
            let quiet = envelope
                .message
                .as_ref()
                .is_some_and(|message| matches!(message.kind, 8 | 9));
            if !quiet {
                crate::note!(sky, "{machine} -> {to} {}", crate::trace::raft(&envelope));
            }
            sky.send(machine, to, Message::Raft(envelope));
        }
    }

    /// A vote that left early is the moment to cut the power for a machine with a trap: the candidate that
    /// got it is cut off from everybody.
    fn spring_trap(&mut self, sky: &Shared, leaving: &[Envelope]) {
        let Some(trap) = self.trap else { return };
        let vote = |envelope: &&Envelope| {
            envelope
                .message
                .as_ref()
                .is_some_and(|message| message.kind == 6 && !message.reject)
        };
        let Some(candidate) = leaving.iter().find(vote).and_then(|envelope| envelope.to) else {
            return;
        };
        let mut sky = sky.lock();
        let Some(candidate) = sky.stores.get(&candidate.store_id).copied() else {
            return;
        };
        let isolate = Action::Isolate(Machine::Store(candidate), trap.cut);
        let delay = sky.places.machine(self.machine()).micros(1200, 2500);
        sky.after(delay, Event::Nemesis(Step::Follow(isolate)));
    }

    /// The power goes at some moment of the write that holds a vote.
    fn cut_power(&mut self, sky: &Shared, trap: Trap, write: Duration) {
        self.trap = None;
        let mut sky = sky.lock();
        let at = sky
            .places
            .machine(self.machine())
            .micros(0, write.as_micros() as u64 + 500);
        let cut = Action::PowerLoss(self.machine(), trap.dark);
        sky.after(at, Event::Nemesis(Step::Follow(cut)));
    }
}

/// Whether a batch for the log engine holds a hard state.
fn has_vote(batch: &WriteBatch) -> bool {
    batch.operations().iter().any(
        |operation| matches!(operation, yadkv_engine::Operation::Put(family, ..) if family.0 == 1),
    )
}

/// How long a sync takes: mostly a fraction of a millisecond, now and then much longer.
pub fn fsync(sky: &Shared, machine: Machine) -> Duration {
    let mut sky = sky.lock();
    let slow = sky.slow_disks.get(&machine).copied().unwrap_or_default();
    slow + match sky.places.machine(machine).below(100) {
        0 => sky.places.machine(machine).millis(5, 40),
        1..=9 => sky.places.machine(machine).millis(1, 5),
        _ => sky.places.machine(machine).micros(150, 900),
    }
}
