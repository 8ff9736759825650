//! The replicated state: what every member of the placement driver agrees on.
//!
//! *Place*: [`crate::member`] applies committed entries to it and reads it to answer; the engine keeps it.
//!
//! *Types to know*: [`Cluster`], [`Outcome`] (what became of a command), [`Reject`].
//!
//! *Life of a command*: proposed in an `Entry` with others → committed → [`Cluster::apply`] judges it by
//! the state that the earlier ones left, changes memory and the batch → the batch, closed by the applied
//! position ([`Cluster::close`]), is written at once → the outcome answers the caller.
//!
//! *Invariants*: applying is deterministic, so all members hold the same; bounds and the safe point never
//! fall; the regions tile the key space; a refused command changes nothing.
//!
//! *Limits and failure*: the batch is not synced, since the log replays what a crash loses. An entry that
//! does not decode or is too new stops the member: skipping it would let the members diverge.
//!
//! *Source*: `ARCHITECTURE.md`, How data would be lost.
//!
//! *Next stop*: [`crate::region_map`].

use crate::record::{self, FORMAT, LoadError, Records};
use crate::region_map::{Misfit, RegionMap};
use bytes::Bytes;
use prost::Message;
use std::collections::BTreeMap;
use yadkv_engine::{Engine, WriteBatch};
use yadkv_proto::id::{ClusterId, Index, RegionId, StoreId, Term};
use yadkv_proto::metapb::{Store, StoreState};
use yadkv_proto::placementpb::command::Operation;
use yadkv_proto::placementpb::{
    self, ClusterRecord, Command, Entry, KeyspaceRecord, LeaderHint, LeaderRecord, RegionRecord,
    SetStoreState, StoreRecord,
};

/// Name of the keyspace that exists from the start; its id is 0.
pub const DEFAULT_KEYSPACE: &str = "DEFAULT";

/// Why a command changed nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reject {
    /// Another living store has this address.
    #[error(
        "address {address} belongs to store {}: if its data is lost, remove it (`yadkv ctl store remove {}`) and start this one again; else give this one its own address",
        owner.0,
        owner.0
    )]
    AddressTaken {
        /// The address.
        address: String,
        /// Who has it.
        owner: StoreId,
    },
    /// The store was removed from the cluster for good.
    #[error("store {id} is a tombstone: empty its data directory and start it as a new store", id = .0.0)]
    Tombstone(StoreId),
    /// The id never came from this cluster.
    #[error("store id {0} was not given out by this cluster: ask for one with AllocID")]
    UnknownId(StoreId),
    /// The descriptors do not fit the map.
    #[error(transparent)]
    Misfit(#[from] Misfit),
    /// It has been done before, by another.
    #[error("done before")]
    Done,
}

/// What became of a command.
pub type Outcome = Result<(), Reject>;

/// The replicated state.
#[derive(Debug, Default)]
pub struct Cluster {
    meta: ClusterRecord,
    stores: BTreeMap<StoreId, Store>,
    regions: RegionMap,
    leaders: BTreeMap<RegionId, LeaderHint>,
    keyspaces: BTreeMap<String, KeyspaceRecord>,
}

impl Cluster {
    /// Reads the state from an engine opened with [`record::FAMILIES`]. In a new engine the log is taken
    /// to be applied up to (`first_index`, `first_term`), where a new log starts.
    pub fn load(
        engine: &dyn Engine,
        first_index: Index,
        first_term: Term,
    ) -> Result<Self, LoadError> {
        let mut records = Records::load(engine)?;
        records.cluster.get_or_insert_with(|| ClusterRecord {
            format: FORMAT,
            applied_index: first_index.0,
            applied_term: first_term.0,
            ..ClusterRecord::default()
        });
        Self::of(records)
    }

    /// The state that these records are.
    pub(crate) fn of(records: Records) -> Result<Self, LoadError> {
        let Records {
            cluster,
            stores,
            regions,
            leaders,
            keyspaces,
        } = records;
        let missing = || LoadError::damaged(record::META, record::CLUSTER_KEY, "no such record");
        let regions = regions.into_iter().filter_map(|record| record.region);
        let regions = RegionMap::load(regions.collect())
            .map_err(|misfit| LoadError::damaged(record::REGION, b"", misfit))?;
        let stores = stores.into_iter().filter_map(|record| record.store);
        let leaders = leaders.into_iter().filter_map(|record| record.leader);
        Ok(Self {
            meta: cluster.ok_or_else(missing)?,
            stores: stores.map(|store| (StoreId(store.id), store)).collect(),
            regions,
            leaders: leaders
                .map(|hint| (RegionId(hint.region_id), hint))
                .collect(),
            keyspaces: keyspaces
                .into_iter()
                .map(|keyspace| (keyspace.name.clone(), keyspace))
                .collect(),
        })
    }

