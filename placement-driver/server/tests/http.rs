//! What people and scripts see and order over HTTP, bad input included, at the leader and at members that follow.
#![allow(clippy::unwrap_used)]

mod support;

use serde_json::{Value, json};
use std::net::SocketAddr;
use support::{Cluster, header, http, http_with, until};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use yadkv_proto::metapb::Region;
use yadkv_proto::pdpb::*;

const OPERATORS: &str = "/pd/api/v1/operators";

/// Three members and three stores, whose first one leads every region; nothing is scheduled.
struct Scene {
    cluster: Cluster,
    regions: Vec<Region>,
    stores: Vec<u64>,
    /// Keeps the stream of heartbeats open.
    reports: mpsc::Sender<RegionHeartbeatRequest>,
    id: u64,
}

impl Scene {
    async fn begin() -> Self {
        let quiet = |config: &mut yadkv_placement_driver::Config| {
            config.schedule.balance_leaders = false;
            config.schedule.check_replicas = false;
            config.bootstrap.borders = vec!["m".into()];
        };
        let cluster = Cluster::start(3, quiet).await;
        let (id, leader) = cluster.leader().await;
        let mut pd = cluster.servers[leader].pd().await;
        let stores = cluster.join(&mut pd, id, 3).await;
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
        let answers = pd.region_heartbeat(ReceiverStream::new(receiver)).await;
        let mut answers = answers.unwrap().into_inner();
        tokio::spawn(async move { while let Ok(Some(_)) = answers.message().await {} });
        let scene = Self {
            cluster,
            regions,
            stores,
            reports,
            id,
        };
        for region in &scene.regions {
            scene.report(region, |_| {}).await;
        }
        until("all regions have reported", || async {
            let all = scene.json("/pd/api/v1/regions").await["regions"].take();
            let all = all.as_array()?.clone();
            all.iter().all(|region| region["term"] == 6).then_some(())
        })
        .await;
        scene
    }

    async fn report(&self, region: &Region, more: impl Fn(&mut RegionHeartbeatRequest)) {
        let on_first = |peer: &&yadkv_proto::metapb::Peer| peer.store_id == self.stores[0];
        let mut report = RegionHeartbeatRequest {
            header: header(self.id),
            leader: region.peers.iter().find(on_first).copied(),
            region: Some(region.clone()),
            term: 6,
            ..Default::default()
        };
        more(&mut report);
        self.reports.send(report).await.unwrap();
    }

    fn members(&self) -> Vec<SocketAddr> {
        let servers = self.cluster.servers.iter();
        servers.map(|server| server.address).collect()
    }

