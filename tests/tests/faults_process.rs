//! Processes that are killed and stopped, of both kinds and several at once: what clients saw stays linearizable, and
//! they go on afterwards.
//!
//! `SEED=7` repeats the choices of a run, as far as the operating system lets it.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use rustix::process::{Pid, Signal, kill_process};
use std::time::{Duration, Instant};
use yadkv_simulation::random::Random;
use yadkv_tests::recorder::Recorder;
use yadkv_tests::{Cluster, NODES, borders, seed};

/// Clients at once.
const CLIENTS: usize = 16;
/// How long the faults of a test go on.
const STORM: Duration = Duration::from_secs(12);

fn cluster() -> Cluster {
    Cluster::start(&[&borders(8), "schedule.interval=200ms"])
}

fn signal(cluster: &Cluster, place: usize, signal: Signal) {
    let process = match place {
        0..NODES => &cluster.pds[place],
        _ => &cluster.stores[place - NODES],
    };
    let id = process.id().expect("it runs");
    let id = Pid::from_raw(id.try_into().unwrap()).unwrap();
    kill_process(id, signal).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_kills() {
    let mut cluster = cluster();
    let mut random = Random::new(seed());
    let recorder = Recorder::start(&cluster.endpoints, CLIENTS, seed()).await;
    recorder.goes_on(500, "before");
    let began = Instant::now();
    let mut kills = 0;
    while began.elapsed() < STORM {
        // One of them, or two, also of the same kind: then nobody is served until one is back.
        let count = if random.chance(300) { 2 } else { 1 };
        let places: Vec<_> = (0..count)
            .map(|_| random.below(2 * NODES as u64) as usize)
            .collect();
        for place in &places {
            match *place {
                store @ NODES.. => cluster.stores[store - NODES].kill(),
                pd => cluster.pds[pd].kill(),
            }
            kills += 1;
        }
        tokio::time::sleep(random.millis(50, 900)).await;
        for place in places {
            match place {
                store @ NODES.. => cluster.stores[store - NODES].start_again(),
                pd => cluster.pds[pd].start_again(),
            }
        }
        tokio::time::sleep(random.millis(100, 1500)).await;
    }
    recorder.goes_on(1000, "after the storm");
    println!("{kills} processes were killed");
    recorder.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_that_stand_still() {
    let cluster = cluster();
    let mut random = Random::new(seed());
    let recorder = Recorder::start(&cluster.endpoints, CLIENTS, seed()).await;
    recorder.goes_on(500, "before");
    let began = Instant::now();
    let mut stops = 0;
    while began.elapsed() < STORM {
        let place = random.below(2 * NODES as u64) as usize;
        signal(&cluster, place, Signal::STOP);
        stops += 1;
        // Shorter than a lease, about as long as one, and long enough for another leader.
        let time = match random.below(3) {
            0 => random.millis(50, 500),
            1 => random.millis(500, 2000),
            _ => random.millis(2000, 4000),
        };
        tokio::time::sleep(time).await;
        signal(&cluster, place, Signal::CONT);
        tokio::time::sleep(random.millis(0, 700)).await;
    }
    recorder.goes_on(1000, "after all of it");
    println!("{stops} times a process stood still");
    recorder.stop().await;
}
