//! One connected client of a worker: carries operations out and writes what came of them into the history.
//!
//! *Place*: [`super::work`] and the scenarios call it; it calls the SDK.
//!
//! *Life of an operation*: noted with its begin → the SDK answers → noted with its end; "unavailable" means that
//! it was not done and is left out; an unknown outcome stays open for ever.
//!
//! *Many keys at once*: a batch or scan is no single point in time (each region does its part at its own), so it
//! is noted as one operation a key, all within the time of the call. What a scan does not show it has seen to
//! be absent, up to where its limit ended it.
//!
//! *Copies*: a client that repeats lost writes may have several copies of one write under way; [`Copies`] notes
//! those that did or may still take effect. The network never makes copies of its own: a call is a frame of an HTTP/2
//! stream over TCP, which delivers once or breaks, and nothing between the SDK and the store sends again.
//!
//! *Next stop*: [`super::runtime`].

use super::runtime::SimulatedRuntime;
use super::work::{KEYS, Work};
use crate::history::{History, Kind, Operation, Outcome};
use bytes::Bytes;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use yadkv_client::{Error, RawClient, ScanOptions};

/// What became of a copy of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It took effect.
    Done,
    /// It never will.
    NotDone,
    /// Nobody knows.
    Unknown,
}

/// Writes under way.
#[derive(Clone)]
pub struct Copies {
    history: Arc<Mutex<History>>,
    /// Their numbers in the history.
    open: Arc<Mutex<Vec<usize>>>,
}

impl Copies {
    /// None yet.
    pub fn new(history: Arc<Mutex<History>>) -> Self {
        Self {
            history,
            open: Arc::default(),
        }
    }

    /// The fate of a copy sent at `sent`, for the key that ends `command` (a key as commands carry it). A batch
    /// may be done for this key although its call goes on, and ends unknown.
    pub fn answered(&self, command: &[u8], (sent, now): (u64, u64), fate: Fate) {
        let mut history = self.history.lock();
        for number in self.open.lock().iter() {
            let operation = &mut history.operations[*number];
            if !command.ends_with(&operation.key.1) {
                continue;
            }
            match fate {
                Fate::Done => (operation.ended, operation.outcome) = (now, Outcome::Done),
                Fate::NotDone => {}
                Fate::Unknown => operation.copies.push(sent),
            }
        }
    }
}

/// Part of the keys, walked through in one direction.
#[derive(Clone, Copy, Debug)]
pub struct Scan {
    /// First key.
    pub start: &'static str,
    /// Key after the last; empty: all.
    pub end: &'static str,
    /// How.
    pub options: ScanOptions,
}

impl Scan {
    fn covers(&self, key: &str) -> bool {
        key >= self.start && (self.end.is_empty() || key < self.end)
    }
}

/// A connected client.
pub struct Session {
    work: Work,
    raw: RawClient,
    copies: Copies,
}

impl Work {
    /// Connects, as often as it takes.
    pub async fn session(&self) -> Session {
        let copies = Copies::new(self.history.clone());
        let runtime = || SimulatedRuntime {
            copies: Some(copies.clone()),
            ..self.runtime()
        };
        let raw = self.connect(runtime).await.raw();
        Session {
            work: self.clone(),
            raw,
            copies,
        }
    }
}

impl Session {
    /// One operation; what it found at the key, if it looked.
    pub async fn perform(&self, key: &'static str, kind: Kind) -> Option<Option<Bytes>> {
        let raw = &self.raw;
        let numbers = self.begin([(key, kind.clone())]);
        let outcome = match kind {
            Kind::Get => raw.get(key).await.map(Outcome::Value),
            Kind::Exists => raw.ttl(key).await.map(|ttl| Outcome::Exists(ttl.is_some())),
            Kind::Put(value, 0) => raw.put(key, value).await.map(|()| Outcome::Done),
            Kind::Put(value, ttl) => {
                let ttl = Duration::from_secs(ttl);
                let put = raw.put_with_ttl(key, value, ttl).await;
                put.map(|()| Outcome::Done)
            }
            Kind::Delete => raw.delete(key).await.map(|()| Outcome::Done),
            Kind::Swap(expected, Some(new)) => {
                let swap = raw.compare_and_swap(key, expected, new).await;
                swap.map(|swap| Outcome::Swapped(swap.swapped, swap.previous))
            }
            Kind::Swap(expected, None) => {
                let expected = expected.unwrap_or_default();
                let swap = raw.compare_and_delete(key, expected).await;
                swap.map(|swap| Outcome::Swapped(swap.swapped, swap.previous))
            }
        };
        let found = match &outcome {
            Ok(Outcome::Value(found) | Outcome::Swapped(_, found)) => Some(found.clone()),
            _ => None,
        };
        self.end(&numbers, outcome.map(|outcome| vec![outcome]));
        found
    }

