//! What simulated clients do: random operations on few keys, and timestamps, all written into the history.
//!
//! *Place*: [`crate::run`] and the scenarios start it; it calls the SDK.
//!
//! *Life of an operation*: chosen → noted with its begin → the SDK answers → noted with its end; "unavailable"
//! means that it was not done and is left out; an unknown outcome stays open for ever.
//!
//! *Invariants*: every written value is new; a compare-and-swap expects only what was read before.
//!
//! *Next stop*: [`crate::check::linearizable`].

use super::runtime::SimulatedRuntime;
use crate::history::{History, Key, Kind, Operation, Outcome};
use crate::sky::{Machine, Shared};
use crate::store::companion::MEMBERS;
use crate::tasks::sleep;
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use yadkv_client::{Api, Client, Error, Options, RawClient};

/// Keys of each space: few, so that clients meet.
pub const KEYS: [&str; 6] = ["b", "q", "a", "h", "i", "p"];

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
}

impl Work {
    fn machine(&self) -> Machine {
        Machine::Client(self.client)
    }

    /// Connects, as often as it takes.
    pub async fn connect(&self) -> Client {
        let options = Options {
            api: if self.v2 { Api::default() } else { Api::V1 },
            timeout: Duration::from_secs(6),
            // Some wait for a slow answer, some have long gone to the next leader.
            attempt_timeout: Duration::from_millis(if self.client < 2 { 500 } else { 3000 }),
            // A lost copy of a repeated write may undo a newer one, which no single operation explains.
            repeat_lost_writes: false,
            ..Options::default()
        };
        loop {
            let runtime = Arc::new(SimulatedRuntime {
                sky: self.sky.clone(),
                machine: self.machine(),
            });
            let endpoints = (0..MEMBERS).map(|number| Machine::Pd(number).address());
            match Client::connect_with(runtime, endpoints, options.clone()).await {
                Ok(client) => return client,
                Err(_) => self.sleep(100).await,
            }
        }
    }

    async fn sleep(&self, ms: u64) {
        sleep(&self.sky, self.machine(), Duration::from_millis(ms)).await;
    }

    /// Random operations until the history says stop.
    pub async fn operations(self) {
        let raw = self.connect().await.raw();
        let mut known: BTreeMap<&str, Option<Bytes>> = BTreeMap::new();
        while !self.history.lock().stop {
            let (key, kind, pause) = self.choose(&known);
            if let Some(found) = self.perform(&raw, key, kind).await {
                known.insert(key, found);
            }
            self.sleep(pause).await;
        }
        self.history.lock().working -= 1;
    }

    /// Timestamps until the history says stop.
    pub async fn timestamps(self) {
        let client = self.connect().await;
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
            let pause = self.sky.lock().random.between(2, 30);
            self.sleep(pause).await;
        }
        self.history.lock().working -= 1;
    }

    fn choose(&self, known: &BTreeMap<&str, Option<Bytes>>) -> (&'static str, Kind, u64) {
        let mut sky = self.sky.lock();
        // Half of the work meets on two keys.
        let keys = if sky.random.chance(500) {
            &KEYS[..2]
        } else {
            &KEYS[..]
        };
        let key = sky.random.pick(keys);
        let mut history = self.history.lock();
        let kind = match sky.random.below(if self.reads_only { 45 } else { 100 }) {
            0..=39 => Kind::Get,
            40..=44 => Kind::Exists,
            45..=69 => Kind::Put(history.value(), 0),
            70..=74 => {
                let ttl = sky.random.pick(&[1, 4, 8, 12]);
                Kind::Put(history.value(), ttl)
            }
            75..=82 => Kind::Delete,
            83..=86 => Kind::Swap(
                Some(known.get(key).cloned().flatten().unwrap_or_default()),
                None,
            ),
            _ => Kind::Swap(known.get(key).cloned().flatten(), Some(history.value())),
        };
        (key, kind, sky.random.between(1, 60))
    }

    /// One operation; what it found at the key, if it looked.
    pub async fn perform(
        &self,
        raw: &RawClient,
        key: &'static str,
        kind: Kind,
    ) -> Option<Option<Bytes>> {
        let number = self.begin((self.v2, Bytes::from_static(key.as_bytes())), kind.clone());
        let outcome = match kind {
            Kind::Get => raw.get(key).await.map(Outcome::Value),
            Kind::Exists => raw.ttl(key).await.map(|ttl| Outcome::Exists(ttl.is_some())),
            Kind::Put(value, 0) => raw.put(key, value).await.map(|()| Outcome::Done),
            Kind::Put(value, ttl) => {
                let ttl = Duration::from_secs(ttl);
                raw.put_with_ttl(key, value, ttl)
                    .await
                    .map(|()| Outcome::Done)
            }
            Kind::Delete => raw.delete(key).await.map(|()| Outcome::Done),
            Kind::Swap(expected, Some(new)) => {
                let swap = raw.compare_and_swap(key, expected, new).await;
                swap.map(|swap| Outcome::Swapped(swap.swapped, swap.previous))
            }
            Kind::Swap(expected, None) => {
                let swap = raw
                    .compare_and_delete(key, expected.unwrap_or_default())
                    .await;
                swap.map(|swap| Outcome::Swapped(swap.swapped, swap.previous))
            }
        };
        self.end(number, outcome)
    }

    fn begin(&self, key: Key, kind: Kind) -> usize {
        let mut sky = self.sky.lock();
        let now = sky.now;
        crate::note!(sky, "client{} {key:?} {kind:?}", self.client);
        let operation = Operation {
            client: self.client,
            key,
            kind,
            begun: now,
            ended: u64::MAX,
            outcome: Outcome::Unknown,
        };
        let mut history = self.history.lock();
        history.operations.push(operation);
        history.operations.len() - 1
    }

    fn end(&self, number: usize, outcome: Result<Outcome, Error>) -> Option<Option<Bytes>> {
        let mut sky = self.sky.lock();
        let now = sky.now;
        let mut history = self.history.lock();
        let operation = &mut history.operations[number];
        crate::note!(
            sky,
            "client{} {:?} {:?} = {outcome:?}",
            self.client,
            operation.key,
            operation.kind
        );
        match outcome {
            Ok(outcome) => {
                operation.ended = now;
                operation.outcome = outcome;
                match &operation.outcome {
                    Outcome::Value(found) | Outcome::Swapped(_, found) => Some(found.clone()),
                    _ => None,
                }
            }
            Err(Error::OutcomeUnknown { .. }) => None,
            Err(Error::Unavailable { .. }) => {
                // Not done: as if it had never been called.
                operation.kind = Kind::Get;
                operation.outcome = Outcome::Unknown;
                history.failed += 1;
                None
            }
            Err(error) => {
                sky.violated(format!("client{}: {error}", self.client));
                None
            }
        }
    }
}
