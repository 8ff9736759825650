//! After the quiet phase all replicas of a region hold the same.
//!
//! *Place*: [`crate::run`] waits for [`differences`] to vanish, and fails the seed if they do not.
//!
//! *Next stop*: [`crate::run`].

use crate::world::World;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use yadkv_engine::{Direction, Engine};
use yadkv_proto::key::KeyRange;
use yadkv_storage_core::apply::Applied;
use yadkv_storage_core::layout::{RAW, RAW2};

/// What a replica holds.
type Content = (Applied, Vec<(bool, Vec<u8>, Vec<u8>)>);

/// The regions whose replicas differ, lag, or have no leader, in words; none when all agree.
pub fn differences(world: &World) -> Vec<String> {
    let mut found: BTreeMap<u64, Vec<(usize, Content)>> = BTreeMap::new();
    let mut leaders: BTreeMap<u64, usize> = BTreeMap::new();
    let mut complaints = Vec::new();
    for host in &world.stores {
        let Some(running) = host.runs() else {
            complaints.push(format!("store{} does not run", host.number));
            continue;
        };
        for peer in running
            .workers
            .iter()
            .flat_map(|worker| worker.worker.peers())
        {
            let content = (peer.applied(), content(&host.kv, peer.view().range()));
            found
                .entry(peer.id().0)
                .or_default()
                .push((host.number, content));
            if peer.is_leader() {
                *leaders.entry(peer.id().0).or_default() += 1;
            }
        }
    }
    for (region, replicas) in found {
        if replicas.len() != 3 {
            complaints.push(format!("region {region} has {} replicas", replicas.len()));
        }
        if leaders.get(&region) != Some(&1) {
            complaints.push(format!("region {region} has no single leader"));
        }
        let (first, rest) = replicas
            .split_first()
            .expect("a region was found on a store");
        for other in rest.iter().filter(|other| other.1 != first.1) {
            let (left, right) = (first.1.0, other.1.0);
            complaints.push(format!(
                "region {region}: store{} and store{} differ ({left:?}, {right:?})",
                first.0, other.0
            ));
        }
    }
    complaints
}

fn content(kv: &dyn Engine, range: &KeyRange) -> Vec<(bool, Vec<u8>, Vec<u8>)> {
    let snapshot = kv.snapshot();
    let mut pairs = Vec::new();
    for (second, family) in [(false, RAW), (true, RAW2)] {
        let scanned = snapshot.scan(
            family,
            &range.start,
            &range.end,
            Direction::Forward,
            &mut |key, value| {
                pairs.push((second, key.to_vec(), value.to_vec()));
                ControlFlow::Continue(())
            },
        );
        scanned.expect("memory engines fail only when told to");
    }
    pairs
}
