//! Transfers of the state that are disturbed, and installations that end in the middle.
#![allow(clippy::unwrap_used)]

mod rig;

use rig::{Dies, Rig};
use std::sync::{Arc, Mutex};
use yadkv_consensus::LogStore;
use yadkv_placement_core::{Input, Transfers, member::GROUP};
use yadkv_proto::pdpb;
use yadkv_proto::yadkvpb::state_message::What;
use yadkv_proto::yadkvpb::{Envelope, SnapshotChunk};

/// Three members with a state of several chunks; the last of them is away until it lacks what left the logs.
fn lagging() -> Rig {
    let mut rig = Rig::new(3, 1);
    rig.config.log.keep_entries = 16;
    rig.config.log.chunk_bytes = 1024;
    let border = |letter: u8| vec![letter; 200].into();
    rig.config.bootstrap.borders = (b'a'..=b'p').map(border).collect();
    rig.config.bootstrap.stores = 1;
    rig.start_all();
    rig.await_leader();
    put_store(&mut rig, 1);
    rig.run(1000);
    rig.kill(3, false);
    let leader = rig.await_leader();
    for store in 2..30 {
        put_store(&mut rig, store);
    }
    rig.run(100);
    assert!(rig.member(leader).unwrap().log_entries() <= 18);
    rig
}

fn put_store(rig: &mut Rig, number: u64) {
    let leader = rig.await_leader();
    let header = rig.header();
    let count = 1;
    let ids = rig
        .ask(leader, pdpb::AllocIdRequest { header, count })
        .unwrap();
    let yadkv_proto::api::PdResponse::AllocId(ids) = ids else {
        panic!("the answer has the kind of the request");
    };
    let store = Some(yadkv_proto::metapb::Store {
        id: ids.id,
        address: format!("store{number}:20160"),
        ..Default::default()
    });
    let header = rig.header();
    rig.ask(leader, pdpb::PutStoreRequest { header, store })
        .unwrap();
}

fn transfers(rig: &Rig, id: u64) -> Transfers {
    rig.member(id).unwrap().transfers()
}

/// All members come to hold the same.
fn assert_same(rig: &mut Rig) {
    rig.run(12_000);
    let state = |id| format!("{:?}", rig.member(id).unwrap().cluster());
    let kv = |id: u64| {
        let view = yadkv_engine::Engine::snapshot(&rig.hosts[&id].kv);
        let mut pairs = Vec::new();
        for family in 0..yadkv_placement_core::FAMILIES.len() as u8 {
            let visit = &mut |key: &[u8], value: &[u8]| {
                pairs.push((family, key.to_vec(), value.to_vec()));
                std::ops::ControlFlow::Continue(())
            };
            let family = yadkv_engine::Family(family);
            let forward = yadkv_engine::Direction::Forward;
            view.scan(family, b"", b"", forward, visit).unwrap();
        }
        pairs
    };
    for id in [2, 3] {
        assert_eq!(state(1), state(id));
        assert_eq!(kv(1), kv(id), "the engines of 1 and {id}");
    }
}

/// The chunk in an envelope.
fn chunk(envelope: &mut Envelope) -> Option<&mut SnapshotChunk> {
    match &mut envelope.state.as_mut()?.what {
        Some(What::Chunk(chunk)) => Some(chunk),
        _ => None,
    }
}

#[test]
fn a_state_of_several_chunks_arrives() {
    let mut rig = lagging();
    rig.start(3).unwrap();
    rig.run(2000);
    assert_eq!(transfers(&rig, 3).installed, 1);
    assert_same(&mut rig);
}

#[test]
fn chunks_that_are_lost_or_come_twice_do_no_harm() {
    let mut rig = lagging();
    rig.start(3).unwrap();
    let mut count = 0;
    rig.tamper = Some(Box::new(move |envelope| {
        let part = envelope.state.is_some();
        count += usize::from(part);
        match count % 3 {
            0 if part => 0,
            1 if part => 2,
            _ => 1,
        }
    }));
    rig.run(15_000);
    assert_eq!(transfers(&rig, 3).installed, 1);
    assert_same(&mut rig);
}