    async fn json(&self, path: &str) -> Value {
        let (code, body) = http(self.members()[0], path).await;
        assert_eq!(code, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap()
    }
}

/// Every member answers all of these with the code, and says what is wrong and what to do.
async fn refused(scene: &Scene, cases: &[(&str, &str, &[u8], u16, &str)]) {
    for (method, path, body, code, sign) in cases {
        for address in scene.members() {
            let (answered, said) = http_with(address, method, path, body).await;
            let sent = String::from_utf8_lossy(&body[..body.len().min(200)]);
            let case = format!("{method} {path} {sent}: {answered} {said}");
            assert_eq!(answered, *code, "{case}");
            assert!(said.contains(sign) && said.ends_with('\n'), "{case}");
        }
    }
    let operators = scene.json(OPERATORS).await;
    assert_eq!(operators["count"], 0, "nothing was begun: {operators}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_that_cannot_be_read_are_refused() {
    let scene = Scene::begin().await;
    let region = scene.regions[0].id;
    let huge = vec![b' '; 3 << 20];
    let no_text = b"{\"name\": \"\xff\xfe\"}";
    let wrong = [
        ("{\"name\": \"add-peer\"}".to_owned(), "region_id"),
        ("{\"region_id\": 1, \"store_id\": 1}".into(), "name"),
        (
            json!({"name": "fly", "region_id": region}).to_string(),
            "merge-region",
        ),
        (
            json!({"name": 5, "region_id": region}).to_string(),
            "cannot be read",
        ),
        (
            json!({"name": "add-peer", "region_id": "2", "store_id": 1}).to_string(),
            "string",
        ),
        (
            json!({"name": "add-peer", "region_id": -1, "store_id": 1}).to_string(),
            "-1",
        ),
        (
            json!({"name": "add-peer", "region_id": 1.5, "store_id": 1}).to_string(),
            "1.5",
        ),
        (
            json!({"name": "add-peer", "region_id": null, "store_id": 1}).to_string(),
            "null",
        ),
        (
            json!({"name": "add-peer", "region_id": [1], "store_id": 1}).to_string(),
            "sequence",
        ),
        (
            "{\"name\": \"add-peer\", \"region_id\": 1e30, \"store_id\": 1}".into(),
            "cannot be read",
        ),
        (
            json!({"name": "add-peer", "region_id": region, "store_id": 1, "now": true})
                .to_string(),
            "now",
        ),
        (json!(["add-peer", region, 1]).to_string(), "a map"),
        (String::new(), "ids as numbers"),
        ("{".into(), "ids as numbers"),
        ("{}{}".into(), "ids as numbers"),
        ("[".repeat(100_000), "ids as numbers"),
    ];
    let mut cases: Vec<(&str, &str, &[u8], u16, &str)> = Vec::new();
    for (body, sign) in &wrong {
        cases.push(("POST", OPERATORS, body.as_bytes(), 400, sign));
    }
    cases.push(("POST", OPERATORS, no_text, 400, "cannot be read"));
    refused(&scene, &cases).await;
    // The web server's own words.
    let (code, said) = http_with(scene.members()[0], "POST", OPERATORS, &huge).await;
    assert_eq!(code, 413, "{said}");
    let (code, said) = http(scene.members()[0], "/pd/api/v1/region/id/%ff").await;
    assert_eq!(code, 400, "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_that_make_no_sense_are_refused() {
    let scene = Scene::begin().await;
    let (region, apart) = (scene.regions[0].id, scene.regions[3].id);
    let stores = &scene.stores;
    let order = |name: &str, ids: &[(&str, u64)]| {
        let mut order = json!({ "name": name });
        for (field, id) in ids {
            order[field] = json!(id);
        }
        order.to_string()
    };
    let of = |name: &str, region: u64, field: &str, store: u64| {
        order(name, &[("region_id", region), (field, store)])
    };
    let merge = |source, target| {
        order(
            "merge-region",
            &[("source_region_id", source), ("target_region_id", target)],
        )
    };
    let keyspaces = scene
        .regions
        .windows(2)
        .find(|pair| pair[0].end_key[..] != *b"m");
    let [left, right] = keyspaces.unwrap() else {
        unreachable!("a pair")
    };
    let bodies = [
        (
            of("add-peer", 99_999, "store_id", stores[0]),
            "list the regions",
        ),
        (
            of("add-peer", region, "store_id", 99_999),
            "list the stores",
        ),
        (of("add-peer", region, "store_id", stores[0]), "has a peer"),
        (of("remove-peer", region, "store_id", 99_999), "no peer"),
        (of("remove-peer", 0, "store_id", 0), "list the regions"),
        (
            of("transfer-leader", region, "to_store_id", stores[0]),
            "leads already",
        ),
        (
            of("transfer-leader", region, "to_store_id", u64::MAX),
            "no peer",
        ),
        (merge(region, region), "no neighbours"),
        (merge(region, apart), "no neighbours"),
        (merge(region, 99_999), "list the regions"),
        (merge(left.id, right.id), "belongs to the keyspaces"),
    ];
    let mut cases: Vec<(&str, &str, &[u8], u16, &str)> = Vec::new();
    for (body, sign) in &bodies {
        cases.push(("POST", OPERATORS, body.as_bytes(), 400, sign));
    }
    refused(&scene, &cases).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_for_what_does_not_exist_are_refused() {
    let scene = Scene::begin().await;
    let region = scene.regions[0].id;
    let cancel = format!("{OPERATORS}/{region}");
    let leave = format!("/pd/api/v1/store/{}", scene.stores[0]);
    let state = format!("{leave}/state");
    let (down, offline) = (
        format!("{state}?state=Down"),
        format!("{state}?state=Offline"),
    );
    let gone = "/pd/api/v1/store/777";
    let cases: Vec<(&str, &str, &[u8], u16, &str)> = vec![
        (
            "DELETE",
            &cancel[..],
            &b""[..],
            400,
            "not asked to do anything",
        ),
        (
            "DELETE",
            "/pd/api/v1/operators/two",
            b"",
            400,
            "no region: give its number",
        ),
        (
            "DELETE",
            "/pd/api/v1/operators/-1",
            b"",
            400,
            "no region: give its number",
        ),
        ("DELETE", gone, b"", 400, "list the stores"),
        (
            "DELETE",
            "/pd/api/v1/store/x",
            b"",
            400,
            "no store: give its number",
        ),
        ("DELETE", &leave, b"", 400, "add a store first"),
        (
            "POST",
            &state,
            b"",
            400,
            "ask for ?state=Up or ?state=Offline",
        ),
        (
            "POST",
            &down,
            b"",
            400,
            "ask for ?state=Up or ?state=Offline",
        ),
        ("POST", &offline, b"", 400, "add a store first"),
        (
            "POST",
            "/pd/api/v1/store/777/state?state=Up",
            b"",
            400,
            "list the stores",
        ),
        ("GET", gone, b"", 404, "list the stores"),
        (
            "GET",
            "/pd/api/v1/store/18446744073709551616",
            b"",
            400,
            "no store",
        ),
        (
            "GET",
            "/pd/api/v1/region/id/99999",
            b"",
            404,
            "list the regions",
        ),
        ("PUT", OPERATORS, b"", 405, "does not take PUT"),
        ("POST", "/pd/api/v1/regions", b"", 405, "does not take POST"),
        ("GET", "/pd/api/v1/region", b"", 404, "no such page"),
    ];
    refused(&scene, &cases).await;
}

/// Every member shows what leaders say of peers and what stores say of themselves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_and_lagging_peers_and_the_load_of_stores_are_shown() {
    let scene = Scene::begin().await;
    let region = &scene.regions[0];
    let [_, second, third] = region.peers[..] else {
        panic!("three peers: {region:?}")
    };
    let silent = |report: &mut RegionHeartbeatRequest| {
        report.down_peers = vec![PeerStats {
            peer: Some(second),
            down_seconds: 7,
        }];
        report.pending_peers = vec![second, third];
        report.approximate_size = (3 << 20) + 1;
        report.approximate_keys = 11;
    };
    scene.report(region, silent).await;
    let stats = StoreStats {
        store_id: scene.stores[1],
        capacity: 1000,
        sending_snap_count: 1,
        receiving_snap_count: 2,
        applying_snap_count: 3,
        is_busy: true,
        bytes_written: 4096,
        keys_written: 4,
        interval: Some(TimeInterval {
            start_timestamp: 100,
            end_timestamp: 103,
        }),
        start_time: 50,
        ..Default::default()
    };
    let (_, leader) = scene.cluster.leader().await;
    let mut pd = scene.cluster.servers[leader].pd().await;
    let beat = StoreHeartbeatRequest {
        header: header(scene.id),
        stats: Some(stats),
        ..Default::default()
    };
    pd.store_heartbeat(beat).await.unwrap();
    for address in scene.members() {
        let get = |path: String| async move {
            let (code, body) = http(address, &path).await;
            assert_eq!(code, 200, "{path}: {body}");
            serde_json::from_str::<Value>(&body).unwrap()
        };
        let shown = until("the report is taken", || async {
            let shown = get(format!("/pd/api/v1/region/id/{}", region.id)).await;
            (shown["approximate_keys"] == 11).then_some(shown)
        });
        let shown = shown.await;
        let down = shown["down_peers"].as_array().unwrap();
        assert_eq!((down.len(), &down[0]["peer"]["id"]), (1, &json!(second.id)));
        let seconds = down[0]["down_seconds"].as_u64().unwrap();
        assert!(
            (7..7 + support::PATIENCE.as_secs()).contains(&seconds),
            "{shown}"
        );
        let lag: Vec<_> = shown["pending_peers"].as_array().unwrap().iter().collect();
        assert_eq!(
            (&lag[0]["id"], &lag[1]["id"]),
            (&json!(second.id), &json!(third.id))
        );
        assert_eq!(shown["approximate_size"], 4, "MiB, rounded up");
        assert_eq!(shown["approximate_bytes"], (3 << 20) + 1);

        let busy = get(format!("/pd/api/v1/store/{}", scene.stores[1])).await;
        let status = &busy["status"];
        assert_eq!(status["capacity"], 1000);
        let snapshots = ["sending", "receiving", "applying"];
        let snapshots = snapshots.map(|kind| &status[format!("{kind}_snap_count")]);
        assert_eq!(snapshots, [1, 2, 3]);
        assert_eq!(
            (&status["is_busy"], &status["is_apply_busy"]),
            (&json!(true), &json!(false))
        );
        assert_eq!(
            (&status["bytes_written"], &status["interval_seconds"]),
            (&json!(4096), &json!(3))
        );
        let unheard = get(format!("/pd/api/v1/store/{}", scene.stores[2])).await;
        assert_eq!(
            unheard["status"]["capacity"],
            Value::Null,
            "nothing is invented"
        );
        let wanted = get("/pd/api/v1/config/replicate".into()).await;
        assert_eq!(wanted["max-replicas"], 3);
    }
}
