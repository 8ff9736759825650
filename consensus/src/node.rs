//! One replica of one Raft group.
//!
//! *Place*: a storage node's region peers and the placement driver's members drive it; it drives raft-rs over
//! [`crate::storage`]. It has no clock, thread, disk or socket of its own.
//!
//! *Types to know*: [`Node`]; [`Ready`](crate::Ready) and [`Persisted`](crate::Persisted) are its output.
//! Inputs and state are here, `tick`, `round` (the output), `held`, `members` and `catch_up` in files of
//! their own.
//!
//! *Life of a proposal*:
//! 1. [`Node::propose`] appends it to the leader's unwritten log and notes the moment for the lease.
//! 2. [`Node::ready`] puts the entry into the caller's batch; the appends to the followers may leave at once.
//! 3. The caller writes the batch, [`Node::persisted`] counts the leader's own disk.
//! 4. Followers do the same and acknowledge after their write; [`Node::step`] counts them.
//! 5. The entry comes out in `committed` of some later round, on every replica, once it is durable there.
//! 6. The caller applies it and says so with [`Node::applied`].
//!
//! ```text
//! tick step propose read_index … ─▶ raft-rs ─▶ ready ─▶ (write) ─▶ persisted ─▶ send, apply
//!            ▲ sanitise, election                         │
//!            └──────────── lease, reads ◀─────────────────┘
//! ```
//!
//! *Invariants*: between `ready` and `persisted` no input is given (asserted). Election timeouts are set after
//! every input, so raft-rs's own random ones never take effect. Reads and lease never outlive a role or a term.
//!
//! *Limits and failure*: everything from the network passes [`crate::sanitise`]. If the log turns out to be
//! damaged while it is read, the node goes into quarantine ([`Node::damage`]): it says nothing more to anyone.
//!
//! *Source*: Raft paper; raft-rs, `RawNode`.
//!
//! *Scenario*: `consensus/tests/scripts/replication`.
//!
//! *Next stop*: [`crate::log_store`].

use crate::config::Config;
use crate::election::{Election, Start};
use crate::error::{OpenError, ProposeError, ReadError, StepError, TransferError};
use crate::lease::Lease;
use crate::log_store::LogStore;
use crate::members::Members;
use crate::message;
use crate::planted::{self, Planted};
use crate::reads::{ReadToken, Reads};
use crate::ready::{Role, RoleChange};
use crate::sanitise::{self, View};
use crate::storage::GroupLog;
use bytes::Bytes;
use raft::RawNode;
use raft::eraftpb::{Entry, Message, MessageType};
use std::collections::BTreeMap;
use yadkv_proto::id::{Index, PeerId, Term};
use yadkv_proto::time::Moment;
use yadkv_proto::yadkvpb::{LogEntry, RaftMessage};

mod catch_up;
mod held;
mod members;
mod round;
mod tick;

pub use catch_up::{FOLLOWS_ENTRIES_MAX, Follower, Replication};
pub use members::MEMBERS_ENTRY;

/// Where a proposal will be in the log, if it gets there: compare both when it is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Proposal {
    /// Term in which it was proposed.
    pub term: Term,
    /// Position it was given.
    pub index: Index,
}

/// One replica of one Raft group.
pub struct Node {
    config: Config,
    raw: RawNode<GroupLog>,
    election: Election,
    lease: Lease,
    reads: Reads,
    /// Role and term when reads and lease were last adjusted.
    seen: (Role, Term),
    /// What the last [`crate::Ready`] said.
    reported: RoleChange,
    /// Between `ready` and `persisted`.
    writing: bool,
    /// Ticks since a follower's reads were last sent again.
    ticks_since_retry: u32,
    /// Ticks since the log last grew.
    quiet_ticks: u32,
    /// Peers whose snapshot has arrived and that have not answered from its position yet.
    arrived: BTreeMap<PeerId, catch_up::Arrived>,
    /// Committed entries from the first one on that waits for the commit position.
    held: Vec<LogEntry>,
    /// Messages that tell others of it.
    held_messages: Vec<RaftMessage>,
}

impl Node {
    /// Opens a replica whose state is in `log`. `applied` is what the state machine durably or otherwise holds
    /// now; entries after it are handed out again. `now` starts the vote hold of a restart.
    pub fn open(
        config: Config,
        log: LogStore,
        members: Members,
        applied: Index,
        start: Start,
        now: Moment,
    ) -> Result<Self, OpenError> {
        config.validate()?;
        if !members.contains(config.peer) {
            return Err(OpenError::NotMember {
                group: config.group,
                peer: config.peer,
            });
        }
        let opened = log.count_open();
        let storage = GroupLog::open(&config, log, &members, applied)?;
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let raw = RawNode::new(&config.raft(applied), storage, &logger).map_err(|error| {
            OpenError::Damaged {
                group: config.group,
                reason: error.to_string(),
            }
        })?;
        let term = Term(raw.raft.term);
        let mut node = Self {
            election: Election::new(&config, start, now),
            lease: Lease::new(config.lease),
            reads: Reads::new(config.peer, config.boot_id, opened),
            seen: (Role::Follower, term),
            reported: RoleChange {
                role: Role::Follower,
                term,
                leader: None,
            },
            writing: false,
            ticks_since_retry: 0,
            quiet_ticks: 0,
            arrived: BTreeMap::new(),
            held: Vec::new(),
            held_messages: Vec::new(),
            config,
            raw,
        };
        node.adjust(now);
        Ok(node)
    }

