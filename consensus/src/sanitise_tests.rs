//! Each rule of the table, one message on either side of it.

use super::*;
use bytes::Bytes;
use yadkv_proto::yadkvpb::LogEntry;

const VIEW: View = View {
    peer: PeerId(1),
    role: Role::Follower,
    term: Term(7),
    leader: PeerId(2),
    last: Index(10),
    persisted: Index(10),
    member: true,
    foreign_reads: 0,
};

fn message(kind: MessageType) -> RaftMessage {
    RaftMessage {
        kind: kind as u32,
        to: 1,
        from: 2,
        term: 7,
        ..RaftMessage::default()
    }
}

fn entry(index: u64, term: u64) -> LogEntry {
    LogEntry {
        index,
        term,
        ..LogEntry::default()
    }
}

fn append(index: u64, log_term: u64, entries: &[(u64, u64)]) -> RaftMessage {
    RaftMessage {
        index,
        log_term,
        entries: entries.iter().map(|e| entry(e.0, e.1)).collect(),
        ..message(MessageType::MsgAppend)
    }
}

fn refused(message: &RaftMessage, view: &View) -> &'static str {
    match check(message, view) {
        Ok(_) => "accepted",
        Err(error) => error.reason(),
    }
}

#[test]
fn address_and_kind() {
    let heartbeat = message(MessageType::MsgHeartbeat);
    assert_eq!(refused(&heartbeat, &VIEW), "accepted");
    let other = RaftMessage {
        to: 3,
        ..heartbeat.clone()
    };
    assert_eq!(refused(&other, &VIEW), "not_for_us");
    for from in [0, 1] {
        let odd = RaftMessage {
            from,
            ..heartbeat.clone()
        };
        assert_eq!(refused(&odd, &VIEW), "malformed");
    }
    for kind in [
        MessageType::MsgHup,
        MessageType::MsgBeat,
        MessageType::MsgPropose,
        MessageType::MsgUnreachable,
        MessageType::MsgSnapStatus,
        MessageType::MsgSnapshot,
        MessageType::MsgCheckQuorum,
        MessageType::MsgTransferLeader,
    ] {
        assert_eq!(refused(&message(kind), &VIEW), "kind");
    }
    let unknown = RaftMessage {
        kind: 99,
        ..heartbeat
    };
    assert_eq!(refused(&unknown, &VIEW), "kind");
}

#[test]
fn numbers_and_terms() {
    let vote = message(MessageType::MsgRequestVote);
    assert_eq!(refused(&vote, &VIEW), "accepted");
    for odd in [
        RaftMessage {
            term: 0,
            ..vote.clone()
        },
        RaftMessage {
            term: u64::MAX,
            ..vote.clone()
        },
        RaftMessage {
            index: NUMBER_MAX,
            ..vote.clone()
        },
        RaftMessage {
            request_snapshot: 1,
            ..vote.clone()
        },
        RaftMessage {
            entries: vec![entry(1, 1)],
            ..vote
        },
    ] {
        assert_eq!(refused(&odd, &VIEW), "malformed");
    }
}

#[test]
fn appends_have_no_gaps() {
    assert_eq!(
        refused(&append(10, 7, &[(11, 7), (12, 7)]), &VIEW),
        "accepted"
    );
    assert_eq!(
        refused(&append(10, 6, &[(11, 6), (12, 7)]), &VIEW),
        "accepted"
    );
    assert_eq!(refused(&append(0, 0, &[]), &VIEW), "accepted");
    for odd in [
        append(10, 7, &[(12, 7)]),
        append(10, 7, &[(11, 7), (13, 7)]),
        append(10, 7, &[(11, 6)]),
        append(10, 7, &[(11, 8)]),
        append(10, 0, &[(11, 7)]),
        append(20, 0, &[(21, 7)]),
        append(0, 5, &[]),
    ] {
        assert_eq!(refused(&odd, &VIEW), "malformed", "{odd:?}");
    }
}

#[test]
fn a_heartbeat_beyond_the_log_means_that_the_log_was_lost() {
    let heartbeat = message(MessageType::MsgHeartbeat);
    let beyond = RaftMessage {
        commit: 11,
        ..heartbeat.clone()
    };
    assert_eq!(refused(&beyond, &VIEW), "lost_log");
    let old = RaftMessage { term: 6, ..beyond };
    assert_eq!(refused(&old, &VIEW), "accepted", "an old leader is told so");
    let within = RaftMessage {
        commit: 10,
        ..heartbeat
    };
    assert_eq!(refused(&within, &VIEW), "accepted");
}

#[test]
fn answers_come_from_members_about_what_was_sent() {
    let leader = View {
        role: Role::Leader,
        leader: PeerId(1),
        ..VIEW
    };
    let stranger = View {
        member: false,
        ..leader
    };
    let answer = RaftMessage {
        index: 10,
        ..message(MessageType::MsgAppendResponse)
    };
    assert_eq!(refused(&answer, &leader), "accepted");
    assert_eq!(refused(&answer, &stranger), "not_member");
    let ahead = RaftMessage {
        index: 11,
        ..answer
    };
    assert_eq!(refused(&ahead, &leader), "malformed");
    let vote = message(MessageType::MsgRequestVoteResponse);
    assert_eq!(refused(&vote, &VIEW), "accepted");
    let writing = View {
        persisted: Index(9),
        ..VIEW
    };
    assert_eq!(refused(&vote, &writing), "stale");
}

#[test]
fn only_the_leader_of_the_term_orders_a_campaign() {
    let order = message(MessageType::MsgTimeoutNow);
    assert_eq!(refused(&order, &VIEW), "accepted");
    assert_eq!(
        refused(
            &RaftMessage {
                from: 3,
                ..order.clone()
            },
            &VIEW
        ),
        "stale"
    );
    assert_eq!(
        refused(
            &RaftMessage {
                term: 8,
                ..order.clone()
            },
            &VIEW
        ),
        "stale"
    );
    let writing = View {
        persisted: Index(9),
        ..VIEW
    };
    assert_eq!(refused(&order, &writing), "stale");
}

#[test]
fn reads_carry_one_context() {
    let leader = View {
        role: Role::Leader,
        leader: PeerId(1),
        ..VIEW
    };
    let context = LogEntry {
        data: Bytes::from_static(&[1; CONTEXT_BYTES]),
        ..LogEntry::default()
    };
    let read = RaftMessage {
        term: 0,
        entries: vec![context.clone()],
        ..message(MessageType::MsgReadIndex)
    };
    assert_eq!(refused(&read, &leader), "accepted");
    assert_eq!(refused(&read, &VIEW), "stale");
    let full = View {
        foreign_reads: FOREIGN_ROUNDS_MAX,
        ..leader
    };
    assert_eq!(refused(&read, &full), "busy");
    let bare = RaftMessage {
        entries: vec![],
        ..read.clone()
    };
    assert_eq!(refused(&bare, &leader), "malformed");
    let dated = RaftMessage { term: 7, ..read };
    assert_eq!(refused(&dated, &leader), "malformed");
    let answer = RaftMessage {
        entries: vec![context],
        ..message(MessageType::MsgReadIndexResp)
    };
    assert_eq!(refused(&answer, &VIEW), "accepted");
    assert_eq!(
        refused(&RaftMessage { term: 0, ..answer }, &VIEW),
        "malformed"
    );
}