    /// The values of several keys.
    pub async fn batch_get(&self, keys: &[&'static str]) {
        let numbers = self.begin(keys.iter().map(|key| (*key, Kind::Get)));
        let found = self.raw.batch_get(keys.iter().copied()).await;
        let found = found.map(|found| found.into_iter().map(Outcome::Value).collect());
        self.end(&numbers, found);
    }

    /// A new value for each of several keys.
    pub async fn batch_put(&self, keys: &[&'static str]) {
        let value = |key: &&'static str| (*key, self.work.history.lock().value());
        let pairs: Vec<_> = keys.iter().map(value).collect();
        let put = |(key, value): &(_, Bytes)| (*key, Kind::Put(value.clone(), 0));
        let numbers = self.begin(pairs.iter().map(put));
        let done = self.raw.batch_put(pairs).await;
        self.end(&numbers, done.map(|()| vec![Outcome::Done; keys.len()]));
    }

    /// No value for several keys.
    pub async fn batch_delete(&self, keys: &[&'static str]) {
        let numbers = self.begin(keys.iter().map(|key| (*key, Kind::Delete)));
        let done = self.raw.batch_delete(keys.iter().copied()).await;
        self.end(&numbers, done.map(|()| vec![Outcome::Done; keys.len()]));
    }

    /// What is in a range.
    pub async fn scan(&self, scan: Scan) {
        let mut keys = KEYS;
        keys.sort_unstable();
        if scan.options.reverse {
            keys.reverse();
        }
        let keys: Vec<_> = keys.into_iter().filter(|key| scan.covers(key)).collect();
        let look = if scan.options.keys_only {
            Kind::Exists
        } else {
            Kind::Get
        };
        let numbers = self.begin(keys.iter().map(|key| (*key, look.clone())));
        let pairs = self.raw.scan_all(scan.start, scan.end, scan.options).await;
        let shown = pairs.map(|pairs| {
            let full = scan.options.limit.is_some_and(|limit| pairs.len() >= limit);
            let mut pairs = pairs.into_iter().peekable();
            let mut outcomes = Vec::new();
            for key in &keys {
                if full && pairs.peek().is_none() {
                    // Never looked at.
                    outcomes.push(Outcome::Unknown);
                    continue;
                }
                let found = pairs.next_if(|pair| pair.key == *key);
                outcomes.push(match look {
                    Kind::Exists => Outcome::Exists(found.is_some()),
                    _ => Outcome::Value(found.map(|pair| pair.value)),
                });
            }
            if let Some(pair) = pairs.next() {
                let law = format!("a scan shows {pair:?}, which is out of place: {scan:?}");
                self.work.sky.lock().violated(law);
            }
            outcomes
        });
        self.end(&numbers, shown);
    }

    fn begin(&self, parts: impl IntoIterator<Item = (&'static str, Kind)>) -> Vec<usize> {
        let mut sky = self.work.sky.lock();
        let mut history = self.work.history.lock();
        let mut numbers = Vec::new();
        for (key, kind) in parts {
            let key = (self.work.v2, Bytes::from_static(key.as_bytes()));
            crate::note!(sky, "client{} {key:?} {kind:?}", self.work.client);
            numbers.push(history.operations.len());
            history.operations.push(Operation {
                client: self.work.client,
                key,
                kind,
                begun: sky.now,
                ended: u64::MAX,
                outcome: Outcome::Unknown,
                copies: Vec::new(),
            });
        }
        self.copies.open.lock().clone_from(&numbers);
        numbers
    }

    fn end(&self, numbers: &[usize], outcomes: Result<Vec<Outcome>, Error>) {
        let mut sky = self.work.sky.lock();
        let mut history = self.work.history.lock();
        self.copies.open.lock().clear();
        for (position, number) in numbers.iter().enumerate() {
            let operation = &mut history.operations[*number];
            crate::note!(
                sky,
                "client{} {:?} {:?} = {:?}",
                self.work.client,
                operation.key,
                operation.kind,
                outcomes.as_ref().map(|outcomes| &outcomes[position])
            );
            match &outcomes {
                Ok(outcomes) if outcomes[position] == Outcome::Unknown => {
                    operation.kind = Kind::Get
                }
                Ok(outcomes) => {
                    operation.ended = operation.ended.min(sky.now);
                    operation.outcome = outcomes[position].clone();
                }
                Err(Error::OutcomeUnknown { .. }) => {}
                Err(error @ Error::Unavailable { .. }) => {
                    if !operation.copies.is_empty() || operation.outcome == Outcome::Done {
                        let law = format!("{error}, but a copy of the write is done or at large");
                        sky.violated(law);
                    }
                    // Not done: as if it had never been called.
                    operation.kind = Kind::Get;
                    history.failed += 1;
                }
                Err(error) => sky.violated(format!("client{}: {error}", self.work.client)),
            }
        }
    }
}
