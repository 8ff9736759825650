//! Our own form of Raft messages and entries, and raft-rs's.
//!
//! *Place*: [`crate::node`] converts at its border; only this crate sees raft-rs's types.
//!
//! Both forms share the bytes of entries, nothing is copied. The generated types of raft-rs are encoded and
//! decoded nowhere: their format on the wire is not ours to promise.
//!
//! *Invariants*: converting there and back changes nothing (property test below), except that raft-rs's
//! snapshots, and the fields it has deprecated, have no place on our wire.
//!
//! *Next stop*: [`crate::sanitise`].

use crate::error::StepError;
use protobuf::ProtobufEnum as _;
use raft::eraftpb::{Entry, EntryType, Message, MessageType};
use yadkv_proto::yadkvpb::{LogEntry, RaftMessage};

/// Whether a message asks for a vote, also the one before an election.
pub fn is_vote_request(message: &RaftMessage) -> bool {
    let kind = i32::try_from(message.kind).ok();
    matches!(
        kind.and_then(MessageType::from_i32),
        Some(MessageType::MsgRequestVote | MessageType::MsgRequestPreVote)
    )
}

/// Whether a message comes from a leader to a peer it takes for a member: entries or a heartbeat.
pub fn acts_as_leader(message: &RaftMessage) -> bool {
    let kind = i32::try_from(message.kind).ok();
    matches!(
        kind.and_then(MessageType::from_i32),
        Some(MessageType::MsgAppend | MessageType::MsgHeartbeat)
    )
}

/// The entry as raft-rs takes it; fails on an unknown kind.
pub(crate) fn entry_in(entry: LogEntry) -> Result<Entry, StepError> {
    let kind = i32::try_from(entry.kind)
        .ok()
        .and_then(EntryType::from_i32)
        .ok_or(StepError::Malformed("unknown kind of entry"))?;
    let mut raft = Entry::default();
    raft.set_entry_type(kind);
    raft.term = entry.term;
    raft.index = entry.index;
    raft.data = entry.data;
    raft.context = entry.context;
    Ok(raft)
}

/// The entry as we keep and send it.
pub(crate) fn entry_out(entry: Entry) -> LogEntry {
    LogEntry {
        kind: entry.get_entry_type() as u32,
        term: entry.term,
        index: entry.index,
        data: entry.data,
        context: entry.context,
    }
}

/// The message kind; fails on an unknown number.
pub(crate) fn kind(message: &RaftMessage) -> Result<MessageType, StepError> {
    i32::try_from(message.kind)
        .ok()
        .and_then(MessageType::from_i32)
        .ok_or(StepError::Kind(message.kind))
}

/// The message as raft-rs takes it.
pub(crate) fn message_in(message: RaftMessage) -> Result<Message, StepError> {
    let mut raft = Message::default();
    raft.set_msg_type(kind(&message)?);
    raft.to = message.to;
    raft.from = message.from;
    raft.term = message.term;
    raft.log_term = message.log_term;
    raft.index = message.index;
    let entries: Result<Vec<Entry>, StepError> =
        message.entries.into_iter().map(entry_in).collect();
    raft.set_entries(entries?.into());
    raft.commit = message.commit;
    raft.commit_term = message.commit_term;
    raft.request_snapshot = message.request_snapshot;
    raft.reject = message.reject;
    raft.reject_hint = message.reject_hint;
    raft.context = message.context;
    raft.priority = message.priority;
    Ok(raft)
}

/// The message as we send it.
pub(crate) fn message_out(mut message: Message) -> RaftMessage {
    RaftMessage {
        kind: message.get_msg_type() as u32,
        to: message.to,
        from: message.from,
        term: message.term,
        log_term: message.log_term,
        index: message.index,
        entries: message.take_entries().into_iter().map(entry_out).collect(),
        commit: message.commit,
        commit_term: message.commit_term,
        request_snapshot: message.request_snapshot,
        reject: message.reject,
        reject_hint: message.reject_hint,
        context: message.context,
        priority: message.priority,
    }
}

