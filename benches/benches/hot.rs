//! The pure parts that every request passes, each alone: `cargo bench -p yadkv-benches`. A regression shows in seconds.
//!
//! *Source of the shapes*: values of 1 KiB; frames of 128 requests, as busy clients fill them.
#![allow(missing_docs, clippy::unwrap_used)]

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use prost::Message;
use std::sync::Arc;
use std::time::Duration;
use yadkv_consensus::{Config, FAMILIES, FIRST_INDEX, LogStore, Members, Node, Start};
use yadkv_engine::memory::Memory;
use yadkv_engine::{Durability, LogEngine, WriteBatch};
use yadkv_proto::codec;
use yadkv_proto::id::{PeerId, RegionId};
use yadkv_proto::kvrpcpb::{Context, RawPutRequest};
use yadkv_proto::tikvpb::BatchCommandsRequest;
use yadkv_proto::tikvpb::batch_commands_request::{Request, request::Cmd};
use yadkv_proto::time::Moment;

const FRAME: u64 = 128;
const VALUE_BYTES: usize = 1024;
const GROUP: RegionId = RegionId(1);
const PEER: PeerId = PeerId(1);
const CACHE_BYTES: usize = 64 << 20;

fn keys(criterion: &mut Criterion) {
    let key = b"r\0\0\0user4f3a9d2c11b07e65";
    let encoded = codec::encode(key);
    let mut group = criterion.benchmark_group("key");
    group.bench_function("encode", |bench| bench.iter(|| codec::encode(key)));
    group.bench_function("decode", |bench| bench.iter(|| codec::decode(&encoded)));
    group.finish();
}

fn frame() -> BatchCommandsRequest {
    let put = RawPutRequest {
        context: Some(Box::new(Context {
            region_id: 4,
            ..Context::default()
        })),
        key: Bytes::from_static(b"r\0\0\0user4f3a9d2c11b07e65"),
        value: vec![7; VALUE_BYTES].into(),
        ..RawPutRequest::default()
    };
    let request = Request {
        cmd: Some(Cmd::RawPut(put)),
    };
    BatchCommandsRequest {
        requests: vec![request; FRAME as usize],
        request_ids: (0..FRAME).collect(),
        ..BatchCommandsRequest::default()
    }
}

fn frames(criterion: &mut Criterion) {
    let frame = frame();
    let encoded = Bytes::from(frame.encode_to_vec());
    let mut group = criterion.benchmark_group("frame of 128 puts");
    group.throughput(Throughput::Elements(FRAME));
    group.bench_function("encode", |bench| bench.iter(|| frame.encode_to_vec()));
    group.bench_function("decode", |bench| {
        bench.iter(|| BatchCommandsRequest::decode(encoded.clone()));
    });
    group.finish();
}

/// A group of one voter that leads.
struct Leader {
    node: Node,
    disk: Arc<Memory>,
    now: Moment,
}

impl Leader {
    fn new() -> Self {
        let disk = Arc::new(Memory::new(FAMILIES.len()));
        let log = LogStore::open(disk.clone(), CACHE_BYTES).unwrap();
        let mut batch = WriteBatch::new();
        log.bootstrap(GROUP, PEER, &mut batch).unwrap();
        disk.write(batch, Durability::Synced).unwrap();
        let members = Members {
            voters: vec![PEER],
            ..Members::default()
        };
        let now = Moment::default().after(Duration::from_secs(1000));
        let config = Config::new(GROUP, PEER, 1, 1);
        let node = Node::open(config, log, members, FIRST_INDEX, Start::Bootstrap, now).unwrap();
        let mut leader = Self { node, disk, now };
        leader.node.campaign(now);
        leader.rounds();
        leader
    }

    /// Rounds until there is nothing to do; how many entries were committed.
    fn rounds(&mut self) -> usize {
        let mut committed = 0;
        while self.node.has_ready() {
            let mut batch = WriteBatch::new();
            let Some(mut ready) = self.node.ready(&mut batch, self.now) else {
                break;
            };
            let early = std::mem::take(&mut ready.committed);
            self.disk.write(batch, Durability::Synced).unwrap();
            let late = self.node.persisted(ready, self.now).committed;
            for entry in early.iter().chain(&late) {
                self.node.applied(yadkv_proto::id::Index(entry.index));
            }
            committed += early.len() + late.len();
        }
        committed
    }
}

fn rounds(criterion: &mut Criterion) {
    let value = Bytes::from(vec![7; VALUE_BYTES]);
    let mut group = criterion.benchmark_group("consensus");
    group.throughput(Throughput::Elements(FRAME));
    group.bench_function("128 proposals, one round", |bench| {
        let run = |mut leader: Leader| {
            for _ in 0..FRAME {
                leader.node.propose(value.clone(), leader.now).unwrap();
            }
            assert_eq!(leader.rounds(), FRAME as usize);
            leader
        };
        bench.iter_batched(Leader::new, run, BatchSize::SmallInput);
    });
    group.finish();
}

criterion_group!(hot, keys, frames, rounds);
criterion_main!(hot);
