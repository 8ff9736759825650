//! One member of the placement driver.
//!
//! *Place*: the server's driver thread or the simulation → [`Member`] → `consensus::Node` and an engine.
//!
//! *Types to know*: [`Member`], [`Input`], [`Round`], [`Seat`] (what this member is entitled to).
//!
//! *Life of a change* (PutStore, a split's heartbeat, a raised bound):
//! 1. [`Member::handle`] checks it and queues a command with the purpose it serves ([`write`]).
//! 2. [`Member::round`] packs what is queued into one entry and proposes it.
//! 3. When it is committed, every member applies it in one batch ([`apply`]); the leader resolves the purpose:
//!    answers the caller, lets timestamps and ids flow.
//!
//! *Life of a read*, timestamps included ([`read`], [`stamp`]):
//! 1. [`Member::handle`] makes the answer from applied state, and holds it.
//! 2. [`Member::round`], given a later clock reading, lets it go if the lease covers that reading; else the
//!    read asks the other members (ReadIndex), and timestamps wait for a lease.
//!
//! ```text
//!  Follower ──elected──▶ Elected ──own-term entry applied──▶ Leader(office)
//!      ▲                    │                                    │
//!      └────────────────────┴───────── term or role lost ◀───────┘   volatile state is dropped, callers refused
//! ```
//!
//! *Life of the log*: each member takes out what it holds durably and nobody within the limits needs ([`truncate`]); a
//! member that needs it nevertheless is sent the whole state ([`sending`], [`receiving`], [`install`]).
//!
//! *Invariants*: nothing is answered from state before an entry of the own term was applied; every call is
//! answered exactly once; between `round` and `persisted` no input comes (asserted by `consensus`).
//!
//! *Limits and failure*: [`PARKED_MAX`] calls wait, each at most [`HOLD_MAX`]; more are refused at once. A
//! failed write, a damaged log or an entry of a newer release is [`Fatal`]: the process stops.
//!
//! *Scenario*: `tests/scenarios/failover`.
//!
//! *Next stop*: [`serve`], where a call is looked at first.

mod apply;
mod call;
mod configure;
mod heartbeat;
mod install;
mod order;
mod read;
mod receiving;
mod seat;
mod sending;
mod serve;
mod split;
mod stamp;
mod store_life;
mod truncate;
mod write;

pub use call::{ConfigureReply, Input, OverviewReply, Refusal, Reply};
pub use order::{Order, OrderReply, StoreOrder};
pub use seat::Seat;
pub use sending::{CHUNK_BYTES_MAX, Transfers};

use crate::cluster::Cluster;
use crate::config::{Config, ConfigError, HOLD_MAX, MemberAddress};
use crate::record::LoadError;
use call::Call;
use read::Reading;
use receiving::{Arrival, Receiving, TransferId};
use sending::Sendings;
use std::collections::VecDeque;
use std::sync::Arc;
use truncate::Truncation;
use yadkv_consensus::{FIRST_INDEX, FIRST_TERM, LogStore, Node, Ready, Role, Start};
use yadkv_engine::{Durability, Engine, WriteBatch};
use yadkv_proto::id::{ClusterId, Index, PeerId, RegionId, Term};
use yadkv_proto::metapb::Peer;
use yadkv_proto::time::{Moment, Now};
use yadkv_proto::yadkvpb::state_message::What;
use yadkv_proto::yadkvpb::{Envelope, RaftMessage, StateMessage};

/// Group id of the placement driver's own Raft group.
pub const GROUP: RegionId = RegionId(0);
/// Calls that wait for a leader, an office or an id chunk; and, apart from them, for a timestamp, and for a
/// round of ReadIndex. When one of the three is full its callers are refused at once.
pub const PARKED_MAX: usize = 16_384;

/// A member that cannot start: show it to the operator.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A setting is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The replicated state cannot be read.
    #[error(transparent)]
    State(#[from] LoadError),
    /// The log cannot be opened.
    #[error(transparent)]
    Log(#[from] yadkv_consensus::OpenError),
    /// Writing the first state failed.
    #[error(transparent)]
    Engine(#[from] yadkv_engine::Error),
    /// The cluster was formed by other members.
    #[error(
        "the cluster was formed by members {formed:?}, the configuration lists {listed:?}: correct the list"
    )]
    OtherMembers {
        /// Ids that the state holds.
        formed: Vec<u64>,
        /// Ids in the configuration.
        listed: Vec<u64>,
    },
}

