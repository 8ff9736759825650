//! What a member is entitled to, and what a leader owns while it is in office.
//!
//! *Place*: [`super::Member`] calls [`Member::follow_role`] after every input, and takes office when an entry
//! of its own term is applied.
//!
//! *Types to know*: [`Seat`], [`Office`].
//!
//! *Legal moves*: Follower → Elected → Leader → Follower, Elected → Follower; a new term always passes
//! through Follower.
//!
//! *Invariants*: the office starts empty, from bounds read after an own-term entry was applied; when it ends,
//! every call it held is refused.
//!
//! *Next stop*: [`super::write`].

use super::Member;
use super::call::Refusal;
use super::write::{Purpose, Writing};
use crate::bootstrap;
use crate::ids::IdSource;
use crate::pending::Pending;
use crate::planted::{self, Planted};
use crate::reports::Reports;
use crate::schedule::ClusterView;
use crate::schedule::balance_leaders::balance_leaders;
use crate::schedule::operator::Operators;
use crate::schedule::replica_checker::{WISHES_MAX, replica_checker};
use crate::tso::Oracle;
use std::collections::BTreeSet;
use std::time::Duration;
use yadkv_consensus::Role;
use yadkv_proto::id::{RegionId, StoreId, Term};
use yadkv_proto::metapb::StoreState;
use yadkv_proto::pdpb::RegionHeartbeatResponse;
use yadkv_proto::placementpb::command::Operation;
use yadkv_proto::placementpb::{FormCluster, LeaderHint, NoteLeaders, RaiseTsoBound};
use yadkv_proto::time::{Moment, Now};

/// How often last known leaders are noted, and how many in one command. More often: log entries without
/// use; less often: more stale hints after a fail-over.
const NOTE_INTERVAL: Duration = Duration::from_secs(1);
const NOTES_MAX: usize = 256;
/// How long after the last wish for timestamps the bound is kept ahead. Longer: log entries of an idle
/// cluster; shorter: a pause makes the next caller wait for a raise.
const STAMPS_WARM: Duration = Duration::from_secs(10);

/// What a member may do.
#[derive(Debug)]
pub enum Seat {
    /// Follows, or looks for a leader.
    Follower,
    /// Won the election; what earlier leaders committed is not applied yet.
    Elected {
        /// In this term.
        term: Term,
        /// The bound at election: only a planted bug uses it.
        tso_bound_ms: u64,
    },
    /// In office: serves.
    Leader(Box<Office>),
}

/// What the leader owns in one term.
#[derive(Debug)]
pub struct Office {
    pub(super) term: Term,
    pub(super) oracle: Oracle,
    pub(super) ids: IdSource,
    pub(super) reports: Reports,
    pub(super) pending: Pending,
    pub(super) operators: Operators,
    pub(super) writing: Writing,
    /// Regions in replacements that are under way.
    pub(super) replacing: BTreeSet<RegionId>,
    /// Regions whose leader is not noted yet.
    pub(super) to_note: BTreeSet<RegionId>,
    /// The first regions are proposed.
    pub(super) bootstrapping: bool,
    /// A store's last state is proposed.
    pub(super) burying: bool,
    /// Last wish for timestamps.
    pub(super) stamped: Moment,
    /// New operators for the stores that lead their regions.
    pub(super) pushes: Vec<(StoreId, RegionHeartbeatResponse)>,
    next_note: Moment,
    next_schedule: Moment,
}

impl Office {
    /// Who was heard, and what they said.
    pub fn reports(&self) -> &Reports {
        &self.reports
    }

    /// What regions are asked to do.
    pub fn operators(&self) -> &Operators {
        &self.operators
    }

    /// Descriptors that do not tile yet.
    pub fn pending(&self) -> &Pending {
        &self.pending
    }
}

impl Member {
    /// The office, if this member holds it.
    pub(super) fn office(&mut self) -> Option<&mut Office> {
        match &mut self.seat {
            Seat::Leader(office) => Some(office),
            _ => None,
        }
    }

