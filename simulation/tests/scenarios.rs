//! Directed stories on the simulated cluster, one script of `tests/scripts` each.
//!
//! A script is carried out in one world a seed, all at once; what it shows is what is true in all of them. A command
//! whose outcome is not the same in all fails and says which seed differs. Laws are checked throughout.
//!
//! | command | |
//! |---|---|
//! | `cluster seeds=A..B [idle=true]` | clusters of three stores that serve; four clients work, for 2 s so far |
//! | `kill WHO` · `power_loss WHO` | processes end and stay down; `leader`, `pd_leader`, `all`, `storeN` or `pdN` |
//! | `isolate WHO TIME` | it loses its peers, not its clients |
//! | `clocks_astray MS` | wall clocks jump, one server after the other, ahead and back in turn, and after 1 s return |
//! | `boot` | starts everything that is down; whether all regions are led within 10 s |
//! | `pass TIME` | time goes by |
//! | `leader [region=N]` · `pd_leader` | who leads, compared with whom `kill` or `isolate` hit |
//! | `answers` · `timestamps` | whether clients get 60 answers within 3 s, 20 timestamps within 1 s |
//! | `put KEY VALUE [repeats=true]` | whether a write is acknowledged within 5 s; the client may send it again |
//! | `end` | all is repaired, clients end, replicas become equal; whether one order explains every answer |
//!
//! `leader` is the leader of the first region, unless `region=N` says of which, from 0.
//!
//! `UPDATE_GOLDENFILES=1 cargo test -p yadkv-simulation --test scenarios` rewrites the scripts.
//!
//! *Next stop*: `checks.rs`.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use goldenscript::{ArgumentConsumer, Command, Context, Runner};
use std::error::Error;
use std::time::Duration;
use yadkv_simulation::history::{Kind, Operation, Outcome};
use yadkv_simulation::nemesis::Action;
use yadkv_simulation::run::{judge, settle, start};
use yadkv_simulation::sky::Machine;
use yadkv_simulation::world::World;

const SECOND: Duration = Duration::from_secs(1);

type Shown = Result<String, Box<dyn Error>>;

/// One world of a script.
struct Scene {
    seed: u64,
    world: World,
    /// The store and the placement driver that led when they were hit.
    hit: (Option<usize>, Option<usize>),
}

#[derive(Default)]
struct Script {
    scenes: Vec<Scene>,
}

impl Runner for Script {
    type Command = Command;

    fn run(&mut self, command: &Command, _: &Context) -> Shown {
        let mut args = command.consume_args();
        if command.name == "cluster" {
            let seeds = args.take_key("seeds").ok_or("which seeds?")?;
            let (first, end) = seeds.split_once("..").ok_or("seeds=A..B")?;
            let idle = args.take_key("idle").is_some();
            args.reject_next()?;
            let seeds = first.parse()?..end.parse()?;
            self.scenes = seeds
                .map(|seed| Scene::new(seed, idle))
                .collect::<Result<_, _>>()?;
            return Ok(String::new());
        }
        let mut common: Option<String> = None;
        for scene in &mut self.scenes {
            let mut args = command.consume_args();
            let outcome = scene.run(&command.name, &mut args);
            let outcome = outcome.map_err(|error| format!("seed {}: {error}", scene.seed))?;
            args.reject_next()?;
            if let Some(common) = common.as_ref().filter(|common| **common != outcome) {
                let seed = scene.seed;
                return Err(format!("seed {seed}: {outcome}, before: {common}").into());
            }
            common = Some(outcome);
        }
        Ok(common.ok_or("no cluster yet")? + "\n")
    }
}

impl Scene {
    fn new(seed: u64, idle: bool) -> Result<Self, Box<dyn Error>> {
        let mut world = World::new(seed, 3);
        start(&mut world)?;
        for client in (0..4).filter(|_| !idle) {
            let work = world.work(client).operations();
            world.spawn(client, work);
            let stamps = world.work(client).timestamps();
            world.spawn(client, stamps);
        }
        let hit = (None, None);
        let mut scene = Self { seed, world, hit };
        scene.pass(2 * SECOND)?;
        Ok(scene)
    }

    fn run(&mut self, name: &str, args: &mut ArgumentConsumer<'_>) -> Shown {
        let region = args.take_key("region").unwrap_or("0").parse()?;
        let repeats = args.take_key("repeats").is_some();
        let mut next = || args.next_pos().ok_or("an argument is missing");
        match name {
            "kill" => self.end(next()?, region, false),
            "power_loss" => self.end(next()?, region, true),
            "isolate" => {
                let machines = self.machines(next()?, region)?;
                let time = time(next()?)?;
                for machine in machines {
                    self.world.act(Action::Isolate(machine, time));
                }
                Ok(String::new())
            }
            "clocks_astray" => self.clocks_astray(next()?.parse()?),
            "boot" => {
                self.world.boot_all();
                let serves = self.until(10 * SECOND, World::is_serving)?;
                Ok(said(
                    serves,
                    "every region is led",
                    "regions stay without leader",
                ))
            }
            "pass" => self.pass(time(next()?)?),
            "leader" => {
                let leader = self.world.leader(self.world.regions()[region]);
                Ok(compared(leader, self.hit.0, "store"))
            }
            "pd_leader" => {
                let leader = self.world.pd_leader();
                Ok(compared(leader, self.hit.1, "placement driver"))
            }
            "answers" => {
                let before = answered(&self.world);
                let most = before + 60;
                self.until(3 * SECOND, |world| answered(world) > most)?;
                Ok(match answered(&self.world) {
                    now if now > most => "clients are answered".into(),
                    now if now == before => "nobody is answered".into(),
                    now => format!("clients get few answers: {}", now - before),
                })
            }
            "timestamps" => {
                let most = self.world.history.lock().timestamps + 20;
                let enough = self.until(SECOND, |world| world.history.lock().timestamps > most)?;
                Ok(said(enough, "timestamps go on", "timestamps are few"))
            }
            "put" => {
                let (key, value) = (next()?.to_owned(), next()?.to_owned());
                self.put(key, value, repeats)
            }
            "end" => self.well(),
            other => Err(format!("unknown command {other}").into()),
        }
    }

