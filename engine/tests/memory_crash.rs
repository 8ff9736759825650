//! What the engine in memory may lose at a crash, and what it may not: each history against a naive model that
//! keeps every state the disk ever had.
#![allow(clippy::unwrap_used, missing_docs)]

use bytes::Bytes;
use proptest::prelude::*;
use std::collections::BTreeMap;
use yadkv_engine::memory::{Fault, Memory};
use yadkv_engine::{
    Cached, Direction, Durability, Engine, Error, Family, LogEngine, Operation, Snapshot,
    WriteBatch,
};

type State = BTreeMap<(u8, Vec<u8>), Vec<u8>>;

#[derive(Clone, Debug)]
enum Step {
    Write(Vec<Change>, Durability),
    Sync,
    ProcessCrash,
    /// Keeps this share (of 255) of the unsynced batches.
    PowerLoss(u8),
}

#[derive(Clone, Debug)]
enum Change {
    Put(u8, u8, u8),
    Delete(u8, u8),
    DeleteRange(u8, u8, u8),
}

fn change() -> impl Strategy<Value = Change> {
    let family = 0..2u8;
    let key = 0..12u8;
    prop_oneof![
        4 => (family.clone(), key.clone(), any::<u8>()).prop_map(|(f, k, v)| Change::Put(f, k, v)),
        1 => (family.clone(), key.clone()).prop_map(|(f, k)| Change::Delete(f, k)),
        1 => (family, key.clone(), key).prop_map(|(f, a, b)| Change::DeleteRange(f, a, b)),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let durability = prop_oneof![
        3 => Just(Durability::Buffered),
        1 => Just(Durability::Synced)
    ];
    prop_oneof![
        6 => (proptest::collection::vec(change(), 0..4), durability).prop_map(|(c, d)| Step::Write(c, d)),
        1 => Just(Step::Sync),
        1 => Just(Step::ProcessCrash),
        1 => any::<u8>().prop_map(Step::PowerLoss),
    ]
}

fn batch(changes: &[Change]) -> WriteBatch {
    let mut batch = WriteBatch::new();
    for change in changes {
        match *change {
            Change::Put(family, key, value) => batch.put(Family(family), vec![key], vec![value]),
            Change::Delete(family, key) => batch.delete(Family(family), vec![key]),
            // Key 0 as the end stands for plus infinity.
            Change::DeleteRange(family, start, 0) => {
                batch.delete_range(Family(family), vec![start], vec![]);
            }
            Change::DeleteRange(family, start, end) => {
                batch.delete_range(Family(family), vec![start], vec![end]);
            }
        }
    }
    batch
}

fn model_apply(state: &mut State, batch: &WriteBatch) {
    for operation in batch.operations() {
        match operation {
            Operation::Put(family, key, value) => {
                state.insert((family.0, key.to_vec()), value.to_vec());
            }
            Operation::Delete(family, key) => {
                state.remove(&(family.0, key.to_vec()));
            }
            Operation::DeleteRange(family, start, end) => state.retain(|(f, key), _| {
                *f != family.0 || key[..] < start[..] || (!end.is_empty() && key[..] >= end[..])
            }),
        }
    }
}

fn dump(snapshot: &dyn Snapshot) -> State {
    let mut state = State::new();
    for family in 0..2u8 {
        snapshot
            .scan(
                Family(family),
                b"",
                b"",
                Direction::Forward,
                &mut |key, value| {
                    state.insert((family, key.to_vec()), value.to_vec());
                    std::ops::ControlFlow::Continue(())
                },
            )
            .unwrap();
    }
    state
}

proptest! {
    /// After a power loss the disk shows a state it really had, at or after the last sync, exactly `keep`
    /// batches after it; snapshots never change; a process crash loses nothing.
    #[test]
    fn a_power_loss_keeps_a_prefix(steps in proptest::collection::vec(step(), 1..60)) {
        let engine = Memory::new(2);
        // States since the last durable one, which is the first.
        let mut states = vec![State::new()];
        for step in steps {
            let before = dump(&*engine.snapshot());
            let frozen = engine.snapshot();
            match step {
                Step::Write(changes, durability) => {
                    let batch = batch(&changes);
                    let mut state = states.last().unwrap().clone();
                    model_apply(&mut state, &batch);
                    if !batch.is_empty() {
                        states.push(state);
                    }
                    engine.write(batch, durability).unwrap();
                    if durability == Durability::Synced {
                        states = vec![states.pop().unwrap()];
                    }
                }
                Step::Sync => {
                    engine.sync().unwrap();
                    states = vec![states.pop().unwrap()];
                }
                Step::ProcessCrash => engine.restart(),
                Step::PowerLoss(share) => {
                    prop_assert_eq!(engine.unsynced(), states.len() - 1);
                    let keep = engine.unsynced() * usize::from(share) / 255;
                    engine.power_loss(keep);
                    states = vec![states[keep].clone()];
                }
            }
            prop_assert_eq!(dump(&*frozen), before);
            let now = dump(&*engine.snapshot());
            prop_assert_eq!(&now, states.last().unwrap());
            let bytes: usize = now.iter().map(|((_, key), value)| key.len() + value.len()).sum();
            prop_assert_eq!(engine.statistics().disk_bytes, bytes as u64);
        }
    }
}

fn put(key: &str, value: &str) -> WriteBatch {
    let mut batch = WriteBatch::new();
    batch.put(Family(0), key.to_owned(), value.to_owned());
    batch
}

#[test]
fn a_failed_write_is_final_until_restart() {
    let engine = Memory::new(1);
    engine.fail_writes(Fault::Write, 1);
    engine.write(put("a", "1"), Durability::Synced).unwrap();
    for _ in 0..2 {
        let error = engine.write(put("b", "2"), Durability::Synced).unwrap_err();
        assert!(matches!(error, Error::Poisoned(_)));
    }
    assert!(matches!(engine.sync(), Err(Error::Poisoned(_))));
    assert_eq!(engine.get(Family(0), b"a").unwrap(), Some(Bytes::from("1")));
    assert_eq!(engine.get(Family(0), b"b").unwrap(), None);
    engine.restart();
    engine.write(put("b", "2"), Durability::Synced).unwrap();
}

#[test]
fn a_failed_sync_leaves_the_outcome_to_the_power_loss() {
    for (keep, expected) in [(0, None), (1, Some(Bytes::from("1")))] {
        let engine = Memory::new(1);
        engine.fail_writes(Fault::Sync, 0);
        engine.write(put("a", "1"), Durability::Synced).unwrap_err();
        assert_eq!(engine.unsynced(), 1);
        engine.power_loss(keep);
        assert_eq!(engine.get(Family(0), b"a").unwrap(), expected);
        engine.sync().unwrap();
    }
}

#[test]
fn a_full_disk_refuses_growth_and_a_later_restart_allows_deletes() {
    let engine = Memory::new(1);
    engine.set_capacity(4);
    engine.write(put("a", "123"), Durability::Synced).unwrap();
    let error = engine.write(put("b", "1"), Durability::Synced).unwrap_err();
    assert!(matches!(error, Error::Poisoned(reason) if reason.contains("space")));
    engine.restart();
    let mut delete = WriteBatch::new();
    delete.delete(Family(0), "a");
    engine.write(delete, Durability::Synced).unwrap();
    engine.write(put("b", "1"), Durability::Synced).unwrap();
}

#[test]
fn handles_share_one_disk_and_the_cache_can_be_cold() {
    let engine = Memory::new(1);
    let other = engine.clone();
    engine.write(put("a", "1"), Durability::Buffered).unwrap();
    drop(engine);
    assert_eq!(
        other.get_cached(Family(0), b"a").unwrap(),
        Cached::Found(Bytes::from("1"))
    );
    assert_eq!(other.get_cached(Family(0), b"b").unwrap(), Cached::Missing);
    assert_eq!(other.get_durable(Family(0), b"a").unwrap(), None);
    other.sync().unwrap();
    let durable = other.get_durable(Family(0), b"a").unwrap();
    assert_eq!(durable, Some(Bytes::from("1")));
    other.set_cached(false);
    assert_eq!(other.get_cached(Family(0), b"a").unwrap(), Cached::Unknown);
}