/// The member must stop: going on would diverge or acknowledge what is not kept.
#[derive(Debug, thiserror::Error)]
pub enum Fatal {
    /// The engine failed.
    #[error("the placement driver's engine failed: {0}")]
    Engine(#[from] yadkv_engine::Error),
    /// The log cannot be read.
    #[error("the placement driver's log is damaged: {0}")]
    Log(String),
    /// A committed entry cannot be applied by this release.
    #[error("cannot apply entry {index}: {reason}")]
    Entry {
        /// Its position.
        index: Index,
        /// Why.
        reason: String,
    },
}

/// What one turn of the loop has to write and send.
#[derive(Debug)]
pub struct Round {
    /// For the raft engine. May be empty.
    pub batch: WriteBatch,
    /// The batch must be on disk before [`Member::persisted`].
    pub must_sync: bool,
    /// Leave before the batch is written.
    pub send_now: Vec<Envelope>,
    work: Work,
}

impl Round {
    /// Whether a snapshot was put in the place of the state, and the batch resets the log for it.
    pub fn installs(&self) -> bool {
        matches!(self.work, Work::Install(_))
    }
}

/// What [`Member::persisted`] goes on with.
#[derive(Debug)]
enum Work {
    Raft(Box<Ready>),
    /// The log was shortened, or messages leave.
    Nothing,
    Install(Box<Arrival>),
}

/// One replica of the placement driver.
pub struct Member {
    config: Config,
    kv: Arc<dyn Engine>,
    log: LogStore,
    node: Node,
    cluster: Cluster,
    seat: Seat,
    /// Calls that are looked at again when something changed, oldest first, with their deadline.
    parked: VecDeque<(Call, Moment)>,
    /// Whether something changed for the parked calls.
    retry: bool,
    reading: Reading,
    truncation: Truncation,
    sendings: Sendings,
    receiving: Option<Receiving>,
    /// A state that the next round installs: nothing of Raft is heard until then.
    arrival: Option<Box<Arrival>>,
    /// The last state that was installed, for a leader that asks again.
    taken: Option<TransferId>,
    transfers: Transfers,
    /// Parts of transfers that leave with the next round. One a member and input, at most.
    outbox: Vec<Envelope>,
    /// Envelopes dropped because they were not for this group or member.
    dropped: u64,
}

impl Member {
    /// Opens a member over its state's engine `kv` (opened with [`crate::FAMILIES`]) and its log. `start` says
    /// whether this is the first start ever on this disk; if there is a log, it is taken as a restart.
    pub fn open(
        config: Config,
        kv: Arc<dyn Engine>,
        log: LogStore,
        start: Start,
        now: Now,
    ) -> Result<Self, OpenError> {
        config.validate()?;
        let mut batch = WriteBatch::new();
        let created = log.bootstrap(GROUP, config.member, &mut batch)?;
        if created {
            log.engine().write(batch, Durability::Synced)?;
        }
        let start = if created { start } else { Start::Restart };
        install::resume(&config, &*kv, &log)?;
        let cluster = Cluster::load(&*kv, FIRST_INDEX, FIRST_TERM)?;
        let listed = config.listed();
        if cluster.id().is_some() && cluster.member_ids() != listed {
            let formed = cluster.member_ids().to_vec();
            return Err(OpenError::OtherMembers { formed, listed });
        }
        let applied = cluster.applied().0;
        let node = install::open_node(&config, &log, applied, start, now.moment)?;
        let truncation = Truncation::count(&config.log, &log, applied)?;
        Ok(Self {
            config,
            kv,
            log,
            node,
            cluster,
            seat: Seat::Follower,
            parked: VecDeque::new(),
            retry: false,
            reading: Reading::default(),
            truncation,
            sendings: Sendings::default(),
            receiving: None,
            arrival: None,
            taken: None,
            transfers: Transfers::default(),
            outbox: Vec::new(),
            dropped: 0,
        })
    }

    /// Takes one input. `now` is read before the call.
    pub fn handle(&mut self, input: Input, now: Now) {
        match input {
            Input::Tick => self.tick(now),
            Input::Raft(envelope) => self.step(envelope, now),
            Input::Request(request, reply) => self.serve(Call::Pd(request, reply), now),
            Input::Overview(reply) => self.serve(Call::Overview(reply), now),
            Input::Order(order, reply) => self.serve(Call::Order(order, reply), now),
            Input::Unreachable(member) => self.node.report_unreachable(member),
            Input::Durable(index) => self.truncation.durable(index),
            Input::Leave => self.hand_over(now),
            Input::Ping(pong) => pong(),
            Input::Configure(wanted, reply) => reply(self.configure(*wanted, now)),
        }
        self.settle(now);
    }

