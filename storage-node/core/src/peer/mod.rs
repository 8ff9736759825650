//! One replica of one region: the Raft node, who waits for it, and what it may publish.
//!
//! *Place*: [`crate::store::Worker`] owns the peers of its regions and calls them; a peer calls
//! `consensus::Node` and fills the worker's `Effects`.
//!
//! *Types to know*: [`Peer`]. One operation a file: [`propose`](self) (writes into the log), `read_index`,
//! `park` (requests of a leaderless region), `ready` (what Raft wants done), `report` (heartbeats to the
//! placement driver), `size` and `split`, `truncate` (the log),
//! `members` (who belongs to it), `merge` (with a neighbour), `sending` (snapshots), `lonely` (a replica that hears of nobody),
//! `check` (whether all replicas are the same), `handover` (one that should not lead), [`inspect`] (what people see).
//!
//! *Life of a write here*: `write` (checked: leadership, epoch, keys) → queued → `propose_queued` packs and
//! proposes → the committed entry takes its callers along to apply.
//!
//! *Invariants*: a delegate is published only while the node has a lease and an entry of its term is applied;
//! every caller is in exactly one of: queue, proposals, waiting reads, parked.
//!
//! *Limits and failure*: queues are bounded in bytes or number; beyond, ServerIsBusy. When the role changes,
//! callers of proposals are told that the outcome is unknown.
//!
//! *Next stop*: `consensus::Node`.

mod check;
mod handover;
pub mod inspect;
mod lonely;
mod members;
mod merge;
mod park;
mod propose;
mod read_index;
mod ready;
mod report;
mod sending;
mod size;
mod split;
mod truncate;

use crate::apply::Applied;
use crate::config::Config;
use crate::refusal;
use crate::store::message::Effects;
use crate::tally::Tally;
use crate::view::RegionView;
use std::collections::BTreeMap;
use std::sync::Arc;
use yadkv_consensus::{FIRST_INDEX, Node, Role, acts_as_leader, is_vote_request};
use yadkv_proto::errorpb;
use yadkv_proto::id::{PeerId, RegionId, Term};
use yadkv_proto::kvrpcpb::Context;
use yadkv_proto::metapb;
use yadkv_proto::storagepb::Merging;
use yadkv_proto::time::{Moment, Now};
use yadkv_proto::yadkvpb::{Envelope, RaftMessage};

/// One replica.
pub struct Peer {
    view: Arc<RegionView>,
    node: Node,
    applied: Applied,
    /// Bytes of committed entries that were handed to apply and are not applied, as far as this replica knows.
    unapplied_bytes: u64,
    queue: propose::Queue,
    proposals: propose::Proposals,
    reads: read_index::Reads,
    parked: park::Parked,
    reports: report::Reports,
    size: size::Size,
    splitting: split::Splitting,
    merge: merge::Merge,
    truncation: truncate::Truncation,
    checks: check::Checks,
    handover: handover::Handover,
    clock_proposed: Moment,
    heard: lonely::Heard,
    /// Snapshots on their way, since when.
    sending: BTreeMap<PeerId, Moment>,
    tally: Tally,
}

impl Peer {
    /// A replica around an opened node.
    pub fn new(
        view: Arc<RegionView>,
        node: Node,
        applied: Applied,
        merging: Option<Merging>,
        now: Moment,
    ) -> Self {
        Self {
            view,
            node,
            applied,
            unapplied_bytes: 0,
            queue: propose::Queue::default(),
            proposals: propose::Proposals::default(),
            reads: read_index::Reads::default(),
            parked: park::Parked::default(),
            reports: report::Reports::new(now),
            size: size::Size::default(),
            splitting: split::Splitting::default(),
            merge: merge::Merge::new(merging),
            truncation: truncate::Truncation::default(),
            checks: check::Checks::default(),
            handover: handover::Handover::default(),
            clock_proposed: Moment(0),
            heard: lonely::Heard::new(now),
            sending: BTreeMap::new(),
            tally: Tally::default(),
        }
    }

    /// The region.
    pub fn id(&self) -> RegionId {
        self.view.id()
    }

    /// What readers see of it.
    pub fn view(&self) -> &Arc<RegionView> {
        &self.view
    }

    /// Its Raft node, for inspection.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// How far it is applied.
    pub fn applied(&self) -> Applied {
        self.applied
    }

    /// Whether this replica leads.
    pub fn is_leader(&self) -> bool {
        self.node.role() == Role::Leader
    }

    /// Whether some step is due that only a round takes.
    pub fn wants_round(&self, config: &Config) -> bool {
        self.node.has_ready()
            || (self.is_leader() && !self.queue.is_empty() && self.may_propose(config))
            || self.reads.wants_round()
            || self.may_truncate()
    }

