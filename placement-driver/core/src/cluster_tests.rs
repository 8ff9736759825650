//! Commands against the replicated state, over a memory engine that is read back after each case.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::record::FAMILIES;
use yadkv_engine::Durability;
use yadkv_engine::LogEngine;
use yadkv_engine::memory::Memory;
use yadkv_proto::metapb::{Peer, Region, RegionEpoch};
use yadkv_proto::placementpb::{
    Bootstrap, FormCluster, NoteLeaders, PutStore, RaiseGcSafePoint, RaiseIdBound, ReplaceRegions,
};

struct Rig {
    engine: Memory,
    cluster: Cluster,
    index: u64,
}

impl Rig {
    fn new() -> Self {
        let engine = Memory::new(FAMILIES.len());
        let cluster = Cluster::load(&engine, Index(5), Term(5)).unwrap();
        Self {
            engine,
            cluster,
            index: 5,
        }
    }

    /// Applies one command and checks that what was written reads back as what is in memory.
    fn apply(&mut self, operation: Operation) -> Outcome {
        let data = Cluster::encode(vec![Command {
            operation: Some(operation),
        }]);
        let mut batch = WriteBatch::new();
        let mut commands = Cluster::decode(&data).unwrap();
        let outcome = self.cluster.apply(commands.remove(0), &mut batch);
        self.index += 1;
        self.cluster.close(Index(self.index), Term(6), &mut batch);
        self.engine.write(batch, Durability::Buffered).unwrap();
        let again = Cluster::load(&self.engine, Index(5), Term(5)).unwrap();
        assert_eq!(format!("{again:?}"), format!("{:?}", self.cluster));
        outcome
    }

    fn put_store(&mut self, id: u64, address: &str) -> Outcome {
        let store = Store {
            id,
            address: address.to_owned(),
            ..Store::default()
        };
        self.apply(Operation::PutStore(PutStore { store: Some(store) }))
    }
}

fn region(id: u64, start: &'static str, end: &'static str, version: u64) -> Region {
    Region {
        id,
        start_key: start.into(),
        end_key: end.into(),
        region_epoch: Some(RegionEpoch {
            conf_ver: 1,
            version,
        }),
        peers: vec![Peer {
            id: id + 100,
            store_id: 1,
            ..Peer::default()
        }],
        ..Region::default()
    }
}

#[test]
fn identity_and_bounds_never_change_back() {
    let mut rig = Rig::new();
    assert_eq!(rig.cluster.id(), None);
    let form = |cluster_id| {
        Operation::FormCluster(FormCluster {
            cluster_id,
            member_ids: vec![1, 2, 3],
        })
    };
    assert_eq!(rig.apply(form(7)), Ok(()));
    assert_eq!(rig.apply(form(8)), Err(Reject::Done));
    assert_eq!(rig.cluster.id(), Some(ClusterId(7)));
    for (bound, expected) in [(10, 10), (5, 10), (20, 20)] {
        rig.apply(Operation::RaiseIdBound(RaiseIdBound { bound }))
            .unwrap();
        rig.apply(Operation::RaiseGcSafePoint(RaiseGcSafePoint {
            safe_point: bound,
        }))
        .unwrap();
        assert_eq!(
            (rig.cluster.id_bound(), rig.cluster.gc_safe_point()),
            (expected, expected)
        );
    }
}

#[test]
fn a_store_needs_its_own_id_and_address() {
    let mut rig = Rig::new();
    assert_eq!(rig.put_store(1, "a:1"), Err(Reject::UnknownId(StoreId(1))));
    rig.apply(Operation::RaiseIdBound(RaiseIdBound { bound: 10 }))
        .unwrap();
    assert_eq!(rig.put_store(1, "a:1"), Ok(()));
    assert_eq!(rig.put_store(1, "a:1"), Ok(()));
    let taken = rig.put_store(2, "a:1").unwrap_err();
    assert_eq!(
        taken.to_string(),
        "address a:1 belongs to store 1: if its data is lost, remove it (`yadkv ctl store remove 1`) and start this one again; else give this one its own address"
    );
    assert_eq!(rig.put_store(1, "b:1"), Ok(()));
    assert_eq!(rig.put_store(2, "a:1"), Ok(()));
    assert_eq!(rig.put_store(0, "c:1"), Err(Reject::UnknownId(StoreId(0))));
}

