//! Stores that leave for good.
//!
//! *Place*: [`super::order`] brings what people want; [`super::seat`] looks regularly for stores that are empty.
//!
//! *Life of a store that leaves*: ordered → Offline: no new replicas, the replica checker makes good for those it has →
//! no region of the map has a peer on it → Tombstone, for good. Until then it may be kept after all.
//!
//! *Invariants*: a store becomes a tombstone only when the map needs nothing of it.
//!
//! *Limits*: one burial is under way at a time.
//!
//! *Next stop*: [`crate::schedule::replica_checker`].

use super::call::Refusal;
use super::order::{OrderReply, StoreOrder};
use super::write::Purpose;
use super::{Member, Seat};
use crate::reports::Condition;
use std::collections::BTreeSet;
use yadkv_proto::id::StoreId;
use yadkv_proto::metapb::StoreState;
use yadkv_proto::placementpb::SetStoreState;
use yadkv_proto::placementpb::command::Operation;
use yadkv_proto::time::Now;

impl Member {
    /// Examines what is wanted of a store and begins it; only a leader in office comes here.
    pub(super) fn order_store(
        &mut self,
        store: StoreId,
        order: StoreOrder,
        reply: OrderReply,
        now: Now,
    ) {
        let state = match self.examine(store, order, now) {
            Ok(Some(state)) => state,
            Ok(None) => return reply(Ok(())),
            Err(reason) => return reply(Err(Refusal::Invalid(reason))),
        };
        tracing::info!(
            store = store.0,
            state = state.as_str_name(),
            "store state ordered"
        );
        self.write(set_state(store, state), Purpose::StoreState(reply));
    }

    /// The state to give it; none if it has that already.
    fn examine(
        &self,
        id: StoreId,
        order: StoreOrder,
        now: Now,
    ) -> Result<Option<StoreState>, String> {
        let Seat::Leader(office) = &self.seat else {
            return Err("this member does not lead".into());
        };
        let config = &self.config.schedule;
        let condition = |id: &StoreId| {
            let store = self.cluster.stores().get(id)?;
            Some(office.reports.condition(store, config, now.moment))
        };
        let Some(present) = condition(&id) else {
            return Err(format!("store {} does not exist: list the stores", id.0));
        };
        if present == Condition::Tombstone {
            let advice = "it comes back only as a new store, with an empty directory";
            return Err(format!("store {} was removed: {advice}", id.0));
        }
        let leaves = present == Condition::Offline;
        match order {
            StoreOrder::Keep => Ok(leaves.then_some(StoreState::Up)),
            StoreOrder::Remove if leaves => Ok(None),
            StoreOrder::Remove => {
                let others = self.cluster.stores().keys().filter(|other| **other != id);
                let up = others.filter(|other| condition(other) == Some(Condition::Up));
                let (up, wanted) = (up.count(), config.replicas as usize);
                // One that is silent holds nothing back: its replicas wait for a new store.
                if present == Condition::Up && up < wanted {
                    return Err(format!(
                        "{up} stores would be left and every region has {wanted} replicas: add a store first"
                    ));
                }
                Ok(Some(StoreState::Offline))
            }
        }
    }

    /// Makes a tombstone of a store that leaves and that no region needs any more.
    pub(super) fn bury_empty_store(&mut self) {
        let Seat::Leader(office) = &mut self.seat else {
            return;
        };
        let stores = self.cluster.stores().iter();
        let mut leaving: BTreeSet<StoreId> = stores
            .filter(|(_, store)| store.state() == StoreState::Offline)
            .map(|(id, _)| *id)
            .collect();
        if leaving.is_empty() || office.burying || !office.replacing.is_empty() {
            return;
        }
        for peer in self
            .cluster
            .regions()
            .iter()
            .flat_map(|region| &region.peers)
        {
            leaving.remove(&StoreId(peer.store_id));
        }
        if let Some(empty) = leaving.first() {
            office.burying = true;
            let tombstone = set_state(*empty, StoreState::Tombstone);
            office.writing.queue(tombstone, Purpose::Burial);
        }
    }
}

fn set_state(store: StoreId, state: StoreState) -> Operation {
    Operation::SetStoreState(SetStoreState {
        store_id: store.0,
        state: state as i32,
    })
}