    /// Lets a member lead that has the whole log, if there is one.
    fn hand_over(&mut self, now: Now) {
        let own = self.config.member;
        let mut others = self.config.members.iter().map(|member| member.id);
        let heir = others.find(|other| *other != own && self.node.follows(*other));
        if let Some(heir) = heir.filter(|_| self.is_leader()) {
            // One under way goes on.
            let _ = self.node.transfer_leader(heir, now.moment);
        }
    }

    /// Releases what the lease at `now` allows, proposes what is queued, and collects what is to be written and sent. `now` is read after the last input was handled: a lease judged by an older reading could
    /// cover an answer made after it ended.
    pub fn round(&mut self, now: Now) -> Result<Option<Round>, Fatal> {
        self.release(now);
        if let Some(arrival) = self.arrival.take() {
            return self.install(arrival).map(Some);
        }
        self.propose(now);
        if let Some(damage) = self.node.damage() {
            return Err(Fatal::Log(damage));
        }
        let mut batch = WriteBatch::new();
        self.truncate(&mut batch);
        let Some(mut ready) = self.node.ready(&mut batch, now.moment) else {
            let nothing = batch.is_empty() && self.outbox.is_empty();
            return Ok((!nothing).then(|| Round {
                batch,
                must_sync: false,
                send_now: std::mem::take(&mut self.outbox),
                work: Work::Nothing,
            }));
        };
        let committed = std::mem::take(&mut ready.committed);
        self.apply(committed, now)?;
        let reads = std::mem::take(&mut ready.reads);
        let lost = std::mem::take(&mut ready.lost_reads);
        self.answer_reads(reads, &lost, now);
        self.send_state(std::mem::take(&mut ready.snapshots), now);
        let mut send_now = self.envelopes(std::mem::take(&mut ready.send_now));
        send_now.append(&mut self.outbox);
        Ok(Some(Round {
            batch,
            must_sync: ready.must_sync,
            send_now,
            work: Work::Raft(Box::new(ready)),
        }))
    }

    /// The round's batch was written, and synced if it had to be; what it returns is to be sent.
    pub fn persisted(&mut self, round: Round, now: Now) -> Result<Vec<Envelope>, Fatal> {
        let mut send = Vec::new();
        match round.work {
            Work::Raft(ready) => {
                let persisted = self.node.persisted(*ready, now.moment);
                self.apply(persisted.committed, now)?;
                self.node.applied(self.cluster.applied().0);
                self.send_state(persisted.snapshots, now);
                send = self.envelopes(persisted.send);
            }
            Work::Nothing => {}
            Work::Install(arrival) => self.installed(*arrival, now)?,
        }
        self.settle(now);
        send.append(&mut self.outbox);
        Ok(send)
    }

    /// Whether [`Member::round`] has something to do.
    pub fn pending(&self) -> bool {
        let queued = matches!(&self.seat, Seat::Leader(office) if office.writing.has_queued());
        let states = self.arrival.is_some() || !self.outbox.is_empty();
        self.node.has_ready()
            || queued
            || self.reading.has_held()
            || states
            || self.prefix().is_some()
    }

    fn tick(&mut self, now: Now) {
        if self.arrival.is_none() {
            self.node.tick(now.moment);
        }
        self.tick_sending(now.moment);
        self.expire_receiving(now.moment);
        self.follow_role(now);
        self.expire(now);
        self.retry = true;
        if let Seat::Leader(_) = &self.seat {
            self.keep_office(now);
        }
    }

    fn step(&mut self, envelope: Envelope, now: Now) {
        match self.admit(envelope) {
            // The log that it speaks of is about to be replaced.
            Some(Admitted::Raft(_)) if self.arrival.is_some() => {}
            Some(Admitted::Raft(message)) => {
                if let Err(error) = self.node.step(message, now.moment) {
                    tracing::trace!(reason = error.reason(), "raft message dropped");
                }
            }
            Some(Admitted::State(from, message)) => self.state_message(from, *message, now),
            None => self.dropped += 1,
        }
    }

    fn state_message(&mut self, from: PeerId, message: StateMessage, now: Now) {
        let id = TransferId {
            from,
            term: message.term,
            number: message.transfer,
        };
        match message.what {
            Some(What::Chunk(chunk)) => self.state_chunk(id, chunk, now),
            _ => self.state_answered(from, message, now),
        }
    }