    // Inputs.

    /// A message of another peer. `now` must have been read after the message arrived: it is what this replica
    /// promises not to vote from. An error says why the message was dropped.
    pub fn step(&mut self, message: RaftMessage, now: Moment) -> Result<(), StepError> {
        self.assert_accepts_input();
        if self.is_damaged() {
            return Err(StepError::Damaged);
        }
        let (from, term) = (message.from, message.term);
        let kind = sanitise::check(&message, &self.view(from))?;
        self.election.admit(kind, &message, self.term(), now)?;
        let stepped = self.raw.step(message::message_in(message)?);
        let from_leader = matches!(kind, MessageType::MsgAppend | MessageType::MsgHeartbeat)
            && term == self.raw.raft.term
            && from == self.raw.raft.leader_id;
        if from_leader {
            self.election.heard_leader(now);
        }
        if kind == MessageType::MsgHeartbeatResponse && term == self.raw.raft.term {
            self.stream_if_complete(PeerId(from));
        }
        self.adjust(now);
        if self.is_damaged() {
            return Err(StepError::Damaged);
        }
        stepped.map_err(|_| StepError::Stale("dropped by the Raft core"))
    }

    /// Campaigns at once, unless a promise forbids it. For the first leader of a new group only.
    pub fn campaign(&mut self, now: Moment) {
        self.assert_accepts_input();
        if self.is_damaged() || self.election.must_wait(now) || !self.log_is_durable() {
            return;
        }
        self.election.campaigned();
        let _ = self.raw.campaign();
        self.adjust(now);
    }

    // ANCHOR: propose
    /// Appends `data` to the log, if this replica leads.
    pub fn propose(&mut self, data: Bytes, now: Moment) -> Result<Proposal, ProposeError> {
        self.assert_accepts_input();
        if self.is_damaged() {
            return Err(ProposeError::Damaged);
        }
        if self.role() != Role::Leader {
            return Err(ProposeError::NotLeader {
                leader: self.leader(),
            });
        }
        let (bytes, max) = (data.len() as u64, self.config.entry_bytes_max);
        if bytes > max {
            return Err(ProposeError::TooLarge { bytes, max });
        }
        if self.raw.raft.lead_transferee.is_some() {
            return Err(ProposeError::Transferring);
        }
        let mut message = carrying(MessageType::MsgPropose, data);
        message.from = self.config.peer.0;
        self.raw.step(message).map_err(|_| ProposeError::Busy)?;
        let proposal = Proposal {
            term: self.term(),
            index: self.last_index(),
        };
        self.lease.proposed(proposal.index, now);
        self.adjust(now);
        Ok(proposal)
    }
    // ANCHOR_END: propose

    /// Starts a linearizable read. Its token comes out of a later [`crate::Ready`], in `reads` or in `lost_reads`. All
    /// reads requested before the next `ready` share one round of messages.
    pub fn read_index(&mut self, _now: Moment) -> Result<ReadToken, ReadError> {
        self.assert_accepts_input();
        if self.is_damaged() {
            return Err(ReadError::Damaged);
        }
        if self.leader().is_none() {
            return Err(ReadError::NoLeader);
        }
        if self.role() == Role::Leader && !self.lease.confirmed() {
            return Err(ReadError::NotReady);
        }
        self.reads.request().ok_or(ReadError::Busy)
    }

    /// Hands leadership to another voter: proposals are refused until it took over or an election timeout
    /// has passed, and there is no lease for the rest of the term.
    pub fn transfer_leader(&mut self, to: PeerId, now: Moment) -> Result<(), TransferError> {
        self.assert_accepts_input();
        if self.is_damaged() {
            return Err(TransferError::Damaged);
        }
        if self.role() != Role::Leader {
            return Err(TransferError::NotLeader {
                leader: self.leader(),
            });
        }
        if to == self.config.peer {
            return Err(TransferError::AlreadyLeader);
        }
        if !self.raw.raft.prs().conf().voters().contains(to.0) {
            return Err(TransferError::NotVoter(to));
        }
        self.raw.transfer_leader(to.0);
        self.adjust(now);
        Ok(())
    }

    /// Tells the others at once how far the log is committed, if this replica leads; else they learn it with the
    /// next entry or heartbeat.
    pub fn announce_commit(&mut self) {
        self.assert_accepts_input();
        if self.role() == Role::Leader {
            self.raw.ping();
        }
    }

