//! Three members as clients and stores see them: over real sockets, on real disks.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;
use support::{Cluster, header, http, put_store, until};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;
use tonic::transport::Channel;
use yadkv_proto::etcdserverpb::cluster_client::ClusterClient;
use yadkv_proto::etcdserverpb::kv_client::KvClient;
use yadkv_proto::etcdserverpb::{MemberListRequest, RangeRequest};
use yadkv_proto::keyspacepb::LoadKeyspaceRequest;
use yadkv_proto::keyspacepb::keyspace_client::KeyspaceClient;
use yadkv_proto::keyspacepb::keyspace_meta::Keyspace;
use yadkv_proto::pdpb::pd_client::PdClient;
use yadkv_proto::pdpb::*;

/// A Tso stream that is written and read in turns.
struct Stamps {
    requests: mpsc::Sender<TsoRequest>,
    answers: tonic::Streaming<TsoResponse>,
    cluster_id: u64,
}

impl Stamps {
    async fn open(mut pd: PdClient<Channel>, cluster_id: u64) -> Self {
        let (requests, receiver) = mpsc::channel(16);
        let answers = pd
            .tso(ReceiverStream::new(receiver))
            .await
            .unwrap()
            .into_inner();
        Self {
            requests,
            answers,
            cluster_id,
        }
    }

