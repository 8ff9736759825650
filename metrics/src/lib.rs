//! Meters that say what they measure: counters, gauges and histograms with their documentation.
//!
//! *Place*: servers and the SDK make one [`Meters`] each and hand it to the modules that count; its [`Meters::text`] is what
//! Prometheus reads; [`Meters::descriptions`] is what the page of metrics, the dashboards and the alert rules are checked
//! against.
//!
//! *Types to know*: [`Meters`], [`Description`].
//!
//! *Life of a measurement*: counted where it happens (an atomic addition), or taken just before it is shown
//! ([`Meters::before_text`]) where it is a state that somebody else holds.
//!
//! *Invariants*: a name begins with the component and ends in its unit, if it has one; times are in seconds, sizes in bytes.
//! Each metric answers a question that an operator has: without one there is no way to make it.
//!
//! *Limits*: labels come from closed sets, never from keys, addresses or regions.
//!
//! *Source*: Prometheus, "Metric and label naming" and "Histograms and summaries".
//!
//! *Next stop*: the servers' `metrics`.

mod describe;
mod process;
#[cfg(feature = "tokio")]
mod runtime;

pub use describe::{Description, Kind};
pub use prometheus::{
    Counter, CounterVec, Error, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Registry,
};

use parking_lot::Mutex;
use prometheus::core::Collector;
use prometheus::{HistogramOpts, Opts, TextEncoder, exponential_buckets};
use std::sync::Arc;
use std::time::Duration;

/// What a metric is about: what is measured, and the question that it answers.
#[derive(Clone, Copy, Debug)]
pub struct About {
    /// Name, after the component's.
    pub name: &'static str,
    /// What is measured.
    pub what: &'static str,
    /// What an operator asks it.
    pub question: &'static str,
}

/// A short way to write an [`About`].
pub const fn about(name: &'static str, what: &'static str, question: &'static str) -> About {
    About {
        name,
        what,
        question,
    }
}

type Refresh = Box<dyn Fn() + Send + Sync>;

/// The meters of one component. Cheap to clone.
#[derive(Clone)]
pub struct Meters {
    prefix: &'static str,
    registry: Registry,
    described: Arc<Mutex<Vec<Description>>>,
    refreshes: Arc<Mutex<Vec<Refresh>>>,
}

impl Meters {
    /// Meters whose names begin with `prefix` and an underscore; of a registry of their own.
    pub fn new(prefix: &'static str) -> Self {
        Self::within(prefix, Registry::new())
    }

    /// The same, in a registry that others have, too.
    pub fn within(prefix: &'static str, registry: Registry) -> Self {
        Self {
            prefix,
            registry,
            described: Arc::default(),
            refreshes: Arc::default(),
        }
    }

    /// A number that only rises.
    ///
    /// Errors, here and below: the name is taken or malformed; a mistake of whoever wrote it, seen at the first start.
    pub fn counter(&self, about: About) -> Result<IntCounter, Error> {
        self.add(
            Kind::Counter,
            about,
            None,
            IntCounter::with_opts(self.opts(about))?,
        )
    }

    /// Numbers that only rise, one for each value of `label`.
    pub fn counters(&self, about: About, label: &'static str) -> Result<IntCounterVec, Error> {
        let made = IntCounterVec::new(self.opts(about), &[label])?;
        self.add(Kind::Counter, about, Some(label), made)
    }

    /// Seconds that add up.
    pub fn seconds(&self, about: About) -> Result<Counter, Error> {
        self.add(
            Kind::Counter,
            about,
            None,
            Counter::with_opts(self.opts(about))?,
        )
    }

    /// The same, for each value of `label`.
    pub fn seconds_by(&self, about: About, label: &'static str) -> Result<CounterVec, Error> {
        let made = CounterVec::new(self.opts(about), &[label])?;
        self.add(Kind::Counter, about, Some(label), made)
    }

    /// A number as it is now.
    pub fn gauge(&self, about: About) -> Result<IntGauge, Error> {
        self.add(
            Kind::Gauge,
            about,
            None,
            IntGauge::with_opts(self.opts(about))?,
        )
    }

    /// Numbers as they are now, one for each value of `label`.
    pub fn gauges(&self, about: About, label: &'static str) -> Result<IntGaugeVec, Error> {
        let made = IntGaugeVec::new(self.opts(about), &[label])?;
        self.add(Kind::Gauge, about, Some(label), made)
    }

