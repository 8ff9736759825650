//! Runs seeds and says how many a minute; shrinks one that fails.
//!
//! `yadkv-simulation --seed 7`, `yadkv-simulation --seeds 100`, and with the feature `planted-bugs`
//! `yadkv-simulation --seeds 50 --planted fsync-skipped`.
//!
//! A failing seed: `--seed 7 --shrink` finds the few faults that it needs and tells what happened; its last line
//! repeats just that. `--trace` shows the last lines of the trace first.
//!
//! *Next stop*: `yadkv_simulation::run`.
#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::disallowed_types
)]

use clap::Parser;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use yadkv_simulation::nemesis::plan::{Part, Plan, parse_list};
use yadkv_simulation::planted::Planted;
use yadkv_simulation::run::{run, run_plan};
use yadkv_simulation::shrink::{RUNS_MAX, shrink};
use yadkv_simulation::story;

/// Simulates whole clusters under faults.
#[derive(Parser)]
struct Arguments {
    /// First seed; 0 if none is given.
    #[arg(long)]
    seed: Option<u64>,
    /// Number of seeds; 1 if a seed is given, else 50.
    #[arg(long)]
    seeds: Option<u64>,
    /// A mistake to plant; its seeds are expected to fail.
    #[arg(long)]
    planted: Option<String>,
    /// Looks for few faults with which the seed still fails, and tells their story.
    #[arg(long, conflicts_with = "seeds")]
    shrink: bool,
    /// Only these faults of the seed: strikes and single actions, as 3,7.2,11, or none.
    #[arg(long, conflicts_with = "seeds")]
    only: Option<String>,
    /// Only these clients, as 0,2, or none.
    #[arg(long, requires = "only")]
    clients: Option<String>,
    /// How long faults strike, milliseconds.
    #[arg(long, requires = "only")]
    safety_ms: Option<u64>,
    /// Which delays the network has from the first fault on; 0: those of the seed.
    #[arg(long, requires = "only", default_value_t = 0)]
    noise: u64,
    /// Shows the last lines of the trace of what failed.
    #[arg(long)]
    trace: bool,
}

impl Arguments {
    fn first(&self) -> u64 {
        self.seed.unwrap_or(0)
    }

    /// The part of a seed that is asked for.
    fn plan(&self, only: &str) -> Result<Plan, String> {
        let mut plan = Plan::of(self.first());
        plan.only = Some(parse_list::<Part>(only)?.into_iter().collect());
        if let Some(clients) = &self.clients {
            let wrong = |error| format!("{clients:?} are no clients: {error}");
            plan.clients = parse_list(clients).map_err(wrong)?;
        }
        plan.safety = self.safety_ms.map_or(plan.safety, Duration::from_millis);
        plan.noise = self.noise;
        Ok(plan)
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let fine = match &arguments.planted {
        Some(name) => plant(name),
        None => Ok(()),
    };
    let fine = fine.and_then(|()| match &arguments.only {
        _ if arguments.shrink => Ok(find_least(&arguments)),
        Some(only) => Ok(one(&arguments.plan(only)?, arguments.trace)),
        None => Ok(many(&arguments)),
    });
    match fine {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(reason) => {
            eprintln!("{reason}");
            ExitCode::FAILURE
        }
    }
}

/// Runs seeds; whether all are fine.
fn many(arguments: &Arguments) -> bool {
    let first = arguments.first();
    let alone = arguments.seed.map_or(50, |_| 1);
    let seeds = arguments.seeds.unwrap_or(alone);
    let begun = Instant::now();
    let mut failed = 0;
    for seed in first..first + seeds {
        let report = run(seed);
        if report.failure.is_some() {
            failed += 1;
            show_tail(arguments.trace, &report.tail);
        }
        println!("{report}");
    }
    let minutes = begun.elapsed().as_secs_f64() / 60.0;
    println!(
        "{seeds} seeds, {failed} failed, {:.1} seeds a minute",
        seeds as f64 / minutes
    );
    failed == 0
}

/// Runs a plan, and tells the story if it fails.
fn one(plan: &Plan, trace: bool) -> bool {
    let ended = run_plan(plan);
    let report = ended.report();
    match &ended.failure {
        Some(failure) => {
            show_tail(trace, &report.tail);
            println!("{}", story::tell(&ended, failure));
        }
        None => println!("{report}"),
    }
    ended.failure.is_none()
}

fn find_least(arguments: &Arguments) -> bool {
    println!("looking for fewer faults: at most {RUNS_MAX} runs, which takes minutes");
    // Panics of the runs on the way are part of the search; the last run shows its own.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let shrunk = shrink(arguments.first());
    std::panic::set_hook(hook);
    let Some(shrunk) = shrunk else {
        println!("seed {} keeps every law", arguments.first());
        return true;
    };
    let (all, left) = shrunk.actions;
    println!(
        "{left} of {all} actions are left after {} runs\n",
        shrunk.runs
    );
    one(&shrunk.plan, arguments.trace)
}

fn show_tail(wanted: bool, tail: &[String]) {
    if wanted {
        tail.iter().for_each(|line| println!("{line}"));
    }
}

fn plant(name: &str) -> Result<(), String> {
    let names: Vec<_> = Planted::ALL.iter().map(|bug| bug.name()).collect();
    let bug = Planted::named(name)
        .ok_or_else(|| format!("no mistake {name:?}: use one of {}", names.join(", ")))?;
    set(bug)
}

#[cfg(feature = "planted-bugs")]
fn set(bug: Planted) -> Result<(), String> {
    yadkv_simulation::planted::set(Some(bug));
    Ok(())
}

#[cfg(not(feature = "planted-bugs"))]
fn set(bug: Planted) -> Result<(), String> {
    Err(format!(
        "{} needs a build with --features planted-bugs",
        bug.name()
    ))
}
