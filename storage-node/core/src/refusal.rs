//! Region errors: the wire form of "not here", "not now" and "not like this".
//!
//! *Place*: built by [`crate::view`], [`crate::peer`] and [`crate::apply`]; carried by every response.
//!
//! *Invariants*: `message` is always set; a leader hint is given only if it is a full peer and not this one
//! (two replicas hinting at each other would make clients spin).
//!
//! *Source*: `proto/README.md`, Region errors.
//!
//! *Next stop*: [`crate::respond`].

use yadkv_proto::errorpb::{
    DataIsNotReady, DiskFull, EpochNotMatch, Error, KeyNotInRegion, MismatchPeerId, NotLeader,
    ProposalInMergingMode, RaftEntryTooLarge, ReadIndexNotReady, RegionNotFound, ServerIsBusy,
    StaleCommand, StoreNotMatch,
};
use yadkv_proto::id::{RegionId, StoreId};
use yadkv_proto::metapb::{Peer, Region};

/// The request names another store.
pub fn store_not_match(request: u64, actual: StoreId) -> Error {
    Error {
        message: format!(
            "request is for store {request}, this is store {}: refresh the store's address",
            actual.0
        ),
        store_not_match: Some(StoreNotMatch {
            request_store_id: request,
            actual_store_id: actual.0,
        }),
        ..Default::default()
    }
}

/// No replica of the region lives here.
pub fn region_not_found(region: u64) -> Error {
    Error {
        message: format!("region {region} is not on this store: refresh the route"),
        region_not_found: Some(RegionNotFound { region_id: region }),
        ..Default::default()
    }
}

/// The region is about to become part of its neighbour.
pub fn merging(region: RegionId) -> Error {
    Error {
        message: format!(
            "region {} is being merged with its neighbour: refresh the route and try again",
            region.0
        ),
        proposal_in_merging_mode: Some(ProposalInMergingMode {
            region_id: region.0,
        }),
        ..Default::default()
    }
}

/// Another replica of the region lives here.
pub fn mismatch_peer(request: u64, actual: u64) -> Error {
    Error {
        message: format!("request is for peer {request}, this is peer {actual}: refresh the route"),
        mismatch_peer_id: Some(MismatchPeerId {
            request_peer_id: request,
            store_peer_id: actual,
        }),
        ..Default::default()
    }
}

/// This replica does not lead; `leader` if it is known for sure.
pub fn not_leader(region: RegionId, leader: Option<Peer>) -> Error {
    let message = match &leader {
        Some(peer) => format!(
            "region {}: the leader is peer {} on store {}",
            region.0, peer.id, peer.store_id
        ),
        None => format!("region {}: no leader is known: ask again later", region.0),
    };
    Error {
        message,
        not_leader: Some(NotLeader {
            region_id: region.0,
            leader,
        }),
        ..Default::default()
    }
}

/// The caller's view of the region is another one; `current` is the true one.
pub fn epoch_not_match(current: Vec<Region>) -> Error {
    Error {
        message: "the region has another epoch: refresh the route".into(),
        epoch_not_match: Some(EpochNotMatch {
            current_regions: current,
        }),
        ..Default::default()
    }
}

/// A point key outside the region.
pub fn key_not_in_region(key: &[u8], region: &Region) -> Error {
    Error {
        message: format!(
            "key {key:02x?} is outside region {}: refresh the route",
            region.id
        ),
        key_not_in_region: Some(KeyNotInRegion {
            key: key.to_vec().into(),
            region_id: region.id,
            start_key: region.start_key.clone(),
            end_key: region.end_key.clone(),
        }),
        ..Default::default()
    }
}

/// The write was dropped or its leader changed: it may or may not take effect.
pub fn outcome_unknown() -> Error {
    Error {
        message: "leadership changed while the write was under way: its outcome is unknown".into(),
        stale_command: Some(StaleCommand {}),
        ..Default::default()
    }
}

/// A bound is reached; come back later.
pub fn busy(reason: &str) -> Error {
    Error {
        message: format!("{reason}: try again later"),
        server_is_busy: Some(ServerIsBusy {
            reason: reason.into(),
            backoff_ms: 100,
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// What is read is damaged on this store: soon another one leads.
pub fn damaged(reason: &str) -> Error {
    busy(&format!("{reason}; the replica is being replaced"))
}

/// The write is larger than one entry may be.
pub fn entry_too_large(region: u64, bytes: u64, bytes_max: u64) -> Error {
    Error {
        message: format!(
            "the write has {bytes} bytes, an entry at most {bytes_max}: send less at once"
        ),
        raft_entry_too_large: Some(RaftEntryTooLarge {
            region_id: region,
            entry_size: bytes,
        }),
        ..Default::default()
    }
}

/// The answer is larger than one may be. There is no field for it; this one is the only "too large" that every
/// client takes as final.
pub fn answer_too_large(message: String) -> Error {
    Error {
        message,
        raft_entry_too_large: Some(RaftEntryTooLarge::default()),
        ..Default::default()
    }
}

/// A follower could not confirm how far it must have applied.
pub fn read_index_not_ready(region: RegionId) -> Error {
    Error {
        message: format!(
            "region {}: the read could not be confirmed: ask again later",
            region.0
        ),
        read_index_not_ready: Some(ReadIndexNotReady {
            region_id: region.0,
            reason: "leadership is changing".into(),
        }),
        ..Default::default()
    }
}

/// Stale reads are not kept: read from the leader.
pub fn data_is_not_ready(region: u64, peer: u64) -> Error {
    Error {
        message: format!("region {region}: stale reads are not served: read from the leader"),
        data_is_not_ready: Some(DataIsNotReady {
            region_id: region,
            peer_id: peer,
            safe_ts: 0,
        }),
        ..Default::default()
    }
}

/// The disk budget of this store is used up.
pub fn disk_full(store: StoreId, reason: &str) -> Error {
    Error {
        message: format!(
            "store {}: {reason}: writes are refused, reads go on",
            store.0
        ),
        disk_full: Some(DiskFull {
            store_id: vec![store.0],
            reason: reason.into(),
        }),
        ..Default::default()
    }
}

/// The store is going away.
pub fn shutting_down() -> Error {
    Error {
        message: "the store is shutting down: refresh the route".into(),
        ..Default::default()
    }
}
