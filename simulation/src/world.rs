//! The whole cluster: machines, tasks, laws, and the loop that carries events out.
//!
//! *Place*: [`crate::run`] and the scenarios drive it.
//!
//! *Types to know*: [`World`].
//!
//! *Life of a step*: the next event → its machine makes one step → tasks that were woken are polled → the laws
//! have been checked on the way.
//!
//! *Invariants*: one thread, one queue, one source of chance: the same seed is the same run.
//!
//! *Next stop*: [`crate::nemesis`].

use crate::check::laws::Laws;
use crate::chronicle::{Happening, range};
use crate::client::work::Work;
use crate::history::History;
use crate::nemesis::Step;
use crate::nemesis::plan::{Cause, Plan};
use crate::pd::PdHost;
use crate::random::Random;
use crate::sky::{Answer, Clock, Event, Machine, Message, Shared, Sky};
use crate::store::StoreHost;
use crate::store::companion::MEMBERS;
use crate::tasks::Tasks;
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use yadkv_client::runtime::CallError;
use yadkv_proto::codec;
use yadkv_proto::id::RegionId;

/// A simulated cluster.
pub struct World {
    /// Time, network, events.
    pub sky: Shared,
    /// Placement drivers.
    pub pds: Vec<PdHost>,
    /// Stores.
    pub stores: Vec<StoreHost>,
    /// What clients did.
    pub history: Arc<Mutex<History>>,
    /// The laws.
    pub laws: Laws,
    tasks: Tasks,
    /// Faults so far.
    pub faults: u64,
    /// Events so far.
    pub events: u64,
    /// Since when random faults strike, nanoseconds.
    pub strikes_from: u64,
    /// Until when, likewise.
    pub strikes_until: u64,
    /// Which of them.
    pub plan: Plan,
    /// What the strike under way orders next.
    pub next_action: Cause,
}

impl World {
    /// Machines with empty disks and clocks that disagree; nothing runs yet.
    pub fn new(seed: u64, stores: usize) -> Self {
        let mut sky = Sky::new(seed);
        let machines = (0..MEMBERS)
            .map(Machine::Pd)
            .chain((0..stores).map(Machine::Store));
        for machine in machines.chain((0..4).map(Machine::Client)) {
            let clock = Clock {
                boot: sky.random.below(1_000_000_000_000),
                drift_ppm: sky.random.between(0, 4000) as i64 - 2000,
                skew_ms: sky.random.between(0, 400) as i64 - 200,
            };
            sky.clocks.insert(machine, clock);
        }
        let workers = sky.random.between(1, 3);
        Self {
            sky: Arc::new(Mutex::new(sky)),
            pds: (0..MEMBERS)
                .map(|number| PdHost::new(number, borders()))
                .collect(),
            stores: (0..stores)
                .map(|number| StoreHost::new(number, workers))
                .collect(),
            history: Arc::default(),
            laws: Laws::default(),
            tasks: Tasks::default(),
            faults: 0,
            events: 0,
            strikes_from: 0,
            strikes_until: 0,
            plan: Plan::of(seed),
            next_action: Cause::default(),
        }
    }

    /// Starts every process.
    pub fn boot_all(&mut self) {
        for machine in self.servers() {
            self.boot(machine);
        }
    }

    /// All placement drivers and stores.
    pub fn servers(&self) -> Vec<Machine> {
        let pds = (0..self.pds.len()).map(Machine::Pd);
        pds.chain((0..self.stores.len()).map(Machine::Store))
            .collect()
    }

    /// Starts a process, unless it runs.
    pub fn boot(&mut self, machine: Machine) {
        match machine {
            Machine::Pd(number) if self.pds[number].process.is_none() => {
                self.pds[number].boot(&self.sky)
            }
            Machine::Store(number) if self.stores[number].process.is_none() => {
                self.stores[number].boot(&self.sky)
            }
            _ => {}
        }
    }

    /// Ends a process, if it runs.
    pub fn kill(&mut self, machine: Machine, power_loss: bool) {
        match machine {
            Machine::Pd(number) => self.pds[number].kill(&self.sky, power_loss),
            Machine::Store(number) => {
                self.laws.closed(number);
                self.stores[number].kill(&self.sky, power_loss);
            }
            Machine::Client(_) => return,
        }
        self.sky.lock().paused.remove(&machine);
        self.tasks.kill(machine);
    }

    /// Whether a process runs.
    pub fn runs(&self, machine: Machine) -> bool {
        match machine {
            Machine::Pd(number) => self.pds[number].process.is_some(),
            Machine::Store(number) => self.stores[number].process.is_some(),
            Machine::Client(_) => true,
        }
    }

    /// Carries the next event out; false if there is none or a law is broken.
    pub fn step(&mut self) -> bool {
        if self.sky.lock().violation.is_some() {
            return false;
        }
        let Some(event) = self.sky.lock().next_event() else {
            return false;
        };
        self.events += 1;
        match event {
            Event::Store(number, life, event) => {
                self.stores[number].step(&self.sky, life, event, &mut self.laws)
            }
            Event::Pd(number, life, event) => {
                self.pds[number].step(&self.sky, life, event, &mut self.laws)
            }
            Event::Arrive(machine, message) => self.arrive(machine, *message),
            Event::Answered(call, answer) => self.sky.lock().calls.end(call, answer),
            Event::TimedOut(call) => {
                let lost = Answer::Failed(CallError::Lost("timed out".into()));
                self.sky.lock().calls.end(call, lost);
            }
            Event::Wake(_, timer) => {
                if let Some(timer) = self.sky.lock().timers.get_mut(&timer) {
                    timer.fire();
                }
            }
            Event::Nemesis(Step::Strike(number)) => self.strike(number),
            Event::Nemesis(Step::Do(cause, action)) => self.carry_out(cause, action),
            Event::Nemesis(Step::Follow(action)) => {
                self.sky.lock().tell(Happening::Followed(action));
                self.act(action);
            }
        }
        self.tasks.run(&self.sky);
        true
    }

