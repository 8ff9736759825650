//! The clients of a run.
//!
//! *Life of an operation*: its turn comes (closed loop: at once; open loop: [`crate::pace`] gives it at the next moment of
//! all clients' common schedule) → asked → answered → judged → counted.
//!
//! *Invariants*: what came in the time that is measured is counted as throughput, whenever it began; latencies are those of
//! operations that were to begin in it, however long they take. In an open loop they count from the moment that was meant,
//! those that nobody could begin in time included.
//!
//! *Limits*: the operations under way are never more than the clients.
//!
//! *Next stop*: [`crate::pace`], [`crate::report`].

use crate::pace::Schedule;
use crate::processor;
use crate::report::{Report, Seen};
use crate::targets::Target;
use crate::workload::Requests;
use crate::{Error, Options};
use futures::stream::{FuturesUnordered, StreamExt};
use parking_lot::{Mutex, MutexGuard};
use rand::SeedableRng;
use rand::rngs::StdRng;
use std::num::NonZero;
use std::sync::Arc;
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
    let turns = Turns::begin(options)?;
    let notes = Arc::new(Notes::new(options.time));
    let mut clients = JoinSet::new();
    for number in 0..options.clients {
        clients.spawn(client(
            target.clone(),
            requests.clone(),
            turns.clone(),
            notes.clone(),
            number,
        ));
    }
    let servers = target.processes();
    tokio::time::sleep_until(turns.measured).await;
    let used = || [&[std::process::id()][..], &servers].map(processor::seconds);
    let before = used();
    tokio::time::sleep_until(turns.end).await;
    let after = used();
    clients.join_all().await;
    let mut all = notes.sum();
    if let Some(schedule) = &turns.schedule {
        all.not_begun(&schedule.left(), turns.measured.into_std());
    }
    let client = after[0] - before[0];
    let server = (!servers.is_empty()).then(|| after[1] - before[1]);
    Ok(Report::new(target.name(), &options, &all, (client, server)))
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
    measured: Instant,
    end: Instant,
    /// Of an open loop.
    schedule: Option<Schedule>,
}

impl Turns {
    fn begin(options: Options) -> Result<Self, Error> {
        let begin = Instant::now();
        let measured = begin + options.warm_up;
        let end = measured + options.time;
        let schedule = options
            .rate
            .map(|rate| Schedule::begin(begin.into_std(), end.into_std(), rate))
            .transpose()
            .map_err(|error| Error::Schedule(error.to_string()))?;
        Ok(Self {
            measured,
            end,
            schedule,
        })
    }

    /// Waits for the next operation's moment; `None` if the time is over.
    async fn next(&self) -> Option<Instant> {
        if let Some(schedule) = &self.schedule {
            return schedule.next().await.map(Instant::from_std);
        }
        let now = Instant::now();
        (now < self.end).then_some(now)
    }
}

/// What all clients saw, in as many places as there are cores, the clients spread over them: places of their own would be
/// megabytes together, and each note a miss of the cache that the servers feel.
struct Notes {
    time: Duration,
    places: Vec<Mutex<Seen>>,
}

impl Notes {
    fn new(time: Duration) -> Self {
        let places = std::thread::available_parallelism().map_or(1, NonZero::get);
        Self {
            time,
            places: (0..places).map(|_| Mutex::new(Seen::new(time))).collect(),
        }
    }

    fn of(&self, client: usize) -> MutexGuard<'_, Seen> {
        self.places[client % self.places.len()].lock()
    }

    fn sum(&self) -> Seen {
        let mut sum = Seen::new(self.time);
        for place in &self.places {
            sum.merge(&place.lock());
        }
        sum
    }
}