    /// The machines that a script means; remembers whom it hits.
    fn machines(&mut self, who: &str, region: usize) -> Result<Vec<Machine>, Box<dyn Error>> {
        match who {
            "all" => Ok(self.world.servers()),
            "leader" => {
                self.hit.0 = self.world.leader(self.world.regions()[region]);
                Ok(vec![Machine::Store(self.hit.0.ok_or("nobody leads")?)])
            }
            "pd_leader" => {
                self.hit.1 = self.world.pd_leader();
                Ok(vec![Machine::Pd(self.hit.1.ok_or("nobody leads")?)])
            }
            name => Ok(vec![Machine::at(name).ok_or("there is no such machine")?]),
        }
    }

    fn end(&mut self, who: &str, region: usize, power_loss: bool) -> Shown {
        for machine in self.machines(who, region)? {
            self.world.kill(machine, power_loss);
        }
        Ok(String::new())
    }

    fn clocks_astray(&mut self, by: i64) -> Shown {
        for (number, machine) in self.world.servers().into_iter().enumerate() {
            let by = if number % 2 == 0 { by } else { -by };
            self.world.act(Action::StepClock(machine, by));
            self.pass(SECOND)?;
            self.world.act(Action::StepClock(machine, -by));
        }
        Ok(String::new())
    }

    fn pass(&mut self, time: Duration) -> Shown {
        self.world.run_for(time);
        self.lawful(String::new())
    }

    fn until(
        &mut self,
        limit: Duration,
        holds: impl FnMut(&World) -> bool,
    ) -> Result<bool, Box<dyn Error>> {
        let held = self.world.run_until(limit, holds);
        self.lawful(held)
    }

    fn lawful<T>(&self, value: T) -> Result<T, Box<dyn Error>> {
        match self.world.sky.lock().violation.clone() {
            Some(law) => Err(law.into()),
            None => Ok(value),
        }
    }

    fn put(&mut self, key: String, value: String, repeats: bool) -> Shown {
        let key = yadkv_simulation::client::work::KEYS
            .into_iter()
            .find(|known| *known == key)
            .ok_or("checks know only the keys of clients")?;
        let mut work = self.world.work(0);
        work.repeats = repeats;
        let value = Bytes::from(value);
        let kind = Kind::Put(value.clone(), 0);
        let put = async move { work.session().await.perform(key, kind).await };
        self.world.finish(5 * SECOND, put);
        let done = |one: &Operation| {
            one.outcome == Outcome::Done && one.kind == Kind::Put(value.clone(), 0)
        };
        let acknowledged = self.world.history.lock().operations.iter().any(done);
        self.lawful(said(acknowledged, "acknowledged", "not acknowledged"))
    }

    /// Everything is repaired; clients end; nothing acknowledged is lost.
    fn well(&mut self) -> Shown {
        self.world.heal();
        self.pass(3 * SECOND)?;
        self.world.history.lock().stop = true;
        settle(&mut self.world)?;
        let undecided = judge(&self.world)?;
        Ok(said(
            undecided == 0,
            "replicas are equal, one order explains every answer",
            "the search for an order gave up",
        ))
    }
}

fn time(written: &str) -> Result<Duration, Box<dyn Error>> {
    let seconds = written.strip_suffix('s').ok_or("times end in s")?;
    Ok(Duration::from_secs_f64(seconds.parse()?))
}

fn said(holds: bool, yes: &str, no: &str) -> String {
    if holds { yes } else { no }.to_owned()
}

fn compared(leader: Option<usize>, hit: Option<usize>, what: &str) -> String {
    match leader {
        None => "nobody leads".into(),
        Some(_) if leader == hit => format!("the same {what} leads"),
        Some(_) => format!("another {what} leads"),
    }
}

fn answered(world: &World) -> usize {
    let history = world.history.lock();
    let operations = history.operations.iter();
    operations
        .filter(|operation| operation.ended != u64::MAX)
        .count()
}

fn run(name: &str) {
    goldenscript::run(&mut Script::default(), format!("tests/scripts/{name}")).unwrap();
}

#[test]
fn killed_leader() {
    run("killed_leader");
}

#[test]
fn isolated_leader() {
    run("isolated_leader");
}

#[test]
fn full_restart() {
    run("full_restart");
}

#[test]
fn power_loss_of_all() {
    run("power_loss_of_all");
}

#[test]
fn killed_placement_driver() {
    run("killed_placement_driver");
}

#[test]
fn clock_steps() {
    run("clock_steps");
}

#[test]
fn writes_wait_for_a_leader() {
    run("writes_wait_for_a_leader");
}

#[test]
fn no_majority() {
    run("no_majority");
}
