//! The first regions: how the empty key space is cut once enough stores have come.
//!
//! *Place*: the leader's [`crate::member`] calls [`first_regions`] when `bootstrap.stores` stores have
//! registered, and proposes the result as one entry.
//!
//! ```text
//! -inf ┊ borders of keyspace DEFAULT, raw ('r') and transactional ('x') ┊ sentinel ┊ +inf
//!      ┊ enc(r000000) enc(r000001) enc(x000000) enc(x000001)            ┊ enc(FF…) ┊
//!      ┊                  + bootstrap.borders                           ┊          ┊
//! ```
//!
//! *Invariants*: epoch (1, 1); one voter on each chosen store; ids are new; the regions tile the key space.
//!
//! *How a store learns of it*: IsBootstrapped turns true, then ScanRegions shows the regions; a store
//! creates the peers whose `store_id` is its own in regions of epoch (1, 1) that it never had, and campaigns
//! at once in those whose shown leader is its own peer.
//!
//! *Limits*: at most a few thousand configured borders, so that the entry stays below a few MiB.
//!
//! *Source*: `proto/README.md`, Raw calls, for the sentinel.
//!
//! *Next stop*: [`crate::schedule`], which takes over from here.

use bytes::Bytes;
use std::collections::BTreeSet;
use yadkv_proto::codec::encode;
use yadkv_proto::epoch;
use yadkv_proto::id::StoreId;
use yadkv_proto::metapb::{Peer, Region};
use yadkv_proto::placementpb::Bootstrap;

/// Length of the key above all user keys whose encoding is the sentinel border: clients that scan raw V1
/// keys to an end would restart from the beginning if the last region could hold that end.
const SENTINEL_BYTES: usize = 32;

/// Borders that every cluster starts with.
pub fn fixed_borders() -> Vec<Bytes> {
    let keyspace = |mode: u8, id: u8| encode(&[mode, 0, 0, id]);
    vec![
        keyspace(b'r', 0),
        keyspace(b'r', 1),
        keyspace(b'x', 0),
        keyspace(b'x', 1),
        encode(&[0xFF; SENTINEL_BYTES]),
    ]
}

/// All borders of the first regions, in order, each once.
pub fn borders(configured: &[Bytes]) -> Vec<Bytes> {
    let all: BTreeSet<Bytes> = fixed_borders()
        .into_iter()
        .chain(configured.iter().cloned())
        .collect();
    all.into_iter().collect()
}

/// How many ids [`first_regions`] takes.
pub fn ids_needed(borders: usize, stores: usize) -> u64 {
    (borders as u64 + 1) * (stores as u64 + 1)
}

/// The first regions between `borders`, with a peer on each of `stores` and ids from `first_id` on.
pub fn first_regions(
    borders: &[Bytes],
    stores: &[StoreId],
    first_id: u64,
    now_ms: u64,
) -> Bootstrap {
    assert!(!stores.is_empty(), "a region has a replica");
    let mut ids = first_id..;
    let mut next = || ids.next().expect("ids are u64 and never run out");
    let mut bootstrap = Bootstrap {
        now_ms,
        ..Bootstrap::default()
    };
    for at in 0..=borders.len() {
        let start = if at == 0 {
            Bytes::new()
        } else {
            borders[at - 1].clone()
        };
        let id = next();
        let peers: Vec<_> = stores
            .iter()
            .map(|store| Peer {
                id: next(),
                store_id: store.0,
                ..Peer::default()
            })
            .collect();
        bootstrap.regions.push(Region {
            id,
            start_key: start,
            end_key: borders.get(at).cloned().unwrap_or_default(),
            region_epoch: Some(epoch::FIRST),
            peers,
            ..Region::default()
        });
    }
    bootstrap
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::region_map::RegionMap;

    #[test]
    fn first_regions_tile_and_use_each_id_once() {
        let borders = borders(&[Bytes::from_static(b"m"), encode(&[b'x', 0, 0, 0])]);
        assert_eq!(borders.len(), 6);
        let stores = [StoreId(1), StoreId(2), StoreId(3)];
        let first = first_regions(&borders, &stores, 10, 0);
        assert!(RegionMap::load(first.regions.clone()).is_ok());
        let ids: BTreeSet<u64> = first
            .regions
            .iter()
            .flat_map(|region| region.peers.iter().map(|peer| peer.id).chain([region.id]))
            .collect();
        assert_eq!(ids.len() as u64, ids_needed(borders.len(), stores.len()));
        assert_eq!(ids.first().copied(), Some(10));
    }
}
