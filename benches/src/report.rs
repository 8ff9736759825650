//! What a measurement found.
//!
//! *Place*: [`crate::load`] fills a [`Seen`] for some clients each; the command line prints the [`Report`].
//!
//! *Next stop*: [`crate::targets`].

use crate::Options;
use crate::pace::Left;
use hdrhistogram::Histogram;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Kinds of errors that are told apart; further ones are counted together.
const KINDS_MAX: usize = 16;
const OTHERS: &str = "others";

/// Numbers of one run, by the names that `--json` prints.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Who was measured.
    pub target: String,
    /// What the clients did.
    pub workload: &'static str,
    /// How many there were.
    pub clients: usize,
    /// Operations a second that were asked for, in an open loop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// Answers without error that came while it was measured, a second.
    pub ops_per_s: f64,
    /// Records in them.
    pub records_per_s: f64,
    /// Operations of an open loop that were due and that no client was free to begin before the end.
    pub not_begun: u64,
    /// Half of the answers came within this many microseconds. An operation that was not begun counts with what it had
    /// waited by the end.
    pub p50_us: u64,
    /// 95 %.
    pub p95_us: u64,
    /// 99 %.
    pub p99_us: u64,
    /// 99.9 %.
    pub p999_us: u64,
    /// The slowest one.
    pub max_us: u64,
    /// Answers with an error.
    pub errors: u64,
    /// How many of which kind.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub errors_by_kind: BTreeMap<String, u64>,
    /// Processor time of the load generator, microseconds an answer.
    pub client_us_per_op: f64,
    /// That of the servers together; none if they are not known.
    pub server_us_per_op: Option<f64>,
    /// Answers of each second, one after the other.
    pub per_second: Vec<u64>,
}

/// What clients saw.
pub struct Seen {
    /// Microseconds of answers without error.
    latency: Histogram<u64>,
    errors: BTreeMap<String, u64>,
    time: Duration,
    /// Answers without error that came in each second of it.
    per_second: Vec<u64>,
    /// Records in them.
    records: u64,
    not_begun: u64,
}

impl Seen {
    /// Nothing yet, of a measurement of so long.
    pub fn new(time: Duration) -> Self {
        let latency =
            Histogram::new_with_bounds(1, 60_000_000, 3).expect("invariant: valid bounds");
        let seconds = time.as_secs_f64().ceil() as usize;
        Self {
            latency,
            errors: BTreeMap::new(),
            time,
            per_second: vec![0; seconds.max(1)],
            records: 0,
            not_begun: 0,
        }
    }

    /// An answer that was to be counted took so long.
    pub fn took(&mut self, after: Duration) {
        self.waited(after, 1);
    }

    /// An answer about so many records came, `at` so long into the measurement.
    pub fn came(&mut self, at: Duration, records: u64) {
        if at >= self.time {
            return;
        }
        if let Some(count) = self.per_second.get_mut(at.as_secs() as usize) {
            *count += 1;
            self.records += records;
        }
    }

    /// An operation that was to be counted failed.
    pub fn failed(&mut self, kind: String) {
        self.error(kind, 1);
    }

    /// What nobody began; counted if it was to begin from a moment on.
    pub(crate) fn not_begun(&mut self, left: &Left, from: Instant) {
        for (waited, count) in left.waited(from) {
            self.not_begun += count;
            self.waited(waited, count);
        }
    }

    fn waited(&mut self, time: Duration, count: u64) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.latency.saturating_record_n(micros, count);
    }

    fn error(&mut self, kind: String, count: u64) {
        let known = self.errors.contains_key(&kind) || self.errors.len() < KINDS_MAX;
        let kind = if known { kind } else { OTHERS.into() };
        *self.errors.entry(kind).or_default() += count;
    }

    /// Adds what other clients saw.
    pub fn merge(&mut self, other: &Self) {
        self.latency
            .add(&other.latency)
            .expect("invariant: equal bounds");
        for (kind, count) in &other.errors {
            self.error(kind.clone(), *count);
        }
        for (sum, count) in self.per_second.iter_mut().zip(&other.per_second) {
            *sum += count;
        }
        self.records += other.records;
        self.not_begun += other.not_begun;
    }
}

impl Report {
    /// Sums up; client and servers have used the processor for so many seconds.
    pub(crate) fn new(
        target: &str,
        options: &Options,
        seen: &Seen,
        (client, server): (f64, Option<f64>),
    ) -> Self {
        let at = |quantile| seen.latency.value_at_quantile(quantile);
        let seconds = options.time.as_secs_f64();
        let answers = seen.per_second.iter().sum::<u64>() as f64;
        let micros = |seconds: f64| seconds * 1e6 / answers.max(1.0);
        Self {
            target: target.into(),
            workload: options.workload.name(),
            clients: options.clients,
            rate: options.rate,
            ops_per_s: answers / seconds,
            records_per_s: seen.records as f64 / seconds,
            not_begun: seen.not_begun,
            p50_us: at(0.5),
            p95_us: at(0.95),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: seen.latency.max(),
            errors: seen.errors.values().sum(),
            errors_by_kind: seen.errors.clone(),
            client_us_per_op: micros(client),
            server_us_per_op: server.map(micros),
            per_second: seen.per_second.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_errors_are_counted_and_bounded() {
        let second = Duration::from_secs(1);
        let (mut one, mut other) = (Seen::new(second), Seen::new(second));
        for number in 0..100 {
            one.failed(format!("kind {number}"));
        }
        other.failed("kind 3".into());
        other.came(Duration::ZERO, 7);
        other.came(second, 7);
        one.merge(&other);
        assert_eq!(one.errors["kind 3"], 2);
        assert_eq!(one.errors[OTHERS], 100 - KINDS_MAX as u64);
        assert_eq!((one.per_second, one.records), (vec![1], 7));
    }
}
