//! One store gets a tenth of the time for two minutes, under load: what the others hold for it, how long clients wait, and
//! how soon it has caught up.
//!
//! *Life*: writers → the store stands still nine tenths of every second → it may go on → every region has all its replicas,
//! equal, again.
//!
//! *Invariants*: what clients saw is linearizable.
//!
//! *Next stop*: [`super::disks`].

use crate::Figure;
use rustix::process::Signal;
use std::time::{Duration, Instant};
use yadkv_tests::process::resident_mib;
use yadkv_tests::recorder::Recorder;
use yadkv_tests::{Cluster, borders, repair, seed};

const CLIENTS: usize = 64;
const REGIONS: u32 = 16;
const SLOW: Duration = Duration::from_secs(120);
const STANDS: Duration = Duration::from_millis(900);
const GOES: Duration = Duration::from_millis(100);
/// The store that is slow.
const STORE: usize = 1;
/// Half as much again as `store.memory`, for what an allocator keeps, and what the process itself has.
const RESIDENT_MIB_MAX: f64 = 128.0 * 1.5 + 64.0;
const SECONDS_MAX: f64 = 4.0;
const CAUGHT_UP_SECONDS_MAX: f64 = 60.0;

pub(crate) fn measure() -> Vec<Figure> {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(slow())
}

async fn slow() -> Vec<Figure> {
    let cluster = Cluster::start(&[&borders(REGIONS)]);
    cluster.wait_until_leaders_are_spread();
    let recorder = Recorder::start(&cluster.endpoints, CLIENTS, seed()).await;
    recorder.goes_on(1000, "before");
    let (begun, mut most) = (Instant::now(), 0.0_f64);
    while begun.elapsed() < SLOW {
        cluster.stores[STORE].signal(Signal::STOP);
        tokio::time::sleep(STANDS).await;
        cluster.stores[STORE].signal(Signal::CONT);
        tokio::time::sleep(GOES).await;
        let ids = cluster.stores.iter().filter_map(|store| store.id());
        most = ids.filter_map(resident_mib).fold(most, f64::max);
    }
    recorder.goes_on(1000, "while a store is slow");
    let released = Instant::now();
    let seen = recorder.stop().await;
    while !repair::is_whole(&cluster) {
        assert!(released.elapsed() < repair::PATIENCE, "{}", cluster.logs());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let caught_up = released.elapsed().as_secs_f64();
    cluster.nobody_crashed();
    eprintln!(
        "  {} answers while a store was slow, {} writes of which this recorder, which repeats none, never heard",
        seen.answered, seen.unknown
    );
    let of = "a store at a tenth of its speed for 2 min";
    vec![
        Figure::at_most(
            format!("{of}: resident memory of any store"),
            RESIDENT_MIB_MAX,
            most,
            "MiB",
        ),
        Figure::at_most(
            format!("{of}: a client's longest wait"),
            SECONDS_MAX,
            seen.gap.as_secs_f64(),
            "s",
        ),
        Figure::at_most(
            format!("{of}: calls that were not done"),
            0.0,
            seen.not_done as f64,
            "",
        ),
        Figure::at_most(
            format!("{of}: whole again after"),
            CAUGHT_UP_SECONDS_MAX,
            caught_up,
            "s",
        ),
    ]
}
