//! Reads: answered from applied state, released only under the lease of a later moment.
//!
//! *Place*: [`super::serve`] brings reads, [`super::stamp`] holds timestamps here too; `round` releases.
//!
//! *Life of a read*: the answer is made → held → `round` brings a clock reading that is later than the answer:
//! covered by the lease, it goes; not covered, the read is made again after a round of ReadIndex, and
//! timestamps go back to wait for a lease.
//!
//! *Why the later reading*: a pause between looking at the clock and making the answer could outlive the
//! lease; a lease that covers a moment after the answer was made proves that it was made under it.
//!
//! *Limits*: [`super::PARKED_MAX`] reads ask by ReadIndex, each at most 1.5 s.
//!
//! *Source*: `ARCHITECTURE.md`, How data would be lost.
//!
//! *Next stop*: [`super::stamp`].

use super::call::{Answer, Call, Refusal};
use super::{Member, PARKED_MAX, Seat};
use crate::answer::overview::{self, Overview};
use crate::answer::{self, Known};
use std::collections::{BTreeMap, VecDeque};
use yadkv_consensus::{ReadReady, ReadToken};
use yadkv_proto::id::Index;
use yadkv_proto::time::{Moment, Now};

/// A wish for timestamps.
pub(super) struct Wish {
    pub(super) call: Call,
    pub(super) count: u64,
    pub(super) deadline: Moment,
}

/// Answers held and reads that wait.
#[derive(Default)]
pub(super) struct Reading {
    /// Reads with their answers, until the next `round`.
    held: Vec<(Call, Answer)>,
    /// Timestamps given but not sent, until the next `round`.
    pub(super) held_stamps: Vec<(Wish, Answer)>,
    /// Wishes for timestamps, first come first served.
    pub(super) wishes: VecDeque<Wish>,
    /// Reads that wait for a round of ReadIndex, with their deadline.
    asking: BTreeMap<ReadToken, (Vec<Call>, Moment)>,
    /// Reads that wait until an index is applied.
    confirmed: Vec<(Index, Vec<Call>)>,
    /// Calls in `asking` and `confirmed`.
    asking_calls: usize,
}

impl Reading {
    pub(super) fn has_held(&self) -> bool {
        !self.held.is_empty() || !self.held_stamps.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.wishes.len() + self.asking_calls
    }

    /// The office ends: everything that waits is refused.
    pub(super) fn refuse_all(&mut self, refusal: &Refusal) {
        let all = std::mem::take(self);
        let held = all.held.into_iter().map(|(call, _)| call);
        let stamps = all.held_stamps.into_iter().map(|(wish, _)| wish.call);
        let wishes = all.wishes.into_iter().map(|wish| wish.call);
        let asking = all.asking.into_values().flat_map(|(calls, _)| calls);
        let confirmed = all.confirmed.into_iter().flat_map(|(_, calls)| calls);
        for call in held
            .chain(stamps)
            .chain(wishes)
            .chain(asking)
            .chain(confirmed)
        {
            call.refuse(refusal.clone());
        }
    }
}

impl Member {
    /// Makes the answer to a read and holds it for the next `round`.
    pub(super) fn hold_read(&mut self, call: Call, now: Now) {
        match self.make_answer(&call, now) {
            Some(answer) => self.reading.held.push((call, answer)),
            None => call.refuse(Refusal::Unavailable("the leader left office")),
        }
    }

    /// Whether the lease covers this moment.
    pub(super) fn covers(&self, moment: Moment) -> bool {
        self.node.lease().is_some_and(|until| moment < until)
    }

    // ANCHOR: release
    /// Lets go what the lease covers at `now`; sends the rest the long way.
    pub(super) fn release(&mut self, now: Now) {
        if !self.reading.has_held() {
            return;
        }
        let covered = matches!(self.seat, Seat::Leader(_)) && self.covers(now.moment);
        let held = std::mem::take(&mut self.reading.held);
        let stamps = std::mem::take(&mut self.reading.held_stamps);
        if covered {
            for (call, answer) in held {
                call.answer(answer);
            }
            for (wish, answer) in stamps {
                wish.call.answer(answer);
            }
            return;
        }
        // The timestamps are thrown away; their wishes are the oldest again.
        for (wish, _) in stamps.into_iter().rev() {
            self.reading.wishes.push_front(wish);
        }
        self.ask(held.into_iter().map(|(call, _)| call).collect(), now);
    }
    // ANCHOR_END: release