    /// First and last timestamp of a block.
    async fn take(&mut self, count: u32) -> Result<[(i64, i64); 2], tonic::Status> {
        let request = TsoRequest {
            header: header(self.cluster_id),
            count,
            ..TsoRequest::default()
        };
        // A closed stream shows in the answer.
        let _ = self.requests.send(request).await;
        let answer = self
            .answers
            .message()
            .await?
            .ok_or(tonic::Status::unavailable("stream ended"))?;
        let last = answer.timestamp.unwrap();
        assert_eq!(answer.count, count);
        Ok([
            (last.physical, last.logical + 1 - i64::from(count)),
            (last.physical, last.logical),
        ])
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn timestamps_rise_across_a_killed_leader() {
    let mut cluster = Cluster::start(3, |_| {}).await;
    let (id, leader) = cluster.leader().await;
    let mut stamps = Stamps::open(cluster.servers[leader].pd().await, id).await;
    let mut last = (0, 0);
    for count in [1, 1000, 262_144, 1, 1, 500] {
        let [first, end] = stamps.take(count).await.unwrap();
        assert!(first > last);
        last = end;
    }
    let wall_ms = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_millis();
    assert!(
        (last.0 - wall_ms as i64).abs() < 2000,
        "physical follows the clock"
    );

    cluster.servers[leader].stop().await.unwrap();
    assert!(
        stamps.take(1).await.is_err(),
        "the dead leader's stream ends"
    );
    let (again, next) = cluster.leader().await;
    assert_eq!(id, again);
    assert_ne!(leader, next);
    let mut stamps = Stamps::open(cluster.servers[next].pd().await, id).await;
    let [first, end] = stamps.take(100).await.unwrap();
    assert!(first > last);

    // The killed one comes back and follows; a stream to it ends with an error.
    cluster.servers[leader].restart().await;
    let followed = until("the old leader follows", || async {
        let mut pd = cluster.servers[leader].pd().await;
        pd.get_members(GetMembersRequest::default())
            .await
            .ok()?
            .into_inner()
            .leader
    });
    followed.await;
    let mut lost = Stamps::open(cluster.servers[leader].pd().await, id).await;
    assert_eq!(lost.take(1).await.unwrap_err().code(), Code::Unavailable);
    assert!(stamps.take(1).await.unwrap()[0] > end);
    for server in &mut cluster.servers {
        server.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_cluster_and_a_wrong_count_end_the_stream() {
    let cluster = Cluster::start(1, |_| {}).await;
    let (id, leader) = cluster.leader().await;
    let mut stamps = Stamps::open(cluster.servers[leader].pd().await, id + 1).await;
    assert_eq!(
        stamps.take(1).await.unwrap_err().code(),
        Code::FailedPrecondition
    );
    let mut stamps = Stamps::open(cluster.servers[leader].pd().await, id).await;
    assert_eq!(
        stamps.take(0).await.unwrap_err().code(),
        Code::InvalidArgument
    );
    let mut stamps = Stamps::open(cluster.servers[leader].pd().await, id).await;
    stamps.take(1).await.unwrap();
}

/// Three stores register through a follower, the first regions appear, and everything shows them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_stores_bootstrap_the_cluster() {
    let cluster = Cluster::start(3, |config| config.bootstrap.borders = vec!["m".into()]).await;
    let (id, leader) = cluster.leader().await;
    let follower = &cluster.servers[(leader + 1) % 3];
    let mut pd = follower.pd().await;
    let early = pd
        .get_region(GetRegionRequest {
            header: header(id),
            ..Default::default()
        })
        .await
        .unwrap();
    let error = early.into_inner().header.unwrap().error.unwrap();
    assert_eq!(error.r#type(), ErrorType::NotBootstrapped);

    let stores = cluster.join(&mut pd, id, 3).await;
    let taken = put_store(&mut pd, id, stores[1], "127.0.0.1:20160")
        .await
        .unwrap();
    let error = taken.header.unwrap().error.unwrap();
    assert!(
        error.message.contains("127.0.0.1:20160"),
        "{}",
        error.message
    );

    let bootstrapped = until("bootstrap", || async {
        let mut pd = follower.pd().await;
        let answer = pd
            .is_bootstrapped(IsBootstrappedRequest { header: header(id) })
            .await
            .ok()?;
        answer.into_inner().bootstrapped.then_some(())
    });
    bootstrapped.await;
    check_regions(&mut pd, id, &stores).await;
    check_keyspace(&follower.url(), id).await;
    check_etcd(&follower.url()).await;
    check_refusals(&mut pd, id).await;
    for server in &cluster.servers {
        check_http(server.address).await;
    }
}

async fn check_regions(pd: &mut PdClient<Channel>, id: u64, stores: &[u64]) {
    let scan = ScanRegionsRequest {
        header: header(id),
        ..Default::default()
    };
    let regions = pd.scan_regions(scan).await.unwrap().into_inner();
    assert!(regions.header.unwrap().error.is_none());
    assert_eq!(regions.regions.len(), 7);
    assert_eq!(regions.region_metas.len(), regions.leaders.len());
    let mut border = bytes::Bytes::new();
    for region in &regions.region_metas {
        assert_eq!(region.start_key, border);
        assert_eq!(region.region_epoch.unwrap().version, 1);
        let on: Vec<_> = region.peers.iter().map(|peer| peer.store_id).collect();
        assert_eq!(on, stores);
        border = region.end_key.clone();
    }
    assert!(border.is_empty());
    let get = GetRegionRequest {
        header: header(id),
        region_key: b"n"[..].into(),
        need_buckets: false,
    };
    let found = pd
        .get_region(get.clone())
        .await
        .unwrap()
        .into_inner()
        .region
        .unwrap();
    assert_eq!(&found.start_key[..], b"m");
    let by_id = GetRegionByIdRequest {
        header: header(id),
        region_id: found.id,
        need_buckets: false,
    };
    assert_eq!(
        pd.get_region_by_id(by_id)
            .await
            .unwrap()
            .into_inner()
            .region
            .unwrap()
            .id,
        found.id
    );
    let before = pd
        .get_prev_region(get)
        .await
        .unwrap()
        .into_inner()
        .region
        .unwrap();
    assert_eq!(&before.end_key[..], b"m");
}

async fn check_keyspace(url: &str, id: u64) {
    let mut client = KeyspaceClient::connect(url.to_owned()).await.unwrap();
    let load = |name: &str| LoadKeyspaceRequest {
        header: header(id),
        name: name.into(),
        namespace: None,
    };
    let found = client
        .load_keyspace(load("DEFAULT"))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(found.keyspace.unwrap().keyspace, Some(Keyspace::Id(0)));
    let unknown = client
        .load_keyspace(load("other"))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        unknown.header.unwrap().error.unwrap().r#type(),
        ErrorType::EntryNotFound
    );
}

async fn check_etcd(url: &str) {
    let mut kv = KvClient::connect(url.to_owned()).await.unwrap();
    let key = bytes::Bytes::from_static(b"/tidb/store/gcworker/saved_safe_point");
    let answer = kv
        .range(RangeRequest {
            key,
            ..Default::default()
        })
        .await
        .unwrap()
        .into_inner();
    assert!(answer.kvs.is_empty());
    let mut members = ClusterClient::connect(url.to_owned()).await.unwrap();
    let list = members
        .member_list(MemberListRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(list.members.len(), 3);
    assert!(list.members[0].client_ur_ls[0].starts_with("http://127.0.0.1:"));
}

async fn check_refusals(pd: &mut PdClient<Channel>, id: u64) {
    let wrong = GetAllStoresRequest {
        header: header(id + 1),
        exclude_tombstone_stores: false,
    };
    assert_eq!(
        pd.get_all_stores(wrong).await.unwrap_err().code(),
        Code::FailedPrecondition
    );
    let unserved = pd
        .scatter_region(ScatterRegionRequest::default())
        .await
        .unwrap_err();
    assert_eq!(unserved.code(), Code::Unimplemented);
    let unknown = GetStoreRequest {
        header: header(id),
        store_id: 777,
    };
    let error = pd
        .get_store(unknown)
        .await
        .unwrap()
        .into_inner()
        .header
        .unwrap()
        .error
        .unwrap();
    assert!(error.message.contains("invalid store ID") && error.message.contains("not found"));
    let raise = |safe_point| UpdateGcSafePointRequest {
        header: header(id),
        safe_point,
    };
    assert_eq!(
        pd.update_gc_safe_point(raise(9))
            .await
            .unwrap()
            .into_inner()
            .new_safe_point,
        9
    );
    assert_eq!(
        pd.update_gc_safe_point(raise(5))
            .await
            .unwrap()
            .into_inner()
            .new_safe_point,
        9
    );
}

async fn check_http(address: std::net::SocketAddr) {
    let page = |path: &'static str| async move {
        let (code, body) = http(address, path).await;
        assert_eq!(code, 200, "{path}: {body}");
        body
    };
    let json = |body: String| serde_json::from_str::<serde_json::Value>(&body).unwrap();
    let regions = json(page("/pd/api/v1/regions").await);
    assert_eq!(regions["count"], 7);
    let stores = json(page("/pd/api/v1/stores").await);
    assert_eq!(stores["stores"][0]["store"]["address"], "127.0.0.1:20160");
    assert_eq!(stores["stores"][0]["store"]["state_name"], "Up");
    assert_eq!(stores["stores"][2]["status"]["region_count"], 7);
    assert!(stores["stores"][0]["status"]["leader_count"].is_u64());
    let members = json(page("/pd/api/v1/members").await);
    assert_eq!(members["members"].as_array().unwrap().len(), 3);
    assert!(members["leader"]["name"].is_string());
    assert!(page("/metrics").await.contains("yadkv_pd_term"));
    page("/health").await;
    assert_eq!(http(address, "/nothing").await.0, 404);
}

/// A store that leads everything is told at once to hand leaders over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operators_are_pushed_into_the_heartbeat_stream() {
    let quick = |config: &mut yadkv_placement_driver::Config| {
        config.bootstrap.stores = 2;
        config.schedule.interval = Duration::from_millis(200);
    };
    let cluster = Cluster::start(1, quick).await;
    let (id, leader) = cluster.leader().await;
    let mut pd = cluster.servers[leader].pd().await;
    let stores = cluster.join(&mut pd, id, 2).await;
    let regions = until("bootstrap", || async {
        let mut pd = cluster.servers[leader].pd().await;
        let scan = ScanRegionsRequest {
            header: header(id),
            ..Default::default()
        };
        let regions = pd.scan_regions(scan).await.ok()?.into_inner().region_metas;
        (!regions.is_empty()).then_some(regions)
    });
    let regions = regions.await;
    let (reports, receiver) = mpsc::channel(64);
    let mut operators = pd
        .region_heartbeat(ReceiverStream::new(receiver))
        .await
        .unwrap()
        .into_inner();
    for region in &regions {
        let leader = region
            .peers
            .iter()
            .find(|peer| peer.store_id == stores[0])
            .copied();
        let report = RegionHeartbeatRequest {
            header: header(id),
            region: Some(region.clone()),
            leader,
            term: 6,
            ..Default::default()
        };
        reports.send(report).await.unwrap();
    }
    let operator = tokio::time::timeout(support::PATIENCE, operators.message())
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert_ne!(operator.region_id, 0);
    assert_eq!(
        operator.transfer_leader.unwrap().peer.unwrap().store_id,
        stores[1]
    );
    assert_eq!(operator.target_peer.unwrap().store_id, stores[0]);
}

/// A member that was away while its next entries left the logs gets the state, and what it has then is on its disk.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_lags_behind_the_log_is_sent_the_state() {
    let short = |config: &mut yadkv_placement_driver::Config| {
        config.log.keep_entries = 8;
        config.log.chunk_bytes = bytesize::ByteSize::kib(1);
    };
    let mut cluster = Cluster::start(3, short).await;
    let (id, leader) = cluster.leader().await;
    let mut pd = cluster.servers[leader].pd().await;
    cluster.join(&mut pd, id, 3).await;
    let away = (leader + 1) % 3;
    cluster.servers[away].stop().await.unwrap();
    for safe_point in 1..=40 {
        let request = UpdateGcSafePointRequest {
            header: header(id),
            safe_point,
        };
        pd.update_gc_safe_point(request).await.unwrap();
    }
    cluster.servers[away].restart().await;
    let address = cluster.servers[away].address;
    let counted = |line: &'static str| async move {
        let (_, page) = http(address, "/metrics").await;
        page.lines().any(|found| found == line).then_some(())
    };
    let installed = "yadkv_pd_state_transfers_total{outcome=\"installed\"} 1";
    until("an installed state", || counted(installed)).await;
    // It is there after a restart: what comes then is applied, and nothing is sent again.
    cluster.servers[away].stop().await.unwrap();
    cluster.servers[away].restart().await;
    let request = AllocIdRequest {
        header: header(id),
        count: 1,
    };
    let fourth = pd.alloc_id(request).await.unwrap().into_inner().id;
    let put = put_store(&mut pd, id, fourth, "127.0.0.1:20170").await;
    let refused = put.unwrap().header.and_then(|header| header.error);
    assert_eq!(refused, None);
    until("all stores", || counted("yadkv_pd_map_stores 4")).await;
    let installed = "yadkv_pd_state_transfers_total{outcome=\"installed\"} 0";
    assert_eq!(counted(installed).await, Some(()), "no other state");
}
