//! Who belongs to a group, and how that changes.
//!
//! *Place*: [`crate::Node::open`] takes [`Members`], [`crate::Node::propose_change`] a [`MembersChange`].
//!
//! *Life of a change*: proposed with the caller's own description of it → committed, and that durable → the caller
//! judges it by its own applied state → [`crate::Node::change_members`], or nothing if it was rejected → then
//! [`crate::Node::applied`]. A change of more than one voter goes through a joint state, in which two majorities
//! decide, and which the caller leaves by a change of its own.
//!
//! ```text
//! voters 1 2 3 ── enter: 4 votes, 3 learns ──▶ voters 1 2 4, outgoing 1 2 3 ── leave ──▶ voters 1 2 4, learner 3
//! ```
//!
//! *Invariants*: one change at a time; an automatic end of the joint state is never asked for, since it gets lost
//! with the leader.
//!
//! *Source*: Raft thesis chapter 4; Raft paper section 6.
//!
//! *Next stop*: [`crate::node`].

use raft::eraftpb::{
    ConfChangeSingle, ConfChangeTransition, ConfChangeType, ConfChangeV2, ConfState,
};
use yadkv_proto::id::PeerId;

/// Members of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    /// They vote and count for a quorum.
    pub voters: Vec<PeerId>,
    /// They receive the log only.
    pub learners: Vec<PeerId>,
    /// In a joint state: the voters before it, who are a second quorum until it is left. Else empty.
    pub outgoing: Vec<PeerId>,
    /// Those of `outgoing` that become learners when the joint state is left.
    pub demoted: Vec<PeerId>,
}

impl Members {
    /// Whether a peer is among them.
    pub fn contains(&self, peer: PeerId) -> bool {
        let lists = [&self.voters, &self.learners, &self.outgoing];
        lists.into_iter().any(|list| list.contains(&peer))
    }

    /// The form that raft-rs takes.
    pub(crate) fn conf_state(&self) -> ConfState {
        let ids = |peers: &[PeerId]| -> Vec<u64> { peers.iter().map(|peer| peer.0).collect() };
        ConfState {
            voters: ids(&self.voters),
            learners: ids(&self.learners),
            voters_outgoing: ids(&self.outgoing),
            learners_next: ids(&self.demoted),
            ..ConfState::default()
        }
    }
}

/// What happens to one member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberChange {
    /// It votes: a new member, or one that was a learner.
    Voter(PeerId),
    /// It learns only: a new member, or (in a joint state) one that was a voter.
    Learner(PeerId),
    /// It is no member any more.
    Remove(PeerId),
}

/// One step from one set of members to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MembersChange {
    /// One member at once.
    Simple(MemberChange),
    /// Several, or a demotion: begins a joint state.
    Enter(Vec<MemberChange>),
    /// Ends the joint state.
    Leave,
}

impl MembersChange {
    /// The form that raft-rs takes.
    pub(crate) fn raft(&self) -> ConfChangeV2 {
        let (transition, changes) = match self {
            Self::Simple(change) => (ConfChangeTransition::Auto, vec![single(*change)]),
            Self::Enter(changes) => {
                let changes = changes.iter().copied().map(single).collect();
                (ConfChangeTransition::Explicit, changes)
            }
            Self::Leave => (ConfChangeTransition::Auto, Vec::new()),
        };
        let mut raft = ConfChangeV2::default();
        raft.set_transition(transition);
        raft.set_changes(changes.into());
        raft
    }
}

fn single(change: MemberChange) -> ConfChangeSingle {
    let (kind, peer) = match change {
        MemberChange::Voter(peer) => (ConfChangeType::AddNode, peer),
        MemberChange::Learner(peer) => (ConfChangeType::AddLearnerNode, peer),
        MemberChange::Remove(peer) => (ConfChangeType::RemoveNode, peer),
    };
    let mut single = ConfChangeSingle::default();
    single.set_change_type(kind);
    single.node_id = peer.0;
    single
}
