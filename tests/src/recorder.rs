//! Clients whose calls are written down, and judged: is there one order that explains every answer?
//!
//! *Place*: the tests under fault, the soak and the figures; the judge is the simulation's.
//!
//! *Life of a call*: a worker draws key and call → notes the begin → the SDK answers → notes the end. What was certainly
//! not done is left out; a write whose outcome nobody knows stays open. Writes are never sent twice.
//!
//! *Keys*: [`KEYS`] at a time, each replaced after [`CALLS_MAX`] calls, so that the search for an order stays small. Each
//! key is judged by itself, from nothing: the seed is in its name, so another recorder's are not seen.
//!
//! *Limits*: keys that the judge gives up count as undecided, and fail the test if there are more than one of a thousand.
//!
//! *Next stop*: `tests/faults_process.rs`.

#![allow(clippy::print_stdout)]

use crate::eventually;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use yadkv_client::{Client, Error, Options, RawClient};
use yadkv_simulation::check::linearizable::{self, Verdict};
use yadkv_simulation::history::{Key, Kind, Operation, Outcome};
use yadkv_simulation::random::Random;

/// Keys that are worked on at once.
pub const KEYS: usize = 8;
/// Calls on a key before another one takes its place.
pub const CALLS_MAX: u64 = 150;
/// How long a step of a test may take before the clients are said to stand still.
const PATIENCE: Duration = Duration::from_secs(60);

/// Running workers.
#[derive(Debug)]
pub struct Recorder {
    seed: u64,
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<Worked>>,
}

#[derive(Debug)]
struct Shared {
    began: Instant,
    stop: AtomicBool,
    answered: AtomicU64,
    /// Calls begun on each place of a key.
    calls: Mutex<[u64; KEYS]>,
}

/// What one worker did.
#[derive(Debug)]
struct Worked {
    operations: Vec<Operation>,
    not_done: u64,
    gap: Duration,
}

/// What all workers did.
#[derive(Debug)]
pub struct Recorded {
    /// Calls with an answer.
    pub answered: u64,
    /// Writes of which nobody knows the outcome.
    pub unknown: u64,
    /// Calls that were not done in time.
    pub not_done: u64,
    /// The longest time that any worker was without an answer.
    pub gap: Duration,
}

impl Recorder {
    /// Starts workers; what they do follows from a seed, which is printed.
    pub async fn start(endpoints: &[String], workers: usize, seed: u64) -> Self {
        println!("recorder: seed {seed}, {workers} workers");
        let shared = Arc::new(Shared {
            began: Instant::now(),
            stop: AtomicBool::new(false),
            answered: AtomicU64::new(0),
            calls: Mutex::new([0; KEYS]),
        });
        let mut running = Vec::new();
        for client in 0..workers {
            let options = Options {
                repeat_lost_writes: false,
                ..Options::default()
            };
            let connected = Client::connect(endpoints.iter().cloned(), options).await;
            let worker = Worker {
                shared: shared.clone(),
                seed,
                raw: connected.expect("the cluster serves").raw(),
                client,
                random: Random::derived(seed, [client as u64, 0, 0]),
                known: BTreeMap::new(),
            };
            running.push(tokio::spawn(worker.work()));
        }
        Self {
            seed,
            shared,
            workers: running,
        }
    }

    /// Waits for `more` answers.
    pub fn goes_on(&self, more: u64, when: &str) {
        let target = self.shared.answered.load(Ordering::Relaxed) + more;
        eventually(&format!("clients go on {when}"), PATIENCE, || {
            let failed = self.workers.iter().any(JoinHandle::is_finished);
            assert!(!failed, "a worker ended {when}");
            (self.shared.answered.load(Ordering::Relaxed) >= target).then_some(())
        });
    }