    /// Times in seconds: 22 buckets from 10 µs to 21 s, each twice the one before.
    pub fn times(&self, about: About) -> Result<Histogram, Error> {
        let opts = self.histogram(about, times()?);
        self.add(Kind::Histogram, about, None, Histogram::with_opts(opts)?)
    }

    /// The same, for each value of `label`.
    pub fn times_by(&self, about: About, label: &'static str) -> Result<HistogramVec, Error> {
        let made = HistogramVec::new(self.histogram(about, times()?), &[label])?;
        self.add(Kind::Histogram, about, Some(label), made)
    }

    /// How many of something there are at once: 15 buckets from 1 to 16,384, each twice the one before.
    pub fn amounts(&self, about: About) -> Result<Histogram, Error> {
        let opts = self.histogram(about, exponential_buckets(1.0, 2.0, 15)?);
        self.add(Kind::Histogram, about, None, Histogram::with_opts(opts)?)
    }

    /// Has `refresh` called each time before the meters are shown: it sets gauges to what somebody else knows. It must not
    /// block.
    pub fn before_text(&self, refresh: impl Fn() + Send + Sync + 'static) {
        self.refreshes.lock().push(Box::new(refresh));
    }

    /// Everything as Prometheus reads it.
    pub fn text(&self) -> Result<String, Error> {
        self.refreshes.lock().iter().for_each(|refresh| refresh());
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }

    /// What there is, in the order in which it was made.
    pub fn descriptions(&self) -> Vec<Description> {
        self.described.lock().clone()
    }

    fn full(&self, about: About) -> String {
        format!("{}_{}", self.prefix, about.name)
    }

    fn opts(&self, about: About) -> Opts {
        Opts::new(self.full(about), about.what)
    }

    fn histogram(&self, about: About, buckets: Vec<f64>) -> HistogramOpts {
        HistogramOpts::new(self.full(about), about.what).buckets(buckets)
    }

    fn add<C: Collector + Clone + 'static>(
        &self,
        kind: Kind,
        about: About,
        label: Option<&'static str>,
        collector: C,
    ) -> Result<C, Error> {
        self.registry.register(Box::new(collector.clone()))?;
        self.described.lock().push(Description {
            name: self.full(about),
            kind,
            label,
            what: about.what,
            question: about.question,
        });
        Ok(collector)
    }
}

fn times() -> Result<Vec<f64>, Error> {
    exponential_buckets(0.000_01, 2.0, 22)
}

/// A number as gauges have it.
pub fn level(number: impl TryInto<i64>) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}

/// Has a counter show what somebody else has counted since the start. For [`Meters::before_text`], which calls one at a
/// time.
pub fn catch_up(counter: &IntCounter, total: u64) {
    counter.inc_by(total.saturating_sub(counter.get()));
}

/// The same, of microseconds.
pub fn catch_up_micros(counter: &Counter, total: u64) {
    let seconds = Duration::from_micros(total).as_secs_f64();
    counter.inc_by((seconds - counter.get()).max(0.0));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_measured_is_shown_and_described() {
        let meters = Meters::new("yadkv_test");
        let put = about("puts_total", "Puts.", "What is asked for?");
        let puts = meters.counters(put, "end").expect("a new name");
        let depth = about("depth", "Puts that wait.", "Is there too much to do?");
        let depth = meters.gauge(depth).expect("a new name");
        puts.with_label_values(&["ok"]).inc_by(2);
        meters.before_text(move || depth.set(7));
        let text = meters.text().expect("text");
        assert!(
            text.contains("yadkv_test_puts_total{end=\"ok\"} 2"),
            "{text}"
        );
        assert!(text.contains("yadkv_test_depth 7"), "{text}");
        let described = meters.descriptions();
        let names: Vec<_> = described.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, ["yadkv_test_puts_total", "yadkv_test_depth"]);
        assert_eq!(described[0].label, Some("end"));
        assert!(meters.counters(put, "end").is_err(), "the name is taken");
    }

    #[test]
    fn a_process_shows_what_it_uses() {
        let meters = Meters::new("yadkv_test");
        meters.add_process().expect("new names");
        let text = meters.text().expect("text");
        for one in meters.descriptions() {
            assert!(text.contains(&one.name), "{} is not in {text}", one.name);
        }
    }
}
