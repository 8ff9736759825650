//! The one thread that owns the member.
//!
//! *Place*: services, HTTP and transport put inputs into its inbox through [`Handle`]; it drives
//! `yadkv_placement_core::Member`, writes the log, and gives messages to the transport.
//!
//! *Types to know*: [`Handle`], [`State`] (what others may know without asking).
//!
//! *Life of a turn*: wait for an input or the next tick → drain the inbox up to [`INPUTS_MAX`] → while the
//! member has something to do: a round, its early messages, one write with at most one fsync, its late
//! messages → have the state flushed if that is wanted → publish what changed.
//!
//! *Invariants*: the clock is read anew for every round, after the inputs were handled: leases are judged by
//! it. Missed ticks are given as one.
//!
//! *Limits and failure*: [`INBOX`] inputs wait; a call beyond is refused, a Raft message dropped. Any fatal
//! error stops the whole node; while the disk hangs nothing is sent, so the others elect another leader.
//!
//! *Next stop*: `yadkv_placement_core::member`.

use crate::clock;
use crate::flush::Flusher;
use crate::metrics::{INBOX_FULL, Metrics};
use crate::service::heartbeats::Streams;
use crate::transport::Outgoing;
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, TrySendError};
use std::future::Future;
use std::time::{Duration, Instant};
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;
use yadkv_consensus::LogStore;
use yadkv_engine::Durability;
use yadkv_placement_core::{
    Changeable, Fatal, Input, Member, MemberAddress, Order, Overview, Refusal, Transfers,
};
use yadkv_proto::api::{PdRequest, PdResponse};
use yadkv_proto::id::{Index, PeerId};
use yadkv_proto::yadkvpb::Envelope;

/// Inputs that wait for the driver. Too small: refusals in bursts; too large: old calls are served late.
pub const INBOX: usize = 16_384;
/// Inputs handled in one turn before the disk is written.
const INPUTS_MAX: usize = 1024;
const TICK: Duration = Duration::from_millis(100);

/// What others may know about the member without asking it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Whom it takes for the leader.
    pub leader: Option<MemberAddress>,
    /// Whether it is in office itself.
    pub leads: bool,
    /// Raft term.
    pub term: u64,
    /// The cluster's id; 0 until known.
    pub cluster_id: u64,
}

/// The way to the member. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    inbox: Sender<Input>,
    state: watch::Receiver<State>,
    metrics: Metrics,
}

impl Handle {
    /// Puts a request into the inbox at once; the future brings the answer. Requests of one caller are
    /// taken in the order of these calls.
    pub fn request(
        &self,
        request: PdRequest,
    ) -> impl Future<Output = Result<PdResponse, Refusal>> + Send + use<> {
        let (sender, answer) = oneshot::channel();
        let reply = Box::new(move |result| drop(sender.send(result)));
        let sent = self.send(Input::Request(request, reply));
        async move {
            sent?;
            answer
                .await
                .unwrap_or(Err(Refusal::Unavailable("the placement driver stops")))
        }
    }

    /// Everything people look at.
    pub async fn overview(&self) -> Result<Overview, Refusal> {
        let (sender, answer) = oneshot::channel();
        self.send(Input::Overview(Box::new(move |result| {
            drop(sender.send(result))
        })))?;
        answer
            .await
            .unwrap_or(Err(Refusal::Unavailable("the placement driver stops")))
    }

    /// Gives an order for a region.
    pub async fn order(&self, order: Order) -> Result<(), Refusal> {
        let (sender, answer) = oneshot::channel();
        let reply = Box::new(move |result| drop(sender.send(result)));
        self.send(Input::Order(order, reply))?;
        answer
            .await
            .unwrap_or(Err(Refusal::Unavailable("the placement driver stops")))
    }

    /// Has the member go on with other settings; they are in force then.
    pub async fn configure(&self, wanted: Changeable) -> Result<(), Refusal> {
        let (sender, answer) = oneshot::channel();
        let reply = Box::new(move |result| drop(sender.send(result)));
        self.send(Input::Configure(Box::new(wanted), reply))?;
        match answer.await {
            Ok(taken) => taken.map_err(|error| Refusal::Invalid(error.to_string())),
            Err(_) => Err(Refusal::Unavailable("the placement driver stops")),
        }
    }

    /// A Raft message came.
    pub fn raft(&self, envelope: Envelope) {
        if self.send(Input::Raft(envelope)).is_err() {
            self.metrics
                .dropped_messages
                .with_label_values(&[INBOX_FULL])
                .inc();
        }
    }

    /// A message to another member was lost.
    pub fn unreachable(&self, member: PeerId) {
        // Lost with a full inbox; the next failure says it again.
        let _ = self.send(Input::Unreachable(member));
    }

    /// Whether the member's thread goes on; `false` if it has too much to do or has ended. Waits for its turn.
    pub async fn answers(&self) -> bool {
        let (sender, answer) = oneshot::channel();
        let pong = Box::new(move || {
            // Nobody may wait any more.
            let _ = sender.send(());
        });
        self.send(Input::Ping(pong)).is_ok() && answer.await.is_ok()
    }

