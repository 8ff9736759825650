//! Faults: what can go wrong, and the random order in which it does.
//!
//! *Place*: [`World::act`] carries one out; [`World::strike`] has the next of a random run chosen.
//!
//! *Types to know*: [`Action`], [`Step`], [`plan::Plan`].
//!
//! *What is where*: single faults here · which of them a run has in [`plan`] · small plans of them in [`ambush`] ·
//! changes of members in [`members`] · merges in [`merges`] · damaged and lost disks in [`disks`] · [`words`] for
//! readers.
//!
//! *Ambushes*: some mistakes need several things to go wrong within milliseconds. A strike may therefore be a
//! small plan, such as "two stores lose each other while the third restarts", or "the power goes while a vote
//! is being written and its candidate is cut off". Each part also happens alone.
//!
//! *Limits*: at most one store is down at a time, except when the power of all is lost. What three replicas cannot bear is
//! not done: disks are lost, and rot, on one store at a time.
//!
//! *Next stop*: [`crate::run`].

mod ambush;
pub mod disks;
pub mod members;
mod merges;
pub mod plan;
mod words;

use crate::chronicle::Happening;
use crate::client::insider::{self, Deed};
use crate::pd::InstallTrap;
use crate::sky::{Event, Machine, SKEW_MAX_MS, StoreEvent};
use crate::store::{Trap, schedule};
use crate::world::World;
use bytes::Bytes;
use plan::Cause;
use std::sync::Arc;
use std::time::Duration;
use yadkv_proto::id::RegionId;
use yadkv_proto::kvrpcpb::Context;
use yadkv_storage_core::view::RegionView;

/// What a strike chooses from.
const CHOICES: u64 = 174;

/// A step of the faults.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// The strike of this number.
    Strike(u64),
    /// What a strike ordered.
    Do(Cause, Action),
    /// What follows from an action: its end, or a trap that springs.
    Follow(Action),
}

