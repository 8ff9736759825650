//! What must not bring a member down or into the wrong hands: garbage, huge messages, wrong directories.
#![allow(clippy::unwrap_used)]

mod support;

use bytes::{Buf, BufMut, Bytes};
use support::{Cluster, Server, bind, config, header, until};
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::{Code, Request, Status};
use yadkv_placement_driver::NodeError;
use yadkv_proto::metapb::{Peer, Region, RegionEpoch};
use yadkv_proto::pdpb::*;

/// Sends bytes as they are.
#[derive(Clone, Copy, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_is_refused_and_harms_nobody() {
    let cluster = Cluster::start(1, |config| config.bootstrap.stores = 1).await;
    let (id, leader) = cluster.leader().await;
    let server = &cluster.servers[leader];
    let endpoint = tonic::transport::Endpoint::from_shared(server.url()).unwrap();
    let mut grpc = tonic::client::Grpc::new(endpoint.connect().await.unwrap());
    let bytes = [
        &b"\xff\xff\xff\xff\xff"[..],
        b"\x0a\xff\xff\xff\xff\x0f",
        b"\x12\x80\x80\x80\x80\x80\x80\x80\x80\x80\x02",
        b"\x07",
    ];
    for path in [
        "/pdpb.PD/GetRegion",
        "/pdpb.PD/PutStore",
        "/pdpb.PD/Tso",
        "/yadkvpb.Transport/Deliver",
        "/keyspacepb.Keyspace/LoadKeyspace",
    ] {
        for garbage in bytes {
            grpc.ready().await.unwrap();
            let request = Request::new(tokio_stream::iter([Bytes::copy_from_slice(garbage)]));
            let path = tonic::codegen::http::uri::PathAndQuery::from_static(path);
            let answer = grpc.streaming(request, path, Raw).await;
            if let Ok(answer) = answer {
                assert!(answer.into_inner().message().await.is_err());
            }
        }
    }
    let mut pd = server.pd().await;
    let stores = cluster.join(&mut pd, id, 1).await;
    let hostile = [
        Region::default(),
        Region {
            id: u64::MAX,
            region_epoch: Some(RegionEpoch {
                conf_ver: u64::MAX,
                version: u64::MAX,
            }),
            ..Region::default()
        },
        Region {
            id: 1,
            start_key: vec![0xFF; 40 << 10].into(),
            ..Region::default()
        },
    ];
    for region in hostile {
        let leader = Some(Peer {
            id: 1,
            store_id: stores[0],
            ..Peer::default()
        });
        let report = RegionHeartbeatRequest {
            header: header(id),
            region: Some(region),
            leader,
            ..Default::default()
        };
        let requests = tokio_stream::iter([report]);
        let answer = pd
            .region_heartbeat(requests)
            .await
            .unwrap()
            .into_inner()
            .message()
            .await
            .unwrap();
        assert!(answer.unwrap().header.unwrap().error.is_some());
    }
    let many = AllocIdRequest {
        header: header(id),
        count: u32::MAX,
    };
    assert_eq!(
        pd.alloc_id(many).await.unwrap_err().code(),
        Code::InvalidArgument
    );
    let large = GetRegionRequest {
        header: header(id),
        region_key: vec![1; 8 << 20].into(),
        need_buckets: false,
    };
    assert!(
        pd.get_region(large)
            .await
            .unwrap()
            .into_inner()
            .region
            .is_some(),
        "messages above 4 MiB are taken"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_belongs_to_one_member_of_one_cluster() {
    let mut cluster = Cluster::start(1, |config| config.bootstrap.stores = 1).await;
    let (id, _) = cluster.leader().await;
    let mut pd = cluster.servers[0].pd().await;
    cluster.join(&mut pd, id, 1).await;

    // In use by another process: here, by another server of this one.
    let own = cluster.servers[0].config.clone();
    let second = bind("127.0.0.1:0".parse().unwrap()).await;
    let address = second.local_addr().unwrap().to_string();
    let mut other = config(&address, &[], cluster.directory.path());
    other.pd.data_dir = own.pd.data_dir.clone();
    let refused = Server::start(other.clone(), second)
        .stop_by_itself()
        .await
        .unwrap_err();
    assert!(refused.to_string().contains("in use"), "{refused}");

    // Of another member.
    cluster.servers[0].stop().await.unwrap();
    let second = bind(address.parse().unwrap()).await;
    let refused = Server::start(other, second)
        .stop_by_itself()
        .await
        .unwrap_err();
    assert!(
        matches!(refused, NodeError::Open(_)) && refused.to_string().contains("belongs to member"),
        "{refused}"
    );

    // The same member finds everything again.
    cluster.servers[0].restart().await;
    let (again, _) = cluster.leader().await;
    assert_eq!(id, again);
    let regions = until("the regions", || async {
        let mut pd = cluster.servers[0].pd().await;
        let scan = ScanRegionsRequest {
            header: header(id),
            ..Default::default()
        };
        Some(pd.scan_regions(scan).await.ok()?.into_inner().regions.len())
            .filter(|count| *count > 0)
    });
    assert_eq!(regions.await, 6);

    // Without its log it must not vote again.
    cluster.servers[0].stop().await.unwrap();
    std::fs::remove_dir_all(own.pd.data_dir.join("raft")).unwrap();
    let listener = bind(cluster.servers[0].address).await;
    let refused = Server::start(own, listener)
        .stop_by_itself()
        .await
        .unwrap_err();
    assert!(refused.to_string().contains("must not vote"), "{refused}");
}
