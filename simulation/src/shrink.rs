//! A failing seed with fewer faults: those that are left are needed.
//!
//! *Place*: the binary calls [`shrink`]; it runs plans ([`crate::run::run_plan`]).
//!
//! *Types to know*: [`Shrunk`]; [`ddmin`] is the search itself, without any simulation.
//!
//! *Life of a search*: the whole seed fails, by some law → whole strikes are left out → single actions → clients → the
//! end of the faults comes sooner → and again, until a round finds nothing more. Each try is a run, which counts only
//! if it breaks the same law. What fails with other delays on the network ([`Plan::noise`]) is found as well.
//!
//! *Invariants*: a seed always shrinks to the same plan.
//!
//! *Limits*: [`RUNS_MAX`] runs; what is found until then still fails, but may not be the least.
//!
//! *Source*: Zeller & Hildebrandt, "Simplifying and isolating failure-inducing input", 2002.
//!
//! *Next stop*: [`crate::story`].

use crate::chronicle::Happening;
use crate::nemesis::plan::{Cause, Part, Plan};
use crate::run::{Ended, run_plan};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Runs that a search may take.
pub const RUNS_MAX: usize = 300;

/// What a search found.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// The plan that still fails.
    pub plan: Plan,
    /// Its failure.
    pub failure: String,
    /// Actions that were carried out by the whole seed, and by this plan.
    pub actions: (usize, usize),
    /// Runs that it took.
    pub runs: usize,
}

/// The law that a failure breaks: its first line without numbers, names of keys and what follows a colon.
pub fn law(failure: &str) -> String {
    let line = failure.lines().next().unwrap_or_default();
    let unquoted: String = line.split('"').step_by(2).collect();
    let (place, rest) = unquoted.split_once(": ").unwrap_or((&unquoted, ""));
    // A panic is told by its words.
    let words = if place == "panic" { rest } else { place };
    let mut law = String::new();
    for letter in words.chars() {
        match letter.is_ascii_digit() {
            true if law.ends_with('#') => {}
            true => law.push('#'),
            false => law.push(letter),
        }
    }
    law
}

/// A part of `items`, in their order, for which `fails` holds as it does for all of them; without any one of its
/// items it does not, as long as `fails` is a function of what it is given.
pub fn ddmin<T: Clone>(items: &[T], mut fails: impl FnMut(&[T]) -> bool) -> Vec<T> {
    if items.is_empty() || fails(&[]) {
        return Vec::new();
    }
    let mut kept = items.to_vec();
    let mut parts = 2;
    while kept.len() > 1 {
        let size = kept.len().div_ceil(parts);
        let chunks: Vec<Vec<T>> = kept.chunks(size).map(<[T]>::to_vec).collect();
        let without = |number: usize| -> Vec<T> {
            let others = chunks.iter().enumerate();
            let others = others.filter(|(other, _)| *other != number);
            others.flat_map(|(_, chunk)| chunk.clone()).collect()
        };
        if let Some(chunk) = chunks.iter().find(|chunk| fails(chunk)) {
            kept.clone_from(chunk);
            parts = 2;
        } else if let Some(rest) = (0..chunks.len()).map(without).find(|rest| fails(rest)) {
            kept = rest;
            parts = (parts - 1).max(2);
        } else if size == 1 {
            break;
        } else {
            parts = (parts * 2).min(kept.len());
        }
    }
    kept
}

/// The least plan found that breaks the same law as a seed; nothing if the seed is fine.
pub fn shrink(seed: u64) -> Option<Shrunk> {
    let plan = Plan::of(seed);
    let ended = run_plan(&plan);
    let failure = ended.failure.clone()?;
    let causes = causes(&ended);
    let mut search = Search {
        law: law(&failure),
        runs: 1,
        tried: BTreeMap::new(),
        best: (plan, failure),
        causes,
        failed_at: failed_at(&ended),
    };
    let all = search.causes.len();
    search.end();
    search.strikes();
    loop {
        let before = search.best.0.clone();
        search.end();
        search.actions();
        search.clients();
        if search.best.0 == before || search.runs >= RUNS_MAX {
            break;
        }
    }
    let (plan, failure) = search.best;
    Some(Shrunk {
        plan,
        failure,
        actions: (all, search.causes.len()),
        runs: search.runs,
    })
}

/// The actions of strikes that a run carried out, and when, nanoseconds after faults began.
pub fn causes(ended: &Ended) -> BTreeMap<Cause, u64> {
    let sky = ended.world.sky.lock();
    let happened = sky.chronicle.iter();
    let ordered = happened.filter_map(|(at, what)| match what {
        Happening::Ordered(cause, _) => Some((*cause, at.saturating_sub(ended.world.strikes_from))),
        _ => None,
    });
    ordered.collect()
}

fn failed_at(ended: &Ended) -> u64 {
    ended.world.now().saturating_sub(ended.world.strikes_from)
}

