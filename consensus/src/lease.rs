//! Until when a leader may answer reads without asking anyone.
//!
//! *Place*: [`crate::node`] feeds it; readers get [`crate::Node::lease`].
//!
//! *Types to know*: [`Lease`].
//!
//! *Life of a renewal*: the moment **before** something is sent is noted → a quorum has acknowledged it (an entry
//! of this term is committed, a read context is confirmed) → the lease runs from that noted moment.
//!
//! ```text
//! leader   ●noted ───── sent ───────────────── acknowledged: lease until noted + 550 ms
//! voters             ●processed ── refuse to vote for 800 ms (election) ──────▶
//! ```
//!
//! *Invariants*: acknowledgements carry no time, so nothing else ever renews (raft-rs's `recent_active` says
//! only that somebody answered at some time). No lease before an entry of the own term is committed. None for
//! the rest of the term once a `MsgTimeoutNow` was made: however late it arrives, it wins an election over
//! every promise of the voters.
//!
//! *Limits*: at most [`MARKS_MAX`] noted proposals; further ones wait for the next renewal.
//!
//! *Source*: Raft thesis §6.4.1.
//!
//! *Next stop*: [`crate::reads`].

use std::collections::VecDeque;
use std::time::Duration;
use yadkv_proto::id::{Index, Term};
use yadkv_proto::time::Moment;

/// Noted proposals of one leader.
const MARKS_MAX: usize = 1024;

/// The lease of one replica.
#[derive(Debug)]
pub(crate) struct Lease {
    duration: Duration,
    office: Option<Office>,
}

/// What a leader knows of its own term.
#[derive(Debug)]
struct Office {
    term: Term,
    /// Index of the entry with which the term began.
    first: Index,
    /// Whether that entry is committed.
    confirmed: bool,
    /// Moment from which the lease runs.
    since: Option<Moment>,
    /// A `MsgTimeoutNow` of this term exists.
    revoked: bool,
    /// Proposals that are not committed yet and when they were made; ascending in both.
    marks: VecDeque<(Index, Moment)>,
}

impl Lease {
    pub(crate) fn new(duration: Duration) -> Self {
        Self {
            duration,
            office: None,
        }
    }

    /// This replica leads `term`, which begins with the entry at `first`.
    pub(crate) fn take_office(&mut self, term: Term, first: Index, now: Moment) {
        self.office = Some(Office {
            term,
            first,
            confirmed: false,
            since: None,
            revoked: false,
            marks: VecDeque::from([(first, now)]),
        });
    }

    /// This replica leads no more.
    pub(crate) fn leave_office(&mut self) {
        self.office = None;
    }

    // ANCHOR: lease
    /// An entry was proposed.
    pub(crate) fn proposed(&mut self, index: Index, now: Moment) {
        let Some(office) = &mut self.office else {
            return;
        };
        let noted = office.marks.back().is_some_and(|mark| mark.1 == now);
        if !noted && office.marks.len() < MARKS_MAX {
            office.marks.push_back((index, now));
        }
    }

    /// Everything up to `commit` is committed.
    pub(crate) fn committed(&mut self, commit: Index) {
        let Some(office) = &mut self.office else {
            return;
        };
        office.confirmed |= office.first <= commit;
        while let Some((_, at)) = office.marks.pop_front_if(|mark| mark.0 <= commit) {
            office.since = office.since.max(Some(at));
        }
    }

    /// A quorum acknowledged, in this term, something that was registered at `at`.
    pub(crate) fn acknowledged(&mut self, at: Moment) {
        if let Some(office) = &mut self.office {
            office.since = office.since.max(Some(at));
        }
    }

    // ANCHOR_END: lease
    /// A `MsgTimeoutNow` exists: no lease for the rest of the term.
    pub(crate) fn revoke(&mut self) {
        if let Some(office) = &mut self.office {
            office.revoked = true;
        }
    }

    /// Whether an entry of the own term is committed.
    pub(crate) fn confirmed(&self) -> bool {
        self.office.as_ref().is_some_and(|office| office.confirmed)
    }

    /// Whether renewals can have an effect.
    pub(crate) fn renewable(&self) -> bool {
        self.office
            .as_ref()
            .is_some_and(|office| office.confirmed && !office.revoked)
    }

    /// The first moment at which the lease no longer holds.
    pub(crate) fn until(&self) -> Option<Moment> {
        let office = self.office.as_ref()?;
        (office.confirmed && !office.revoked)
            .then_some(office.since?)
            .map(|since| since.after(self.duration))
    }

    /// The term of the office.
    pub(crate) fn term(&self) -> Option<Term> {
        self.office.as_ref().map(|office| office.term)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Moment {
        Moment::default().after(Duration::from_millis(ms))
    }

    fn leader() -> Lease {
        let mut lease = Lease::new(Duration::from_millis(550));
        lease.take_office(Term(6), Index(6), at(100));
        lease
    }

    #[test]
    fn runs_from_the_propose_time_of_what_is_committed() {
        let mut lease = leader();
        assert_eq!(lease.until(), None);
        lease.proposed(Index(7), at(200));
        lease.proposed(Index(8), at(300));
        lease.committed(Index(5));
        assert_eq!(lease.until(), None);
        lease.committed(Index(7));
        assert_eq!(lease.until(), Some(at(750)));
        lease.committed(Index(8));
        assert_eq!(lease.until(), Some(at(850)));
    }

    #[test]
    fn entries_of_one_moment_share_a_mark() {
        let mut lease = leader();
        lease.proposed(Index(7), at(200));
        lease.proposed(Index(8), at(200));
        lease.committed(Index(7));
        assert_eq!(lease.until(), Some(at(750)));
    }

    #[test]
    fn an_acknowledged_context_renews_and_an_old_one_does_not_shorten() {
        let mut lease = leader();
        lease.acknowledged(at(150));
        assert_eq!(lease.until(), None, "nothing committed in the term yet");
        lease.committed(Index(6));
        lease.acknowledged(at(400));
        lease.acknowledged(at(300));
        assert_eq!(lease.until(), Some(at(950)));
    }

    #[test]
    fn none_after_a_transfer_was_ordered_nor_out_of_office() {
        let mut lease = leader();
        lease.committed(Index(6));
        lease.revoke();
        lease.acknowledged(at(400));
        assert_eq!(lease.until(), None);
        assert!(lease.confirmed());
        lease.take_office(Term(8), Index(9), at(500));
        lease.committed(Index(9));
        assert_eq!(lease.until(), Some(at(1050)));
        lease.leave_office();
        assert_eq!(lease.until(), None);
        assert!(!lease.confirmed());
    }
}