/// A single fault, or its end.
#[derive(Clone, Copy, Debug)]
pub enum Action {
    /// The process ends and starts again after a time; what was written stays.
    Crash(Machine, Duration),
    /// The power goes for a time; of what was not synced a prefix stays.
    PowerLoss(Machine, Duration),
    /// The process starts.
    Boot(Machine),
    /// A link is cut in both directions for a time.
    Cut(Machine, Machine, Duration),
    /// A link is cut in one direction for a time.
    CutOneWay(Machine, Machine, Duration),
    /// A link works again.
    Mend(Machine, Machine),
    /// A machine loses its peers, not its clients, for a time.
    Isolate(Machine, Duration),
    /// A machine loses everybody for a time.
    IsolateFully(Machine, Duration),
    /// A machine stands still for a time.
    Pause(Machine, Duration),
    /// A wall clock jumps, milliseconds.
    StepClock(Machine, i64),
    /// The network loses, repeats and holds back messages for a time: of a thousand each.
    Noise(u64, u64, u64, Duration),
    /// It stops doing so.
    Quiet,
    /// Syncs of a machine take so much longer for a time.
    SlowDisk(Machine, Duration, Duration),
    /// They are quick again.
    QuickDisk(Machine),
    /// The data engine of a machine hangs now and then, for readers and apply, for a time.
    SlowData(Machine, Duration),
    /// It is quick again.
    QuickData(Machine),
    /// The apply thread of a machine stands still for a time.
    StallApply(Machine, Duration),
    /// Somebody who knows who leads a key, whatever the placement driver knows, does something; or, true, somebody who
    /// goes to the leader with the oldest borders around it.
    Insider(&'static str, Deed, bool),
    /// Orders of a leader transfer are held back for a time.
    HoldTransfers(Duration),
    /// They leave at once again.
    PassTransfers,
    /// The region around a border is to be cut there.
    Split(&'static [u8]),
    /// A region's leader is told to hand over to the replica on another store.
    Transfer(u64, usize),
    /// The power goes at the next vote that this store writes.
    Trap(usize),
    /// The process of this placement driver ends, or its machine loses power, while it next installs a snapshot.
    TrapInstall(usize, bool),
    /// Members of a region are to change.
    Members(u64, members::Change),
    /// The regions on both sides of a border are to be one: the left (or right) one becomes part of the other.
    Merge(&'static [u8], bool),
    /// Every store is told that its logs are large.
    ShortenLogs,
    /// What a store holds of a stretch of keys rots, unless that would be too much.
    Damage(usize, disks::Stretch),
    /// A store's tables are merged: damage that nobody has met is met.
    MergeTables(usize),
    /// The power goes, and both disks are empty when it is back, unless that would be too much.
    LoseDisks(usize, Duration),
    /// The placement driver is to remove a store whose disks were lost, by its id.
    RemoveStore(u64),
}

impl World {
    /// Schedules what follows from an action.
    fn follow(&mut self, delay: Duration, action: Action) {
        self.sky
            .lock()
            .after(delay, Event::Nemesis(Step::Follow(action)));
    }

    /// Carries an action out.
    pub fn act(&mut self, action: Action) {
        {
            let mut sky = self.sky.lock();
            crate::note!(sky, "-- {action:?}");
        }
        match action {
            Action::Crash(machine, down) => self.take_down(machine, false, down),
            Action::PowerLoss(machine, down) => self.take_down(machine, true, down),
            Action::Boot(machine) => self.boot(machine),
            Action::Cut(one, other, time) => {
                self.sky.lock().network.cut(one, other);
                self.follow(time, Action::Mend(one, other));
            }
            Action::CutOneWay(one, other, time) => {
                self.sky.lock().network.cuts.insert((one, other));
                self.follow(time, Action::Mend(one, other));
            }
            Action::Mend(one, other) => self.sky.lock().network.mend(one, other),
            Action::Isolate(machine, time) => self.isolate(machine, time, false),
            Action::IsolateFully(machine, time) => self.isolate(machine, time, true),
            Action::Pause(machine, time) => {
                let mut sky = self.sky.lock();
                let until = sky.now + time.as_nanos() as u64;
                sky.paused.insert(machine, until);
            }
            Action::StepClock(machine, by) => self.step_clock(machine, by),
            Action::Noise(loss, duplicate, straggle, time) => {
                self.noise(loss, duplicate, straggle);
                self.follow(time, Action::Quiet);
            }
            Action::Quiet => self.noise(0, 0, 0),
            Action::SlowDisk(machine, by, time) => {
                self.sky.lock().slow_disks.insert(machine, by);
                self.follow(time, Action::QuickDisk(machine));
            }
            Action::QuickDisk(machine) => {
                self.sky.lock().slow_disks.remove(&machine);
            }
            Action::SlowData(machine, time) => {
                self.sky.lock().slow_data.insert(machine);
                self.follow(time, Action::QuickData(machine));
            }
            Action::QuickData(machine) => {
                self.sky.lock().slow_data.remove(&machine);
            }
            Action::StallApply(machine, time) => {
                let mut sky = self.sky.lock();
                let until = sky.now + time.as_nanos() as u64;
                sky.stalled_apply.insert(machine, until);
            }
            Action::Insider(key, deed, late) => self.insider(key, deed, late),
            Action::HoldTransfers(time) => {
                self.sky.lock().network.straggle_transfers = 1000;
                self.follow(time, Action::PassTransfers);
            }
            Action::PassTransfers => self.sky.lock().network.straggle_transfers = 0,
            Action::Transfer(region, to) => self.transfer(region, to),
            Action::Split(border) => self.split(border),
            Action::Members(region, change) => self.change_members(region, change),
            Action::Merge(border, left) => self.merge(border, left),
            Action::ShortenLogs => self.shorten_logs(),
            Action::Damage(store, stretch) => self.damage(store, stretch),
            Action::MergeTables(store) => self.merge_tables(store),
            Action::LoseDisks(store, down) => self.lose_disks(store, down),
            Action::RemoveStore(store) => self.remove_store(store),
            Action::Trap(store) => self.set_trap(store),
            Action::TrapInstall(pd, power_loss) => self.trap_install(pd, power_loss),
        }
    }

    fn set_trap(&mut self, store: usize) {
        let mut sky = self.sky.lock();
        let dark = sky.dice.millis(30, 400);
        let cut = sky.dice.millis(2500, 4000);
        self.stores[store].trap = Some(Trap { dark, cut });
    }

    fn noise(&mut self, loss: u64, duplicate: u64, straggle: u64) {
        let network = &mut self.sky.lock().network;
        (network.loss, network.duplicate, network.straggle) = (loss, duplicate, straggle);
    }

    fn step_clock(&mut self, machine: Machine, by: i64) {
        let mut sky = self.sky.lock();
        // What expires when is checked against the stores' clocks, so theirs stay within bounds.
        let most = match machine {
            Machine::Store(_) => SKEW_MAX_MS,
            _ => 10 * SKEW_MAX_MS,
        };
        let clock = sky.clocks.entry(machine).or_default();
        clock.skew_ms = (clock.skew_ms + by).clamp(-most, most);
    }

    fn take_down(&mut self, machine: Machine, power_loss: bool, down: Duration) {
        if self.runs(machine) {
            self.kill(machine, power_loss);
            self.follow(down, Action::Boot(machine));
        }
    }

    fn isolate(&mut self, machine: Machine, time: Duration, fully: bool) {
        let mut others = self.servers();
        if fully {
            others.extend((0..4).map(Machine::Client));
        }
        let same = |other: &Machine| {
            fully || std::mem::discriminant(other) == std::mem::discriminant(&machine)
        };
        for other in others
            .into_iter()
            .filter(|other| *other != machine && same(other))
        {
            self.sky.lock().network.cut(machine, other);
            self.follow(time, Action::Mend(machine, other));
        }
    }

    fn split(&mut self, border: &[u8]) {
        let Some((store, view)) = self.leading(border) else {
            return;
        };
        let machine = Machine::Store(store);
        let mut sky = self.sky.lock();
        let life = sky.life(machine);
        let cut = StoreEvent::Cut(view.id().0, Bytes::copy_from_slice(border));
        schedule(&mut sky, machine, life, Duration::ZERO, cut);
    }

    fn insider(&mut self, key: &'static str, deed: Deed, late: bool) {
        let mut leading = self.all_leading(key.as_bytes());
        let chosen = match late {
            true => (!leading.is_empty()).then(|| leading.remove(0)),
            false => leading.pop(),
        };
        let Some((store, view)) = chosen else { return };
        let context = Context {
            region_id: view.id().0,
            region_epoch: view.region().region_epoch,
            peer: Some(*view.peer()),
            ..Default::default()
        };
        let to = Machine::Store(store);
        let (sky, history) = (self.sky.clone(), self.history.clone());
        let put = insider::act(sky, history, to, context, (key, deed));
        self.sky
            .lock()
            .spawned
            .push((insider::MACHINE, Box::pin(put)));
    }

    /// The leader that has the newest borders around a key, and its view of the region.
    fn leading(&self, key: &[u8]) -> Option<(usize, Arc<RegionView>)> {
        self.all_leading(key).pop()
    }

    /// All leaders of regions around a key, those with the oldest borders first.
    fn all_leading(&self, key: &[u8]) -> Vec<(usize, Arc<RegionView>)> {
        let led = self.regions().into_iter().filter_map(|region| {
            let store = self.leader(region)?;
            let directory = &self.stores[store].runs()?.directory;
            let view = directory.get(RegionId(region))?;
            view.range().contains(key).then_some((store, view))
        });
        let mut led: Vec<_> = led.collect();
        led.sort_by_key(|(_, view)| view.version());
        led
    }

    fn transfer(&mut self, region: u64, to: usize) {
        let Some(from) = self.leader(region).filter(|from| *from != to) else {
            return;
        };
        let Some(running) = self.stores[from].runs() else {
            return;
        };
        let Some(view) = running.directory.get(RegionId(region)) else {
            return;
        };
        let store = self.stores[to].runs().map(|running| running.store.0);
        let Some(peer) = view
            .region()
            .peers
            .iter()
            .find(|peer| Some(peer.store_id) == store)
        else {
            return;
        };
        let mut sky = self.sky.lock();
        let life = sky.life(Machine::Store(from));
        schedule(
            &mut sky,
            Machine::Store(from),
            life,
            Duration::ZERO,
            StoreEvent::Transfer(region, *peer),
        );
    }

    fn trap_install(&mut self, pd: usize, power_loss: bool) {
        let dark = self.millis(10, 500);
        self.pds[pd].trap = Some(InstallTrap { power_loss, dark });
    }

    /// Ends every fault and starts everything.
    pub fn heal(&mut self) {
        {
            let mut sky = self.sky.lock();
            crate::note!(sky, "-- all is well");
            sky.tell(Happening::Heals);
            sky.network.heal();
            sky.slow_disks.clear();
            sky.slow_data.clear();
            sky.stalled_apply.clear();
            sky.paused.clear();
        }
        self.stores.iter_mut().for_each(|store| store.trap = None);
        self.pds.iter_mut().for_each(|pd| pd.trap = None);
        self.boot_all();
    }

    /// Orders what a strike does, by a number below [`CHOICES`].
    fn choose(&mut self, choice: u64) {
        match choice {
            0..=11 => self.strike_process(),
            12..=15 => self.strike_power_of_all(),
            16..=25 => self.strike_links(),
            26..=33 => self.strike_noise(),
            34..=40 => self.strike_time(),
            41..=44 => self.strike_regions(),
            45..=54 => self.ambush_restarted_voter(),
            55..=62 => self.ambush_vote(),
            63..=70 => self.ambush_transfer(),
            71..=82 => self.ambush_reader(),
            83..=88 => self.ambush_new_leader(),
            89..=91 => self.ambush_split(),
            92..=95 => self.ambush_unapplied_split(),
            96..=99 => self.ambush_timestamps(),
            100..=113 => self.strike_members(),
            125..=139 => self.strike_merge(),
            140..=149 => self.ambush_unapplied_merge(),
            150..=159 => self.strike_damage(),
            160..=163 => self.strike_lost_disk(),
            164..=173 => self.ambush_member(),
            _ => self.ambush_laggard(),
        }
    }

    // Each drawing holds the sky for itself alone: several may stand in one expression.

    fn millis(&self, start: u64, end: u64) -> Duration {
        self.sky.lock().dice.millis(start, end)
    }

    fn below(&self, end: u64) -> u64 {
        self.sky.lock().dice.below(end)
    }

    fn chance(&self, permille: u64) -> bool {
        self.sky.lock().dice.chance(permille)
    }

    fn any_server(&self) -> Machine {
        let servers = self.servers();
        self.sky.lock().dice.pick(&servers)
    }

    /// Three different stores with replicas, in any order.
    fn three(&self) -> [usize; 3] {
        let mut sky = self.sky.lock();
        let mut stores: Vec<usize> = (0..self.stores.len())
            .filter(|number| has_replicas(self, *number))
            .collect();
        if stores.len() < 3 {
            stores = (0..self.stores.len()).collect();
        }
        let mut draw = || stores.remove(sky.dice.below(stores.len() as u64) as usize);
        [draw(), draw(), draw()]
    }

    fn strike_process(&mut self) {
        let machine = self.any_server();
        let down = self
            .servers()
            .into_iter()
            .filter(|server| !self.runs(*server))
            .count();
        if down > 0 {
            return;
        }
        let (power, time) = {
            let mut sky = self.sky.lock();
            let short = sky.dice.chance(500);
            let time = if short {
                sky.dice.millis(10, 200)
            } else {
                sky.dice.millis(200, 3000)
            };
            (sky.dice.chance(500), time)
        };
        self.at_once(if power {
            Action::PowerLoss(machine, time)
        } else {
            Action::Crash(machine, time)
        });
    }

    fn strike_power_of_all(&mut self) {
        for store in 0..self.stores.len() {
            let time = self.millis(10, 800);
            self.at_once(Action::PowerLoss(Machine::Store(store), time));
        }
        if self.chance(500) {
            for pd in 0..self.pds.len() {
                let time = self.millis(10, 800);
                self.at_once(Action::PowerLoss(Machine::Pd(pd), time));
            }
        }
    }

    fn strike_links(&mut self) {
        let (one, other, time, kind) = (
            self.any_server(),
            self.any_server(),
            self.millis(300, 4000),
            self.below(4),
        );
        self.at_once(match kind {
            0 => Action::Cut(one, other, time),
            1 => Action::CutOneWay(one, other, time),
            2 => Action::Isolate(one, time),
            _ => Action::IsolateFully(one, time),
        });
    }

    fn strike_noise(&mut self) {
        let time = self.millis(500, 3000);
        let action = {
            let mut sky = self.sky.lock();
            let (loss, duplicate, straggle) = (
                sky.dice.below(150),
                sky.dice.below(200),
                sky.dice.below(100),
            );
            Action::Noise(loss, duplicate, straggle, time)
        };
        self.at_once(action);
    }

    /// Regions are cut, and led by others, soon after each other.
    fn strike_regions(&mut self) {
        let mut at = Duration::ZERO;
        for _ in 0..=self.below(4) {
            let border = BORDERS[self.below(BORDERS.len() as u64) as usize];
            self.later(at, Action::Split(border));
            if self.chance(500) {
                let regions = self.regions();
                let stores = self.stores.len() as u64;
                if !regions.is_empty() {
                    let region = regions[self.below(regions.len() as u64) as usize];
                    let to = self.below(stores) as usize;
                    self.later(at + self.millis(0, 20), Action::Transfer(region, to));
                }
            }
            at += self.millis(0, 300);
        }
    }

    fn strike_time(&mut self) {
        let machine = self.any_server();
        let by = self.below(5000) as i64 - 2500;
        let time = self.millis(100, 2500);
        let kind = self.below(3);
        self.at_once(match kind {
            0 => Action::StepClock(machine, by),
            1 => Action::Pause(machine, time),
            _ => Action::SlowDisk(machine, time / 2, time),
        });
    }
}

/// Where regions are cut: at keys that clients use, between them, and among those of the other key space.
const BORDERS: [&[u8]; 9] = [
    b"b",
    b"c",
    b"h",
    b"i",
    b"k",
    b"q",
    b"r\0\0\0b\0\0\0\xfc",
    b"r\0\0\0h\0\0\0\xfc",
    b"r\0\0\0p\0\0\0\xfc",
];

fn has_replicas(world: &World, store: usize) -> bool {
    world.stores[store]
        .runs()
        .is_some_and(|running| !running.directory.all().is_empty())
}
