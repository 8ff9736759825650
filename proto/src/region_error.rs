//! What a store's answer says instead of an answer, in one word.
//!
//! *Place*: stores and the SDK count errors by it.
//!
//! *Next stop*: [`crate::api`].

use crate::api::StoreResponse;
use crate::errorpb::Error;

/// All kinds, by what the receiver does: ask another store, ask again later, or ask for something else.
pub const KINDS: [&str; 12] = [
    "not_leader",
    "region_not_found",
    "epoch_not_match",
    "key_not_in_region",
    "store_not_match",
    "mismatch_peer",
    "server_is_busy",
    "disk_full",
    "merging",
    "stale_command",
    "too_large",
    "other",
];

/// The kind of an error: one of [`KINDS`].
pub fn kind(error: &Error) -> &'static str {
    let is = [
        error.not_leader.is_some(),
        error.region_not_found.is_some(),
        error.epoch_not_match.is_some(),
        error.key_not_in_region.is_some(),
        error.store_not_match.is_some(),
        error.mismatch_peer_id.is_some(),
        error.server_is_busy.is_some(),
        error.disk_full.is_some(),
        error.proposal_in_merging_mode.is_some(),
        error.stale_command.is_some(),
        error.raft_entry_too_large.is_some(),
    ];
    let found = is.iter().zip(KINDS).find(|(is, _)| **is);
    found.map_or("other", |(_, kind)| kind)
}

macro_rules! region_errors {
    ($($name:ident),* $(,)?) => {
        impl StoreResponse {
            /// The region error in it, if there is one.
            pub fn region_error(&self) -> Option<&Error> {
                match self {
                    $(Self::$name(response) => response.region_error.as_deref(),)*
                    Self::GetStoreSafeTs(_) => None,
                }
            }

            /// Takes it out.
            pub fn take_region_error(&mut self) -> Option<Box<Error>> {
                match self {
                    $(Self::$name(response) => response.region_error.take(),)*
                    Self::GetStoreSafeTs(_) => None,
                }
            }
        }
    };
}

region_errors! {
    RawGet, RawBatchGet, RawPut, RawBatchPut, RawDelete, RawBatchDelete, RawDeleteRange, RawScan, RawBatchScan,
    RawGetKeyTtl, RawCompareAndSwap, RawChecksum, KvScanLock, SplitRegion, CheckRegion, UnsafeDestroyRange,
    GetHealthFeedback,
}
