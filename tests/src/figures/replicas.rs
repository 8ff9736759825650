//! Replicas that move: a store is emptied under load, and one that is lost for good is made good.
//!
//! *Life*: three stores hold all regions, a fourth none → what was loaded is merged → clients are measured at
//! rest → a store is ordered to leave: all its replicas become the fourth's, by snapshots → another store is killed, and a fifth takes its place.
//!
//! *Next stop*: [`super::restart`].

use crate::Figure;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use yadkv_client::{Client, Options, RawClient};
use yadkv_proto::metapb::PeerRole;
use yadkv_tests::{Cluster, borders, eventually};

const REGIONS: u32 = 200;
const VALUE_BYTES: usize = 16 << 10;
/// 1 GiB in all, 5.2 MiB a region.
const RECORDS: u32 = 65_536;
const MIB: f64 = RECORDS as f64 * VALUE_BYTES as f64 / 1_048_576.0;
const LOADERS: u32 = 8;
const CLIENTS: u32 = 16;
const AT_REST: Duration = Duration::from_secs(10);
/// Bytes a second of stores that have nothing to do.
const REST_BYTES_MAX: u64 = 4 << 20;
const PATIENCE: Duration = Duration::from_secs(180);
const MIB_A_SECOND_MIN: f64 = 60.0;
const P99_TIMES_MAX: f64 = 3.0;
const REPLACED_SECONDS_MAX: f64 = 60.0;

pub(crate) fn measure() -> Vec<Figure> {
    let runtime = Runtime::new().expect("a runtime");
    let dead = [
        "schedule.store_disconnect_time=20s",
        "schedule.store_dead_time=20s",
    ];
    let mut cluster = Cluster::start(&[&borders(REGIONS), dead[0], dead[1]]);
    let connecting = Client::connect(cluster.endpoints.clone(), Options::default());
    let client = runtime.block_on(connecting).expect("the cluster serves");
    runtime.block_on(fill(&client.raw()));
    cluster.add_store();
    let (leaving, lost) = (store_id(&cluster, 0), store_id(&cluster, 1));
    cluster.wait_until_leaders_are_spread();
    eventually("what was loaded is merged", PATIENCE, || at_rest(&cluster));

    let before = Foreground::start(&runtime, &client.raw());
    std::thread::sleep(AT_REST);
    let before = before.stop(&runtime);
    let during = Foreground::start(&runtime, &client.raw());
    let begun = Instant::now();
    cluster.run(&[
        "ctl",
        "--pd",
        &cluster.pd(),
        "store",
        "remove",
        &leaving.to_string(),
    ]);
    whole_without(&runtime, &client, leaving);
    let seconds = begun.elapsed().as_secs_f64();
    let during = during.stop(&runtime);
    eprintln!(
        "  {MIB:.0} MiB moved in {seconds:.1} s; p99 {before:.2} ms before, {during:.2} ms meanwhile"
    );

    cluster.add_store();
    cluster.stores[1].kill();
    let killed = Instant::now();
    whole_without(&runtime, &client, lost);
    let replaced = killed.elapsed().as_secs_f64();
    vec![
        Figure::at_least(
            format!("{MIB:.0} MiB of {REGIONS} regions moved by snapshots"),
            MIB_A_SECOND_MIN,
            MIB / seconds,
            "MiB/s",
        ),
        Figure::at_most(
            "clients' p99 meanwhile, of that before",
            P99_TIMES_MAX,
            during / before,
            "times",
        ),
        Figure::at_most(
            format!("store lost for good, dead time 20 s: {REGIONS} regions whole again"),
            REPLACED_SECONDS_MAX,
            replaced,
            "s",
        ),
    ]
}

/// Whether the stores write next to nothing for a second.
fn at_rest(cluster: &Cluster) -> Option<()> {
    let before = written(cluster);
    std::thread::sleep(Duration::from_secs(1));
    (written(cluster) - before < REST_BYTES_MAX).then_some(())
}