    /// One tick of Raft time.
    pub fn tick(&mut self, now: Now, config: &Config, effects: &mut Effects) {
        self.node.tick(now.moment);
        self.expire_parked(now.moment, config);
        self.expire_reads(now.moment, config);
        self.expire_announcement(now.moment);
        self.look_if_due(now.moment, config, effects);
        self.propose_truncation(now, config);
        self.ask_for_durability(now.moment, effects);
        self.propose_clock(now);
        self.expire_snapshots(now.moment);
        self.leave_joint(now);
        self.prepare_merge(now);
        self.check_if_due(now, config, effects);
        self.hand_over_if_due(now.moment);
        self.ask_if_alone(now.moment, effects);
        self.report_if_due(now, config, effects);
    }

    /// Starts an election at once (first regions, and parts of a split).
    pub fn campaign(&mut self, now: Moment) {
        self.node.campaign(now);
    }

    /// Hands leadership to `to`; refused when it cannot be. A target that lags would stop the region's writes
    /// until the attempt times out: the placement driver hears of it in a report and asks again later.
    pub fn transfer_leader(&mut self, to: &metapb::Peer, now: Moment) {
        let member = self.view.region().peers.iter().any(|peer| peer.id == to.id);
        if !member || !self.is_leader() || to.id == self.view.peer().id {
            return;
        }
        if !self.node.follows(PeerId(to.id)) {
            tracing::info!(
                region = self.id().0,
                to = to.id,
                "leader transfer refused: the target lags"
            );
            return;
        }
        if let Err(error) = self.node.transfer_leader(PeerId(to.id), now) {
            tracing::info!(region = self.id().0, to = to.id, %error, "leader transfer refused");
        }
        self.publish_lease();
    }

    /// A message of another replica; `Err` says why it was dropped.
    pub fn step(
        &mut self,
        message: RaftMessage,
        now: Moment,
    ) -> Result<(), yadkv_consensus::StepError> {
        let (from, leads) = (PeerId(message.from), acts_as_leader(&message));
        self.node.step(message, now)?;
        self.heard(from, leads, now);
        Ok(())
    }

    /// The transport could not reach a store.
    pub fn unreachable(&mut self, store: u64) {
        if let Some(peer) = self
            .view
            .region()
            .peers
            .iter()
            .find(|peer| peer.store_id == store)
        {
            self.node.report_unreachable(PeerId(peer.id));
        }
    }

    /// Checks what the caller believes of this region, in the protocol's order: peer, leader, term, epoch.
    fn check(
        &self,
        context: &Context,
        store: yadkv_proto::id::StoreId,
    ) -> Result<(), errorpb::Error> {
        crate::view::check_store(store, context)?;
        let requested = context.peer.as_ref().map_or(0, |peer| peer.id);
        if requested != self.view.peer().id {
            return Err(refusal::mismatch_peer(requested, self.view.peer().id));
        }
        if !self.is_leader() && !context.replica_read {
            return Err(self.not_leader());
        }
        if context.term != 0 && self.node.term().0 > context.term.saturating_add(1) {
            return Err(refusal::outcome_unknown());
        }
        self.view.check(store, context)?;
        self.refused_by_merge().map_or(Ok(()), Err)
    }

    /// The region error of a replica that does not lead.
    fn not_leader(&self) -> errorpb::Error {
        refusal::not_leader(self.id(), self.leader_hint())
    }

    /// The leader, if it is known and another replica.
    fn leader_hint(&self) -> Option<metapb::Peer> {
        let leader = self.node.leader()?;
        let own = self.view.peer().id;
        self.view
            .region()
            .peers
            .iter()
            .find(|peer| peer.id == leader.0 && peer.id != own)
            .copied()
    }

    fn envelopes(&self, messages: Vec<RaftMessage>, out: &mut Vec<Envelope>) {
        let region = self.view.region();
        for message in messages {
            let Some(to) = self.address(message.to) else {
                continue;
            };
            // Whoever has no replica yet needs to know of which region it would be.
            let elects = is_vote_request(&message) && self.node.commit() <= FIRST_INDEX;
            let unheard = elects || self.node.knows_nothing_of(PeerId(to.id));
            out.push(Envelope {
                region_id: region.id,
                from: Some(*self.view.peer()),
                to: Some(to),
                epoch: region.region_epoch,
                message: Some(message),
                region: unheard.then(|| region.clone()),
                merged: match unheard {
                    true => self.view.merged().to_vec(),
                    false => Vec::new(),
                },
                ..Envelope::default()
            });
        }
    }

    /// Lets go of everybody who waits: this replica is over, or begins anew from other state.
    pub fn end(mut self) -> metapb::Peer {
        self.view.end();
        self.view.set_office(Term(0));
        self.proposals.abandon();
        self.abandon_split();
        self.abandon_merge();
        self.abandon_check();
        self.refuse_all();
        *self.view.peer()
    }

    fn refuse_all(&mut self) {
        let error = refusal::region_not_found(self.id().0);
        for responder in self.take_queued() {
            responder.refuse(error.clone());
        }
        self.refuse_reads(&error);
        self.refuse_parked(&error);
    }
}
