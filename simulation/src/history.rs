//! What clients did and saw, with real times, and the check of timestamps as they come.
//!
//! *Place*: the clients' sessions write it, [`crate::check::linearizable`] reads it.
//!
//! *Invariants*: an operation without a known outcome has no end: it may take effect at any later time, once,
//! or never. An operation that certainly was not done is left out. A write that was sent again may take effect
//! once more for each copy without an answer.
//!
//! *Next stop*: [`crate::check::linearizable`].

use bytes::Bytes;
use std::collections::BTreeSet;
use std::fmt;
use yadkv_client::Timestamp;

/// A key within its key space: whether of API V2, and the bytes.
pub type Key = (bool, Bytes);

/// What was asked of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The value.
    Get,
    /// Whether there is a value (asked through its time to live).
    Exists,
    /// A new value, for some seconds or (0) for ever.
    Put(Bytes, u64),
    /// No value.
    Delete,
    /// From one value to another; `None` is absence.
    Swap(Option<Bytes>, Option<Bytes>),
}

/// What was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing: it may have been done, or be done yet.
    Unknown,
    /// It was done.
    Done,
    /// The value.
    Value(Option<Bytes>),
    /// Whether there is one.
    Exists(bool),
    /// Whether it was swapped, and what was there before.
    Swapped(bool, Option<Bytes>),
}

/// One operation on one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Who did it.
    pub client: usize,
    /// On what.
    pub key: Key,
    /// What.
    pub kind: Kind,
    /// When it was called, nanoseconds.
    pub begun: u64,
    /// When it was answered, nanoseconds; `u64::MAX` without a known outcome.
    pub ended: u64,
    /// The answer.
    pub outcome: Outcome,
    /// When copies were sent of which nobody knows whether they took, or will take, effect.
    pub copies: Vec<u64>,
}

impl fmt::Display for Operation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |at: u64| at as f64 / 1e9;
        let of = |value: &Bytes| value.escape_ascii().to_string();
        let maybe = |value: &Option<Bytes>| value.as_ref().map_or("nothing".to_owned(), of);
        write!(formatter, "client {} ", self.client)?;
        match &self.kind {
            Kind::Get => write!(formatter, "reads"),
            Kind::Exists => write!(formatter, "asks whether there is a value"),
            Kind::Put(value, 0) => write!(formatter, "puts {}", of(value)),
            Kind::Put(value, ttl_s) => write!(formatter, "puts {} for {ttl_s} s", of(value)),
            Kind::Delete => write!(formatter, "deletes"),
            Kind::Swap(expected, new) => {
                let (expected, new) = (maybe(expected), maybe(new));
                write!(formatter, "swaps {expected} for {new}")
            }
        }?;
        match &self.outcome {
            Outcome::Unknown => {
                let begun = seconds(self.begun);
                return write!(formatter, ": called at {begun:.6} s, no answer");
            }
            Outcome::Done => write!(formatter, ": done"),
            Outcome::Value(found) => write!(formatter, ": {}", maybe(found)),
            Outcome::Exists(true) => write!(formatter, ": yes"),
            Outcome::Exists(false) => write!(formatter, ": no"),
            Outcome::Swapped(true, _) => write!(formatter, ": done"),
            Outcome::Swapped(false, found) => write!(formatter, ": no, found {}", maybe(found)),
        }?;
        let (begun, ended) = (seconds(self.begun), seconds(self.ended));
        write!(formatter, " (from {begun:.6} to {ended:.6} s)")
    }
}

/// Everything that clients did.
#[derive(Default)]
pub struct History {
    /// Operations, by their begin after `sorted`.
    pub operations: Vec<Operation>,
    /// Calls that certainly had no effect and returned nothing.
    pub failed: u64,
    /// Timestamps given.
    pub timestamps: u64,
    /// Set to end the clients' work.
    pub stop: bool,
    /// Tasks that still work.
    pub working: usize,
    highest: u64,
    seen: BTreeSet<u64>,
    next_value: u64,
}

impl History {
    /// A value that no other write has.
    pub fn value(&mut self) -> Bytes {
        self.next_value += 1;
        Bytes::from(format!("v{}", self.next_value))
    }

    /// Largest timestamp that anybody was given so far: the floor of a call that begins now.
    pub fn floor(&self) -> u64 {
        self.highest
    }

    /// A timestamp was given to a call that began when `floor` was the largest; the broken law, if it is one.
    pub fn timestamp(&mut self, floor: u64, given: Timestamp) -> Option<String> {
        let version = given.version();
        self.timestamps += 1;
        self.highest = self.highest.max(version);
        if version <= floor {
            let before = Timestamp::from_version(floor);
            return Some(format!("timestamp {given:?} was given after {before:?}"));
        }
        (!self.seen.insert(version)).then(|| format!("timestamp {given:?} was given twice"))
    }
}
