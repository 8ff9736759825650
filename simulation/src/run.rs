//! One seed: a safety phase under faults, a quiet phase that must converge, the checks, a report.
//!
//! *Place*: the tests and the binary call [`run`], [`crate::shrink`] calls [`run_plan`] for part of a seed.
//!
//! *Life of a seed*:
//! 1. A cluster of three placement drivers and three to five stores boots and serves.
//! 2. Clients work and faults strike for [`Plan::safety`]; the laws are checked at every step.
//! 3. All faults end; clients work on for [`QUIET`]; then every region must have one leader and equal replicas, none of
//!    them with damaged data, and stores whose disks were lost must have been replaced.
//! 4. Every key is read once more, and the whole history must be linearizable.
//!
//! *Invariants*: nothing but the seed (and a planted mistake) decides what happens.
//!
//! *Limits*: a panic in any core is a failure of its seed.
//!
//! *Next stop*: the tests in `simulation/tests`.

use crate::check::linearizable::{self, Verdict};
use crate::check::replicas;
use crate::chronicle::Happening;
use crate::client::work::KEYS;
use crate::history::Kind;
use crate::nemesis::Step;
use crate::nemesis::plan::{CLIENTS, Plan};
use crate::random::Places;
use crate::sky::Event;
use crate::story;
use crate::world::World;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

/// How long faults strike in a whole seed.
pub const SAFETY: Duration = Duration::from_secs(24);
/// How long clients work on after the last fault.
pub const QUIET: Duration = Duration::from_secs(6);
/// How long a healed cluster may take to become equal.
const CONVERGE: Duration = Duration::from_secs(60);
/// How long a new cluster may take to serve.
const START: Duration = Duration::from_secs(15);

/// How a seed ended.
#[derive(Clone, Debug)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// The law that was broken, if one was.
    pub failure: Option<String>,
    /// Virtual time, milliseconds.
    pub virtual_ms: u64,
    /// Events carried out.
    pub events: u64,
    /// Operations with an answer.
    pub operations: usize,
    /// Operations whose outcome is unknown.
    pub unknown: usize,
    /// Regions at the end.
    pub regions: usize,
    /// Regions that became part of others.
    pub merged: usize,
    /// Merges that were rolled back.
    pub rolled_back: usize,
    /// Checks that compared replicas.
    pub compared: usize,
    /// Snapshots that placement drivers installed.
    pub pd_snapshots: u64,
    /// Copies of writes that nobody answered.
    pub copies: usize,
    /// Timestamps given.
    pub timestamps: u64,
    /// Faults.
    pub faults: u64,
    /// Keys whose check was given up.
    pub undecided: usize,
    /// Hash and number of all trace lines: the same for the same seed.
    pub trace: (u64, u64),
    /// The last lines of the trace.
    pub tail: Vec<String>,
}

/// A plan that was carried out.
pub struct Ended {
    /// The cluster as it is now.
    pub world: World,
    /// The law that was broken, if one was.
    pub failure: Option<String>,
    /// Keys whose check was given up.
    pub undecided: usize,
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(failure) = &self.failure {
            writeln!(formatter, "seed {} FAILED: {failure}", self.seed)?;
            let shrink = story::command(&format!("--seed {} --shrink", self.seed));
            return write!(formatter, "which faults does it need? {shrink}");
        }
        write!(
            formatter,
            "seed {}: {} s, {} events, {} operations ({} unknown, {} copies), {} timestamps, {} faults, {} regions ({} merged, {} rolled back, {} compared), {} placement driver snapshots, trace {:016x}",
            self.seed,
            self.virtual_ms / 1000,
            self.events,
            self.operations,
            self.unknown,
            self.copies,
            self.timestamps,
            self.faults,
            self.regions,
            self.merged,
            self.rolled_back,
            self.compared,
            self.pd_snapshots,
            self.trace.0
        )
    }
}

/// Runs a seed.
pub fn run(seed: u64) -> Report {
    run_plan(&Plan::of(seed)).report()
}

/// Runs a seed, or part of it.
pub fn run_plan(plan: &Plan) -> Ended {
    let mut world = World::new(plan.seed, 3 + (plan.seed % 3) as usize);
    world.plan = plan.clone();
    let mut undecided = 0;
    let ended = catch_unwind(AssertUnwindSafe(|| phases(&mut world, &mut undecided)));
    let failure = match ended {
        Ok(Ok(())) => None,
        Ok(Err(failure)) => Some(failure),
        Err(panic) => Some(format!("panic: {}", words(&*panic))),
    };
    Ended {
        world,
        failure,
        undecided,
    }
}

