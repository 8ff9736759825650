//! What a message must look like before raft-rs sees it.
//!
//! *Place*: [`crate::Node::step`] calls [`check`] first.
//!
//! raft-rs trusts its peers: a heartbeat that commits beyond the log, a vote of term 0, a gap between entries, a
//! read without a context, an answer to a campaign that never was, each end the process. Whatever arrives from
//! the network is therefore compared here with what a correct peer can send.
//!
//! | kind | must |
//! |---|---|
//! | every | be for us, from another peer, of a kind that travels, with numbers below [`NUMBER_MAX`] |
//! | append | follow without gaps, in rising terms, on a position that has a term |
//! | append answer | come from a member and speak of entries that this leader has |
//! | heartbeat | commit no more than this replica's log |
//! | vote answers | come from a member while the whole log is durable, as it was when votes were asked for |
//! | timeout now | come from the leader of this very term |
//! | read index | come from a member to a leader, with one context, while not too many are pending |
//!
//! *Invariants*: no message that passes makes raft-rs panic (property test in `tests/hostile.rs`).
//!
//! *Limits and failure*: a refused message is dropped as if the network had lost it, with a reason that names
//! a counter. [`StepError::LostLog`] alone says something about this replica's own disk.
//!
//! *Next stop*: [`crate::election`].

use crate::error::StepError;
use crate::message;
use crate::reads::{CONTEXT_BYTES, FOREIGN_ROUNDS_MAX};
use crate::ready::Role;
use raft::eraftpb::MessageType;
use yadkv_proto::id::{Index, PeerId, Term};
use yadkv_proto::yadkvpb::RaftMessage;

/// No term, index or id of a correct peer comes near; above, arithmetic in raft-rs could overflow.
pub(crate) const NUMBER_MAX: u64 = 1 << 62;

/// What of a replica's state decides about a message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View {
    pub(crate) peer: PeerId,
    pub(crate) role: Role,
    pub(crate) term: Term,
    pub(crate) leader: PeerId,
    /// End of the log, durable or not.
    pub(crate) last: Index,
    /// End of the durable log.
    pub(crate) persisted: Index,
    /// Whether the sender is a member of the group.
    pub(crate) member: bool,
    /// Reads of followers that are pending here.
    pub(crate) foreign_reads: usize,
}

/// Accepts a message that a correct peer could have sent and that can have an effect; returns its kind.
pub(crate) fn check(message: &RaftMessage, view: &View) -> Result<MessageType, StepError> {
    if message.to != view.peer.0 {
        return Err(StepError::NotForUs(PeerId(message.to)));
    }
    if message.from == 0 || message.from == view.peer.0 {
        return Err(StepError::Malformed("sender"));
    }
    let kind = message::kind(message)?;
    check_numbers(message)?;
    check_term(kind, message)?;
    match kind {
        MessageType::MsgAppend => check_append(message)?,
        MessageType::MsgAppendResponse => check_append_response(message, view)?,
        MessageType::MsgHeartbeat => check_heartbeat(message, view)?,
        MessageType::MsgHeartbeatResponse => member(message, view)?,
        MessageType::MsgRequestVote | MessageType::MsgRequestPreVote => {}
        MessageType::MsgRequestVoteResponse | MessageType::MsgRequestPreVoteResponse => {
            member(message, view)?;
            log_durable(view)?;
        }
        MessageType::MsgTimeoutNow => check_timeout_now(message, view)?,
        MessageType::MsgReadIndex => check_read_index(message, view)?,
        MessageType::MsgReadIndexResp => check_context(message)?,
        _ => return Err(StepError::Kind(message.kind)),
    }
    let carries_entries = matches!(
        kind,
        MessageType::MsgAppend | MessageType::MsgReadIndex | MessageType::MsgReadIndexResp
    );
    if !carries_entries && !message.entries.is_empty() {
        return Err(StepError::Malformed("entries in a message without entries"));
    }
    Ok(kind)
}

fn check_numbers(message: &RaftMessage) -> Result<(), StepError> {
    let numbers = [
        message.from,
        message.term,
        message.log_term,
        message.index,
        message.commit,
        message.commit_term,
        message.reject_hint,
    ];
    if numbers.into_iter().any(|number| number >= NUMBER_MAX) {
        return Err(StepError::Malformed("number out of range"));
    }
    if message.request_snapshot != 0 {
        return Err(StepError::Malformed("request for a snapshot"));
    }
    Ok(())
}

/// Only a follower's read travels without a term; 0 makes raft-rs take anything else for a local message.
fn check_term(kind: MessageType, message: &RaftMessage) -> Result<(), StepError> {
    if (kind == MessageType::MsgReadIndex) == (message.term == 0) {
        Ok(())
    } else {
        Err(StepError::Malformed("term"))
    }
}

fn check_append(message: &RaftMessage) -> Result<(), StepError> {
    if (message.index == 0) != (message.log_term == 0) {
        return Err(StepError::Malformed("append on a position without a term"));
    }
    let mut index = message.index;
    let mut term = message.log_term;
    for entry in &message.entries {
        if entry.index != index + 1 {
            return Err(StepError::Malformed("gap between entries"));
        }
        if entry.term == 0 || entry.term < term || entry.term > message.term {
            return Err(StepError::Malformed("terms of entries do not rise"));
        }
        index = entry.index;
        term = entry.term;
    }
    Ok(())
}

fn check_append_response(message: &RaftMessage, view: &View) -> Result<(), StepError> {
    member(message, view)?;
    if view.role != Role::Leader || message.term != view.term.0 {
        return Ok(());
    }
    if message.index > view.last.0 || message.reject_hint > view.last.0 {
        return Err(StepError::Malformed("answer to entries never sent"));
    }
    Ok(())
}

fn check_heartbeat(message: &RaftMessage, view: &View) -> Result<(), StepError> {
    if message.term >= view.term.0 && message.commit > view.last.0 {
        return Err(StepError::LostLog {
            commit: Index(message.commit),
            last: view.last,
        });
    }
    Ok(())
}

fn check_timeout_now(message: &RaftMessage, view: &View) -> Result<(), StepError> {
    if message.term != view.term.0 || message.from != view.leader.0 {
        return Err(StepError::Stale("order of another leader"));
    }
    log_durable(view)
}

fn check_read_index(message: &RaftMessage, view: &View) -> Result<(), StepError> {
    check_context(message)?;
    member(message, view)?;
    if view.role != Role::Leader {
        return Err(StepError::Stale(
            "read sent to a replica that does not lead",
        ));
    }
    if view.foreign_reads >= FOREIGN_ROUNDS_MAX {
        return Err(StepError::Busy);
    }
    Ok(())
}

fn check_context(message: &RaftMessage) -> Result<(), StepError> {
    match message.entries.as_slice() {
        [entry] if entry.data.len() == CONTEXT_BYTES => Ok(()),
        _ => Err(StepError::Malformed("read without a context")),
    }
}

fn member(message: &RaftMessage, view: &View) -> Result<(), StepError> {
    if view.member {
        Ok(())
    } else {
        Err(StepError::NotMember(PeerId(message.from)))
    }
}

/// Votes are asked for only after everything before was persisted; raft-rs asserts it when the last vote comes.
fn log_durable(view: &View) -> Result<(), StepError> {
    if view.persisted == view.last {
        Ok(())
    } else {
        Err(StepError::Stale("campaign while the log is not durable"))
    }
}

#[cfg(test)]
#[path = "sanitise_tests.rs"]
mod tests;