    /// A message to `peer` was lost: the leader probes instead of sending ahead.
    pub fn report_unreachable(&mut self, peer: PeerId) {
        self.assert_accepts_input();
        if !self.is_damaged() {
            self.raw.report_unreachable(peer.0);
        }
    }

    /// Everything up to `index` is applied; earlier positions are ignored. Allowed at any time, between `ready`
    /// and `persisted` too.
    pub fn applied(&mut self, index: Index) {
        if !self.is_damaged() && index > self.applied_index() {
            assert!(index <= self.commit(), "only what was committed is applied");
            self.raw.advance_apply_to(index.0);
            self.raw.mut_store().applied(index);
        }
    }

    // State.

    /// What this replica is now. A damaged one follows.
    pub fn role(&self) -> Role {
        if self.is_damaged() {
            return Role::Follower;
        }
        self.raw.raft.state.into()
    }

    /// Term now; not necessarily durable yet.
    pub fn term(&self) -> Term {
        Term(self.raw.raft.term)
    }

    /// Whom this replica takes for the leader; itself if it leads.
    pub fn leader(&self) -> Option<PeerId> {
        let leader = self.raw.raft.leader_id;
        (leader != raft::INVALID_ID && !self.is_damaged()).then_some(PeerId(leader))
    }

    /// The first moment at which this replica may no longer serve reads without asking; it may be in the past.
    /// `None` unless it leads, has committed in its term and has not ordered a transfer in it.
    pub fn lease(&self) -> Option<Moment> {
        let suspended =
            planted::is(Planted::LeaseKeptAfterTransfer) && self.raw.raft.lead_transferee.is_some();
        if self.role() != Role::Leader || suspended {
            return None;
        }
        self.lease.until()
    }

    /// Whether this replica leads and an entry of its term is committed.
    pub fn committed_own_term(&self) -> bool {
        self.role() == Role::Leader && self.lease.confirmed()
    }

    /// Last position of the log, durable or not.
    pub fn last_index(&self) -> Index {
        Index(self.raw.raft.raft_log.last_index())
    }

    /// Last position known to be committed; entries are handed out once they are durable here too.
    pub fn commit(&self) -> Index {
        Index(self.raw.raft.raft_log.committed)
    }

    /// What [`Self::applied`] was told last.
    pub fn applied_index(&self) -> Index {
        Index(self.raw.raft.raft_log.applied)
    }

    /// The term of a position of the log; `None` outside of it.
    pub fn term_at(&self, index: Index) -> Option<Term> {
        let log = &self.raw.raft.raft_log;
        if index.0 >= log.unstable.offset {
            return log.unstable.maybe_term(index.0).map(Term);
        }
        self.raw.store().term_at(index)
    }

    /// The settings it was opened with.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Why this replica is in quarantine: its log cannot be read. It takes and gives nothing more; the caller
    /// reports it and takes the replica away.
    pub fn damage(&self) -> Option<String> {
        self.raw.store().damage()
    }

    // Helpers.

    fn is_damaged(&self) -> bool {
        self.raw.store().is_damaged()
    }

    fn assert_accepts_input(&self) {
        assert!(!self.writing, "no input between ready and persisted");
    }

    fn log_is_durable(&self) -> bool {
        let log = &self.raw.raft.raft_log;
        log.persisted == log.last_index()
    }

    fn view(&self, from: u64) -> View {
        let raft = &self.raw.raft;
        View {
            peer: self.config.peer,
            role: raft.state.into(),
            term: Term(raft.term),
            leader: PeerId(raft.leader_id),
            last: self.last_index(),
            persisted: Index(raft.raft_log.persisted),
            member: raft.prs().get(from).is_some(),
            foreign_reads: raft.pending_read_count(),
        }
    }

    /// Brings everything that depends on role, term, commit or transfer up to date after an input.
    fn adjust(&mut self, now: Moment) {
        let term = self.term();
        let timeout = self.election.timeout_ticks(term);
        self.raw.raft.set_randomized_election_timeout(timeout);
        let seen = (Role::from(self.raw.raft.state), term);
        if seen != self.seen {
            self.seen = seen;
            self.reads.fail_all();
            if seen.0 == Role::Leader {
                // The last entry is the empty one that raft-rs begins every term with.
                self.lease.take_office(term, self.last_index(), now);
            } else {
                self.lease.leave_office();
            }
        }
        self.lease.committed(self.commit());
        let ordered = self.raw.raft.lead_transferee.is_some()
            && self.raw.raft.msgs.iter().any(is_timeout_now);
        if ordered && !planted::is(Planted::LeaseKeptAfterTransfer) {
            self.lease.revoke();
        }
    }
}

/// A local message with one entry.
fn carrying(kind: MessageType, data: Bytes) -> Message {
    let entry = Entry {
        data,
        ..Entry::default()
    };
    let mut message = Message::default();
    message.set_msg_type(kind);
    message.set_entries(vec![entry].into());
    message
}

fn is_timeout_now(message: &Message) -> bool {
    message.get_msg_type() == MessageType::MsgTimeoutNow
}