    /// The cluster's id; none before the first leader chose it.
    pub fn id(&self) -> Option<ClusterId> {
        (self.meta.cluster_id != 0).then_some(ClusterId(self.meta.cluster_id))
    }

    /// Ids of the members that formed the cluster; empty before.
    pub fn member_ids(&self) -> &[u64] {
        &self.meta.member_ids
    }

    /// Ids below are, or may have been, given out.
    pub fn id_bound(&self) -> u64 {
        self.meta.id_bound
    }

    /// Timestamps with a physical part below are, or may have been, given out. Milliseconds since the epoch.
    pub fn tso_bound_ms(&self) -> u64 {
        self.meta.tso_bound_ms
    }

    /// The GC safe point, a timestamp as one number; 0 at the start.
    pub fn gc_safe_point(&self) -> u64 {
        self.meta.gc_safe_point
    }

    /// Last entry whose effect the state contains.
    pub fn applied(&self) -> (Index, Term) {
        (Index(self.meta.applied_index), Term(self.meta.applied_term))
    }

    /// Whether the first regions exist.
    pub fn is_bootstrapped(&self) -> bool {
        !self.regions.is_empty()
    }

    /// All stores by id.
    pub fn stores(&self) -> &BTreeMap<StoreId, Store> {
        &self.stores
    }

    /// Stores that are to be without replicas, or are gone for good.
    pub fn leaving_stores(&self) -> Vec<StoreId> {
        let leaving = (self.stores.iter()).filter(|(_, store)| store.state() != StoreState::Up);
        leaving.map(|(id, _)| *id).collect()
    }

    /// The map of regions.
    pub fn regions(&self) -> &RegionMap {
        &self.regions
    }

    /// The last known leader of a region.
    pub fn leader_hint(&self, region: RegionId) -> Option<&LeaderHint> {
        self.leaders.get(&region)
    }

    /// A keyspace by name.
    pub fn keyspace(&self, name: &str) -> Option<&KeyspaceRecord> {
        self.keyspaces.get(name)
    }

    /// Decodes the data of a committed normal entry.
    pub fn decode(data: &Bytes) -> Result<Vec<Command>, String> {
        if data.is_empty() {
            return Ok(Vec::new());
        }
        let entry = Entry::decode(data.clone()).map_err(|error| error.to_string())?;
        match entry.format {
            FORMAT
                if entry
                    .commands
                    .iter()
                    .all(|command| command.operation.is_some()) =>
            {
                Ok(entry.commands)
            }
            FORMAT => Err("a command of a newer release".to_owned()),
            other => Err(format!("format {other}, this release knows {FORMAT}")),
        }
    }

    /// Encodes commands as the data of an entry.
    pub fn encode(commands: Vec<Command>) -> Bytes {
        record::encode(&Entry {
            format: FORMAT,
            commands,
        })
    }

    /// Applies one command; changes go to memory and `batch`.
    pub fn apply(&mut self, command: Command, batch: &mut WriteBatch) -> Outcome {
        match command
            .operation
            .expect("decode refuses a command without operation")
        {
            Operation::FormCluster(form) => self.form(form),
            Operation::PutStore(put) => self.put_store(put.store.unwrap_or_default(), batch),
            Operation::SetStoreState(set) => self.set_store_state(&set, batch),
            Operation::RaiseIdBound(raise) => {
                self.meta.id_bound = self.meta.id_bound.max(raise.bound);
                Ok(())
            }
            Operation::RaiseTsoBound(raise) => {
                self.meta.tso_bound_ms = self.meta.tso_bound_ms.max(raise.bound_ms);
                Ok(())
            }
            Operation::RaiseGcSafePoint(raise) => {
                self.meta.gc_safe_point = self.meta.gc_safe_point.max(raise.safe_point);
                Ok(())
            }
            Operation::Bootstrap(first) => self.bootstrap(first, batch),
            Operation::ReplaceRegions(replace) => self.replace(replace, batch),
            Operation::NoteLeaders(note) => {
                self.note(note.leaders, batch);
                Ok(())
            }
        }
    }

    /// Closes a batch: everything up to (`index`, `term`) is in it.
    pub fn close(&mut self, index: Index, term: Term, batch: &mut WriteBatch) {
        assert!(
            index.0 > self.meta.applied_index,
            "entries apply once and in order"
        );
        (self.meta.applied_index, self.meta.applied_term) = (index.0, term.0);
        batch.put(
            record::META,
            record::CLUSTER_KEY,
            record::encode(&self.meta),
        );
    }

