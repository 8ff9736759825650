//! Processes that are killed and stopped, of both kinds and several at once, and clocks that jump: what clients saw stays
//! linearizable, and they go on afterwards.
//!
//! `SEED=7` repeats the choices of a run, as far as the operating system lets it.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::time::{Duration, Instant};
use yadkv_client::{Client, Options};
use yadkv_tests::recorder::Recorder;
use yadkv_tests::storm::{Fault, Storm};
use yadkv_tests::{Cluster, Setup, borders, seed};

/// Clients at once.
const CLIENTS: usize = 16;
/// How long the faults of a test go on.
const STORM: Duration = Duration::from_secs(12);

async fn strikes(fault: Fault, clocks: bool) {
    let settings = [
        &*borders(8),
        "schedule.interval=200ms",
        // Placement drivers shorten their logs, and send laggards their state.
        "log.keep_entries=16",
    ];
    let mut cluster = Cluster::start_as(Setup {
        settings: &settings,
        clocks,
        ..Setup::default()
    });
    let mut storm = Storm::new(seed());
    let recorder = Recorder::start(&cluster.endpoints, CLIENTS, seed()).await;
    let connected = Client::connect(cluster.endpoints.clone(), Options::default()).await;
    let client = connected.unwrap();
    recorder.goes_on(500, "before");
    let began = Instant::now();
    let mut last = client.timestamp().await.unwrap();
    while began.elapsed() < STORM {
        storm.strike(&mut cluster, fault).await;
        if let Ok(stamp) = client.timestamp().await {
            assert!(stamp > last, "a timestamp fell: {last:?}, then {stamp:?}");
            last = stamp;
        }
    }
    recorder.goes_on(1000, "afterwards");
    println!("{:?}", storm.done);
    recorder.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_kills() {
    strikes(Fault::Kill, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_that_stand_still() {
    strikes(Fault::Stop, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clocks_that_jump() {
    strikes(Fault::Clock, true).await;
}
