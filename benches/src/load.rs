//! The clients of a run.
//!
//! *Life of an operation*: its turn comes (closed loop: at once; open loop: the next moment of all clients' common
//! schedule) → asked → answered → counted, unless it began while the load was warming up.
//!
//! *Invariants*: an operation that began in time counts, however long it takes.
//!
//! *Limits*: a client of an open loop that is late takes the next moment without waiting, so the operations under way
//! are never more than the clients.
//!
//! *Next stop*: [`crate::report`].

use crate::processor;
use crate::report::{Report, Seen};
use crate::targets::Target;
use crate::workload::Requests;
use crate::{Error, Options};
use futures::stream::{FuturesUnordered, StreamExt};
use rand::SeedableRng;
use rand::rngs::StdRng;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Records written at a time while preloading.
const PRELOADERS: u64 = 128;

/// Preloads, warms up and measures.
pub async fn run(target: Arc<dyn Target>, options: Options) -> Result<Report, Error> {
    let requests = Requests::new(options.workload, options.shape);
    if options.preload && options.workload.reads() {
        preload(&*target, &requests, options.shape.records).await?;
    }
    let turns = Turns::begin(options);
    let mut clients = JoinSet::new();
    for number in 0..options.clients {
        clients.spawn(client(
            target.clone(),
            requests.clone(),
            turns.clone(),
            number,
        ));
    }
    let servers = target.processes();
    tokio::time::sleep_until(turns.measured).await;
    let used = || [&[std::process::id()][..], &servers].map(processor::seconds);
    let before = used();
    tokio::time::sleep_until(turns.end).await;
    let after = used();
    let mut all = Seen::new(options.time);
    for seen in clients.join_all().await {
        all.merge(&seen);
    }
    let used = [after[0] - before[0], after[1] - before[1]];
    Ok(Report::new(target.name(), &options, &all, used))
}

/// Writes every record once.
async fn preload(target: &dyn Target, requests: &Requests, records: u64) -> Result<(), Error> {
    let writers = (0..PRELOADERS.min(records)).map(|writer| async move {
        let mut random = StdRng::seed_from_u64(writer);
        let session = usize::try_from(writer).unwrap_or(0);
        for number in (writer..records).step_by(PRELOADERS as usize) {
            let (key, value) = requests.record(number, &mut random);
            target.put(session, key, value).await?;
        }
        Ok(())
    });
    let written: Vec<Result<(), String>> = writers.collect::<FuturesUnordered<_>>().collect().await;
    let written: Result<(), String> = written.into_iter().collect();
    written.map_err(|reason| Error::Target {
        target: target.name().into(),
        reason: format!("preloading: {reason}"),
    })
}

/// When operations begin.
#[derive(Clone)]
struct Turns {
    begin: Instant,
    measured: Instant,
    end: Instant,
    /// Time between two operations of an open loop.
    pause: Option<Duration>,
    /// The next one's number.
    next: Arc<AtomicU64>,
}

impl Turns {
    fn begin(options: Options) -> Self {
        let begin = Instant::now();
        let measured = begin + options.warm_up;
        Self {
            begin,
            measured,
            end: measured + options.time,
            pause: options.rate.map(|rate| Duration::from_secs_f64(1.0 / rate)),
            next: Arc::default(),
        }
    }

    /// Waits for the next operation's moment; `None` if the time is over.
    async fn next(&self) -> Option<Instant> {
        let now = Instant::now();
        let Some(pause) = self.pause else {
            return (now < self.end).then_some(now);
        };
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let moment = self.begin + pause.mul_f64(number as f64);
        if moment >= self.end {
            return None;
        }
        if moment > now {
            tokio::time::sleep_until(moment).await;
        }
        Some(moment)
    }
}

async fn client(target: Arc<dyn Target>, requests: Requests, turns: Turns, number: usize) -> Seen {
    let mut seen = Seen::new(turns.end - turns.measured);
    let mut random = StdRng::seed_from_u64(number as u64 ^ 0x00C1_1E27);
    while let Some(moment) = turns.next().await {
        let next = requests.next(&mut random);
        let answer = target.call(number, next.request).await;
        if let Some(inserted) = next.inserts {
            requests.inserted(inserted);
        }
        if moment >= turns.measured {
            let now = Instant::now();
            seen.answer(now - moment, now - turns.measured, answer);
        }
    }
    seen
}
