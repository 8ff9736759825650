//! Each row of the table in the module's documentation.

use super::*;
use std::sync::Arc;
use yadkv_proto::metapb::Region;
use yadkv_proto::time::Moment;

/// A region with peers on stores 1.., led by the first, among stores of these conditions.
fn view(roles: &[PeerRole], stores: &[Condition]) -> ClusterView {
    let mut view = ClusterView::default();
    for (at, condition) in stores.iter().enumerate() {
        let store = StoreView {
            condition: *condition,
            leaders: 0,
            regions: at,
            has_room: true,
            is_busy: false,
        };
        view.stores.insert(StoreId(at as u64 + 1), store);
    }
    let peers = roles.iter().enumerate().map(|(at, role)| Peer {
        id: 11 + at as u64,
        store_id: 1 + at as u64,
        role: *role as i32,
        ..Peer::default()
    });
    let region = Region {
        id: 1,
        peers: peers.collect(),
        ..Region::default()
    };
    let region = RegionView {
        region: Arc::new(region),
        leader: StoreId(1),
        unfit: Vec::new(),
        damaged: Vec::new(),
    };
    view.regions.insert(yadkv_proto::id::RegionId(1), region);
    view
}

fn wish(view: &ClusterView, operators: &Operators) -> Vec<String> {
    let config = ScheduleConfig::default();
    let mut next = 99;
    let mut new_id = || {
        next += 1;
        Some(next)
    };
    let wishes = replica_checker(view, operators, &config, &mut new_id);
    let steps = wishes.iter().flat_map(|wish| &wish.steps);
    steps.map(ToString::to_string).collect()
}

fn mended(roles: &[PeerRole], stores: &[Condition]) -> Vec<String> {
    wish(&view(roles, stores), &Operators::default())
}

#[test]
fn regions_are_brought_to_what_is_asked_for() {
    use Condition::{Disconnected, Down, Up};
    use PeerRole::{DemotingVoter, IncomingVoter, Learner, Voter};
    let three = [Voter; 3];
    assert!(mended(&three, &[Up; 4]).is_empty());
    assert!(mended(&three, &[Up, Disconnected, Up, Up]).is_empty());
    assert_eq!(
        mended(&three, &[Up, Up, Down, Up, Up]),
        [
            "add learner 100 on store 4",
            "promote 100 on store 4, demote 13 on store 3",
            "leave the joint state",
            "remove 13 on store 3",
        ]
    );
    assert!(mended(&three, &[Up, Up, Down]).is_empty(), "nowhere to go");
    assert_eq!(
        mended(&three[..2], &[Up; 3]),
        ["add learner 100 on store 3", "promote 100 on store 3"]
    );
    assert_eq!(
        mended(&[Voter; 4], &[Up; 4]),
        ["remove 14 on store 4"],
        "the fullest store"
    );
    assert_eq!(
        mended(&[Voter; 4], &[Up, Up, Down, Up]),
        ["remove 13 on store 3"]
    );
    assert_eq!(
        mended(&[Voter, Voter, Voter, Learner], &[Up; 4]),
        ["remove 14 on store 4"]
    );
    assert_eq!(
        mended(&[Voter, Voter, Learner], &[Up; 4]),
        ["promote 13 on store 3"]
    );
    assert_eq!(
        mended(&[Voter, Voter, Learner], &[Up, Up, Down, Up]),
        ["remove 13 on store 3"]
    );
    assert_eq!(
        mended(&[Voter, Voter, Voter, Learner], &[Up, Down, Up, Up]),
        [
            "promote 14 on store 4, demote 12 on store 2",
            "leave the joint state",
            "remove 12 on store 2",
        ]
    );
    assert_eq!(
        mended(&[Voter, DemotingVoter, Voter, IncomingVoter], &[Up; 4]),
        ["leave the joint state"]
    );
}

#[test]
fn stores_that_are_busy_full_or_gone_get_no_replica() {
    let mut two = view(&[PeerRole::Voter; 2], &[Condition::Up; 4]);
    let config = ScheduleConfig {
        snapshots_per_store_max: 1,
        ..ScheduleConfig::default()
    };
    let mut operators = Operators::default();
    let mut new_id = || Some(100);
    let wishes = replica_checker(&two, &operators, &config, &mut new_id);
    for mut wish in wishes {
        wish.region = yadkv_proto::id::RegionId(2);
        assert!(operators.add(wish, &config, Moment(0)));
    }
    let wishes = replica_checker(&two, &operators, &config, &mut new_id);
    assert_eq!(wishes[0].makes(), Some(StoreId(4)), "store 3 is busy");
    two.stores
        .entry(StoreId(4))
        .and_modify(|store| store.has_room = false);
    let wishes = replica_checker(&two, &operators, &config, &mut new_id);
    assert!(wishes.is_empty(), "store 4 is full");
}

#[test]
fn a_region_with_an_operator_is_left_alone() {
    let two = view(&[PeerRole::Voter; 2], &[Condition::Up; 4]);
    let (config, mut operators) = (ScheduleConfig::default(), Operators::default());
    let wishes = replica_checker(&two, &operators, &config, &mut || Some(100));
    assert_eq!(wishes.len(), 1);
    for wish in wishes {
        assert!(operators.add(wish, &config, Moment(0)));
    }
    assert!(wish(&two, &operators).is_empty());
}

#[test]
fn damaged_data_is_replaced() {
    use Condition::{Down, Up};
    let three = [PeerRole::Voter; 3];
    let damaged = |stores: &[Condition], on: &[u64]| {
        let mut view = view(&three, stores);
        for region in view.regions.values_mut() {
            region.damaged = on.iter().copied().map(StoreId).collect();
        }
        for store in on {
            let store = view.stores.get_mut(&StoreId(*store));
            store.expect("invariant: one of the stores").has_room = false;
        }
        wish(&view, &Operators::default())
    };
    assert_eq!(
        damaged(&[Up; 4], &[2]),
        [
            "add learner 100 on store 4",
            "promote 100 on store 4, demote 12 on store 2",
            "leave the joint state",
            "remove 12 on store 2",
        ]
    );
    assert_eq!(damaged(&[Up; 3], &[2]), ["remove 12 on store 2"]);
    assert!(
        damaged(&[Up; 3], &[2, 3]).is_empty(),
        "one of three is left"
    );
    assert!(damaged(&[Up, Up, Down], &[2]).is_empty(), "the same");
}

#[test]
fn nothing_is_removed_while_another_store_is_only_busy() {
    let three = [PeerRole::Voter; 3];
    let mut view = view(&three, &[Condition::Up; 4]);
    for region in view.regions.values_mut() {
        region.damaged.push(StoreId(2));
    }
    let none = || None;
    let config = ScheduleConfig::default();
    let wishes = replica_checker(&view, &Operators::default(), &config, &mut { none });
    assert!(wishes.is_empty(), "{wishes:?}");
}