struct Search {
    law: String,
    runs: usize,
    /// Plans that were run, and whether they fail.
    tried: BTreeMap<String, bool>,
    /// The least plan, and its failure.
    best: (Plan, String),
    /// What it carried out, and when, nanoseconds after faults began.
    causes: BTreeMap<Cause, u64>,
    /// When it failed, likewise.
    failed_at: u64,
}

impl Search {
    /// Whether a plan fails, and is the best then; the fewer parts it has, the more delays are tried.
    fn fails(&mut self, plan: Plan) -> bool {
        let noises = match plan.only.as_ref().map_or(usize::MAX, BTreeSet::len) {
            0..=2 => 6,
            3..=6 => 3,
            7..=12 => 1,
            _ => 0,
        };
        let own = self.best.0.noise;
        let others = (0..=noises).filter(|noise| *noise != own);
        std::iter::once(own).chain(others).any(|noise| {
            let plan = plan.clone();
            self.fails_so(Plan { noise, ..plan })
        })
    }

    /// Whether it fails with its own delays.
    fn fails_so(&mut self, plan: Plan) -> bool {
        if let Some(known) = self.tried.get(&plan.to_string()) {
            return *known && self.best.0 == plan;
        }
        if self.runs >= RUNS_MAX {
            return false;
        }
        self.runs += 1;
        let ended = run_plan(&plan);
        let same = |failure: &String| law(failure) == self.law;
        let failure = ended.failure.clone().filter(same);
        self.tried.insert(plan.to_string(), failure.is_some());
        let Some(failure) = failure else {
            return false;
        };
        self.causes = causes(&ended);
        self.failed_at = failed_at(&ended);
        self.best = (plan, failure);
        true
    }

    fn only(&mut self, parts: impl IntoIterator<Item = Part>) -> bool {
        let only = Some(parts.into_iter().collect());
        let plan = self.best.0.clone();
        self.fails(Plan { only, ..plan })
    }

    fn strikes(&mut self) {
        let strikes = self.causes.keys().map(|cause| cause.strike);
        let strikes: BTreeSet<u64> = strikes.collect();
        let strikes = Vec::from_iter(strikes);
        ddmin(&strikes, |kept| {
            self.only(kept.iter().copied().map(Part::Strike))
        });
    }

    fn actions(&mut self) {
        let causes: Vec<Cause> = self.causes.keys().copied().collect();
        ddmin(&causes, |kept| {
            self.only(kept.iter().copied().map(Part::Action))
        });
    }

    fn clients(&mut self) {
        let clients = self.best.0.clients.clone();
        ddmin(&clients, |kept| {
            let plan = self.best.0.clone();
            let clients = kept.to_vec();
            self.fails(Plan { clients, ..plan })
        });
    }

    /// All is well soon after the last action, or at least after the failure.
    fn end(&mut self) {
        let last = self.causes.values().max().copied().unwrap_or_default();
        let mut ends = [500, 1000, 2000, 4000, 8000]
            .map(|more| last / 1_000_000 + more)
            .to_vec();
        ends.push(self.failed_at / 1_000_000 + 100);
        ends.sort_unstable();
        for end in ends {
            let safety = Duration::from_millis(end);
            let plan = self.best.0.clone();
            if safety >= plan.safety || self.fails_so(Plan { safety, ..plan }) {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_left_is_what_is_needed(
            items in 1..40_u64,
            needed in proptest::collection::btree_set(0..40_u64, 0..6),
        ) {
            let all = Vec::from_iter(0..items);
            let needed = needed.into_iter().filter(|item| *item < items).collect::<Vec<_>>();
            let fails = |kept: &[u64]| needed.iter().all(|item| kept.contains(item));
            prop_assert_eq!(ddmin(&all, fails), needed);
        }

        #[test]
        fn one_of_two_ways_to_fail_is_left(pair in 0..19_u64, single in 20..40_u64) {
            let all = Vec::from_iter(0..40_u64);
            let both = [pair, pair + 1];
            let fails = |kept: &[u64]| {
                kept.contains(&single) || both.iter().all(|item| kept.contains(item))
            };
            let left = ddmin(&all, fails);
            prop_assert!(left == [single] || left == both, "{:?}", left);
        }
    }

    #[test]
    fn a_law_has_no_numbers_and_no_keys() {
        let law_of = |number, key: &str| {
            law(&format!(
                "key \"{key}\" of API V{number} is not linearizable\n? more"
            ))
        };
        assert_eq!(law_of(1, "b"), law_of(2, "item: 7"));
        assert_ne!(
            law_of(1, "b"),
            law("region 7 has two leaders in term 3: peers 1 and 2")
        );
        assert_eq!(
            law("region 7 has two leaders in term 3: peers 1 and 2"),
            law("region 21 has two leaders in term 12: peers 8 and 9")
        );
        assert_ne!(law("panic: no entry 7"), law("panic: a second answer"));
    }
}