    /// This member is about to stop. Ends when it leads no more, however long that takes.
    pub async fn hand_over(&self) {
        let mut state = self.state();
        while state.borrow_and_update().leads {
            // Lost with a full inbox; the next one is not far.
            let _ = self.send(Input::Leave);
            // An error means that the driver has ended.
            if let Ok(Err(_)) = tokio::time::timeout(TICK, state.changed()).await {
                return;
            }
        }
    }

    /// The state engine is durable up to a position.
    pub fn durable(&self, index: Index) {
        // Lost with a full inbox; the member asks again.
        let _ = self.send(Input::Durable(index));
    }

    /// What the member is now, and a way to wait for changes.
    pub fn state(&self) -> watch::Receiver<State> {
        self.state.clone()
    }

    fn send(&self, input: Input) -> Result<(), Refusal> {
        self.inbox.try_send(input).map_err(|error| match error {
            TrySendError::Full(_) => {
                Refusal::Unavailable("the placement driver has too many calls waiting")
            }
            TrySendError::Disconnected(_) => Refusal::Unavailable("the placement driver stops"),
        })
    }
}

/// The thread's possessions.
pub struct Driver {
    member: Member,
    log: LogStore,
    inbox: Receiver<Input>,
    state: watch::Sender<State>,
    outgoing: Outgoing,
    flusher: Flusher,
    streams: Streams,
    metrics: Metrics,
    /// Those that the metrics have.
    transfers: Transfers,
    stop: CancellationToken,
}

/// The inbox, made before the transport that fills it.
pub fn inbox(metrics: &Metrics) -> (Handle, Receiver<Input>, watch::Sender<State>) {
    let (inbox, inputs) = crossbeam::channel::bounded(INBOX);
    let (state, watched) = watch::channel(State::default());
    (
        Handle {
            inbox,
            state: watched,
            metrics: metrics.clone(),
        },
        inputs,
        state,
    )
}

impl Driver {
    /// A driver of `member`, whose log is `log`.
    pub fn new(
        member: Member,
        log: LogStore,
        (inbox, state): (Receiver<Input>, watch::Sender<State>),
        (outgoing, flusher): (Outgoing, Flusher),
        streams: Streams,
        metrics: Metrics,
        stop: CancellationToken,
    ) -> Self {
        Self {
            member,
            log,
            inbox,
            state,
            outgoing,
            flusher,
            streams,
            metrics,
            transfers: Transfers::default(),
            stop,
        }
    }

    /// Runs until the node stops or something fatal happens.
    pub fn run(mut self) -> Result<(), Fatal> {
        let mut next_tick = Instant::now() + TICK;
        while !self.stop.is_cancelled() {
            let first = match self.inbox.recv_deadline(next_tick) {
                Ok(input) => Some(input),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            };
            let now = clock::now();
            for input in first
                .into_iter()
                .chain(self.inbox.try_iter().take(INPUTS_MAX))
            {
                self.member.handle(input, now);
            }
            if Instant::now() >= next_tick {
                self.member.handle(Input::Tick, now);
                next_tick = Instant::now() + TICK;
            }
            self.turn()?;
            self.publish();
        }
        self.flusher
            .failure()
            .map_or(Ok(()), |error| Err(error.into()))
    }

    fn turn(&mut self) -> Result<(), Fatal> {
        while self.member.pending() {
            let Some(mut round) = self.member.round(clock::now())? else {
                continue;
            };
            self.outgoing.send(std::mem::take(&mut round.send_now));
            let batch = std::mem::take(&mut round.batch);
            let durability = if round.must_sync {
                Durability::Synced
            } else {
                Durability::Buffered
            };
            if round.must_sync || !batch.is_empty() {
                let timer = self.metrics.log_write_seconds.start_timer();
                self.log.engine().write(batch, durability)?;
                timer.observe_duration();
            }
            self.outgoing
                .send(self.member.persisted(round, clock::now())?);
        }
        if let Some(index) = self.member.flush(clock::now()) {
            self.flusher.flush(index);
        }
        for (store, operator) in self.member.pushes() {
            self.streams.push(store, operator);
        }
        Ok(())
    }

    fn publish(&mut self) {
        let state = State {
            leader: self.member.leader().cloned(),
            leads: self.member.is_leader(),
            term: self.member.term().0,
            cluster_id: self.member.cluster_id().unwrap_or_default().0,
        };
        self.metrics.show(&self.member);
        self.count_transfers();
        self.state.send_if_modified(|published| {
            let changed = *published != state;
            if changed {
                self.metrics.leader_changes.inc();
                tracing::info!(
                    leader = state.leader.as_ref().map_or("none", |leader| &leader.name),
                    leads = state.leads,
                    term = state.term,
                    "leadership"
                );
                *published = state;
            }
            changed
        });
    }

    fn count_transfers(&mut self) {
        let now = self.member.transfers();
        let before = std::mem::replace(&mut self.transfers, now);
        if now == before {
            return;
        }
        for (outcome, count) in [
            ("sent", now.sent - before.sent),
            ("failed", now.failed - before.failed),
            ("installed", now.installed - before.installed),
        ] {
            let counter = self.metrics.state_transfers.with_label_values(&[outcome]);
            counter.inc_by(count);
        }
    }
}
