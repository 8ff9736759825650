//! New replicas of a region that was cut.
//!
//! *Life of a part*: its descriptor and applied state are on the disk (apply synced them) → first Raft state,
//! only if there is none (synced) → node opened → view published → the leader's campaigns → votes that came too
//! early are looked at.
//!
//! *Invariants*: a part that has Raft state lived here before a crash: it starts like any other restarted replica
//! and keeps its vote.
//!
//! *Limits*: [`EARLY_MAX`] vote requests for replicas that do not exist yet are kept, each for [`EARLY_TIME`]; the
//! candidate asks again later.
//!
//! *Next stop*: [`crate::peer`].

use super::message::Adopted;
use super::recover::{damaged, load_applied};
use super::{StoreError, Worker};
use std::collections::VecDeque;
use std::time::Duration;
use yadkv_consensus::{Start, is_vote_request};
use yadkv_engine::{Durability, WriteBatch};
use yadkv_proto::id::{PeerId, RegionId};
use yadkv_proto::time::{Moment, Now};
use yadkv_proto::yadkvpb::Envelope;

/// Vote requests kept at once.
const EARLY_MAX: usize = 1024;
/// How long one is kept: a candidate that is elected later asks again.
const EARLY_TIME: Duration = Duration::from_secs(1);

/// Vote requests for replicas that do not exist yet, oldest first.
#[derive(Default)]
pub(super) struct Early {
    waiting: VecDeque<(Moment, Envelope)>,
}

impl Early {
    /// Keeps a vote request; anything else is given back.
    pub(super) fn keep(&mut self, envelope: Envelope, now: Moment) -> Option<Envelope> {
        let vote = envelope.message.as_ref().is_some_and(is_vote_request);
        if !vote {
            return Some(envelope);
        }
        if self.waiting.len() >= EARLY_MAX {
            self.waiting.pop_front();
        }
        self.waiting.push_back((now, envelope));
        None
    }

    fn take(&mut self, region: RegionId, now: Moment) -> Vec<Envelope> {
        self.waiting
            .retain(|(since, _)| now.since(*since) < EARLY_TIME);
        let (wanted, rest): (VecDeque<_>, VecDeque<_>) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(|(_, envelope)| envelope.region_id == region.0);
        self.waiting = rest;
        wanted.into_iter().map(|(_, envelope)| envelope).collect()
    }
}

impl Worker {
    /// Starts replicas of this shard that a split made; known ones are left alone.
    pub(super) fn adopt(&mut self, adopted: Vec<Adopted>, now: Now) -> Result<(), StoreError> {
        let mut batch = WriteBatch::new();
        let mut starting = Vec::new();
        for Adopted { region, campaign } in adopted {
            let id = RegionId(region.id);
            // Whatever a snapshot or a removal made of it is opened, or not, when that is over.
            let busy = self.peers.contains_key(&id) || self.moving.contains(&id);
            let Some(record) = self.living(id)?.filter(|_| !busy) else {
                continue;
            };
            let own = record.peer.unwrap_or_default();
            let log = &self.shared.log;
            let first = log
                .bootstrap(id, PeerId(own.id), &mut batch)
                .map_err(|error| damaged(id, error))?;
            starting.push((id, record, campaign, first));
        }
        if starting.is_empty() {
            return Ok(());
        }
        if !batch.is_empty() {
            let engine = self.shared.log.engine();
            engine.write(batch, Durability::Synced)?;
        }
        for (id, record, campaign, first) in starting {
            let start = if first {
                Start::Bootstrap
            } else {
                Start::Restart
            };
            let applied = load_applied(&*self.shared.kv, id)?
                .ok_or_else(|| damaged(id, "the part has no applied state"))?;
            self.start(&record, applied, start, now)?;
            if campaign && let Some(peer) = self.peers.get_mut(&id) {
                peer.campaign(now.moment);
            }
            self.touched.insert(id);
            self.take_early(id, now)?;
        }
        Ok(())
    }

    /// Looks at votes that came before their replica.
    pub(super) fn take_early(&mut self, region: RegionId, now: Now) -> Result<(), StoreError> {
        for envelope in self.early.take(region, now.moment) {
            self.receive(envelope, now)?;
        }
        Ok(())
    }
}