impl Ended {
    /// How it ended.
    pub fn report(&self) -> Report {
        let world = &self.world;
        let history = world.history.lock();
        let sky = world.sky.lock();
        let done = history
            .operations
            .iter()
            .filter(|operation| operation.ended != u64::MAX)
            .count();
        Report {
            seed: world.plan.seed,
            failure: self.failure.clone(),
            virtual_ms: sky.now / 1_000_000,
            events: world.events,
            operations: done,
            unknown: history.operations.len() - done,
            regions: world.regions().len(),
            merged: sky.merged.len(),
            rolled_back: sky.rolled_back.len(),
            compared: sky.compared,
            pd_snapshots: sky.pd_snapshots,
            copies: history.operations.iter().map(|one| one.copies.len()).sum(),
            timestamps: history.timestamps,
            faults: world.faults,
            undecided: self.undecided,
            trace: (sky.trace.hash(), sky.trace.count()),
            tail: sky.trace.tail(),
        }
    }
}

fn words(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or(panic.downcast_ref::<&str>().copied())
        .unwrap_or("without words")
        .to_owned()
}

fn phases(world: &mut World, undecided: &mut usize) -> Result<(), String> {
    start(world)?;
    for client in 0..CLIENTS {
        let (works, stamps) = (world.work(client), world.work(client));
        let mut other = world.work(client);
        other.reads_only = other.random.chance(300);
        if world.plan.clients.contains(&client) {
            world.spawn(client, works.operations());
            world.spawn(client, other.operations());
            world.spawn(client, stamps.timestamps());
        }
    }
    let regions = world.led_regions();
    world.sky.lock().tell(Happening::Serves(regions));
    let safety = world.plan.safety;
    world.strikes_from = world.now();
    world.strikes_until = world.now() + safety.as_nanos() as u64;
    {
        let mut sky = world.sky.lock();
        if world.plan.noise != 0 {
            sky.places = Places::new(world.plan.seed, world.plan.noise);
        }
        sky.after(Duration::from_secs(1), Event::Nemesis(Step::Strike(0)));
    }
    // ANCHOR: phases
    lawful(world, |world| world.run_for(safety))?;
    world.heal();
    lawful(world, |world| world.run_for(QUIET))?;
    world.history.lock().stop = true;
    settle(world)?;
    *undecided = judge(world)?;
    // ANCHOR_END: phases
    Ok(())
}

/// Boots a cluster and waits until it serves.
pub fn start(world: &mut World) -> Result<(), String> {
    world.boot_all();
    let serves = lawful(world, |world| world.run_until(START, World::is_serving))?;
    if serves {
        Ok(())
    } else {
        Err("a new cluster does not come to serve".into())
    }
}

fn lawful(world: &mut World, go: impl FnOnce(&mut World) -> bool) -> Result<bool, String> {
    let went = go(world);
    match world.sky.lock().violation.clone() {
        Some(law) => Err(law),
        None => Ok(went),
    }
}

/// Waits until the clients have ended and the replicas are equal, then reads every key once more.
pub fn settle(world: &mut World) -> Result<(), String> {
    let ended = lawful(world, |world| {
        world.run_until(CONVERGE, |world| world.history.lock().working == 0)
    })?;
    if !ended {
        return Err("clients do not come to their end in a quiet cluster".into());
    }
    let equal = lawful(world, |world| {
        world.run_until(CONVERGE, |world| replicas::differences(world).is_empty())
    })?;
    if !equal {
        return Err(format!(
            "replicas do not become equal: {}",
            replicas::differences(world).join("; ")
        ));
    }
    for client in [0, 1] {
        let work = world.work(client);
        let reads = async move {
            let session = work.session().await;
            for key in KEYS {
                session.perform(key, Kind::Get).await;
            }
        };
        let done = world.finish(Duration::from_secs(30), reads);
        lawful(world, |_| true)?;
        done.ok_or("a quiet cluster does not answer")?;
    }
    Ok(())
}

/// The check of the whole history; how many keys it gave up on.
pub fn judge(world: &World) -> Result<usize, String> {
    match linearizable::check(&world.history.lock().operations) {
        Verdict::Linearizable => Ok(0),
        Verdict::Undecided(keys) => Ok(keys),
        Verdict::Broken(broken) => Err(broken.to_string()),
    }
}
