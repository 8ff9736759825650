//! What a replica answers that its region counts on and that does not exist here yet.
//!
//! *Place*: a store asks when a message comes for a replica that it has not, and that may still come to be.
//!
//! | asked by | answer |
//! |---|---|
//! | a leader | "nothing is here": it sends a snapshot. That promises nothing: it acknowledges no entry and no read |
//! | a candidate that has only what the group began with | a vote, kept durably for the replica that comes |
//! | a candidate that had this replica's vote before | the same, in its next term |
//! | anybody else | nothing |
//!
//! A split makes a replica of each part on every store that applies it. A store that missed the split, and is sent the
//! other part as it is after it, makes none. If only one store has made its replica, only such a vote gives the part a
//! leader, which then sends a snapshot.
//!
//! *Invariants*: one vote a term, over the coming to be of the replica and over restarts: [`LogStore::bootstrap`] and
//! [`LogStore::reset`] take it over. A log that is empty is behind every other, so the vote is what any replica with the
//! group's first state would give. It helps no lease: a part's candidates, other than the leader of what was cut, have
//! waited for an election timeout since the split was committed.
//!
//! *Limits*: a vote outlives its replica if that never comes: 43 bytes of the log engine.
//!
//! *Source*: Raft paper §5.2, §5.4.1.
//!
//! *Next stop*: [`crate::log_store`].

use crate::error::OpenError;
use crate::layout::{self, HardState};
use crate::log_store::{FIRST_INDEX, FIRST_TERM, LogStore};
use crate::sanitise::NUMBER_MAX;
use protobuf::ProtobufEnum as _;
use raft::eraftpb::MessageType;
use yadkv_engine::WriteBatch;
use yadkv_proto::id::{PeerId, RegionId, Term};
use yadkv_proto::yadkvpb::RaftMessage;

/// The answer to a leader by a peer that does not exist here yet: it holds nothing, so it needs a snapshot. It acknowledges
/// no entry and no read; that somebody is there to answer is all that a leader may take from it.
pub fn says_nothing_is_here(message: &RaftMessage) -> Option<RaftMessage> {
    let kind = i32::try_from(message.kind).ok();
    let answer = RaftMessage {
        to: message.from,
        from: message.to,
        term: message.term,
        ..RaftMessage::default()
    };
    match kind.and_then(MessageType::from_i32)? {
        MessageType::MsgAppend => Some(RaftMessage {
            kind: MessageType::MsgAppendResponse as u32,
            index: message.index,
            reject: true,
            ..answer
        }),
        // Without the context of a read, so it confirms none.
        MessageType::MsgHeartbeat => Some(RaftMessage {
            kind: MessageType::MsgHeartbeatResponse as u32,
            ..answer
        }),
        _ => None,
    }
}

impl LogStore {
    /// The answer of a replica that does not exist here to a candidate; `None` if it has none. What was added to `batch`
    /// is to be durable before the answer leaves. The caller knows that the replica never existed here and may still come.
    pub fn vote_unborn(
        &self,
        group: RegionId,
        request: &RaftMessage,
        batch: &mut WriteBatch,
    ) -> Result<Option<RaftMessage>, OpenError> {
        let kind = i32::try_from(request.kind).ok();
        let (before, answer) = match kind.and_then(MessageType::from_i32) {
            Some(MessageType::MsgRequestVote) => (false, MessageType::MsgRequestVoteResponse),
            Some(MessageType::MsgRequestPreVote) => (true, MessageType::MsgRequestPreVoteResponse),
            _ => return Ok(None),
        };
        let (voter, candidate) = (PeerId(request.to), PeerId(request.from));
        let term = Term(request.term);
        let sane = voter != candidate && candidate != PeerId::NONE && term.0 < NUMBER_MAX;
        if !sane || term <= FIRST_TERM || self.owner(group)?.is_some() {
            return Ok(None);
        }
        let mut state = HardState {
            peer: voter,
            ..HardState::default()
        };
        match self.hard_state(group)? {
            Some(known) if known.peer > voter => return Ok(None),
            Some(known) if known.peer == voter => state = known,
            _ => {}
        }
        let first = (request.index, request.log_term) == (FIRST_INDEX.0, FIRST_TERM.0);
        if !first && state.vote != candidate {
            return Ok(None);
        }
        let answered = |term: Term, reject| RaftMessage {
            kind: answer as u32,
            to: candidate.0,
            from: voter.0,
            term: term.0,
            reject,
            ..RaftMessage::default()
        };
        let free = term > state.term || [PeerId::NONE, candidate].contains(&state.vote);
        if term < state.term || !free {
            return Ok(Some(answered(state.term, true)));
        }
        if !before {
            (state.term, state.vote) = (term, candidate);
            let key = layout::hard_state_key(group);
            batch.put(layout::STATE, key, layout::encode_hard_state(&state));
        }
        Ok(Some(answered(term, false)))
    }
}