    fn arrive(&mut self, machine: Machine, message: Message) {
        match machine {
            Machine::Pd(number) => self.pds[number].receive(&self.sky, message),
            Machine::Store(number) => self.stores[number].receive(&self.sky, message),
            Machine::Client(_) => {}
        }
    }

    /// Real time since the run began.
    pub fn now(&self) -> u64 {
        self.sky.lock().now
    }

    /// Runs for a time; false if a law is broken.
    pub fn run_for(&mut self, time: Duration) -> bool {
        let end = self.now() + time.as_nanos() as u64;
        while self.now() < end {
            if !self.step() {
                return false;
            }
        }
        true
    }

    /// Runs until something holds, looked at every 10 ms, at most for a time; whether it came to hold.
    pub fn run_until(&mut self, limit: Duration, mut holds: impl FnMut(&Self) -> bool) -> bool {
        let end = self.now() + limit.as_nanos() as u64;
        while self.now() < end {
            if holds(self) {
                return true;
            }
            if !self.run_for(Duration::from_millis(10)) {
                return false;
            }
        }
        holds(self)
    }

    /// The regions that exist on stores.
    pub fn regions(&self) -> Vec<u64> {
        let mut regions: Vec<u64> = self
            .stores
            .iter()
            .filter_map(StoreHost::runs)
            .flat_map(|running| {
                running
                    .workers
                    .iter()
                    .flat_map(|worker| worker.worker.peers())
            })
            .map(|peer| peer.id().0)
            .collect();
        regions.sort_unstable();
        regions.dedup();
        regions
    }

    /// The store that leads a region in the highest term, if any runs that does.
    pub fn leader(&self, region: u64) -> Option<usize> {
        let leads = |host: &StoreHost| {
            let running = host.runs()?;
            let mut peers = running
                .workers
                .iter()
                .filter_map(|worker| worker.worker.peer(RegionId(region)));
            let peer = peers.find(|peer| peer.is_leader())?;
            Some((peer.node().term(), host.number))
        };
        self.stores
            .iter()
            .filter_map(leads)
            .max()
            .map(|(_, number)| number)
    }

    /// The regions that each store leads, with their keys, in words.
    pub fn led_regions(&self) -> BTreeMap<usize, Vec<String>> {
        let mut led: BTreeMap<usize, Vec<String>> = BTreeMap::new();
        for region in self.regions() {
            let store = self.leader(region);
            let host = store.and_then(|store| self.stores[store].runs());
            let view = host.and_then(|running| running.directory.get(RegionId(region)));
            if let (Some(store), Some(view)) = (store, view) {
                led.entry(store).or_default().push(range(view.region()));
            }
        }
        led
    }

    /// The placement driver in office, if one is.
    pub fn pd_leader(&self) -> Option<usize> {
        let leads = |host: &&PdHost| {
            host.process
                .as_ref()
                .is_some_and(|process| process.member.is_leader())
        };
        let term = |host: &&PdHost| host.process.as_ref().map(|process| process.member.term());
        self.pds
            .iter()
            .filter(leads)
            .max_by_key(term)
            .map(|host| host.number)
    }

    /// Whether every first region is led.
    pub fn is_serving(&self) -> bool {
        let regions = self.regions();
        let expected = yadkv_placement_core::bootstrap::borders(&borders()).len() + 1;
        regions.len() == expected && regions.iter().all(|region| self.leader(*region).is_some())
    }

    /// A worker of a client.
    pub fn work(&self, client: usize) -> Work {
        let choices = self.sky.lock().random.draw();
        Work {
            sky: self.sky.clone(),
            history: self.history.clone(),
            client,
            v2: client % 2 == 1,
            reads_only: false,
            repeats: client == 1 || client == 2,
            random: Random::new(choices),
        }
    }

    /// Starts a task on a client's machine.
    pub fn spawn(&mut self, client: usize, task: impl Future<Output = ()> + Send + 'static) {
        self.history.lock().working += 1;
        self.sky
            .lock()
            .spawned
            .push((Machine::Client(client), Box::pin(task)));
        self.tasks.run(&self.sky);
    }

    /// Runs a client's task to its end, at most for a time; its result.
    pub fn finish<T: Send + 'static>(
        &mut self,
        limit: Duration,
        task: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        let slot = Arc::new(Mutex::new(None));
        let fill = slot.clone();
        let task = async move {
            let value = task.await;
            *fill.lock() = Some(value);
        };
        self.sky
            .lock()
            .spawned
            .push((Machine::Client(0), Box::pin(task)));
        self.tasks.run(&self.sky);
        self.run_until(limit, |_| slot.lock().is_some());
        slot.lock().take()
    }
}

/// Borders of the first regions besides the fixed ones: three raw V1 regions and two of keyspace DEFAULT.
fn borders() -> Vec<Bytes> {
    vec![
        Bytes::from_static(b"g"),
        Bytes::from_static(b"o"),
        codec::encode(b"r\0\0\0m"),
    ]
}
