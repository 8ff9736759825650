//! What simulated clients do: random operations on few keys, and timestamps.
//!
//! *Place*: [`crate::run`] and the scenarios start it; it calls [`super::session`].
//!
//! *Kinds of clients*: by number, V1 or V2, quick to ask elsewhere or patient, repeating lost writes or not; some
//! workers only read.
//!
//! *Invariants*: every written value is new; a compare-and-swap expects only what was read before.
//!
//! *Next stop*: [`super::session`].

use super::runtime::SimulatedRuntime;
use super::session::{Scan, Session};
use crate::history::{History, Kind};
use crate::random::Random;
use crate::sky::{Machine, Shared};
use crate::store::companion::MEMBERS;
use crate::tasks::sleep;
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use yadkv_client::{Api, Client, Error, Options, ScanOptions};

/// Keys of each space: few, so that clients meet.
pub const KEYS: [&str; 6] = ["b", "q", "a", "h", "i", "p"];

/// Borders of scans; empty is infinity.
const BORDERS: [&str; 5] = ["", "b", "h", "m", "p"];

/// A worker of a client.
#[derive(Clone)]
pub struct Work {
    /// Where everything happens.
    pub sky: Shared,
    /// What was done.
    pub history: Arc<Mutex<History>>,
    /// Number of the client.
    pub client: usize,
    /// Whether it speaks API V2.
    pub v2: bool,
    /// Whether it only reads: nothing but a failed read then sends it to another store.
    pub reads_only: bool,
    /// Whether it sends a put or delete again that got no answer.
    pub repeats: bool,
    /// What it chooses by.
    pub random: Random,
}

/// What to do next.
enum Call {
    One(&'static str, Kind),
    BatchGet(Vec<&'static str>),
    BatchPut(Vec<&'static str>),
    BatchDelete(Vec<&'static str>),
    Scan(Scan),
}

impl Work {
    fn machine(&self) -> Machine {
        Machine::Client(self.client)
    }

    pub(super) fn runtime(&self) -> SimulatedRuntime {
        SimulatedRuntime {
            sky: self.sky.clone(),
            machine: self.machine(),
            copies: None,
        }
    }

    pub(super) async fn connect(&self, runtime: impl Fn() -> SimulatedRuntime) -> Client {
        let options = Options {
            api: if self.v2 { Api::default() } else { Api::V1 },
            timeout: Duration::from_secs(6),
            // Some wait for a slow answer, some have long gone to the next leader.
            attempt_timeout: Duration::from_millis(if self.client < 2 { 500 } else { 3000 }),
            repeat_lost_writes: self.repeats,
            ..Options::default()
        };
        loop {
            let endpoints = (0..MEMBERS).map(|number| Machine::Pd(number).address());
            let connected =
                Client::connect_with(Arc::new(runtime()), endpoints, options.clone()).await;
            match connected {
                Ok(client) => return client,
                Err(_) => self.sleep(100).await,
            }
        }
    }

    async fn sleep(&self, ms: u64) {
        sleep(&self.sky, self.machine(), Duration::from_millis(ms)).await;
    }

    /// Random operations until the history says stop.
    pub async fn operations(mut self) {
        let session = self.session().await;
        let mut known: BTreeMap<&str, Option<Bytes>> = BTreeMap::new();
        while !self.history.lock().stop {
            let (call, pause) = self.choose(&known);
            match call {
                Call::One(key, kind) => {
                    if let Some(found) = session.perform(key, kind).await {
                        known.insert(key, found);
                    }
                }
                call => many(&session, call).await,
            }
            self.sleep(pause).await;
        }
        self.history.lock().working -= 1;
    }

    /// Timestamps until the history says stop.
    pub async fn timestamps(mut self) {
        let client = self.connect(|| self.runtime()).await;
        while !self.history.lock().stop {
            let floor = self.history.lock().floor();
            match client.timestamp().await {
                Ok(given) => {
                    let broken = self.history.lock().timestamp(floor, given);
                    if let Some(law) = broken {
                        self.sky.lock().violated(law);
                    }
                }
                Err(error @ Error::TimestampFallback { .. }) => {
                    self.sky.lock().violated(error.to_string())
                }
                Err(_) => {}
            }
            let pause = self.random.between(2, 30);
            self.sleep(pause).await;
        }
        self.history.lock().working -= 1;
    }

    fn choose(&mut self, known: &BTreeMap<&str, Option<Bytes>>) -> (Call, u64) {
        let random = &mut self.random;
        // Half of the work meets on two keys.
        let keys = if random.chance(500) {
            &KEYS[..2]
        } else {
            &KEYS[..]
        };
        let key = random.pick(keys);
        let several = |random: &mut Random| -> Vec<&'static str> {
            KEYS.into_iter().filter(|_| random.chance(400)).collect()
        };
        let history = &self.history;
        let value = || history.lock().value();
        let found = || known.get(key).cloned().flatten();
        let call = match random.below(if self.reads_only { 46 } else { 100 }) {
            0..=31 => Call::One(key, Kind::Get),
            32..=36 => Call::One(key, Kind::Exists),
            37..=40 => Call::BatchGet(several(random)),
            41..=45 => Call::Scan(scan(random)),
            46..=67 => Call::One(key, Kind::Put(value(), 0)),
            68..=71 => {
                let ttl = random.pick(&[1, 4, 8, 12]);
                Call::One(key, Kind::Put(value(), ttl))
            }
            72..=77 => Call::One(key, Kind::Delete),
            78..=81 => Call::BatchPut(several(random)),
            82 => Call::BatchDelete(several(random)),
            83..=86 => Call::One(key, Kind::Swap(Some(found().unwrap_or_default()), None)),
            _ => Call::One(key, Kind::Swap(found(), Some(value()))),
        };
        (call, random.between(1, 60))
    }
}

async fn many(session: &Session, call: Call) {
    match call {
        Call::One(key, kind) => drop(session.perform(key, kind).await),
        Call::BatchGet(keys) => session.batch_get(&keys).await,
        Call::BatchPut(keys) => session.batch_put(&keys).await,
        Call::BatchDelete(keys) => session.batch_delete(&keys).await,
        Call::Scan(scan) => session.scan(scan).await,
    }
}

fn scan(random: &mut Random) -> Scan {
    let limit = random.chance(500).then(|| random.between(1, 4) as usize);
    let (one, other) = (random.pick(&BORDERS), random.pick(&BORDERS));
    let (start, end) = if other.is_empty() || one <= other {
        (one, other)
    } else {
        (other, one)
    };
    Scan {
        start,
        end,
        options: ScanOptions {
            limit,
            reverse: random.chance(400),
            keys_only: random.chance(200),
        },
    }
}
