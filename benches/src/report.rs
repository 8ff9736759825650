//! What a measurement found.
//!
//! *Place*: [`crate::load`] fills a [`Seen`] a client; the command line prints the [`Report`].
//!
//! *Next stop*: [`crate::targets`].

use crate::Options;
use hdrhistogram::Histogram;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

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
    /// Answers without error, a second.
    pub ops_per_s: f64,
    /// Records in them, where an operation has many.
    pub records_per_s: f64,
    /// Half of the answers came within this many microseconds.
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
    /// That of the servers together.
    pub server_us_per_op: f64,
    /// Answers of each second, one after the other.
    pub per_second: Vec<u64>,
}

/// What clients saw.
pub struct Seen {
    /// Microseconds of answers without error.
    latency: Histogram<u64>,
    errors: BTreeMap<String, u64>,
    /// Answers without error that came in each second.
    per_second: Vec<u64>,
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
            per_second: vec![0; seconds.max(1)],
        }
    }

    /// Notes an answer that took `after`, `at` so long into the measurement.
    pub fn answer(&mut self, after: Duration, at: Duration, answer: Result<(), String>) {
        match answer {
            Ok(()) => {
                let micros = u64::try_from(after.as_micros()).unwrap_or(u64::MAX);
                self.latency.saturating_record(micros);
                if let Some(count) = self.per_second.get_mut(at.as_secs() as usize) {
                    *count += 1;
                }
            }
            Err(kind) => self.error(kind, 1),
        }
    }

    fn error(&mut self, kind: String, count: u64) {
        let known = self.errors.contains_key(&kind) || self.errors.len() < KINDS_MAX;
        let kind = if known { kind } else { OTHERS.into() };
        *self.errors.entry(kind).or_default() += count;
    }

    /// Adds what another client saw.
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
    }
}

impl Report {
    /// Sums up; client and servers have used the processor for so many seconds.
    pub(crate) fn new(
        target: &str,
        options: &Options,
        seen: &Seen,
        [client, server]: [f64; 2],
    ) -> Self {
        let at = |quantile| seen.latency.value_at_quantile(quantile);
        let seconds = options.time.as_secs_f64();
        // What the processors did meanwhile belongs to the answers that came meanwhile.
        let meanwhile = seen.per_second.iter().sum::<u64>().max(1) as f64;
        let ops_per_s = seen.latency.len() as f64 / seconds;
        let records = options.workload.records_per_operation(&options.shape);
        Self {
            target: target.into(),
            workload: options.workload.name(),
            clients: options.clients,
            rate: options.rate,
            ops_per_s,
            records_per_s: ops_per_s * records as f64,
            p50_us: at(0.5),
            p95_us: at(0.95),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: seen.latency.max(),
            errors: seen.errors.values().sum(),
            errors_by_kind: seen.errors.clone(),
            client_us_per_op: client * 1e6 / meanwhile,
            server_us_per_op: server * 1e6 / meanwhile,
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
            one.answer(second, Duration::ZERO, Err(format!("kind {number}")));
        }
        other.answer(second, Duration::ZERO, Err("kind 3".into()));
        other.answer(second, Duration::ZERO, Ok(()));
        one.merge(&other);
        assert_eq!(one.errors["kind 3"], 2);
        assert_eq!(one.errors[OTHERS], 100 - KINDS_MAX as u64);
        assert_eq!(one.per_second, [1]);
    }
}