/// Bytes that the stores had the disk write so far.
fn written(cluster: &Cluster) -> u64 {
    let stores = cluster.stores.iter();
    let running = stores.filter_map(|store| store.id());
    let counts = running.map(|id| {
        let counts = std::fs::read_to_string(format!("/proc/{id}/io")).expect("a store runs");
        let field = counts
            .lines()
            .find_map(|line| line.strip_prefix("write_bytes: "));
        let bytes: u64 = field
            .and_then(|bytes| bytes.parse().ok())
            .expect("a number");
        bytes
    });
    counts.sum()
}

/// Keys spread evenly over the regions.
fn key(number: u32) -> Vec<u8> {
    let mut key = (number as u16).to_be_bytes().to_vec();
    key.extend(number.to_be_bytes());
    key
}

/// Bytes that no compression makes smaller.
fn value(number: u32) -> Vec<u8> {
    let mut state = u64::from(number) + 1;
    let mut value = Vec::with_capacity(VALUE_BYTES);
    while value.len() < VALUE_BYTES {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        value.extend((state ^ (state >> 29)).to_le_bytes());
    }
    value
}

async fn fill(raw: &RawClient) {
    let mut loaders = JoinSet::new();
    for loader in 0..LOADERS {
        let raw = raw.clone();
        loaders.spawn(async move {
            for number in (loader..RECORDS).step_by(LOADERS as usize) {
                let put = raw.put(key(number), value(number));
                put.await.expect("the cluster serves");
            }
        });
    }
    while let Some(ended) = loaders.join_next().await {
        ended.expect("no error surfaces");
    }
}

fn store_id(cluster: &Cluster, place: usize) -> u64 {
    let address = cluster.stores[place].address();
    let printed = cluster.run(&["ctl", "--json", "--pd", &cluster.pd(), "store"]);
    let stores = printed.lines().map(|line| {
        let store: serde_json::Value = serde_json::from_str(line).expect("JSON");
        store
    });
    let mut ids = stores.filter(|store| store["address"] == address);
    ids.find_map(|store| store["id"].as_u64())
        .expect("it has registered")
}

/// Waits until every region has three voters that keep up, none of them on the store.
fn whole_without(runtime: &Runtime, client: &Client, store: u64) {
    eventually("all regions are whole", PATIENCE, || {
        let regions = runtime.block_on(client.admin().regions("", 0)).ok()?;
        let whole = regions.iter().all(|found| {
            let peers = found.region.iter().flat_map(|region| &region.peers);
            let fine =
                peers.filter(|peer| peer.role() == PeerRole::Voter && peer.store_id != store);
            let members = found.region.as_ref().map_or(0, |region| region.peers.len());
            fine.count() == 3 && members == 3 && found.pending_peers.is_empty()
        });
        whole.then_some(())
    });
}

/// Clients that read and write, and how long each call takes.
struct Foreground {
    stop: Arc<AtomicBool>,
    clients: JoinSet<Vec<Duration>>,
}

impl Foreground {
    fn start(runtime: &Runtime, raw: &RawClient) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut clients = JoinSet::new();
        for number in 0..CLIENTS {
            let (raw, stop) = (raw.clone(), stop.clone());
            clients.spawn_on(work(raw, stop, number), runtime.handle());
        }
        Self { stop, clients }
    }

    /// The 99th percentile of all calls, in milliseconds.
    fn stop(self, runtime: &Runtime) -> f64 {
        self.stop.store(true, Ordering::Relaxed);
        let mut calls: Vec<Duration> = runtime.block_on(self.clients.join_all()).concat();
        calls.sort_unstable();
        calls[calls.len() * 99 / 100].as_secs_f64() * 1e3
    }
}

async fn work(raw: RawClient, stop: Arc<AtomicBool>, client: u32) -> Vec<Duration> {
    let mut calls = Vec::new();
    let mut number = client;
    while !stop.load(Ordering::Relaxed) {
        let begun = Instant::now();
        if calls.len() % 2 == 0 {
            let found = raw.get(key(number)).await.expect("no error surfaces");
            assert!(found.is_some(), "record {number} is lost");
        } else {
            let mut key = key(number);
            key.extend(client.to_be_bytes());
            let put = raw.put(key, vec![b'x'; 1000]);
            put.await.expect("no error surfaces");
        }
        calls.push(begun.elapsed());
        number = (number + 2063 * CLIENTS) % RECORDS;
    }
    calls
}
