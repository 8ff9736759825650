//! Runs seeds and says how many a minute.
//!
//! `yadkv-simulation --seed 7`, `yadkv-simulation --seeds 100`, and with the feature `planted-bugs`
//! `yadkv-simulation --seeds 50 --planted fsync-skipped`.
//!
//! *Next stop*: `yadkv_simulation::run`.
#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::disallowed_types
)]

use clap::Parser;
use std::process::ExitCode;
use std::time::Instant;
use yadkv_simulation::planted::Planted;
use yadkv_simulation::run::run;

/// Simulates whole clusters under faults.
#[derive(Parser)]
struct Arguments {
    /// First seed.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Number of seeds; 1 if a seed is given, else 50.
    #[arg(long)]
    seeds: Option<u64>,
    /// A mistake to plant; its seeds are expected to fail.
    #[arg(long)]
    planted: Option<String>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(name) = &arguments.planted
        && let Err(reason) = plant(name)
    {
        eprintln!("{reason}");
        return ExitCode::FAILURE;
    }
    let seeds = arguments
        .seeds
        .unwrap_or(if arguments.seed == 0 { 50 } else { 1 });
    let begun = Instant::now();
    let mut failed = 0;
    for seed in arguments.seed..arguments.seed + seeds {
        let report = run(seed);
        println!("{report}");
        failed += u64::from(report.failure.is_some());
    }
    let minutes = begun.elapsed().as_secs_f64() / 60.0;
    println!(
        "{seeds} seeds, {failed} failed, {:.1} seeds a minute",
        seeds as f64 / minutes
    );
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
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
