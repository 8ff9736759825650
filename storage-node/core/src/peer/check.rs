//! A check of the region's replicas, on the side of the worker.
//!
//! *Life of a check*: asked for, or due → an entry proposed → applied, on every replica: [`DigestTask`] for the
//! background → its answer goes to the replica that asked, which compares ([`crate::check::compare`]).
//!
//! *Invariants*: one check at a time is led here; one view is held, the latest.
//!
//! *Limits and failure*: a view is let go of after [`HOLD_MAX`]. A check whose entry changes nothing, or whose leader
//! steps down, is given up: its caller may ask again.
//!
//! *Next stop*: [`crate::check`].

use super::Peer;
use crate::check::compare::{Answer, Comparison, Next};
use crate::check::digest::{Part, Scope};
use crate::check::{Point, Report};
use crate::config::Config;
use crate::layout::FORMAT;
use crate::refusal;
use crate::respond::Responder;
use crate::store::message::{CheckTask, DigestTask, Effects};
use prost::Message;
use std::time::Duration;
use yadkv_proto::id::{Index, PeerId, StoreId};
use yadkv_proto::metapb;
use yadkv_proto::time::{Moment, Now};
use yadkv_proto::yadkvpb::check_message::What;
use yadkv_proto::yadkvpb::command::Operation;
use yadkv_proto::yadkvpb::{Check, CheckMessage, Command, Digests, Envelope, RegionEntry};

/// How long a replica keeps the view of a check, for the second question.
const HOLD_MAX: Duration = Duration::from_secs(120);

/// What is under way.
#[derive(Default)]
pub(super) struct Checks {
    leads: Option<Comparison>,
    held: Option<(Moment, Point)>,
    /// When the next one is due, once that is known.
    due: Option<Moment>,
}

impl Peer {
    /// A caller wants the replicas compared.
    pub fn check_replicas(&mut self, task: CheckTask, store: StoreId, now: Now) {
        match self.check(&task.context, store) {
            Ok(()) => self.propose_check(Some(task.responder), now),
            Err(error) => task.responder.refuse(error),
        }
    }

    /// Has the replicas compared, if that is due.
    pub(super) fn check_if_due(&mut self, now: Now, config: &Config, effects: &mut Effects) {
        self.checks
            .held
            .take_if(|(since, _)| now.moment.since(*since) >= HOLD_MAX);
        self.advance_check(now.moment, effects);
        // The first one comes at another moment for each region.
        let first = now.moment.after(share(config.check_interval, self.id().0));
        let due = self.checks.due.get_or_insert(first);
        if *due <= now.moment {
            *due = now.moment.after(config.check_interval);
            if self.is_leader() && self.checks.leads.is_none() {
                self.propose_check(None, now);
            }
        }
    }

    /// The next check is due by another interval, from now on.
    pub fn check_interval_changed(&mut self) {
        self.checks.due = None;
    }

    /// Time has passed; nobody waits for a replica that is down.
    fn advance_check(&mut self, now: Moment, effects: &mut Effects) {
        let down = match self.checks.leads {
            Some(_) => self.down(),
            None => return,
        };
        for stats in down {
            let peer = PeerId(stats.peer.unwrap_or_default().id);
            let reason = format!("nothing is heard of it for {} s", stats.down_seconds);
            let leads = self.checks.leads.as_mut();
            let Some(leads) = leads.filter(|leads| leads.has_started()) else {
                return;
            };
            let is_pairs = leads.lists_pairs();
            let next = leads.answer(peer, is_pairs, Err(reason), now);
            self.go_on_checking(next, effects);
        }
        if let Some(leads) = &mut self.checks.leads {
            let next = leads.advance(now);
            self.go_on_checking(next, effects);
        }
    }

    fn propose_check(&mut self, caller: Option<Responder>, now: Now) {
        let busy = self.checks.leads.is_some() || self.holds_writes();
        if busy {
            let error = refusal::busy("a check or a change of the region is under way");
            return caller
                .into_iter()
                .for_each(|caller| caller.refuse(error.clone()));
        }
        let own = PeerId(self.view.peer().id);
        let command = Command {
            version: self.view.version(),
            operation: Some(Operation::Check(Check { asked_by: own.0 })),
        };
        let entry = RegionEntry {
            format: FORMAT,
            now_ms: now.wall_ms,
            commands: vec![command],
        };
        match self.node.propose(entry.encode_to_vec().into(), now.moment) {
            Ok(proposal) => {
                let comparison = Comparison::new(proposal.index, own, caller, now.moment);
                self.checks.leads = Some(comparison);
            }
            Err(error) => {
                let error = refusal::busy(&error.to_string());
                caller
                    .into_iter()
                    .for_each(|caller| caller.refuse(error.clone()));
            }
        }
    }

    /// Entries were applied, the last of them perhaps a check's.
    pub(super) fn check_applied(
        &mut self,
        point: Option<Point>,
        now: Moment,
        effects: &mut Effects,
    ) {
        if let Some(point) = point {
            let leads = self.checks.leads.as_mut();
            if let Some(leads) = leads.filter(|leads| leads.index() == point.index) {
                leads.start(point.region.clone(), now);
                self.node.announce_commit();
            }
            effects.digests.push(DigestTask {
                point: point.clone(),
                scope: None,
            });
            self.checks.held = Some((now, point));
        }
        let applied = self.applied.index;
        let void = |leads: &mut Comparison| leads.index() <= applied && !leads.has_started();
        if let Some(caller) = self
            .checks
            .leads
            .take_if(void)
            .and_then(Comparison::abandon)
        {
            caller.refuse(refusal::epoch_not_match(self.view.current_regions()));
        }
    }