#[test]
fn regions_are_written_once_and_replaced_by_what_tiles() {
    let mut rig = Rig::new();
    let bootstrap = Bootstrap {
        regions: vec![region(1, "", "m", 1), region(2, "m", "", 1)],
        now_ms: 9,
    };
    let gap = Bootstrap {
        regions: vec![region(1, "", "l", 1), region(2, "m", "", 1)],
        ..bootstrap.clone()
    };
    assert_eq!(
        rig.apply(Operation::Bootstrap(gap)),
        Err(Misfit::Cover.into())
    );
    assert!(!rig.cluster.is_bootstrapped() && rig.cluster.keyspace(DEFAULT_KEYSPACE).is_none());
    assert_eq!(rig.apply(Operation::Bootstrap(bootstrap.clone())), Ok(()));
    assert_eq!(
        rig.apply(Operation::Bootstrap(bootstrap)),
        Err(Reject::Done)
    );
    assert_eq!(rig.cluster.keyspace(DEFAULT_KEYSPACE).unwrap().id, 0);

    let replace = |removed: &[u64], added: &[Region]| {
        Operation::ReplaceRegions(ReplaceRegions {
            removed: removed.to_vec(),
            added: added.to_vec(),
        })
    };
    let refused = [
        (
            vec![3],
            vec![region(3, "", "m", 2)],
            Misfit::Unknown(RegionId(3)),
        ),
        (vec![1], vec![region(1, "", "k", 2)], Misfit::Cover),
        (vec![1], vec![region(1, "", "", 2)], Misfit::Cover),
        (
            vec![1],
            vec![region(2, "", "m", 2)],
            Misfit::Taken(RegionId(2)),
        ),
        (
            vec![1],
            vec![region(3, "", "m", 1)],
            Misfit::Stale(RegionId(3)),
        ),
        (
            vec![1],
            vec![region(1, "", "m", 1)],
            Misfit::Stale(RegionId(1)),
        ),
        (
            vec![1],
            vec![region(3, "", "c", 2), region(3, "c", "m", 2)],
            Misfit::Taken(RegionId(3)),
        ),
        (
            vec![1],
            vec![region(0, "", "m", 2)],
            Misfit::Incomplete(RegionId(0)),
        ),
        (vec![1, 1], vec![region(1, "", "m", 2)], Misfit::Cover),
        (vec![], vec![], Misfit::Cover),
    ];
    for (removed, added, misfit) in refused {
        assert_eq!(rig.apply(replace(&removed, &added)), Err(misfit.into()));
    }
    let note = |term| {
        let peer = Some(Peer {
            id: term,
            ..Peer::default()
        });
        Operation::NoteLeaders(NoteLeaders {
            leaders: vec![LeaderHint {
                region_id: 1,
                peer,
                term,
            }],
        })
    };
    rig.apply(note(7)).unwrap();
    rig.apply(note(6)).unwrap();
    assert_eq!(rig.cluster.leader_hint(RegionId(1)).unwrap().term, 7);
    assert_eq!(
        rig.apply(replace(
            &[1],
            &[region(3, "", "c", 2), region(1, "c", "m", 2)]
        )),
        Ok(())
    );
    assert_eq!(
        rig.apply(replace(&[1, 2], &[region(2, "c", "", 4)])),
        Ok(())
    );
    assert_eq!(rig.cluster.leader_hint(RegionId(1)), None);
    assert_eq!(rig.cluster.regions().len(), 2);
}

#[test]
fn entries_of_another_format_are_not_skipped() {
    let newer = Entry {
        format: 2,
        commands: Vec::new(),
    }
    .encode_to_vec();
    assert!(Cluster::decode(&newer.into()).is_err());
    assert!(Cluster::decode(&Bytes::from_static(b"\xff")).is_err());
    assert_eq!(Cluster::decode(&Bytes::new()).unwrap(), Vec::new());
}
