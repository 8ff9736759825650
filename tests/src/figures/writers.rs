//! Writers that never see an error while servers come and go, and how long each of them has to wait.
//!
//! *Life of the writers*: they write as fast as answers come → [`Writers::begin`] starts a round → servers go and come →
//! [`Writers::gaps`] says how long each waited in it → [`Writers::end`] reads every acknowledged write back.
//!
//! *Invariants*: no call of a writer fails.
//!
//! *Next stop*: [`super::store_kill`], [`super::rolling`].

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use yadkv_client::{Client, Options, RawClient};
use yadkv_tests::{Cluster, eventually};

/// How many there are.
const WRITERS: u32 = 64;
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

/// Running writers.
pub(crate) struct Writers {
    runtime: Runtime,
    raw: RawClient,
    stop: Arc<AtomicBool>,
    running: Vec<(Arc<Progress>, JoinHandle<()>)>,
}

impl Writers {
    /// Starts them.
    pub(crate) fn start(cluster: &Cluster) -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let connecting = Client::connect(cluster.endpoints.clone(), Options::default());
        let raw = runtime.block_on(connecting).expect("the cluster serves");
        let (raw, stop) = (raw.raw(), Arc::new(AtomicBool::new(false)));
        let start = |number| {
            let progress = Arc::new(Progress::default());
            let task = write(raw.clone(), number, progress.clone(), stop.clone());
            (progress, runtime.spawn(task))
        };
        let running = (0..WRITERS).map(start).collect();
        Self {
            runtime,
            raw,
            stop,
            running,
        }
    }

    /// Forgets how long they have waited so far.
    pub(crate) fn begin(&self) {
        for (progress, _) in &self.running {
            progress.gap_us.store(0, Ordering::Relaxed);
        }
    }

    /// Waits until each of them has had more writes acknowledged.
    pub(crate) fn go_on(&self, when: &str) {
        let written = |progress: &Progress| progress.written.load(Ordering::Relaxed);
        let goals: Vec<u64> = self
            .running
            .iter()
            .map(|(progress, _)| written(progress) + GOES_ON)
            .collect();
        eventually(&format!("every writer goes on {when}"), PATIENCE, || {
            let mut all = self.running.iter().zip(&goals);
            all.all(|((progress, _), goal)| written(progress) >= *goal)
                .then_some(())
        });
    }

    /// How long each of them has waited for one answer at most since [`Self::begin`], seconds.
    pub(crate) fn gaps(&self) -> Vec<f64> {
        let gap = |(progress, _): &(Arc<Progress>, _)| {
            progress.gap_us.load(Ordering::Relaxed) as f64 / 1e6
        };
        self.running.iter().map(gap).collect()
    }

    /// Ends them, and reads back what was acknowledged.
    pub(crate) fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        for (number, (progress, task)) in (0..).zip(self.running) {
            self.runtime.block_on(task).expect("no error surfaces");
            let written = progress.written.load(Ordering::Relaxed);
            self.runtime
                .block_on(read_back(self.raw.clone(), number, written));
        }
    }
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
