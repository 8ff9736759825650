//! How replicas come into being: recovered from disk, or created as the placement driver assigned them.
//!
//! *Life of a first region*: descriptor and applied state into kv (synced) → first Raft state into the log
//! engine, only if there is none (synced) → node opened → view published. A crash in between is made good at
//! the next start: a descriptor at the first applied state without Raft state gets one.
//!
//! *Invariants*: Raft state is never written over; applied ≤ what the log holds (checked by the node).
//!
//! *Source*: `ARCHITECTURE.md`, How data would be lost; the log begins at position 5, so that
//! a replica without state asks for a snapshot and never for a log from 1.
//!
//! *Next stop*: [`crate::peer`].

use super::{Shared, StoreError, Worker};
use crate::apply::Applied;
use crate::layout::{self, FORMAT, META, REGION_KEYS};
use crate::peer::Peer;
use crate::view::RegionView;
use bytes::Bytes;
use prost::Message;
use std::ops::ControlFlow;
use std::sync::Arc;
use yadkv_consensus::{Config as NodeConfig, FIRST_INDEX, FIRST_TERM, Members, Node, Start};
use yadkv_engine::{Direction, Durability, Engine, WriteBatch};
use yadkv_proto::epoch;
use yadkv_proto::id::{Index, PeerId, RegionId, StoreId, Term};
use yadkv_proto::metapb::{PeerRole, Region};
use yadkv_proto::storagepb::{AppliedRecord, PeerState, RegionRecord, StoreRecord};
use yadkv_proto::time::Now;

/// Who a data engine belongs to; `None` if it is new.
pub fn store_record(kv: &dyn Engine) -> Result<Option<StoreRecord>, StoreError> {
    Ok(layout::load(kv, layout::STORE_KEY)?)
}

/// Marks a data engine as this store's, or updates the mark; synced.
pub fn write_store_record(kv: &dyn Engine, record: &StoreRecord) -> Result<(), StoreError> {
    let mut batch = WriteBatch::new();
    batch.put(
        META,
        Bytes::from_static(layout::STORE_KEY),
        record.encode_to_vec(),
    );
    Ok(kv.write(batch, Durability::Synced)?)
}

/// Applied state of a region on disk.
pub fn load_applied(
    kv: &dyn Engine,
    region: RegionId,
) -> Result<Option<Applied>, layout::LoadError> {
    let record: Option<AppliedRecord> = layout::load(kv, &layout::applied_key(region))?;
    Ok(record.map(|record| Applied {
        region,
        index: Index(record.index),
        term: Term(record.term),
        clock_ms: record.clock_ms,
        latest_expiry_ms: record.latest_expiry_ms,
    }))
}

/// All regions on disk, in the order of their ids.
pub fn load_regions(kv: &dyn Engine) -> Result<Vec<RegionRecord>, StoreError> {
    let mut found = Vec::new();
    let snapshot = kv.snapshot();
    let (start, end) = REGION_KEYS;
    snapshot.scan(META, start, end, Direction::Forward, &mut |key, value| {
        if layout::region_of_key(key).is_some() {
            found.push((Bytes::copy_from_slice(key), Bytes::copy_from_slice(value)));
        }
        ControlFlow::Continue(())
    })?;
    let parse = |(key, value): (Bytes, Bytes)| layout::parse(&key, value);
    Ok(found
        .into_iter()
        .map(parse)
        .collect::<Result<_, _>>()
        .map_err(layout::LoadError::from)?)
}

impl Worker {
    pub(super) fn recover(&mut self, now: Now) -> Result<(), StoreError> {
        let known = self
            .shared
            .log
            .groups()
            .map_err(|error| damaged(RegionId(0), error))?;
        for record in load_regions(&*self.shared.kv)? {
            let region = record.region.unwrap_or_default();
            let id = RegionId(region.id);
            if !self.shard.owns(id) || record.state == PeerState::Tombstone as i32 {
                continue;
            }
            let applied = load_applied(&*self.shared.kv, id)?
                .ok_or_else(|| damaged(id, "the descriptor is there, the applied state is not"))?;
            if !known.contains(&id) {
                if applied.index != FIRST_INDEX {
                    return Err(damaged(
                        id,
                        "data was applied, but the Raft log is gone: this store must not vote again",
                    ));
                }
                let own = record.peer.unwrap_or_default();
                self.write_first_log(&[(id, PeerId(own.id))])?;
            }
            self.start(region, applied, Start::Restart, now)?;
        }
        Ok(())
    }

