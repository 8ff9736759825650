//! `make figures`: what was promised in figures, measured on this machine and printed beside what was asked.
//!
//! *Place*: starts the release build of `yadkv` and of `yadkv-simulation`, which must lie beside this program.
//!
//! *Life of a figure*: a real cluster → load and faults → [`Figure`]s → one Markdown table. `figures NAME…` takes
//! only the named ones.
//!
//! *Limits and failure*: a figure that is not reached is printed as such and makes the exit code 1; whatever must
//! never happen (an error that surfaces, a lost write, a timestamp that steps back) ends the run at once.
//!
//! *Next stop*: [`ready`], [`idle`], [`regions`], [`scrape`], [`replicas`], [`restart`],
//! [`clients`], [`slow`], [`disks`], [`store_kill`], [`pd_kill`], [`rolling`], [`import`], [`metrics`], [`tls`], [`speed`], [`sustained`], [`simulation`].
#![allow(clippy::print_stdout)]

mod bench;
mod clients;
mod disks;
mod idle;
mod import;
mod metrics;
mod pd_kill;
mod ready;
mod regions;
mod replicas;
mod restart;
mod rolling;
mod scrape;
mod simulation;
mod slow;
mod speed;
mod store_kill;
mod sustained;
mod tls;
mod writers;

use std::process::ExitCode;

/// One promise.
pub(crate) struct Figure {
    what: String,
    asked: String,
    reached: String,
    holds: bool,
}

impl Figure {
    /// At most `asked`, both in `unit`.
    pub(crate) fn at_most(what: impl Into<String>, asked: f64, reached: f64, unit: &str) -> Self {
        Self {
            what: what.into(),
            asked: format!("≤ {asked} {unit}"),
            reached: format!("{reached:.2} {unit}"),
            holds: reached <= asked,
        }
    }

    /// At least `asked`, both in `unit`.
    pub(crate) fn at_least(what: impl Into<String>, asked: f64, reached: f64, unit: &str) -> Self {
        Self {
            what: what.into(),
            asked: format!("≥ {asked} {unit}"),
            reached: format!("{reached:.2} {unit}"),
            holds: reached >= asked,
        }
    }
}

type Measure = fn() -> Vec<Figure>;
const MEASURES: [(&str, Measure); 18] = [
    ("ready", ready::measure),
    ("idle", idle::measure),
    ("regions", regions::measure),
    ("scrape", scrape::measure),
    ("replicas", replicas::measure),
    ("restart", restart::measure),
    ("clients", clients::measure),
    ("slow", slow::measure),
    ("disks", disks::measure),
    ("store-kill", store_kill::measure),
    ("pd-kill", pd_kill::measure),
    ("rolling-restart", rolling::measure),
    ("import", import::measure),
    ("metrics", metrics::measure),
    ("tls", tls::measure),
    ("speed", speed::measure),
    ("sustained", sustained::measure),
    ("simulation", simulation::measure),
];

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    if let Some(unknown) = wanted
        .iter()
        .find(|name| MEASURES.iter().all(|(known, _)| known != name))
    {
        let known = MEASURES.map(|(name, _)| name).join(", ");
        eprintln!("{unknown}: no such figure; use any of {known}, or none for all");
        return ExitCode::FAILURE;
    }
    let mut figures = Vec::new();
    for (name, measure) in MEASURES {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            eprintln!("measuring: {name}");
            figures.extend(measure());
        }
    }
    println!("| figure | asked | reached | |\n|---|---|---|---|");
    for figure in &figures {
        let sign = if figure.holds {
            "reached"
        } else {
            "NOT reached"
        };
        println!(
            "| {} | {} | {} | {sign} |",
            figure.what, figure.asked, figure.reached
        );
    }
    if figures.iter().all(|figure| figure.holds) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
