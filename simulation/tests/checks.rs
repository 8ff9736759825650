//! The checks themselves: each sees a world that was broken on purpose.
//!
//! *Next stop*: `planted_bugs.rs`.
#![allow(clippy::unwrap_used)]

use std::time::Duration;
use yadkv_engine::memory::Memory;
use yadkv_engine::{Durability, Family, LogEngine, WriteBatch};
use yadkv_simulation::check::replicas::differences;
use yadkv_simulation::run::{settle, start};
use yadkv_simulation::world::World;

fn settled() -> World {
    let mut world = World::new(1, 3);
    start(&mut world).unwrap();
    settle(&mut world).unwrap();
    assert!(world.run_until(Duration::from_secs(5), |world| {
        differences(world).is_empty()
    }));
    world
}

/// Writes a pair past Raft.
fn smuggle(disk: &Memory, family: Family) {
    let mut batch = WriteBatch::new();
    batch.put(family, &b"q"[..], &b"smuggled"[..]);
    disk.write(batch, Durability::Synced).unwrap();
}

#[test]
fn a_store_that_holds_something_else_is_seen() {
    let world = settled();
    smuggle(&world.stores[1].kv, yadkv_storage_core::layout::RAW);
    let seen = differences(&world);
    assert!(
        seen.iter()
            .any(|line| line.contains("store0 and store1 differ")),
        "{seen:?}"
    );
}

#[test]
fn a_placement_driver_that_holds_something_else_is_seen() {
    let mut world = settled();
    let leaders = Family(3);
    smuggle(&world.pds[1].kv, leaders);
    assert_eq!(differences(&world), ["pd0 and pd1 differ"]);
    // And by the law, as soon as it applies what another member applied.
    world.run_for(Duration::from_secs(20));
    let law = world.sky.lock().violation.clone().unwrap();
    assert!(law.contains("holds something else at index"), "{law}");
}