    /// Creates the first regions of this shard that are assigned to this store.
    pub(super) fn create(&mut self, regions: Vec<Region>, now: Now) -> Result<(), StoreError> {
        let mut batch = WriteBatch::new();
        let mut created = Vec::new();
        for region in regions {
            let id = RegionId(region.id);
            let Some(own) = own_peer(&region, self.shared.store) else {
                continue;
            };
            let first = region.region_epoch == Some(epoch::FIRST);
            if !self.shard.owns(id) || !first || self.peers.contains_key(&id) {
                continue;
            }
            let applied = Applied {
                region: id,
                index: FIRST_INDEX,
                term: FIRST_TERM,
                clock_ms: 0,
                latest_expiry_ms: 0,
            };
            let record = RegionRecord {
                format: FORMAT,
                region: Some(region.clone()),
                peer: Some(own),
                state: PeerState::Normal as i32,
            };
            batch.put(META, layout::region_key(id), record.encode_to_vec());
            batch.put(META, layout::applied_key(id), applied.record());
            created.push((region, own, applied));
        }
        if created.is_empty() {
            return Ok(());
        }
        self.shared.kv.write(batch, Durability::Synced)?;
        let first: Vec<_> = created
            .iter()
            .map(|(region, own, _)| (RegionId(region.id), PeerId(own.id)))
            .collect();
        self.write_first_log(&first)?;
        for (region, own, applied) in created {
            let id = RegionId(region.id);
            let chosen = region.peers[(region.id % region.peers.len() as u64) as usize];
            self.start(region, applied, Start::Bootstrap, now)?;
            if chosen.id == own.id
                && let Some(peer) = self.peers.get_mut(&id)
            {
                peer.campaign(now.moment);
            }
            self.touched.insert(id);
        }
        Ok(())
    }

    fn write_first_log(&self, groups: &[(RegionId, PeerId)]) -> Result<(), StoreError> {
        let mut batch = WriteBatch::new();
        for (region, peer) in groups {
            self.shared
                .log
                .bootstrap(*region, *peer, &mut batch)
                .map_err(|error| damaged(*region, error))?;
        }
        Ok(self.shared.log.engine().write(batch, Durability::Synced)?)
    }

    pub(super) fn start(
        &mut self,
        region: Region,
        applied: Applied,
        start: Start,
        now: Now,
    ) -> Result<(), StoreError> {
        let id = RegionId(region.id);
        let own = own_peer(&region, self.shared.store)
            .ok_or_else(|| damaged(id, "the descriptor has no peer on this store"))?;
        let node = open_node(&self.shared, &region, own.id, applied, start, now)?;
        let view = Arc::new(RegionView::new(region, own, applied.clock_ms));
        self.shared.directory.publish(view.clone());
        self.peers
            .insert(id, Peer::new(view, node, applied, now.moment));
        Ok(())
    }
}

fn open_node(
    shared: &Shared,
    region: &Region,
    own: u64,
    applied: Applied,
    start: Start,
    now: Now,
) -> Result<Node, StoreError> {
    let id = RegionId(region.id);
    let mut config = NodeConfig::new(id, PeerId(own), shared.boot_id, shared.seed);
    config.tick = shared.config.tick;
    config.entry_bytes_max =
        (shared.config.entry_bytes_max + crate::config::ENTRY_OVERHEAD_BYTES) as u64;
    let of_role = |learner: bool| {
        let role =
            |peer: &&yadkv_proto::metapb::Peer| (peer.role == PeerRole::Learner as i32) == learner;
        region
            .peers
            .iter()
            .filter(role)
            .map(|peer| PeerId(peer.id))
            .collect()
    };
    let members = Members {
        voters: of_role(false),
        learners: of_role(true),
    };
    Node::open(
        config,
        shared.log.clone(),
        members,
        applied.index,
        start,
        now.moment,
    )
    .map_err(|error| damaged(id, error))
}

pub(super) fn own_peer(region: &Region, store: StoreId) -> Option<yadkv_proto::metapb::Peer> {
    region
        .peers
        .iter()
        .find(|peer| peer.store_id == store.0)
        .copied()
}

pub(super) fn damaged(region: RegionId, reason: impl std::fmt::Display) -> StoreError {
    StoreError::Region {
        region,
        reason: reason.to_string(),
    }
}
