//! Directed stories on the simulated cluster, one test each. All end with equal replicas and a history that one
//! order explains.
//!
//! *Next stop*: `planted_bugs.rs`.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use std::time::Duration;
use yadkv_simulation::history::Kind;
use yadkv_simulation::nemesis::Action;
use yadkv_simulation::run::{judge, settle, start};
use yadkv_simulation::sky::Machine;
use yadkv_simulation::world::World;

const SECOND: Duration = Duration::from_secs(1);

/// A serving cluster with four clients at work.
fn at_work(seed: u64) -> World {
    let mut world = World::new(seed, 3);
    start(&mut world).unwrap();
    for client in 0..4 {
        let work = world.work(client).operations();
        world.spawn(client, work);
        let stamps = world.work(client).timestamps();
        world.spawn(client, stamps);
    }
    pass(&mut world, 2 * SECOND);
    world
}

fn pass(world: &mut World, time: Duration) {
    assert!(world.run_for(time), "{:?}", world.sky.lock().violation);
}

/// Everything is repaired; clients end; nothing acknowledged is lost.
fn ends_well(mut world: World) {
    world.heal();
    pass(&mut world, 3 * SECOND);
    world.history.lock().stop = true;
    settle(&mut world).unwrap();
    assert_eq!(judge(&world), Ok(0));
}

fn answered(world: &World) -> usize {
    world
        .history
        .lock()
        .operations
        .iter()
        .filter(|operation| operation.ended != u64::MAX)
        .count()
}

/// Sets a key, at most within a time; whether it was acknowledged.
fn put(world: &mut World, key: &'static str, value: &'static str, limit: Duration) -> bool {
    let work = world.work(0);
    let put = async move {
        let session = work.session().await;
        let value = Bytes::from_static(value.as_bytes());
        session.perform(key, Kind::Put(value, 0)).await;
    };
    world.finish(limit, put).is_some()
}

#[test]
fn a_killed_leader_is_replaced_within_four_seconds() {
    for seed in 0..5 {
        let mut world = at_work(seed);
        let region = world.regions()[0];
        let leader = world.leader(region).unwrap();
        world.kill(Machine::Store(leader), false);
        pass(&mut world, 2 * SECOND);
        let next = world.leader(region);
        assert!(
            next.is_some() && next != Some(leader),
            "seed {seed}: {next:?}"
        );
        let before = answered(&world);
        let go_on = world.run_until(3 * SECOND, |world| answered(world) > before + 60);
        assert!(go_on, "seed {seed}: clients go on");
        ends_well(world);
    }
}

#[test]
fn a_store_cut_off_from_its_peers_loses_leadership_and_catches_up() {
    for seed in 0..5 {
        let mut world = at_work(seed);
        let region = world.regions()[1];
        let leader = world.leader(region).unwrap();
        world.act(Action::Isolate(Machine::Store(leader), 60 * SECOND));
        pass(&mut world, 4 * SECOND);
        assert_ne!(world.leader(region), Some(leader));
        ends_well(world);
    }
}

#[test]
fn a_full_restart_keeps_everything() {
    let mut world = at_work(1);
    assert!(put(&mut world, "p", "kept", 5 * SECOND));
    for machine in world.servers() {
        world.kill(machine, false);
    }
    pass(&mut world, SECOND);
    world.boot_all();
    assert!(world.run_until(10 * SECOND, World::is_serving));
    ends_well(world);
}

#[test]
fn a_power_loss_of_all_loses_nothing_acknowledged() {
    for seed in 0..10 {
        let mut world = at_work(seed);
        for machine in world.servers() {
            world.kill(machine, true);
        }
        pass(&mut world, SECOND);
        world.boot_all();
        assert!(
            world.run_until(10 * SECOND, World::is_serving),
            "seed {seed}"
        );
        ends_well(world);
    }
}

#[test]
fn a_lost_placement_driver_leader_is_replaced_and_timestamps_go_on() {
    for seed in 0..5 {
        let mut world = at_work(seed);
        let leader = world.pd_leader().unwrap();
        world.kill(Machine::Pd(leader), false);
        pass(&mut world, 3 * SECOND);
        assert!(
            world.pd_leader().is_some_and(|next| next != leader),
            "seed {seed}"
        );
        let before = world.history.lock().timestamps;
        pass(&mut world, SECOND);
        assert!(world.history.lock().timestamps > before + 20, "seed {seed}");
        ends_well(world);
    }
}

#[test]
fn clock_steps_neither_turn_timestamps_back_nor_revive_what_expired() {
    for seed in 0..5 {
        let mut world = at_work(seed);
        for (number, machine) in world.servers().into_iter().enumerate() {
            let by = if number % 2 == 0 { 2500 } else { -2500 };
            world.act(Action::StepClock(machine, by));
            pass(&mut world, SECOND);
            world.act(Action::StepClock(machine, -by));
        }
        ends_well(world);
    }
}

#[test]
fn writes_that_wait_for_a_leader_are_carried_out_by_the_new_one() {
    let mut world = World::new(9, 3);
    start(&mut world).unwrap();
    pass(&mut world, 2 * SECOND);
    assert!(put(&mut world, "a", "first", 5 * SECOND));
    let region = world.regions()[0];
    let leader = world.leader(region).unwrap();
    world.kill(Machine::Store(leader), true);
    // The SDK asks the others while they have no leader: they park the write.
    assert!(put(&mut world, "a", "second", 5 * SECOND));
    ends_well(world);
}

#[test]
fn without_a_majority_nothing_is_acknowledged_and_nothing_is_lost() {
    let mut world = at_work(2);
    world.kill(Machine::Store(0), false);
    world.kill(Machine::Store(1), true);
    pass(&mut world, 3 * SECOND);
    let before = answered(&world);
    pass(&mut world, 3 * SECOND);
    assert_eq!(answered(&world), before);
    ends_well(world);
}
