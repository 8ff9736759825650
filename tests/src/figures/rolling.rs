//! Every server is stopped (SIGTERM) and started again, one after the other, under writers: how long one of them waits, and
//! that none sees an error.
//!
//! *Life of a round*: leaders are spread → a server is told to stop, hands over and ends by itself → it starts again → it
//! says that it is ready → the next one.
//!
//! *Invariants*: no call of a writer fails; at the end every acknowledged write is read back; a server that stops needs no
//! more than [`STOP_SECONDS_MAX`] and ends without an error.
//!
//! *Next stop*: [`super::writers`].

use super::writers::Writers;
use crate::Figure;
use rustix::process::Signal;
use std::time::{Duration, Instant};
use yadkv_tests::http::page;
use yadkv_tests::{Cluster, NODES, Process, borders, eventually};

const REGIONS: u32 = 32;
const GAP_SECONDS_MAX: f64 = 1.5;
const STOP_SECONDS_MAX: u64 = 10;
/// How long a server may take to be ready again.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn measure() -> Vec<Figure> {
    let mut cluster = Cluster::start(&[&borders(REGIONS)]);
    let writers = Writers::start(&cluster);
    cluster.wait_until_leaders_are_spread();
    let (mut longest, mut slowest) = (0.0_f64, 0.0_f64);
    for store in 0..NODES {
        let status = cluster.status[store].clone();
        let stopped = renew(&writers, &mut cluster.stores[store], &status);
        cluster.wait_until_leaders_are_spread();
        (longest, slowest) = (longest.max(worst(&writers)), slowest.max(stopped));
    }
    for pd in 0..NODES {
        let address = cluster.pds[pd].address().to_owned();
        let stopped = renew(&writers, &mut cluster.pds[pd], &address);
        (longest, slowest) = (longest.max(worst(&writers)), slowest.max(stopped));
    }
    writers.end();
    vec![
        Figure::at_most(
            "writers' longest wait while all servers are renewed",
            GAP_SECONDS_MAX,
            longest,
            "s",
        ),
        Figure::at_most(
            "longest time that a server took to stop",
            STOP_SECONDS_MAX as f64,
            slowest,
            "s",
        ),
    ]
}

/// Stops and starts a server, and waits until it is ready; the seconds that it took to stop.
fn renew(writers: &Writers, server: &mut Process, status: &str) -> f64 {
    writers.begin();
    let began = Instant::now();
    server.signal(Signal::TERM);
    let fine = server.wait(Duration::from_secs(STOP_SECONDS_MAX));
    assert!(fine, "{} ended with an error", server.name());
    let stopped = began.elapsed().as_secs_f64();
    writers.go_on("while a server is away");
    server.start();
    let ready = || page(status, "/ready").is_ok_and(|(code, _)| code == 200);
    let name = server.name().to_owned();
    eventually(&format!("{name} is ready"), PATIENCE, || {
        ready().then_some(())
    });
    writers.go_on("after its return");
    eprintln!(
        "  {name}: stopped in {stopped:.2} s, longest wait {:.2} s",
        worst(writers)
    );
    stopped
}

fn worst(writers: &Writers) -> f64 {
    writers.gaps().into_iter().fold(0.0, f64::max)
}
