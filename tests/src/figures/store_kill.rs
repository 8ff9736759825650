//! `kill -9` of a store under 64 writers, ten times: how long a writer waits, and that nothing is lost.
//!
//! *Life of a round*: leaders spread over all stores → a store is killed → every writer goes on → the store
//! starts again → its replicas catch up and get leaders back.
//!
//! *Invariants*: no call of a writer fails; at the end every acknowledged write is read back.
//!
//! *Next stop*: [`super::pd_kill`].

use crate::Figure;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use yadkv_client::{Client, Options, RawClient};
use yadkv_tests::{Cluster, NODES, borders, eventually};

const WRITERS: u32 = 64;
const REGIONS: u32 = 32;
const KILLS: usize = 10;
const P50_SECONDS_MAX: f64 = 2.0;
const LONGEST_SECONDS_MAX: f64 = 4.0;
/// Acknowledged writes after which a writer has got over a fault.
const GOES_ON: u64 = 20;
const PATIENCE: Duration = Duration::from_secs(60);

/// What one writer has done.
#[derive(Default)]
struct Progress {
    /// Acknowledged writes; the next one's number.
    written: AtomicU64,
    /// Longest time between two acknowledgements in this round, microseconds.
    gap_us: AtomicU64,
}

pub(crate) fn measure() -> Vec<Figure> {
    let runtime = Runtime::new().expect("a runtime");
    let mut cluster = Cluster::start(&[&borders(REGIONS)]);
    let connecting = Client::connect(cluster.endpoints.clone(), Options::default());
    let client = runtime.block_on(connecting).expect("the cluster serves");
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..WRITERS)
        .map(|number| {
            let progress = Arc::new(Progress::default());
            let task = write(client.raw(), number, progress.clone(), stop.clone());
            (progress, runtime.spawn(task))
        })
        .collect();
    let mut gaps = Vec::new();
    for round in 0..KILLS {
        cluster.wait_until_leaders_are_spread();
        for (progress, _) in &writers {
            progress.gap_us.store(0, Ordering::Relaxed);
        }
        let victim = round % NODES;
        cluster.stores[victim].kill();
        everybody_goes_on(&writers, "while a store is away");
        cluster.stores[victim].start();
        everybody_goes_on(&writers, "after its return");
        let round_gaps = writers
            .iter()
            .map(|(progress, _)| progress.gap_us.load(Ordering::Relaxed) as f64 / 1e6);
        gaps.extend(round_gaps);
        let longest = gaps[gaps.len() - writers.len()..]
            .iter()
            .copied()
            .fold(0.0, f64::max);
        eprintln!("  kill {}: longest wait {longest:.2} s", round + 1);
    }
    stop.store(true, Ordering::Relaxed);
    for (number, (progress, task)) in (0..).zip(writers) {
        runtime.block_on(task).expect("no error surfaces");
        let written = progress.written.load(Ordering::Relaxed);
        runtime.block_on(read_back(client.raw(), number, written));
    }
    gaps.sort_by(f64::total_cmp);
    let of = format!("writers' longest wait over {KILLS} kills of a store");
    vec![
        Figure::at_most(
            format!("{of}: p50"),
            P50_SECONDS_MAX,
            gaps[gaps.len() / 2],
            "s",
        ),
        Figure::at_most(
            format!("{of}: longest"),
            LONGEST_SECONDS_MAX,
            gaps[gaps.len() - 1],
            "s",
        ),
    ]
}

/// The regions divide the first two bytes evenly; consecutive writes of a writer go to different regions.
fn key(writer: u32, number: u64) -> Vec<u8> {
    let mut key = (writer as u16 * 1021)
        .wrapping_add((number as u16).wrapping_mul(2063))
        .to_be_bytes()
        .to_vec();
    key.extend(format!("w{writer:02}-{number:08}").into_bytes());
    key
}

async fn write(raw: RawClient, writer: u32, progress: Arc<Progress>, stop: Arc<AtomicBool>) {
    let mut last = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        let number = progress.written.load(Ordering::Relaxed);
        raw.put(key(writer, number), number.to_string())
            .await
            .expect("no error surfaces");
        let gap = u64::try_from(last.elapsed().as_micros()).unwrap_or(u64::MAX);
        last = Instant::now();
        progress.gap_us.fetch_max(gap, Ordering::Relaxed);
        progress.written.store(number + 1, Ordering::Relaxed);
    }
}

fn everybody_goes_on(writers: &[(Arc<Progress>, JoinHandle<()>)], when: &str) {
    let written = |progress: &Progress| progress.written.load(Ordering::Relaxed);
    let goals: Vec<u64> = writers
        .iter()
        .map(|(progress, _)| written(progress) + GOES_ON)
        .collect();
    eventually(&format!("every writer goes on {when}"), PATIENCE, || {
        let mut all = writers.iter().zip(&goals);
        all.all(|((progress, _), goal)| written(progress) >= *goal)
            .then_some(())
    });
}

async fn read_back(raw: RawClient, writer: u32, written: u64) {
    let numbers: Vec<u64> = (0..written).collect();
    for some in numbers.chunks(1000) {
        let keys = some.iter().map(|number| key(writer, *number));
        let values = raw.batch_get(keys).await.expect("the cluster serves");
        for (number, value) in some.iter().zip(values) {
            let expected = number.to_string();
            assert_eq!(
                value.as_deref(),
                Some(expected.as_bytes()),
                "acknowledged write {number} of writer {writer}"
            );
        }
    }
}
