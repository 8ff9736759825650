//! Where processor time goes.
//!
//! *Life of a profile*: a timer of the process's processor time sends a signal that often → whichever thread runs notes its
//! stack → the time is over, the timer stops → stacks get names, on a thread that may block → a profile or a picture.
//!
//! *Invariants*: no stack is taken inside the C library and what unwinds stacks: what they do while they hold their locks
//! must not be done again. So their own time, and that of system calls, is missing.
//!
//! *Limits*: [`FREQUENCY`] times a second of processor time. Names need the program's symbols, which our builds keep.
//!
//! *Next stop*: [`super::flame`].

use super::flame::Flame;
use super::{Parameters, Profile, Refusal, internal, number, only, seconds};
use pprof::protos::Message;
use pprof::{ProfilerGuardBuilder, Report};
use std::ops::RangeInclusive;
use std::time::Duration;

/// Samples a second of processor time. More would cost what is measured.
const FREQUENCY: RangeInclusive<u64> = 1..=1000;
/// Not a divisor of what the servers do ten or a hundred times a second.
const FREQUENCY_DEFAULT: u64 = 99;
/// Libraries whose functions hold locks that unwinding takes.
const NOT_IN: [&str; 4] = ["libc", "libgcc", "pthread", "vdso"];

#[derive(Debug, PartialEq, Eq)]
enum Format {
    Pprof,
    Svg,
}

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) seconds: u64,
    pub(super) frequency: i32,
    format: Format,
}

impl Wanted {
    pub(super) fn read(query: &Parameters) -> Result<Self, String> {
        only(query, &["seconds", "frequency", "format"])?;
        let frequency = number(query, "frequency", FREQUENCY_DEFAULT, FREQUENCY)?;
        let format = match query.get("format").map(String::as_str) {
            None | Some("pprof") => Format::Pprof,
            Some("svg") => Format::Svg,
            Some(other) => {
                let reason = format!("format = {other} is not allowed: use pprof or svg");
                return Err(reason);
            }
        };
        Ok(Self {
            seconds: seconds(query)?,
            frequency: i32::try_from(frequency).map_err(|error| error.to_string())?,
            format,
        })
    }
}

pub(super) async fn take(wanted: Wanted) -> Result<Profile, Refusal> {
    let profiler = ProfilerGuardBuilder::default()
        .frequency(wanted.frequency)
        .blocklist(&NOT_IN)
        .build()
        .map_err(internal)?;
    tokio::time::sleep(Duration::from_secs(wanted.seconds)).await;
    let named = move || {
        let report = profiler.report().build().map_err(internal)?;
        drop(profiler);
        match wanted.format {
            Format::Svg => Ok(("image/svg+xml", picture(&report, &wanted).into_bytes())),
            Format::Pprof => {
                let profile = report.pprof().map_err(internal)?;
                Ok(("application/octet-stream", profile.encode_to_vec()))
            }
        }
    };
    tokio::task::spawn_blocking(named).await.map_err(internal)?
}

fn picture(report: &Report, wanted: &Wanted) -> String {
    let mut flame = Flame::default();
    for (stack, count) in &report.data {
        // Innermost first, and of each frame what was inlined before what it was inlined into.
        let called = stack.frames.iter().flatten().rev().map(|one| one.name());
        let thread = std::iter::once(stack.thread_name_or_id());
        flame.add(thread.chain(called), u64::try_from(*count).unwrap_or(0));
    }
    flame.svg(&format!(
        "processor time of {} s, {} samples a second",
        wanted.seconds, wanted.frequency
    ))
}