    /// Starts a round of ReadIndex for these reads.
    fn ask(&mut self, calls: Vec<Call>, now: Now) {
        if calls.is_empty() {
            return;
        }
        let full = self.reading.asking_calls + calls.len() > PARKED_MAX;
        match self.node.read_index(now.moment) {
            Ok(token) if !full => {
                self.reading.asking_calls += calls.len();
                self.reading
                    .asking
                    .insert(token, (calls, Self::deadline(now)));
            }
            _ => {
                for call in calls {
                    call.refuse(Refusal::Unavailable(
                        "the leader has no lease and cannot ask the others",
                    ));
                }
            }
        }
    }

    /// Rounds of ReadIndex came back or were lost.
    pub(super) fn answer_reads(&mut self, ready: Vec<ReadReady>, lost: &[ReadToken], now: Now) {
        for token in lost {
            for call in self.take_asking(*token) {
                call.refuse(Refusal::Unavailable("leadership was lost"));
            }
        }
        for read in ready {
            let calls = self.take_asking(read.token);
            if !calls.is_empty() {
                self.reading.asking_calls += calls.len();
                self.reading.confirmed.push((read.index, calls));
            }
        }
        let applied = self.cluster.applied().0;
        let confirmed = std::mem::take(&mut self.reading.confirmed);
        for (index, calls) in confirmed {
            if index > applied {
                self.reading.confirmed.push((index, calls));
                continue;
            }
            self.reading.asking_calls -= calls.len();
            for call in calls {
                match self.make_answer(&call, now) {
                    Some(answer) => call.answer(answer),
                    None => call.refuse(Refusal::Unavailable("the leader left office")),
                }
            }
        }
    }

    fn take_asking(&mut self, token: ReadToken) -> Vec<Call> {
        let (calls, _) = self.reading.asking.remove(&token).unwrap_or_default();
        self.reading.asking_calls -= calls.len();
        calls
    }

    /// Refuses reads and wishes that have waited long enough.
    pub(super) fn expire_reading(&mut self, now: Now) {
        let overdue: Vec<_> = (self.reading.asking.iter())
            .filter(|(_, (_, deadline))| now.moment >= *deadline)
            .map(|(token, _)| *token)
            .collect();
        for token in overdue {
            for call in self.take_asking(token) {
                call.refuse(Refusal::Unavailable(
                    "the other members did not answer in time",
                ));
            }
        }
        // Wishes are in the order of their arrival, so of their deadlines.
        while self
            .reading
            .wishes
            .front()
            .is_some_and(|wish| now.moment >= wish.deadline)
        {
            if let Some(wish) = self.reading.wishes.pop_front() {
                wish.call.refuse(Refusal::Unavailable(
                    "no timestamp in time: no lease, or no higher bound",
                ));
            }
        }
    }

    fn make_answer(&self, call: &Call, now: Now) -> Option<Answer> {
        let Seat::Leader(office) = &self.seat else {
            return None;
        };
        let known = Known {
            cluster: &self.cluster,
            reports: &office.reports,
            now: now.moment,
        };
        match call {
            Call::Pd(request, _) => {
                answer::read(&known, request).map(|response| Answer::Pd(Box::new(response)))
            }
            Call::Order(..) => None,
            Call::Overview(_) => {
                let regions = overview::regions(&known);
                let operators = office.operators.running();
                let operators = operators.chain(office.operators.ended());
                Some(Answer::Overview(Box::new(Overview {
                    cluster_id: self.cluster.id().unwrap_or_default(),
                    leader: self.config.member,
                    members: self.config.members.clone(),
                    stores: overview::stores(&known, &regions, &self.config.schedule),
                    regions,
                    replicas: self.config.schedule.replicas,
                    operators: operators.cloned().collect(),
                    ended: office.operators.counts(),
                    tso_bound_ms: self.cluster.tso_bound_ms(),
                })))
            }
        }
    }
}