    /// What was read of this replica.
    pub fn digested(
        &mut self,
        task: &DigestTask,
        answer: Answer,
        now: Moment,
        effects: &mut Effects,
    ) {
        let (asked_by, own) = (task.point.asked_by, self.view.peer().id);
        let is_pairs = task.scope.is_some();
        if asked_by.0 == own {
            let from = PeerId(own);
            return self.take_answer(task.point.index, (from, is_pairs, answer), now, effects);
        }
        let what = match answer {
            Ok(parts) => {
                let parts = parts.into_iter().map(Part::into_message).collect();
                match is_pairs {
                    true => What::Pairs(Digests { parts }),
                    false => What::Whole(Digests { parts }),
                }
            }
            Err(reason) => What::Failed(reason),
        };
        self.send_check(asked_by, task.point.index, what, effects);
    }

    /// Another replica asks or answers.
    pub fn check_message(
        &mut self,
        from: PeerId,
        message: CheckMessage,
        now: Moment,
        effects: &mut Effects,
    ) {
        let index = Index(message.index);
        let list = |digests: Digests| Ok(digests.parts.into_iter().map(Part::of).collect());
        let (is_pairs, answer) = match message.what {
            Some(What::List(scope)) => return self.list(from, index, Scope::of(scope), effects),
            Some(What::Whole(digests)) => (false, list(digests)),
            Some(What::Pairs(digests)) => (true, list(digests)),
            Some(What::Failed(reason)) => {
                let leads = self.checks.leads.as_ref();
                (leads.is_some_and(Comparison::lists_pairs), Err(reason))
            }
            None => return,
        };
        self.take_answer(index, (from, is_pairs, answer), now, effects);
    }

    fn list(&mut self, from: PeerId, index: Index, scope: Option<Scope>, effects: &mut Effects) {
        let held = self.checks.held.as_ref();
        let held = held.filter(|(_, point)| point.index == index && point.asked_by == from);
        match (held, scope) {
            (Some((_, point)), Some(scope)) => effects.digests.push(DigestTask {
                point: point.clone(),
                scope: Some(scope),
            }),
            _ => {
                let reason = "the view is gone".to_owned();
                self.send_check(from, index, What::Failed(reason), effects);
            }
        }
    }

    fn take_answer(
        &mut self,
        index: Index,
        (from, is_pairs, answer): (PeerId, bool, Answer),
        now: Moment,
        effects: &mut Effects,
    ) {
        let leads = self.checks.leads.as_mut();
        if let Some(leads) = leads.filter(|leads| leads.index() == index) {
            let next = leads.answer(from, is_pairs, answer, now);
            self.go_on_checking(next, effects);
        }
    }

    fn go_on_checking(&mut self, next: Next, effects: &mut Effects) {
        match next {
            Next::Wait => {}
            Next::List(scope, peers) => self.ask_for_pairs(&scope, &peers, effects),
            Next::Over(report) => {
                if let Some(leads) = self.checks.leads.take() {
                    leads.tell(&report);
                }
                say(&report);
                effects.checks.push(report);
            }
        }
    }

    fn ask_for_pairs(&mut self, scope: &Scope, peers: &[metapb::Peer], effects: &mut Effects) {
        let Some(index) = self.checks.leads.as_ref().map(Comparison::index) else {
            return;
        };
        let own = PeerId(self.view.peer().id);
        for peer in peers.iter().map(|peer| PeerId(peer.id)) {
            match peer == own {
                true => self.list(own, index, Some(scope.clone()), effects),
                false => {
                    let what = What::List(scope.clone().into_message());
                    self.send_check(peer, index, what, effects);
                }
            }
        }
    }

    fn send_check(&self, to: PeerId, index: Index, what: What, effects: &mut Effects) {
        let region = self.view.region();
        let Some(to) = region.peers.iter().find(|peer| peer.id == to.0) else {
            return;
        };
        effects.send.push(Envelope {
            region_id: region.id,
            from: Some(*self.view.peer()),
            to: Some(*to),
            epoch: region.region_epoch,
            check: Some(Box::new(CheckMessage {
                index: index.0,
                what: Some(what),
            })),
            ..Envelope::default()
        });
    }

    /// This replica does not lead any more, or is over.
    pub(super) fn abandon_check(&mut self) {
        if let Some(caller) = self.checks.leads.take().and_then(Comparison::abandon) {
            caller.refuse(self.not_leader());
        }
    }
}

/// A part of the interval that depends on the region: Fibonacci hashing spreads them over it.
fn share(interval: Duration, region: u64) -> Duration {
    let part = region.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 48;
    interval.mul_f64(part as f64 / 65536.0)
}

fn say(report: &Report) {
    let region = report.region.0;
    for (peer, reason) in &report.silent {
        tracing::warn!(
            region,
            peer = peer.id,
            store = peer.store_id,
            reason,
            "a replica was not compared"
        );
    }
    if let Some(difference) = &report.difference {
        let stores = |peers: &Vec<metapb::Peer>| -> Vec<u64> {
            peers.iter().map(|peer| peer.store_id).collect()
        };
        let groups: Vec<_> = difference.groups.iter().map(stores).collect();
        tracing::error!(
            region,
            index = report.index.0,
            key = %difference.key.escape_ascii(),
            stores_that_agree = ?groups,
            "the replicas of a region differ: move the wrong ones to other stores"
        );
    }
}