    /// Makes the seat follow the Raft role.
    pub(super) fn follow_role(&mut self, now: Now) {
        let (leads, term) = (self.node.role() == Role::Leader, self.node.term());
        let held = match &self.seat {
            Seat::Follower => None,
            Seat::Elected { term, .. } => Some(*term),
            Seat::Leader(office) => Some(office.term),
        };
        if held.is_some() && (!leads || held != Some(term)) {
            self.leave();
        }
        match &self.seat {
            Seat::Follower if leads => {
                let tso_bound_ms = self.cluster.tso_bound_ms();
                self.seat = Seat::Elected { term, tso_bound_ms };
                self.retry = true;
            }
            Seat::Follower if !self.parked.is_empty() && self.node.leader().is_some() => {
                self.retry = true
            }
            _ => {}
        }
        // A lone member's own-term entry may be applied before its role is seen to have changed.
        if matches!(self.seat, Seat::Elected { .. }) && self.cluster.applied().1 == term {
            self.take_office(now);
        }
    }

    fn leave(&mut self) {
        let refusal = Refusal::NotLeader {
            leader: self.leader_url(),
        };
        if let Seat::Leader(office) = std::mem::replace(&mut self.seat, Seat::Follower) {
            tracing::info!(term = office.term.0, "left office");
            office.writing.refuse_all();
        }
        self.reading.refuse_all(&refusal);
        self.retry = true;
    }

    fn take_office(&mut self, now: Now) {
        let Seat::Elected { term, tso_bound_ms } = self.seat else {
            unreachable!("office follows election");
        };
        assert_eq!(
            self.cluster.applied().1,
            term,
            "an own-term entry was applied"
        );
        let early = planted::is(Planted::TsoBoundReadTooEarly);
        let bound = if early {
            tso_bound_ms
        } else {
            self.cluster.tso_bound_ms()
        };
        let mut office = Office {
            term,
            oracle: Oracle::new(bound, now),
            ids: IdSource::new(self.cluster.id_bound()),
            reports: Reports::new(now.moment),
            pending: Pending::default(),
            operators: Operators::default(),
            writing: Writing::default(),
            replacing: BTreeSet::new(),
            to_note: BTreeSet::new(),
            bootstrapping: false,
            burying: false,
            stamped: now.moment,
            pushes: Vec::new(),
            next_note: now.moment,
            next_schedule: now.moment.after(self.config.schedule.interval),
        };
        if self.cluster.id().is_none() {
            let form = FormCluster {
                cluster_id: cluster_id(self.config.seed, now.wall_ms, term),
                member_ids: self.config.listed(),
            };
            office
                .writing
                .queue(Operation::FormCluster(form), Purpose::Form);
        }
        tracing::info!(term = term.0, "took office");
        self.seat = Seat::Leader(Box::new(office));
        self.raise_tso(now);
        self.retry = true;
    }

    /// The leader's regular work.
    pub(super) fn keep_office(&mut self, now: Now) {
        let Some(office) = self.office() else { return };
        if now.moment.since(office.stamped) < STAMPS_WARM {
            self.raise_tso(now);
        }
        self.bootstrap(now);
        self.note_leaders(now);
        self.schedule(now);
    }

    /// Proposes a higher timestamp bound if one is due.
    pub(super) fn raise_tso(&mut self, now: Now) {
        let Some(office) = self.office() else { return };
        if let Some(bound_ms) = office.oracle.raise(now) {
            let raise = Operation::RaiseTsoBound(RaiseTsoBound { bound_ms });
            office.writing.queue(raise, Purpose::TsoBound);
        }
    }

    /// Proposes the first regions when enough stores have registered.
    fn bootstrap(&mut self, now: Now) {
        let wanted = self.config.bootstrap.stores as usize;
        let up = |(id, store): (&StoreId, &yadkv_proto::metapb::Store)| {
            (store.state() == StoreState::Up).then_some(*id)
        };
        let stores: Vec<_> = self
            .cluster
            .stores()
            .iter()
            .filter_map(up)
            .take(wanted)
            .collect();
        if self.cluster.is_bootstrapped() || self.cluster.id().is_none() || stores.len() < wanted {
            return;
        }
        let borders = bootstrap::borders(&self.config.bootstrap.borders);
        let needed = bootstrap::ids_needed(borders.len(), stores.len());
        let Some(office) = self.office() else { return };
        if office.bootstrapping {
            return;
        }
        match office.ids.take(needed) {
            Some(ids) => {
                let first = bootstrap::first_regions(&borders, &stores, ids.start, now.wall_ms);
                tracing::info!(
                    regions = first.regions.len(),
                    stores = stores.len(),
                    "writing the first regions"
                );
                office.bootstrapping = true;
                office
                    .writing
                    .queue(Operation::Bootstrap(first), Purpose::Bootstrap);
            }
            None => office.raise_ids(needed),
        }
    }

