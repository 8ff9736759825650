//! Turns at a fixed rate, for an open loop.
//!
//! *Place*: [`crate::load`]'s clients wait here.
//!
//! *Life of a turn*: its moment comes → a thread of its own notices, within a tenth of a millisecond or so (tokio's timer
//! would be late by up to one) → the client that has waited longest takes it, at once or as soon as one is free.
//!
//! *Invariants*: turns are taken in order, each with the moment that was meant for it, however late it is; none after the
//! end.
//!
//! *Limits*: up to 10^9 turns a second; those that nobody takes are only counted.
//!
//! *Next stop*: [`crate::report`].

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// Moments of a load. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    times: Times,
    /// A permit for each turn that has come and that nobody has taken.
    due: Arc<Semaphore>,
    /// Turns that were taken.
    taken: Arc<AtomicU64>,
}

#[derive(Clone, Copy, Debug)]
struct Times {
    begin: Instant,
    end: Instant,
    /// Turns a second.
    rate: f64,
}

/// Turns that nobody has taken.
#[derive(Debug)]
pub(crate) struct Left {
    times: Times,
    first: u64,
    behind: u64,
}

impl Schedule {
    /// Begins to give turns.
    ///
    /// # Errors
    /// The operating system has no thread for it.
    pub(crate) fn begin(begin: Instant, end: Instant, rate: f64) -> std::io::Result<Self> {
        let this = Self {
            times: Times { begin, end, rate },
            due: Arc::new(Semaphore::new(0)),
            taken: Arc::default(),
        };
        let (times, due) = (this.times, Arc::downgrade(&this.due));
        let thread = std::thread::Builder::new().name("pace".into());
        thread.spawn(move || times.give(&due))?;
        Ok(this)
    }

    /// Waits for a turn, and says when it was to be; `None` if the time is over.
    pub(crate) async fn next(&self) -> Option<Instant> {
        // It is closed at the end.
        self.due.acquire().await.ok()?.forget();
        if Instant::now() >= self.times.end {
            return None;
        }
        Some(
            self.times
                .moment(self.taken.fetch_add(1, Ordering::Relaxed)),
        )
    }

    /// What is left at the end.
    pub(crate) fn left(&self) -> Left {
        let first = self.taken.load(Ordering::Relaxed);
        Left {
            times: self.times,
            first,
            behind: self.times.all().max(first),
        }
    }
}

impl Times {
    fn moment(&self, turn: u64) -> Instant {
        self.begin + Duration::from_secs_f64(turn as f64 / self.rate)
    }

    /// Turns whose moment is before the end.
    fn all(&self) -> u64 {
        ((self.end - self.begin).as_secs_f64() * self.rate).ceil() as u64
    }

    fn give(self, due: &Weak<Semaphore>) {
        let mut given = 0;
        loop {
            // Nobody waits any more.
            let Some(due) = due.upgrade() else {
                return;
            };
            let now = Instant::now();
            if now >= self.end {
                return due.close();
            }
            let passed = now.saturating_duration_since(self.begin).as_secs_f64();
            let reached = ((passed * self.rate) as u64 + 1).min(self.all());
            due.add_permits((reached - given) as usize);
            given = reached;
            drop(due);
            let next = self.moment(given).min(self.end);
            std::thread::sleep(next.saturating_duration_since(now));
        }
    }
}

impl Left {
    /// How long those that were to begin from a moment on had waited at the end, and how many so long: a few groups of
    /// them.
    pub(crate) fn waited(&self, from: Instant) -> impl Iterator<Item = (Duration, u64)> + '_ {
        const GROUPS: u64 = 10_000;
        let before = from
            .saturating_duration_since(self.times.begin)
            .as_secs_f64();
        let first = self.first.max((before * self.times.rate).ceil() as u64);
        let step = self.behind.saturating_sub(first).div_ceil(GROUPS).max(1);
        (first..self.behind)
            .step_by(step as usize)
            .map(move |turn| {
                let moment = self.times.moment(turn);
                let waited = self.times.end.saturating_duration_since(moment);
                (waited, step.min(self.behind - turn))
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn turns_come_in_order_each_with_its_moment() {
        let begin = Instant::now();
        let end = begin + Duration::from_millis(100);
        let schedule = Schedule::begin(begin, end, 100.0).expect("a thread");
        let mut turns = Vec::new();
        while let Some(moment) = schedule.next().await {
            assert!(Instant::now() >= moment, "not before its moment");
            turns.push(moment);
        }
        assert!(Instant::now() >= end);
        let left = schedule.left();
        assert_eq!((turns.len() as u64, left.behind), (left.first, 10));
        for (number, moment) in (0..).zip(&turns) {
            assert_eq!(*moment, begin + Duration::from_millis(10 * number));
        }
    }

    #[test]
    fn what_nobody_takes_has_waited_until_the_end() {
        let begin = Instant::now();
        let left = Left {
            times: Times {
                begin,
                end: begin + Duration::from_secs(10),
                rate: 1e6,
            },
            first: 1_000_000,
            behind: 10_000_000,
        };
        let all: Vec<_> = left.waited(begin).collect();
        assert_eq!(all.iter().map(|(_, count)| count).sum::<u64>(), 9_000_000);
        assert_eq!(all[0], (Duration::from_secs(9), 900));
        let late = left.waited(begin + Duration::from_secs(9));
        assert_eq!(late.map(|(_, count)| count).sum::<u64>(), 1_000_000);
    }
}