async fn client(
    target: Arc<dyn Target>,
    requests: Requests,
    turns: Turns,
    notes: Arc<Notes>,
    number: usize,
) {
    let mut random = StdRng::seed_from_u64(number as u64 ^ 0x00C1_1E27);
    while let Some(moment) = turns.next().await {
        let next = requests.next(&mut random);
        let answer = target.call(number, next.request).await;
        let now = Instant::now();
        if let Some(inserted) = next.inserts {
            requests.inserted(inserted, answer.is_ok());
        }
        let counts = moment >= turns.measured;
        let judged = answer.and_then(|found| next.wanted.judge(found));
        let mut seen = notes.of(number);
        match judged {
            Ok(records) => {
                if counts {
                    seen.took(now - moment);
                }
                if let Some(at) = now.checked_duration_since(turns.measured) {
                    seen.came(at, records);
                }
            }
            Err(kind) if counts => seen.failed(kind),
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Keys;
    use crate::targets::{Answer, Found};
    use crate::workload::{Request, Shape, Workload};
    use futures::FutureExt;
    use futures::future::BoxFuture;

    const VALUE_BYTES: usize = 16;
    const WARM_UP: Duration = Duration::from_millis(200);

    /// One that takes its time, and fails for a while.
    struct Slow {
        begun: Instant,
        takes: Duration,
        fails_for: Duration,
    }

    impl Target for Slow {
        fn name(&self) -> &'static str {
            "slow"
        }

        fn call(&self, _: usize, _: Request) -> BoxFuture<'_, Answer> {
            let fails = self.begun.elapsed() < self.fails_for;
            async move {
                tokio::time::sleep(self.takes).await;
                match fails {
                    true => Err("not yet".into()),
                    false => Ok(Found::values([[7; VALUE_BYTES]])),
                }
            }
            .boxed()
        }

        fn processes(&self) -> Vec<u32> {
            Vec::new()
        }
    }

    async fn measure(takes: u64, fails_for: Duration, clients: usize, rate: Option<f64>) -> Report {
        let target = Slow {
            begun: Instant::now(),
            takes: Duration::from_millis(takes),
            fails_for,
        };
        run(Arc::new(target), options(clients, rate))
            .await
            .expect("measured")
    }

    fn options(clients: usize, rate: Option<f64>) -> Options {
        Options {
            workload: Workload::Get,
            shape: Shape {
                records: 10,
                value_bytes: VALUE_BYTES,
                batch: 1,
                keys: Keys::Uniform,
            },
            preload: false,
            clients,
            rate,
            warm_up: WARM_UP,
            time: Duration::from_millis(500),
        }
    }

    #[test]
    fn nothing_that_a_client_saw_is_lost_or_counted_twice() {
        let notes = Notes::new(Duration::from_secs(1));
        let clients = 3 * notes.places.len() + 1;
        for client in 0..clients {
            notes.of(client).came(Duration::ZERO, 2);
            notes.of(client).failed("not yet".into());
        }
        let options = options(clients, None);
        let report = Report::new("slow", &options, &notes.sum(), (0.0, None));
        assert_eq!(report.per_second, [clients as u64]);
        assert_eq!(report.errors, clients as u64);
        assert!((report.records_per_s - 4.0 * clients as f64).abs() < 1e-6);
    }

    #[tokio::test]
    async fn what_began_while_it_warmed_up_is_not_counted() {
        let report = measure(1, WARM_UP / 2, 4, None).await;
        assert_eq!(report.errors, 0);
        assert!(report.ops_per_s > 0.0 && report.ops_per_s <= 4008.0);
        assert_eq!(report.server_us_per_op, None);
    }

    #[tokio::test]
    async fn errors_are_no_throughput() {
        let report = measure(1, Duration::MAX, 4, None).await;
        assert_eq!((report.ops_per_s, report.records_per_s), (0.0, 0.0));
        assert!(report.errors > 0);
        assert_eq!(report.errors_by_kind["not yet"], report.errors);
    }

    /// A client that needs 10 ms for each can begin 70 of 700.
    #[tokio::test]
    async fn an_open_loop_that_cannot_keep_up_says_so() {
        let report = measure(10, Duration::ZERO, 1, Some(1000.0)).await;
        assert!(report.ops_per_s <= 102.0, "{}", report.ops_per_s);
        assert!(report.not_begun >= 400, "{}", report.not_begun);
        // The last one to be begun was due about the time when a tenth of all were; half of the others waited longer.
        assert!(report.p50_us >= 200_000, "{}", report.p50_us);
    }

    #[tokio::test]
    async fn an_open_loop_goes_no_faster_than_it_is_asked_to() {
        let report = measure(0, Duration::ZERO, 8, Some(100.0)).await;
        // All 70 turns, if a pause of the machine has moved those of the warm-up.
        assert!(report.ops_per_s <= 140.0, "{}", report.ops_per_s);
        assert_eq!(report.errors, 0);
    }
}
