//! A state that arrived takes the place of this member's own.
//!
//! *Place*: a round begins it when a transfer is whole, `persisted` ends it; [`super::Member::open`] goes on with one
//! that a crash interrupted.
//!
//! *Life of an installation*:
//!
//! | step | engine | durable after it |
//! |---|---|---|
//! | exchange | state | all records are those of the transfer, and one says: arrived at (index, term) |
//! | reset | log | the log begins there; term and vote stay |
//! | open | | the node is a new one, which votes for nobody for a while |
//! | forget | state | the record is gone (not synced) |
//!
//! *Why so short*: a region stages its data beside the old and marks, clears, takes in. The placement driver's state is
//! small: one batch clears and fills, so there is no moment at which some of it is there. Whatever a crash leaves is one
//! of three:
//! 1. Nothing of the exchange: the member is as it was, and is sent the state again.
//! 2. The record, and a log that begins before its position: the log may be shorter, or hold other entries there. It is
//!    reset, synced, before Raft loads. Nobody has used it since the exchange, so no vote or entry of it is younger.
//! 3. The record, and a log that begins at its position or behind: the reset was done and the forgetting lost. The log
//!    stays: it may hold what was acknowledged since. A log's beginning never goes back, so 2 and 3 are told apart by it.
//!
//! *Invariants*: between exchange and open this member hears no Raft message and sends none. The old log is not touched
//! before the new state is durable.
//!
//! *Limits*: the driver's thread writes the state and does nothing else meanwhile, for seconds where the disk is slow; a
//! member that lags serves nobody anyway, and the leader waits for it.
//!
//! *Source*: `ARCHITECTURE.md`, How data would be lost.
//!
//! *Next stop*: [`crate::cluster`].

use super::receiving::Arrival;
use super::truncate::Truncation;
use super::{Fatal, GROUP, Member, OpenError, Round, Work};
use crate::config::Config;
use crate::planted::{self, Planted};
use crate::record::{self, FORMAT, LoadError};
use yadkv_consensus::{LogStore, Members, Node, Start};
use yadkv_engine::{Durability, Engine, WriteBatch};
use yadkv_proto::id::{Index, PeerId, Term};
use yadkv_proto::placementpb::ArrivedRecord;
use yadkv_proto::time::{Moment, Now};
use yadkv_proto::yadkvpb::state_message::What;

impl Member {
    /// Exchanges the state; the round's batch resets the log.
    pub(super) fn install(&mut self, mut arrival: Box<Arrival>) -> Result<Round, Fatal> {
        let position = arrival.cluster.applied();
        let (index, term) = position;
        tracing::info!(index = index.0, term = term.0, "installing a state");
        let arrived = ArrivedRecord {
            format: FORMAT,
            index: index.0,
            term: term.0,
        };
        let mut state = std::mem::take(&mut arrival.batch);
        let record = record::encode(&arrived);
        state.put(record::META, record::ARRIVED_KEY, record);
        self.kv.write(state, Durability::Synced)?;
        let mut batch = WriteBatch::new();
        let reset = self
            .log
            .reset(GROUP, self.config.member, position, &mut batch);
        reset.map_err(|error| Fatal::Log(error.to_string()))?;
        Ok(Round {
            batch,
            must_sync: true,
            send_now: Vec::new(),
            work: Work::Install(arrival),
        })
    }

    /// The log begins at the position: this member goes on from there.
    pub(super) fn installed(&mut self, arrival: Arrival, now: Now) -> Result<(), Fatal> {
        let applied = arrival.cluster.applied().0;
        self.node = open_node(&self.config, &self.log, applied, Start::Restart, now.moment)
            .map_err(|error| Fatal::Log(error.to_string()))?;
        self.cluster = arrival.cluster;
        self.truncation = Truncation::default();
        self.truncation.durable(applied);
        forget(&*self.kv)?;
        self.taken = Some(arrival.id);
        self.transfers.installed += 1;
        self.retry = true;
        self.answer_state(arrival.id, What::Taken(true));
        Ok(())
    }
}

/// Goes on with an installation that a crash interrupted, before Raft loads.
pub(super) fn resume(config: &Config, kv: &dyn Engine, log: &LogStore) -> Result<(), OpenError> {
    let found = kv.get(record::META, record::ARRIVED_KEY)?;
    let Some(bytes) = found else {
        return Ok(());
    };
    let arrived: ArrivedRecord = record::decode(record::META, record::ARRIVED_KEY, &bytes)?;
    let position = (Index(arrived.index), Term(arrived.term));
    if position.0 == Index(0) {
        let reason = "no position";
        return Err(LoadError::damaged(record::META, record::ARRIVED_KEY, reason).into());
    }
    let kept = planted::is(Planted::LogKeptOnResume);
    if log.truncated_index(GROUP)? < Some(position.0) && !kept {
        let mut batch = WriteBatch::new();
        log.reset(GROUP, config.member, position, &mut batch)?;
        log.engine().write(batch, Durability::Synced)?;
    }
    Ok(forget(kv)?)
}

/// The log begins at the position, durably.
fn forget(kv: &dyn Engine) -> yadkv_engine::Result<()> {
    let mut batch = WriteBatch::new();
    batch.delete(record::META, record::ARRIVED_KEY);
    kv.write(batch, Durability::Buffered)
}

/// This member's place in the group.
pub(super) fn open_node(
    config: &Config,
    log: &LogStore,
    applied: Index,
    start: Start,
    now: Moment,
) -> Result<Node, yadkv_consensus::OpenError> {
    let members = Members {
        voters: config.listed().into_iter().map(PeerId).collect(),
        ..Members::default()
    };
    let mut raft = yadkv_consensus::Config::new(GROUP, config.member, config.boot_id, config.seed);
    raft.sends_snapshots = true;
    Node::open(raft, log.clone(), members, applied, start, now)
}