    /// Ends the workers and judges what they saw.
    pub async fn stop(self) -> Recorded {
        self.shared.stop.store(true, Ordering::Relaxed);
        let mut operations = Vec::new();
        let mut recorded = Recorded {
            answered: self.shared.answered.load(Ordering::Relaxed),
            unknown: 0,
            not_done: 0,
            gap: Duration::ZERO,
        };
        for worker in self.workers {
            let worked = worker.await.expect("a worker sees no wrong answer");
            operations.extend(worked.operations);
            recorded.not_done += worked.not_done;
            recorded.gap = recorded.gap.max(worked.gap);
        }
        let open = |one: &&Operation| one.outcome == Outcome::Unknown && writes(&one.kind);
        recorded.unknown = operations.iter().filter(open).count() as u64;
        let keys = operations.iter().map(|one| &one.key);
        let keys = keys.collect::<std::collections::BTreeSet<_>>().len();
        match linearizable::check(&operations) {
            Verdict::Linearizable => {}
            Verdict::Undecided(some) if some * 1000 <= keys => {}
            Verdict::Undecided(some) => panic!("{some} of {keys} keys are too hard to judge"),
            Verdict::Broken(broken) => panic!("seed {}: {broken}", self.seed),
        }
        println!("recorder: {recorded:?}, {keys} keys are linearizable");
        recorded
    }
}

fn writes(kind: &Kind) -> bool {
    !matches!(kind, Kind::Get | Kind::Exists)
}

struct Worker {
    shared: Arc<Shared>,
    seed: u64,
    raw: RawClient,
    client: usize,
    random: Random,
    /// What was last seen of each key.
    known: BTreeMap<Key, Option<bytes::Bytes>>,
}

impl Worker {
    async fn work(mut self) -> Worked {
        let mut worked = Worked {
            operations: Vec::new(),
            not_done: 0,
            gap: Duration::ZERO,
        };
        let mut last = Instant::now();
        while !self.shared.stop.load(Ordering::Relaxed) {
            let key = self.key();
            let number = worked.operations.len();
            let kind = self.kind(&key, number);
            worked.operations.push(Operation {
                client: self.client,
                key: key.clone(),
                kind: kind.clone(),
                begun: self.now(),
                ended: u64::MAX,
                outcome: Outcome::Unknown,
                copies: Vec::new(),
            });
            let answer = self.call(&key, kind).await;
            match answer {
                Ok(outcome) => {
                    let operation = &mut worked.operations[number];
                    operation.ended = self.now();
                    operation.outcome = outcome;
                    self.shared.answered.fetch_add(1, Ordering::Relaxed);
                    worked.gap = worked.gap.max(last.elapsed());
                    last = Instant::now();
                }
                Err(Error::OutcomeUnknown { .. }) => {}
                Err(Error::Unavailable { .. }) => {
                    worked.operations.pop();
                    worked.not_done += 1;
                }
                Err(error) => panic!("client {}: {error}", self.client),
            }
        }
        worked
    }

    fn now(&self) -> u64 {
        self.shared.began.elapsed().as_nanos() as u64
    }

    /// Some key: spread over the key space, and another one after a while.
    fn key(&mut self) -> Key {
        let place = self.random.below(KEYS as u64) as usize;
        let mut calls = self
            .shared
            .calls
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        calls[place] += 1;
        let (first, age) = ((place * 256 / KEYS) as u8, calls[place] / CALLS_MAX);
        let mut key = vec![first];
        key.extend(format!("recorded-{}-{age}", self.seed).into_bytes());
        (true, key.into())
    }

    fn kind(&mut self, key: &Key, number: usize) -> Kind {
        let value = bytes::Bytes::from(format!("{}.{number}", self.client));
        match self.random.below(100) {
            0..=44 => Kind::Get,
            45..=74 => Kind::Put(value, 0),
            75..=81 => Kind::Delete,
            _ => Kind::Swap(self.known.get(key).cloned().flatten(), Some(value)),
        }
    }

    async fn call(&mut self, key: &Key, kind: Kind) -> Result<Outcome, Error> {
        let name = key.1.to_vec();
        let (outcome, seen) = match kind {
            Kind::Get => {
                let found = self.raw.get(name).await?;
                (Outcome::Value(found.clone()), found)
            }
            Kind::Put(value, _) => {
                self.raw.put(name, value.clone()).await?;
                (Outcome::Done, Some(value))
            }
            Kind::Delete => {
                self.raw.delete(name).await?;
                (Outcome::Done, None)
            }
            Kind::Swap(expected, new) => {
                let new = new.unwrap_or_default();
                let swap = self
                    .raw
                    .compare_and_swap(name, expected, new.clone())
                    .await?;
                let seen = if swap.swapped {
                    Some(new)
                } else {
                    swap.previous.clone()
                };
                (Outcome::Swapped(swap.swapped, swap.previous), seen)
            }
            Kind::Exists => unreachable!("never drawn"),
        };
        self.known.insert(key.clone(), seen);
        Ok(outcome)
    }
}
