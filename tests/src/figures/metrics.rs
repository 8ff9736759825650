//! What counting costs: the meters of one get, on two threads at once, beside all the processor time that it takes.
//!
//! A switch that turns the meters off would be one that nobody sets; so the part is measured alone, many times over.
//!
//! *Next stop*: [`super::bench`].

use super::Figure;
use super::bench::run;
use std::hint::black_box;
use std::time::{Duration, Instant};
use yadkv_metrics::{Histogram, IntCounter, Meters, about};

const THREADS: u32 = 2;
const GETS: u32 = 5_000_000;
const ASKED_PERCENT: f64 = 2.0;

/// Measures it.
pub(crate) fn measure() -> Vec<Figure> {
    let arguments = [
        "--workload",
        "get",
        "--clients",
        "256",
        "--records",
        "50000",
    ];
    let more = ["--warm-up", "2", "--seconds", "8"];
    let arguments: Vec<_> = arguments
        .iter()
        .chain(&more)
        .map(|&one| one.into())
        .collect();
    let get = run(&arguments);
    let whole = Duration::from_secs_f64((get.client_us + get.server_us) / 1e6);
    let percent = 100.0 * counting().as_secs_f64() / whole.as_secs_f64();
    let what =
        format!("counting and timing a get, of the {whole:?} of processor time that it takes");
    vec![Figure::at_most(what, ASKED_PERCENT, percent, "%")]
}

/// What the meters of one get take: one time, one counter. The clock is read for the lease anyway.
fn counting() -> Duration {
    let meters = Meters::new("figures");
    let seconds = meters.times(about("get_seconds", "Gets.", "How long?"));
    let reads = meters.counter(about("reads_total", "Gets.", "How many?"));
    let (seconds, reads) = seconds.ok().zip(reads.ok()).expect("new names");
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| count(&seconds, &reads));
        }
    });
    began.elapsed() / GETS
}

fn count(seconds: &Histogram, reads: &IntCounter) {
    for get in 0..GETS {
        seconds.observe(black_box(f64::from(get % 1000) / 1e6));
        reads.inc();
    }
}
