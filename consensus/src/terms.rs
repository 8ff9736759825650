//! Which term each entry near the end of the log has, without reading the entries.
//!
//! *Place*: kept by [`crate::storage`]; raft-rs asks for terms at every append and acknowledgement.
//!
//! Terms only rise along a log, so the starts of their runs say everything:
//!
//! ```text
//! index  6 7 8 9 10 11      runs  (6, t6) (9, t7) (11, t9)
//! term   6 6 6 7  7  9
//! ```
//!
//! *Limits*: at most [`RUNS_MAX`] runs; older ones are forgotten and read from the log instead.
//!
//! *Next stop*: [`crate::storage`].

use std::collections::VecDeque;
use yadkv_proto::id::{Index, Term};

/// Runs kept. A run is one leadership; a group that had more since it was opened reads older terms from disk.
const RUNS_MAX: usize = 256;

/// Terms of a suffix of the log; never empty.
#[derive(Debug)]
pub(crate) struct Terms {
    /// First index and term of each run, ascending in both.
    runs: VecDeque<(Index, Term)>,
    last: Index,
}

impl Terms {
    /// Knows one position only.
    pub(crate) fn new(last: Index, term: Term) -> Self {
        Self {
            runs: VecDeque::from([(last, term)]),
            last,
        }
    }

    /// Last position of the log.
    pub(crate) fn last(&self) -> Index {
        self.last
    }

    /// Term of the last position.
    pub(crate) fn last_term(&self) -> Term {
        self.runs.back().map_or(Term::NONE, |run| run.1)
    }

    /// The term at `index`; `None` if it is outside of what is known.
    pub(crate) fn get(&self, index: Index) -> Option<Term> {
        if index > self.last {
            return None;
        }
        let after = self.runs.partition_point(|run| run.0 <= index);
        self.runs.get(after.checked_sub(1)?).map(|run| run.1)
    }

    /// Notes that the log now ends with an entry at `index`; whatever was there or behind it is gone.
    pub(crate) fn append(&mut self, index: Index, term: Term) {
        while self.runs.back().is_some_and(|run| run.0 >= index) {
            self.runs.pop_back();
        }
        if self.runs.back().is_none_or(|run| run.1 != term) {
            self.runs.push_back((index, term));
        }
        if self.runs.len() > RUNS_MAX {
            self.runs.pop_front();
        }
        self.last = index;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Against a plain list of (index, term), under appends that cut and extend.
        #[test]
        fn like_a_list(steps in proptest::collection::vec((0..4_u64, 1..5_usize, 0..2_u64), 1..40)) {
            let mut terms = Terms::new(Index(5), Term(5));
            let mut list = vec![(5_u64, 5_u64)];
            let mut term = 5;
            for (cut, count, raise) in steps {
                term += raise;
                let last = list.last().unwrap().0;
                let start = (last + 1 - cut.min(last - 5)).max(6);
                list.retain(|entry| entry.0 < start);
                for index in start..start + count as u64 {
                    list.push((index, term));
                    terms.append(Index(index), Term(term));
                }
                for (index, term) in &list {
                    if let Some(known) = terms.get(Index(*index)) {
                        prop_assert_eq!(known, Term(*term));
                    }
                }
                prop_assert_eq!(terms.last().0, list.last().unwrap().0);
                prop_assert_eq!(terms.last_term().0, list.last().unwrap().1);
                prop_assert_eq!(terms.get(Index(terms.last().0 + 1)), None);
            }
        }
    }
}