    /// Bootstraps without waiting for the next tick: a store was registered or ids arrived.
    pub(super) fn bootstrap_soon(&mut self, now: Now) {
        if matches!(self.seat, Seat::Leader(_)) {
            self.bootstrap(now);
        }
    }

    fn note_leaders(&mut self, now: Now) {
        let Seat::Leader(office) = &mut self.seat else {
            return;
        };
        if now.moment < office.next_note {
            return;
        }
        office.next_note = now.moment.after(NOTE_INTERVAL);
        let regions: Vec<_> = office.to_note.iter().take(NOTES_MAX).copied().collect();
        let mut leaders = Vec::new();
        for region in regions {
            office.to_note.remove(&region);
            let Some(lead) = office.reports.lead(region) else {
                continue;
            };
            let noted = self.cluster.leader_hint(region);
            if noted.is_none_or(|noted| noted.term < lead.term.0) {
                leaders.push(LeaderHint {
                    region_id: region.0,
                    peer: Some(lead.peer),
                    term: lead.term.0,
                });
            }
        }
        if !leaders.is_empty() {
            office.writing.queue(
                Operation::NoteLeaders(NoteLeaders { leaders }),
                Purpose::Nothing,
            );
        }
    }

    /// Has the schedulers look at the next tick.
    pub(super) fn schedule_soon(&mut self, now: Now) {
        if let Seat::Leader(office) = &mut self.seat {
            office.next_schedule = now.moment;
        }
    }

    fn schedule(&mut self, now: Now) {
        let Seat::Leader(office) = &mut self.seat else {
            return;
        };
        if now.moment < office.next_schedule && !office.operators.take_room() {
            return;
        }
        office.next_schedule = now.moment.after(self.config.schedule.interval);
        self.bury_empty_store();
        let Seat::Leader(office) = &mut self.seat else {
            return;
        };
        let config = &self.config.schedule;
        office.operators.expire(config, now.moment);
        for region in office.operators.to_ask_again(now.moment) {
            if let Some(region) = self.cluster.regions().by_id(region) {
                office.push(region, &self.cluster, now.moment);
            }
        }
        let Some(view) = ClusterView::of(&self.cluster, &office.reports, config, now.moment) else {
            return;
        };
        let mut wishes = Vec::new();
        if config.check_replicas {
            let (ids, mut short) = (&mut office.ids, false);
            let mut new_id = || {
                let id = ids.take(1).map(|ids| ids.start);
                short |= id.is_none();
                id
            };
            wishes = replica_checker(&view, &office.operators, config, &mut new_id);
            if short {
                office.raise_ids(WISHES_MAX as u64);
            }
        }
        wishes.extend(balance_leaders(&view, &office.operators, config));
        for wish in wishes {
            let region = self.cluster.regions().by_id(wish.region).cloned();
            let Some(region) = region else { continue };
            if office.operators.add(wish, config, now.moment) {
                office.push(&region, &self.cluster, now.moment);
            }
        }
    }
}

/// An identity that no other cluster has: the second of its birth and 32 bits of chance. Never 0, and
/// positive as a signed number, since some clients read it as one.
fn cluster_id(seed: u64, wall_ms: u64, term: Term) -> u64 {
    let mut mixed = seed ^ wall_ms.rotate_left(32) ^ term.0;
    for constant in [0xbf58_476d_1ce4_e5b9u64, 0x94d0_49bb_1331_11eb] {
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(constant);
    }
    let second = (wall_ms / 1000) & 0x7fff_ffff;
    (second << 32) | (mixed >> 32) | 1
}
