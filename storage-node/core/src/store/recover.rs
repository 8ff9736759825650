//! How replicas come into being: recovered from disk, or created as the placement driver assigned them.
//!
//! *Life of a first region*: descriptor and applied state into kv (synced) → first Raft state into the log
//! engine, only if there is none (synced) → node opened → view published. A crash in between is made good at
//! the next start: a descriptor at the first applied state without Raft state gets one. Likewise an installation is
//! finished, and the log of a destroyed replica wiped.
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
use crate::members;
use crate::peer;
use crate::snapshot::install::{self, Moving, advance};
use crate::view::RegionView;
use bytes::Bytes;
use prost::Message;
use std::ops::ControlFlow;
use std::sync::Arc;
use yadkv_consensus::{Config as NodeConfig, FIRST_INDEX, FIRST_TERM, Node, Start};
use yadkv_engine::{Direction, Durability, Engine, WriteBatch};
use yadkv_proto::epoch;
use yadkv_proto::id::{Index, PeerId, RegionId, StoreId, Term};
use yadkv_proto::key::KeyRange;
use yadkv_proto::metapb::{Peer, Region};
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

/// How far a region would be applied if the machine lost its power now; `None` if nothing of it would be there.
pub fn durable_index(kv: &dyn Engine, region: RegionId) -> Result<Option<Index>, StoreError> {
    let key = layout::applied_key(region);
    let Some(bytes) = kv.get_durable(META, &key)? else {
        return Ok(None);
    };
    let record: AppliedRecord = layout::parse(&key, bytes).map_err(layout::LoadError::from)?;
    Ok(Some(Index(record.index)))
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
        for record in load_regions(&*self.shared.kv)? {
            let region = record.region.clone().unwrap_or_default();
            let id = RegionId(region.id);
            if !self.shard.owns(id) {
                continue;
            }
            if let Some(installation) = Moving::resume(&record) {
                let (places, mut moving) = (self.shared.places(), vec![installation]);
                while !moving.is_empty() {
                    advance(&mut moving, &places)?;
                }
            } else if record.state() == PeerState::Tombstone {
                self.clear_log(&record)?;
                continue;
            }
            self.reopen(id, now)?;
        }
        Ok(())
    }

    /// A destroyed replica's log may have survived a crash.
    fn clear_log(&self, record: &RegionRecord) -> Result<(), StoreError> {
        let id = RegionId(record.region.as_ref().map_or(0, |region| region.id));
        let own = PeerId(record.peer.unwrap_or_default().id);
        let owner = self.owner(id)?;
        if owner.is_some_and(|owner| owner <= own) {
            install::wipe(&self.shared.places(), id, Durability::Synced)?;
        }
        Ok(())
    }

    /// Opens what the engines hold of a region, if it is a living replica.
    pub(super) fn reopen(&mut self, id: RegionId, now: Now) -> Result<(), StoreError> {
        let Some(record) = self.living(id)? else {
            return Ok(());
        };
        let applied = load_applied(&*self.shared.kv, id)?
            .ok_or_else(|| damaged(id, "the descriptor is there, the applied state is not"))?;
        if self.owner(id)?.is_none() {
            if applied.index != FIRST_INDEX {
                return Err(damaged(
                    id,
                    "data was applied, but the Raft log is gone: this store must not vote again",
                ));
            }
            let own = record.peer.unwrap_or_default();
            self.write_first_log(&[(id, PeerId(own.id))])?;
        }
        self.start(&record, applied, Start::Restart, now)
    }

    /// The record of a region, if a replica of it lives on this store.
    pub(super) fn living(&self, id: RegionId) -> Result<Option<RegionRecord>, StoreError> {
        let record: Option<RegionRecord> = layout::load(&*self.shared.kv, &layout::region_key(id))?;
        Ok(record.filter(layout::lives))
    }

    /// The replica that the Raft state of a region belongs to.
    pub(super) fn owner(&self, id: RegionId) -> Result<Option<PeerId>, StoreError> {
        let owner = self.shared.log.owner(id);
        owner.map_err(|error| damaged(id, error))
    }

    /// Creates the first regions of this shard that are assigned to this store.
    pub(super) fn create(&mut self, regions: Vec<Region>, now: Now) -> Result<(), StoreError> {
        let mut batch = WriteBatch::new();
        let mut created = Vec::new();
        let known = load_regions(&*self.shared.kv)?;
        for region in regions {
            let id = RegionId(region.id);
            let Some(own) = own_peer(&region, self.shared.store) else {
                continue;
            };
            let first = region.region_epoch == Some(epoch::FIRST);
            // Others may have gone on meanwhile, and have sent what the region is now.
            let taken = known.iter().any(|record| is_in_the_way(record, &region));
            if !self.shard.owns(id) || !first || taken || self.moving.contains(&id) {
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
                region: Some(region),
                peer: Some(own),
                ..RegionRecord::default()
            };
            batch.put(META, layout::region_key(id), record.encode_to_vec());
            batch.put(META, layout::applied_key(id), applied.record());
            created.push((record, own, applied));
        }
        if created.is_empty() {
            return Ok(());
        }
        self.shared.kv.write(batch, Durability::Synced)?;
        let first: Vec<_> = created
            .iter()
            .map(|(_, own, applied)| (applied.region, PeerId(own.id)))
            .collect();
        self.write_first_log(&first)?;
        for (record, own, applied) in created {
            let id = applied.region;
            let peers = record.region.iter().flat_map(|region| &region.peers);
            let count = peers.clone().count().max(1);
            let chosen = peers.cycle().nth(id.0 as usize % count).copied();
            self.start(&record, applied, Start::Bootstrap, now)?;
            if let Some(peer) = self.peers.get_mut(&id) {
                peer.begins_empty();
                if chosen == Some(own) {
                    peer.campaign(now.moment);
                }
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
        record: &RegionRecord,
        applied: Applied,
        start: Start,
        now: Now,
    ) -> Result<(), StoreError> {
        let id = applied.region;
        let region = record.region.clone().unwrap_or_default();
        let own = own_peer(&region, self.shared.store)
            .ok_or_else(|| damaged(id, "the descriptor has no peer on this store"))?;
        let node = open_node(&self.shared, &region, own.id, applied, start, now)?;
        let view = RegionView::new(region, own, applied.clock_ms).having_merged(&record.merged);
        if record.halted {
            view.halt();
        }
        let view = Arc::new(view);
        self.shared.directory.publish(view.clone());
        let peer = peer::Peer::new(view, node, applied, record.merging.clone(), now.moment);
        self.peers.insert(id, peer);
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
    let members = members::of(region);
    config.sends_snapshots = true;
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

/// Whether what is known of a region forbids to create another.
fn is_in_the_way(record: &RegionRecord, new: &Region) -> bool {
    let region = record.region.clone().unwrap_or_default();
    let lives = record.state() != PeerState::Tombstone;
    region.id == new.id || (lives && KeyRange::of(&region).overlaps(&KeyRange::of(new)))
}

pub(super) fn own_peer(region: &Region, store: StoreId) -> Option<Peer> {
    region
        .peers
        .iter()
        .find(|peer| peer.store_id == store.0)
        .copied()
}

pub(crate) fn damaged(region: RegionId, reason: impl std::fmt::Display) -> StoreError {
    StoreError::Region {
        region,
        reason: reason.to_string(),
    }
}
