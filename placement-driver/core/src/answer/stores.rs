//! Store look-ups: GetStore and GetAllStores.
//!
//! *Place*: called by [`super::read`].
//!
//! *Source*: `proto/README.md`, Headers: for an unknown store the header's error
//! must be set and its text contain "invalid store ID" and "not found", which clients match.
//!
//! *Next stop*: [`super::members`].

use super::Known;
use yadkv_proto::id::StoreId;
use yadkv_proto::metapb::StoreState;
use yadkv_proto::pdpb::{self, ErrorType};

/// One store and its last heartbeat.
pub fn get(known: &Known<'_>, request: &pdpb::GetStoreRequest) -> pdpb::GetStoreResponse {
    let id = StoreId(request.store_id);
    let Some(store) = known.cluster.stores().get(&id) else {
        let header = known.error(ErrorType::Unknown, unknown_store(id));
        return pdpb::GetStoreResponse {
            header,
            ..Default::default()
        };
    };
    pdpb::GetStoreResponse {
        header: known.header(),
        store: Some(store.clone()),
        stats: known
            .reports
            .of_store(id)
            .map(|report| report.stats.clone()),
    }
}

/// Every store.
pub fn all(known: &Known<'_>, request: &pdpb::GetAllStoresRequest) -> pdpb::GetAllStoresResponse {
    let wanted = |store: &&yadkv_proto::metapb::Store| {
        !(request.exclude_tombstone_stores && store.state() == StoreState::Tombstone)
    };
    let stores = known
        .cluster
        .stores()
        .values()
        .filter(wanted)
        .cloned()
        .collect();
    pdpb::GetAllStoresResponse {
        header: known.header(),
        stores,
    }
}

/// What is said of a store that nobody registered.
pub fn unknown_store(id: StoreId) -> String {
    format!("invalid store ID {}, not found", id.0)
}