/// Cuts an append into several that follow each other, each of at most `bytes_max` bytes of entries or of one
/// entry. raft-rs joins all appends of one round into one message per peer, without a limit.
pub(crate) fn split_append(mut message: RaftMessage, bytes_max: u64) -> Vec<RaftMessage> {
    let mut parts = Vec::new();
    if message.kind == MessageType::MsgAppend as u32 {
        let mut bytes = 0;
        let mut count = 0;
        while count < message.entries.len() {
            let entry = &message.entries[count];
            bytes += (entry.data.len() + entry.context.len()) as u64;
            if bytes <= bytes_max || count == 0 {
                count += 1;
                continue;
            }
            let rest = message.entries.split_off(count);
            let last = &message.entries[count - 1];
            let next = RaftMessage {
                index: last.index,
                log_term: last.term,
                entries: rest,
                context: message.context.clone(),
                ..message
            };
            parts.push(std::mem::replace(&mut message, next));
            (bytes, count) = (0, 0);
        }
    }
    parts.push(message);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use proptest::prelude::*;

    fn entries() -> impl Strategy<Value = LogEntry> {
        (
            0..3_u32,
            any::<u64>(),
            any::<u64>(),
            any::<Vec<u8>>(),
            any::<Vec<u8>>(),
        )
            .prop_map(|(kind, term, index, data, context)| LogEntry {
                kind,
                term,
                index,
                data: data.into(),
                context: context.into(),
            })
    }

    fn messages() -> impl Strategy<Value = RaftMessage> {
        let numbers = proptest::array::uniform9(any::<u64>());
        let entries = proptest::collection::vec(entries(), 0..4);
        (
            0..19_u32,
            numbers,
            entries,
            any::<bool>(),
            any::<Vec<u8>>(),
            any::<i64>(),
        )
            .prop_map(
                |(kind, n, entries, reject, context, priority)| RaftMessage {
                    kind,
                    to: n[0],
                    from: n[1],
                    term: n[2],
                    log_term: n[3],
                    index: n[4],
                    entries,
                    commit: n[5],
                    commit_term: n[6],
                    request_snapshot: n[7],
                    reject,
                    reject_hint: n[8],
                    context: Bytes::from(context),
                    priority,
                },
            )
    }

    proptest! {
        #[test]
        fn there_and_back(message in messages()) {
            prop_assert_eq!(message_in(message.clone()).map(message_out), Ok(message));
        }
    }

    #[test]
    fn long_appends_are_cut() {
        let entry = |index, bytes| LogEntry {
            index,
            term: 6,
            data: Bytes::from(vec![0; bytes]),
            ..LogEntry::default()
        };
        let append = RaftMessage {
            kind: MessageType::MsgAppend as u32,
            index: 7,
            log_term: 5,
            commit: 6,
            entries: vec![
                entry(8, 4),
                entry(9, 6),
                entry(10, 30),
                entry(11, 1),
                entry(12, 1),
            ],
            ..RaftMessage::default()
        };
        let parts = split_append(append.clone(), 10);
        let shape: Vec<(u64, u64, usize)> = parts
            .iter()
            .map(|m| (m.index, m.log_term, m.entries.len()))
            .collect();
        assert_eq!(shape, [(7, 5, 2), (9, 6, 1), (10, 6, 2)]);
        assert!(parts.iter().all(|part| part.commit == 6));
        assert_eq!(split_append(append.clone(), 100), [append]);
        let empty = RaftMessage::default();
        assert_eq!(split_append(empty.clone(), 1), [empty]);
    }

    #[test]
    fn unknown_kinds_are_refused() {
        let message = RaftMessage {
            kind: 19,
            ..RaftMessage::default()
        };
        assert_eq!(message_in(message), Err(StepError::Kind(19)));
        let entry = LogEntry {
            kind: 3,
            ..LogEntry::default()
        };
        assert!(entry_in(entry).is_err());
    }
}