#[test]
fn what_is_damaged_or_foreign_is_refused_and_sent_again() {
    type Damage = fn(&mut SnapshotChunk);
    let damages: [Damage; 6] = [
        |chunk| chunk.checksum ^= u32::from(chunk.number == 2),
        |chunk| chunk.number += u64::from(chunk.number == 2),
        |chunk| {
            if let Some(head) = &mut chunk.head {
                head.cluster_id += 1;
            }
        },
        |chunk| {
            if let Some(head) = &mut chunk.head {
                head.format += 1;
            }
        },
        // A position that is not that of the records.
        |chunk| {
            if let Some(applied) = chunk.head.as_mut().and_then(|head| head.applied.as_mut()) {
                applied.index += 1;
            }
        },
        // The rest is missing.
        |chunk| chunk.last |= chunk.number == 3,
    ];
    for (number, damage) in damages.into_iter().enumerate() {
        let mut rig = lagging();
        rig.start(3).unwrap();
        rig.tamper = Some(Box::new(move |envelope| {
            chunk(envelope).map(damage);
            1
        }));
        rig.run(25_000);
        let leader = rig.leader().unwrap();
        // At once, and then every ten seconds.
        let failed = transfers(&rig, leader).failed;
        assert!((2..=4).contains(&failed), "damage {number}: {failed}");
        assert_eq!(transfers(&rig, 3).installed, 0, "damage {number}");
        rig.tamper = None;
        rig.run(12_000);
        assert_eq!(transfers(&rig, 3).installed, 1, "damage {number}");
        assert_same(&mut rig);
    }
}

#[test]
fn a_member_that_does_not_answer_is_given_up() {
    let mut rig = lagging();
    rig.start(3).unwrap();
    rig.tamper = Some(Box::new(|envelope| {
        usize::from(chunk(envelope).is_none_or(|chunk| chunk.number < 2))
    }));
    rig.run(8000);
    let leader = rig.leader().unwrap();
    assert_eq!(transfers(&rig, leader).failed, 1);
    rig.tamper = None;
    rig.run(8000);
    assert_eq!(transfers(&rig, 3).installed, 1);
    assert_same(&mut rig);
}

#[test]
fn a_power_loss_at_every_step_of_an_installation_is_survived() {
    for dies in [Dies::BeforeLog, Dies::AfterLog] {
        let mut rig = lagging();
        let before = LogStore::open(Arc::new(rig.hosts[&3].raft.clone()), 1 << 20).unwrap();
        let before = before.truncated_index(GROUP).unwrap().unwrap();
        rig.hosts.get_mut(&3).unwrap().dies = Some(dies);
        rig.start(3).unwrap();
        rig.run(2000);
        assert!(rig.member(3).is_none(), "{dies:?}: it died");
        let log = LogStore::open(Arc::new(rig.hosts[&3].raft.clone()), 1 << 20).unwrap();
        let now = log.truncated_index(GROUP).unwrap().unwrap();
        assert_eq!(now == before, dies == Dies::BeforeLog, "{dies:?}");
        rig.start(3).unwrap();
        let applied = rig.member(3).unwrap().cluster().applied().0;
        assert!(applied > before);
        assert_eq!(log.truncated_index(GROUP).unwrap(), Some(applied));
        assert_same(&mut rig);
    }
}

#[test]
fn what_was_acknowledged_after_an_installation_stays() {
    let mut rig = lagging();
    rig.start(3).unwrap();
    rig.run(1000);
    assert_eq!(transfers(&rig, 3).installed, 1);
    put_store(&mut rig, 30);
    rig.run(400);
    let applied = rig.member(3).unwrap().cluster().applied().0;
    // The state engine forgets that the installation was over, and all that came after it.
    rig.kill(3, true);
    let log = LogStore::open(Arc::new(rig.hosts[&3].raft.clone()), 1 << 20).unwrap();
    let begins = log.truncated_index(GROUP).unwrap().unwrap();
    assert!(begins < applied, "it went on");
    rig.start(3).unwrap();
    assert_eq!(log.truncated_index(GROUP).unwrap(), Some(begins));
    log.entries(GROUP, begins.next(), applied).unwrap();
    assert_same(&mut rig);
}

#[test]
fn an_old_transfer_that_comes_again_is_not_installed() {
    let mut rig = lagging();
    rig.start(3).unwrap();
    let chunks: Arc<Mutex<Vec<Envelope>>> = Arc::default();
    let copies = chunks.clone();
    rig.tamper = Some(Box::new(move |envelope| {
        if chunk(envelope).is_some() {
            copies.lock().unwrap().push(envelope.clone());
        }
        1
    }));
    rig.run(1000);
    assert_eq!(transfers(&rig, 3).installed, 1);
    put_store(&mut rig, 30);
    rig.run(400);
    // It does not remember the transfer.
    rig.kill(3, false);
    rig.start(3).unwrap();
    let applied = rig.member(3).unwrap().cluster().applied();
    for envelope in chunks.lock().unwrap().drain(..) {
        rig.input(3, Input::Raft(envelope));
        rig.turn(3);
    }
    assert_eq!(transfers(&rig, 3).installed, 0);
    assert!(rig.member(3).unwrap().cluster().applied() >= applied);
    assert_same(&mut rig);
}
