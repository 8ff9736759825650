//! What both halves make of one engine, and what the receiver refuses.

use super::receive::{Head, ReceiveError, Receiving};
use super::send::{SendError, Sending};
use crate::layout::{self, FORMAT, META, RAW, RAW2};
use crate::store::message::SendTask;
use prost::Message;
use std::ops::ControlFlow;
use yadkv_engine::memory::Memory;
use yadkv_engine::{Direction, Durability, Engine, Intake, LogEngine, WriteBatch};
use yadkv_proto::id::{ClusterId, RegionId, StoreId, Term};
use yadkv_proto::metapb::{Peer, Region, RegionEpoch};
use yadkv_proto::storagepb::{AppliedRecord, PeerState};
use yadkv_proto::yadkvpb::SnapshotChunk;

const CLUSTER: ClusterId = ClusterId(7);

fn peer(id: u64, store_id: u64) -> Peer {
    Peer {
        id,
        store_id,
        ..Peer::default()
    }
}

/// A store with a region [b, d), and pairs in it and around it.
fn source(value_bytes: usize) -> (Memory, SendTask) {
    let kv = Memory::new(layout::FAMILIES.len());
    let region = Region {
        id: 2,
        start_key: "b".into(),
        end_key: "d".into(),
        region_epoch: Some(RegionEpoch::default()),
        peers: vec![peer(21, 1), peer(22, 2)],
        ..Region::default()
    };
    let mut batch = WriteBatch::new();
    let record = layout::region_record(&region, peer(21, 1), PeerState::Normal);
    batch.put(META, layout::region_key(RegionId(2)), record);
    let applied = AppliedRecord {
        format: FORMAT,
        index: 9,
        term: 6,
        ..AppliedRecord::default()
    };
    let key = layout::applied_key(RegionId(2));
    batch.put(META, key, applied.encode_to_vec());
    for key in ["a", "b", "b1", "c", "d"] {
        batch.put(RAW, key, vec![1; value_bytes]);
        batch.put(RAW2, key, vec![2; value_bytes]);
    }
    kv.write(batch, Durability::Synced).expect("memory");
    let task = SendTask {
        region: RegionId(2),
        from: peer(21, 1),
        to: peer(22, 2),
        term: Term(6),
    };
    (kv, task)
}

fn chunks(kv: &Memory, task: &SendTask) -> Vec<SnapshotChunk> {
    let view = kv.snapshot();
    let mut sending = Sending::begin(&*view, CLUSTER, task).expect("begins");
    std::iter::from_fn(|| sending.next_chunk().expect("reads")).collect()
}

fn receive(kv: &Memory, mut chunks: Vec<SnapshotChunk>) -> Result<String, ReceiveError> {
    let first = chunks.remove(0).head.expect("a head");
    let head = Head::check(first, CLUSTER, StoreId(2))?;
    let mut receiving = Receiving::begin(kv, &head)?;
    for chunk in chunks {
        receiving.take(chunk)?;
    }
    receiving.finish()?;
    Ok(head.set())
}

fn keys(kv: &Memory) -> Vec<(u8, String)> {
    let mut keys = Vec::new();
    for family in layout::DATA {
        let visit = &mut |key: &[u8], _: &[u8]| {
            keys.push((family.0, String::from_utf8_lossy(key).into_owned()));
            ControlFlow::Continue(())
        };
        let view = kv.snapshot();
        view.scan(family, b"", b"", Direction::Forward, visit)
            .expect("memory");
    }
    keys
}

#[test]
fn the_pairs_of_a_region_arrive_and_no_others() {
    // One chunk a family, then one a pair.
    for (value_bytes, count) in [(10, 4), (super::send::CHUNK_BYTES, 8)] {
        let (kv, task) = source(value_bytes);
        let sent = chunks(&kv, &task);
        assert_eq!(sent.len(), count);
        let other = Memory::new(layout::FAMILIES.len());
        let set = receive(&other, sent).expect("arrives");
        assert!(
            keys(&other).is_empty(),
            "nothing is seen before it is taken in"
        );
        other.ingest(&set).expect("it is whole");
        let raw: Vec<_> = [0, 1]
            .into_iter()
            .flat_map(|family| ["b", "b1", "c"].map(|key| (family, key.to_owned())))
            .collect();
        assert_eq!(keys(&other), raw);
    }
}

#[test]
fn what_is_damaged_missing_or_foreign_is_refused() {
    type Damage = fn(&mut Vec<SnapshotChunk>);
    let cases: [(Damage, &str); 7] = [
        (|chunks| drop(chunks.remove(1)), "chunk 2 instead of 1"),
        (|chunks| chunks[1].checksum ^= 1, "wrong checksum"),
        (|chunks| drop(chunks.pop()), "the last chunk is missing"),
        (|chunks| chunks.swap(1, 2), "chunk 2 instead of 1"),
        (|chunks| head(chunks).cluster_id = 8, "of cluster 8"),
        (|chunks| head(chunks).format = 2, "upgrade this store"),
        (
            |chunks| head(chunks).to = Some(peer(23, 3)),
            "for store 3, this is",
        ),
    ];
    let (kv, task) = source(10);
    for (damage, reason) in cases {
        let mut sent = chunks(&kv, &task);
        damage(&mut sent);
        let other = Memory::new(layout::FAMILIES.len());
        let error = receive(&other, sent).expect_err(reason);
        assert!(error.to_string().contains(reason), "{error}");
    }
    let mut sent = chunks(&kv, &task);
    let region = head(&mut sent).region.as_mut().expect("set above");
    region.end_key = "b1".into();
    let other = Memory::new(layout::FAMILIES.len());
    let error = receive(&other, sent).expect_err("keys outside");
    assert!(error.to_string().contains("outside"), "{error}");
}

fn head(chunks: &mut [SnapshotChunk]) -> &mut yadkv_proto::yadkvpb::SnapshotHead {
    chunks[0].head.as_mut().expect("the first has it")
}

#[test]
fn a_replica_that_has_changed_sends_nothing() {
    let (kv, task) = source(10);
    let changes: [fn(&mut SendTask); 4] = [
        |task| task.region = RegionId(3),
        |task| task.from.id = 20,
        |task| task.to.id = 29,
        |task| task.term = Term(5),
    ];
    for change in changes {
        let mut task = task.clone();
        change(&mut task);
        let view = kv.snapshot();
        let begun = Sending::begin(&*view, CLUSTER, &task);
        assert!(matches!(begun, Err(SendError::Outdated(_))));
    }
}