    /// What follows any input: the seat follows the role, waiting calls are looked at again.
    fn settle(&mut self, now: Now) {
        self.follow_role(now);
        self.keep_sending();
        if std::mem::take(&mut self.retry) {
            for _ in 0..self.parked.len() {
                let Some((call, deadline)) = self.parked.pop_front() else {
                    break;
                };
                self.serve_until(call, deadline, now);
            }
            self.retry = false;
        }
        self.give_stamps(now);
    }

    /// The message inside, if it is from a member to this one.
    fn admit(&self, envelope: Envelope) -> Option<Admitted> {
        let (from, to) = (envelope.from?.id, envelope.to?.id);
        let known = self.config.members.iter().any(|member| member.id.0 == from);
        let fits = to == self.config.member.0 && from != to;
        if envelope.region_id != GROUP.0 || !known || !fits {
            return None;
        }
        match (envelope.message, envelope.state) {
            (Some(message), None) if message.from == from && message.to == to => {
                Some(Admitted::Raft(message))
            }
            (None, Some(state)) => Some(Admitted::State(PeerId(from), state)),
            _ => None,
        }
    }

    fn envelopes(&self, messages: Vec<RaftMessage>) -> Vec<Envelope> {
        let wrap = |message: RaftMessage| {
            let mut envelope = address(message.from, message.to);
            envelope.message = Some(message);
            envelope
        };
        messages.into_iter().map(wrap).collect()
    }

    /// Part of a transfer leaves with the next round.
    fn post(&mut self, to: PeerId, message: StateMessage) {
        let mut envelope = address(self.config.member.0, to.0);
        envelope.state = Some(Box::new(message));
        self.outbox.push(envelope);
    }

    /// Keeps a call for later, or refuses it if too many wait.
    fn park(&mut self, call: Call, deadline: Moment) {
        if self.parked.len() >= PARKED_MAX {
            call.refuse(Refusal::Unavailable("too many calls wait for a leader"));
            return;
        }
        self.parked.push_back((call, deadline));
    }

    /// Refuses calls that have waited long enough.
    fn expire(&mut self, now: Now) {
        let (overdue, waiting) = std::mem::take(&mut self.parked)
            .into_iter()
            .partition::<VecDeque<_>, _>(|(_, deadline)| now.moment >= *deadline);
        self.parked = waiting;
        let leader = self.leader_url();
        for (call, _) in overdue {
            call.refuse(match &self.seat {
                Seat::Follower => Refusal::NotLeader {
                    leader: leader.clone(),
                },
                _ => Refusal::Unavailable("the leader could not serve in time"),
            });
        }
        self.expire_reading(now);
    }

    fn deadline(now: Now) -> Moment {
        now.moment.after(HOLD_MAX)
    }

    // State.

    /// Whether this member leads and has taken office: it serves.
    pub fn is_leader(&self) -> bool {
        matches!(self.seat, Seat::Leader(_)) && self.node.role() == Role::Leader
    }

    /// Whom this member takes for the leader.
    pub fn leader(&self) -> Option<&MemberAddress> {
        let leader = self.node.leader()?;
        self.config
            .members
            .iter()
            .find(|member| member.id == leader)
    }

    fn leader_url(&self) -> Option<String> {
        self.leader()
            .filter(|leader| leader.id != self.config.member)
            .map(|leader| leader.client_url.clone())
    }

    /// Raft term.
    pub fn term(&self) -> Term {
        self.node.term()
    }

    /// The cluster's identity, once the first leader chose it and this member applied it.
    pub fn cluster_id(&self) -> Option<ClusterId> {
        self.cluster.id()
    }

    /// The replicated state.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// What this member is entitled to.
    pub fn seat(&self) -> &Seat {
        &self.seat
    }

    /// The settings it runs with.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Calls that wait, of all kinds.
    pub fn waiting(&self) -> usize {
        self.parked.len() + self.reading.len()
    }

    /// Envelopes dropped because they were not for this group or member.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }
}

/// What an envelope brings.
enum Admitted {
    Raft(RaftMessage),
    State(PeerId, Box<StateMessage>),
}

fn address(from: u64, to: u64) -> Envelope {
    let peer = |id| {
        Some(Peer {
            id,
            store_id: id,
            ..Peer::default()
        })
    };
    Envelope {
        region_id: GROUP.0,
        from: peer(from),
        to: peer(to),
        ..Envelope::default()
    }
}
