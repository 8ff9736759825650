//! Changes of a group's members.
//!
//! *Place*: part of [`Node`]; [`crate::members`] has the life of a change.
//!
//! *Invariants*: a change is proposed only while the one before it is applied here, and only if it fits the present
//! state, so raft-rs never replaces it by an empty entry.
//!
//! *Limits and failure*: a change that contradicts the members is an error towards the proposer; one that is committed
//! and does not fit puts the node into quarantine, since it and the caller disagree about the members.
//!
//! *Source*: Raft thesis chapter 4; raft-rs, `Changer`.
//!
//! *Scenario*: `consensus/tests/scripts/members`.
//!
//! *Next stop*: [`crate::storage`].

use super::{Node, Proposal};
use crate::error::ProposeError;
use crate::members::{Members, MembersChange};
use crate::ready::Role;
use bytes::Bytes;
use yadkv_proto::id::{Index, PeerId};
use yadkv_proto::time::Moment;

/// Kind of a [`yadkv_proto::yadkvpb::LogEntry`] that changes members; what the proposer says of it is its context.
pub const MEMBERS_ENTRY: u32 = 2;

impl Node {
    /// Appends a change of members to the log, if this replica leads; `context` travels with it to everybody's apply.
    pub fn propose_change(
        &mut self,
        change: &MembersChange,
        context: Bytes,
        now: Moment,
    ) -> Result<Proposal, ProposeError> {
        self.assert_accepts_input();
        if self.is_damaged() {
            return Err(ProposeError::Damaged);
        }
        if self.role() != Role::Leader {
            return Err(ProposeError::NotLeader {
                leader: self.leader(),
            });
        }
        if self.raw.raft.lead_transferee.is_some() {
            return Err(ProposeError::Transferring);
        }
        if self.is_joint() != matches!(change, MembersChange::Leave) {
            return Err(ProposeError::Joint);
        }
        if self.raw.raft.has_pending_conf() {
            return Err(ProposeError::Changing);
        }
        self.raw
            .propose_conf_change(context.to_vec(), change.raft())
            .map_err(|_| ProposeError::Busy)?;
        let proposal = Proposal {
            term: self.term(),
            index: self.last_index(),
        };
        self.lease.proposed(proposal.index, now);
        self.adjust(now);
        Ok(proposal)
    }

    /// A committed change was applied by the state machine; says who the members are. Follow it by [`Self::applied`].
    pub fn change_members(&mut self, change: &MembersChange, members: &Members, now: Moment) {
        self.assert_accepts_input();
        if self.is_damaged() {
            return;
        }
        let problem = match self.raw.apply_conf_change(&change.raft()) {
            Err(error) => Some(error.to_string()),
            Ok(state) => (!same(&state, &members.conf_state()))
                .then(|| format!("Raft has {state:?}, the region {members:?}")),
        };
        if let Some(reason) = problem {
            return self
                .raw
                .store()
                .note_damage(format!("the change {change:?} does not fit: {reason}"));
        }
        self.raw.mut_store().set_members(members);
        self.adjust(now);
    }

    /// Whether two majorities decide at the moment.
    pub fn is_joint(&self) -> bool {
        !self
            .raw
            .raft
            .prs()
            .conf()
            .to_conf_state()
            .voters_outgoing
            .is_empty()
    }

    /// Whether a change of members is in the log and may not be applied yet.
    pub fn is_changing(&self) -> bool {
        self.raw.raft.has_pending_conf()
    }

    /// Whether this leader has heard nothing of what a peer holds: it may not even exist.
    pub fn knows_nothing_of(&self, peer: PeerId) -> bool {
        let progress = self.raw.raft.prs().get(peer.0);
        self.role() == Role::Leader && progress.is_some_and(|peer| peer.matched == 0)
    }

    /// What this leader knows a peer to hold; `None` on other replicas and of strangers.
    pub fn matched(&self, peer: PeerId) -> Option<Index> {
        if self.role() != Role::Leader {
            return None;
        }
        let progress = self.raw.raft.prs().get(peer.0)?;
        Some(Index(progress.matched))
    }
}

fn same(one: &raft::eraftpb::ConfState, other: &raft::eraftpb::ConfState) -> bool {
    let sorted = |list: &[u64]| {
        let mut list = list.to_vec();
        list.sort_unstable();
        list
    };
    let lists = |state: &raft::eraftpb::ConfState| {
        [
            sorted(&state.voters),
            sorted(&state.learners),
            sorted(&state.voters_outgoing),
            sorted(&state.learners_next),
        ]
    };
    lists(one) == lists(other)
}
