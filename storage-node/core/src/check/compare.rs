//! The leader's side of a check: collects digests, finds where they part.
//!
//! *Life*: proposed → the own replica has applied the entry ([`Comparison::start`]) → digests of all, or time is up →
//! the same: over; else the pairs of the first stretch that differs → all, or time is up → over.
//!
//! *Invariants*: only answers to the question that is open are taken.
//!
//! *Limits*: [`WAIT_MAX`] a question.
//!
//! *Next stop*: [`super::digest`].

use super::digest::{Part, Scope, first_difference};
use super::{Difference, Report};
use crate::respond::{Outcome, Responder};
use std::collections::BTreeMap;
use std::time::Duration;
use yadkv_proto::id::{Index, PeerId, RegionId};
use yadkv_proto::metapb::{Peer, Region};
use yadkv_proto::time::Moment;

/// How long a replica may take to answer. It has to apply what comes before, and to read the region.
pub const WAIT_MAX: Duration = Duration::from_secs(45);

/// What a replica answers: its parts, or why it has none.
pub type Answer = Result<Vec<Part>, String>;

/// A check that this replica leads.
pub struct Comparison {
    index: Index,
    since: Moment,
    caller: Option<Responder>,
    /// The region as it was there, once that is known.
    region: Option<Region>,
    own: PeerId,
    answers: BTreeMap<PeerId, Answer>,
    stage: Stage,
}

/// The question that is open.
enum Stage {
    /// Digests of everything.
    Whole,
    /// The pairs of a stretch; what was found out before.
    Pairs(Scope, Box<Report>),
}

/// What a comparison does next.
#[derive(Debug)]
pub enum Next {
    /// It waits for answers.
    Wait,
    /// These replicas are asked for the pairs of a stretch.
    List(Scope, Vec<Peer>),
    /// It is over.
    Over(Report),
}

impl Comparison {
    /// An entry was proposed at `index`.
    pub fn new(index: Index, own: PeerId, caller: Option<Responder>, now: Moment) -> Self {
        Self {
            index,
            since: now,
            caller,
            region: None,
            own,
            answers: BTreeMap::new(),
            stage: Stage::Whole,
        }
    }

    /// Position of the entry.
    pub fn index(&self) -> Index {
        self.index
    }

    /// Whether pairs are asked for.
    pub fn lists_pairs(&self) -> bool {
        matches!(self.stage, Stage::Pairs(..))
    }

    /// Whether the own replica has applied it.
    pub fn has_started(&self) -> bool {
        self.region.is_some()
    }

    /// The own replica has applied it.
    pub fn start(&mut self, region: Region, now: Moment) {
        self.region = Some(region);
        self.since = now;
    }

    /// A replica answers, to the question for pairs or to the one before.
    pub fn answer(&mut self, from: PeerId, is_pairs: bool, answer: Answer, now: Moment) -> Next {
        if is_pairs == self.lists_pairs() {
            self.answers.entry(from).or_insert(answer);
        }
        self.advance(now)
    }

    /// Time has passed.
    pub fn advance(&mut self, now: Moment) -> Next {
        let Some(region) = &self.region else {
            return Next::Wait;
        };
        let asked = match &self.stage {
            Stage::Whole => &region.peers,
            Stage::Pairs(_, report) => &report.compared,
        };
        let missing = |peer: &Peer| !self.answers.contains_key(&PeerId(peer.id));
        if asked.iter().any(missing) && now.since(self.since) < WAIT_MAX {
            return Next::Wait;
        }
        let answers = std::mem::take(&mut self.answers);
        match std::mem::replace(&mut self.stage, Stage::Whole) {
            Stage::Whole => self.judge(answers, now),
            Stage::Pairs(scope, report) => Next::Over(locate(scope, *report, &answers)),
        }
    }

    /// Everybody who will has sent the digests of everything.
    fn judge(&mut self, answers: BTreeMap<PeerId, Answer>, now: Moment) -> Next {
        let region = self.region.clone().unwrap_or_default();
        let (mut compared, mut silent) = (Vec::new(), Vec::new());
        let mut lists: Vec<(Peer, &[Part])> = Vec::new();
        for peer in region.peers {
            match answers.get(&PeerId(peer.id)) {
                Some(Ok(parts)) => {
                    compared.push(peer);
                    lists.push((peer, parts));
                }
                Some(Err(reason)) => silent.push((peer, reason.clone())),
                None => silent.push((peer, "it has not answered in time".into())),
            }
        }
        lists.sort_by_key(|(peer, _)| (peer.id != self.own.0, peer.id));
        let leads = lists.first().map_or(&[][..], |(_, parts)| *parts);
        let mut report = Report {
            region: RegionId(region.id),
            index: self.index,
            pairs: leads.iter().map(|part| part.pairs).sum(),
            compared,
            silent,
            difference: None,
        };
        let parts: Vec<_> = lists.iter().map(|(_, parts)| *parts).collect();
        let Some(scope) = first_difference(&parts) else {
            return Next::Over(report);
        };
        report.difference = Some(Difference {
            family: scope.family,
            key: scope.range.start.clone(),
            exact: false,
            groups: groups(&lists),
        });
        let asked = report.compared.clone();
        self.stage = Stage::Pairs(scope.clone(), Box::new(report));
        self.since = now;
        Next::List(scope, asked)
    }

    /// Tells whoever asked.
    pub fn tell(mut self, report: &Report) {
        if let Some(caller) = self.caller.take() {
            caller.done(Outcome::Checked(Box::new(report.clone())));
        }
    }

    /// It will not be carried out; who asked.
    pub fn abandon(mut self) -> Option<Responder> {
        self.caller.take()
    }
}

/// Replicas by equal lists, in the order of the first of each.
fn groups(lists: &[(Peer, &[Part])]) -> Vec<Vec<Peer>> {
    let mut groups: Vec<(&[Part], Vec<Peer>)> = Vec::new();
    for (peer, parts) in lists {
        match groups.iter_mut().find(|(same, _)| same == parts) {
            Some((_, peers)) => peers.push(*peer),
            None => groups.push((parts, vec![*peer])),
        }
    }
    groups.into_iter().map(|(_, peers)| peers).collect()
}

/// The key itself, if the lists of pairs show it.
fn locate(scope: Scope, mut report: Report, answers: &BTreeMap<PeerId, Answer>) -> Report {
    let lists = answers.values().filter_map(|answer| answer.as_deref().ok());
    let lists: Vec<&[Part]> = lists.collect();
    let place = first_difference(&lists).filter(|place| place.family == scope.family);
    if let (Some(place), Some(difference)) = (place, &mut report.difference) {
        difference.key = place.range.start;
        difference.exact = true;
    }
    report
}