    fn form(&mut self, form: placementpb::FormCluster) -> Outcome {
        if self.meta.cluster_id != 0 || form.cluster_id == 0 {
            return Err(Reject::Done);
        }
        self.meta.cluster_id = form.cluster_id;
        self.meta.member_ids = form.member_ids;
        Ok(())
    }

    fn put_store(&mut self, new: Store, batch: &mut WriteBatch) -> Outcome {
        let id = StoreId(new.id);
        if id == StoreId::NONE || id.0 >= self.meta.id_bound {
            return Err(Reject::UnknownId(id));
        }
        let old = self.stores.get(&id);
        if old.is_some_and(|old| old.state() == StoreState::Tombstone) {
            return Err(Reject::Tombstone(id));
        }
        let owner = self.stores.values().find(|other| {
            other.id != new.id && other.address == new.address && other.state() == StoreState::Up
        });
        if let Some(owner) = owner {
            let owner = StoreId(owner.id);
            return Err(Reject::AddressTaken {
                address: new.address,
                owner,
            });
        }
        let mut store = new;
        store.state = old.map_or(StoreState::Up as i32, |old| old.state);
        store.node_state = old.map_or(yadkv_proto::metapb::NodeState::Serving as i32, |old| {
            old.node_state
        });
        self.keep_store(store, batch);
        Ok(())
    }

    fn set_store_state(&mut self, set: &SetStoreState, batch: &mut WriteBatch) -> Outcome {
        let id = StoreId(set.store_id);
        let mut store = self.stores.get(&id).cloned().ok_or(Reject::UnknownId(id))?;
        use StoreState::{Offline, Tombstone, Up};
        match (store.state(), set.state()) {
            (Tombstone, _) => return Err(Reject::Tombstone(id)),
            (Up, Offline) | (Offline, Up | Tombstone) => {}
            _ => return Err(Reject::Done),
        }
        store.set_state(set.state());
        self.keep_store(store, batch);
        Ok(())
    }

    fn keep_store(&mut self, store: Store, batch: &mut WriteBatch) {
        let value = StoreRecord {
            format: FORMAT,
            store: Some(store.clone()),
        };
        let key = record::id_key(store.id);
        batch.put(record::STORE, key, record::encode(&value));
        self.stores.insert(StoreId(store.id), store);
    }

    fn bootstrap(&mut self, first: placementpb::Bootstrap, batch: &mut WriteBatch) -> Outcome {
        if self.is_bootstrapped() {
            return Err(Reject::Done);
        }
        self.regions.first(first.regions.clone())?;
        for region in first.regions {
            put_region(region, batch);
        }
        let keyspace = KeyspaceRecord {
            format: FORMAT,
            id: 0,
            name: DEFAULT_KEYSPACE.to_owned(),
            created_ms: first.now_ms,
        };
        let key = Bytes::copy_from_slice(&keyspace.id.to_be_bytes());
        batch.put(record::KEYSPACE, key, record::encode(&keyspace));
        self.keyspaces.insert(keyspace.name.clone(), keyspace);
        Ok(())
    }

    fn replace(&mut self, replace: placementpb::ReplaceRegions, batch: &mut WriteBatch) -> Outcome {
        let removed: Vec<_> = replace.removed.iter().map(|id| RegionId(*id)).collect();
        self.regions.replace(&removed, replace.added.clone())?;
        for id in removed {
            if self.regions.by_id(id).is_none() {
                batch.delete(record::REGION, record::id_key(id.0));
                batch.delete(record::LEADER, record::id_key(id.0));
                self.leaders.remove(&id);
            }
        }
        for region in replace.added {
            put_region(region, batch);
        }
        Ok(())
    }

    /// Keeps the hints that are newer than what is known, of regions that exist.
    fn note(&mut self, leaders: Vec<LeaderHint>, batch: &mut WriteBatch) {
        for hint in leaders {
            let id = RegionId(hint.region_id);
            let newer = self
                .leaders
                .get(&id)
                .is_none_or(|known| hint.term >= known.term);
            if newer && self.regions.by_id(id).is_some() {
                let value = LeaderRecord {
                    format: FORMAT,
                    leader: Some(hint),
                };
                batch.put(record::LEADER, record::id_key(id.0), record::encode(&value));
                self.leaders.insert(id, hint);
            }
        }
    }
}

fn put_region(region: yadkv_proto::metapb::Region, batch: &mut WriteBatch) {
    let key = record::id_key(region.id);
    let value = RegionRecord {
        format: FORMAT,
        region: Some(region),
    };
    batch.put(record::REGION, key, record::encode(&value));
}

#[cfg(test)]
#[path = "cluster_tests.rs"]
mod tests;
