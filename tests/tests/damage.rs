//! A flipped byte in a data file of a running store: never served, and the replica is replaced, on another store or, where
//! there is none, on the same one.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use serde_json::Value;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use yadkv_client::{Client, Options, RawClient};
use yadkv_tests::{Cluster, eventually};

const PATIENCE: Duration = Duration::from_secs(60);
const KEYS: u64 = 2000;

fn rows(cluster: &Cluster, args: &[&str]) -> Vec<Value> {
    let pd = cluster.pd();
    let printed = cluster.run(&[&["ctl", "--json", "--pd", &pd], args].concat());
    let lines = printed.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn key(number: u64) -> String {
    format!("key{number:06}")
}

/// Values that do not shrink.
fn value(number: u64) -> Vec<u8> {
    let mut state = number + 1;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 56) as u8
    };
    (0..512).map(|_| next()).collect()
}

async fn fill(raw: &RawClient) {
    let pairs = (0..KEYS).map(|number| (key(number), value(number)));
    raw.batch_put(pairs).await.unwrap();
}

/// The region of the keys.
fn region(cluster: &Cluster) -> Value {
    let pd = cluster.pd();
    let all = cluster.run(&[
        "ctl",
        "--json",
        "--pd",
        &pd,
        "region",
        "--key",
        "r\\x00\\x00\\x00k",
    ]);
    serde_json::from_str(all.trim()).unwrap()
}

fn stores_of(region: &Value) -> Vec<u64> {
    let peers = region["peers"].as_array().unwrap().iter();
    peers
        .map(|peer| peer["store_id"].as_u64().unwrap())
        .collect()
}

/// The id that a process of the cluster has as a store.
fn id_of(cluster: &Cluster, place: usize) -> u64 {
    let address = cluster.stores[place].address().to_owned();
    eventually("the store is known", PATIENCE, || {
        let stores = rows(cluster, &["store"]);
        let here = stores
            .iter()
            .find(|store| store["address"] == address.as_str());
        here?["id"].as_u64()
    })
}

fn order(cluster: &Cluster, args: &[&str]) {
    let pd = cluster.pd();
    let mut said = String::new();
    eventually(&format!("{args:?} is taken"), PATIENCE, || {
        let output = cluster.yadkv(&[&["ctl", "--pd", &pd, "region"], args].concat());
        let words = String::from_utf8_lossy(&output.stderr);
        if words != said {
            println!("{args:?}: {words}");
            said = words.to_string();
        }
        // The balance of leaders may have done the same of its own accord.
        let done = words.contains("leads already");
        (done || output.status.success()).then_some(())
    });
}

/// The table that a snapshot has brought: the largest one.
fn table(data: &Path) -> PathBuf {
    let entries = std::fs::read_dir(data.join("kv")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let tables = paths.filter(|path| path.extension().is_some_and(|kind| kind == "sst"));
    tables
        .max_by_key(|path| path.metadata().unwrap().len())
        .unwrap()
}

fn flip(path: &Path) {
    let mut file = File::options().read(true).write(true).open(path).unwrap();
    let place = SeekFrom::Start(file.metadata().unwrap().len() / 3);
    let mut byte = [0];
    file.seek(place).unwrap();
    file.read_exact(&mut byte).unwrap();
    file.seek(place).unwrap();
    file.write_all(&[byte[0] ^ 0x10]).unwrap();
    file.sync_all().unwrap();
}

/// Damages what a store got as a snapshot, and asks it to lead; the table.
fn damage(cluster: &Cluster, place: usize) -> PathBuf {
    let (id, store) = (
        region(cluster)["id"].to_string(),
        id_of(cluster, place).to_string(),
    );
    let table = table(cluster.stores[place].data());
    assert!(table.metadata().unwrap().len() > KEYS * 512, "{table:?}");
    flip(&table);
    // It may lead for a moment only; a check reads all of it in any case.
    order(cluster, &["transfer-leader", &id, &store]);
    table
}

/// Every value is what was written, whoever has it.
async fn read_all(raw: &RawClient) {
    for number in 0..KEYS {
        let read = raw.get(key(number)).await.unwrap();
        assert!(
            read.as_deref() == Some(&value(number)),
            "{} is another one",
            key(number)
        );
    }
}

fn is_whole(cluster: &Cluster, without: Option<u64>) -> Option<()> {
    let region = region(cluster);
    let voters = region["peers"].as_array()?.iter();
    let voters = voters.filter(|peer| peer["role"] == "Voter").count();
    let gone = without.is_none_or(|store| !stores_of(&region).contains(&store));
    (voters == 3 && stores_of(&region).len() == 3 && gone).then_some(())
}

fn check(cluster: &Cluster) {
    let pd = cluster.pd();
    let id = region(cluster)["id"].to_string();
    eventually("all replicas are the same", PATIENCE, || {
        let output = cluster.yadkv(&["ctl", "--pd", &pd, "region", "check", &id]);
        output.status.success().then_some(())
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_replica_is_replaced_on_another_store() {
    let mut cluster = Cluster::start(&["schedule.interval=200ms", "store.heartbeat_interval=1s"]);
    let client = Client::connect(cluster.endpoints.clone(), Options::default());
    let raw = client.await.unwrap().raw();
    fill(&raw).await;
    let new = cluster.add_store();
    let (from, to) = (id_of(&cluster, 0).to_string(), id_of(&cluster, new));
    let id = region(&cluster)["id"].to_string();
    order(&cluster, &["move-peer", &id, &from, &to.to_string()]);
    eventually("the replica moves", PATIENCE, || {
        is_whole(&cluster, Some(from.parse().unwrap()))
    });
    let table = damage(&cluster, new);
    let began = Instant::now();
    read_all(&raw).await;
    let pd = cluster.pd();
    cluster.yadkv(&[
        "ctl",
        "--pd",
        &pd,
        "region",
        "check",
        &region(&cluster)["id"].to_string(),
    ]);
    eventually("the replica is elsewhere", PATIENCE, || {
        is_whole(&cluster, Some(to))
    });
    eventually("the file is gone", PATIENCE, || {
        (!table.exists()).then_some(())
    });
    println!("replaced after {:?}", began.elapsed());
    assert!(cluster.stores[new].log().contains("a data file is damaged"));
    assert!(cluster.stores[new].id().is_some());
    check(&cluster);
    read_all(&raw).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_replica_is_made_anew_where_there_is_no_other_store() {
    let mut cluster = Cluster::start(&["schedule.interval=200ms", "store.heartbeat_interval=1s"]);
    let client = Client::connect(cluster.endpoints.clone(), Options::default());
    let raw = client.await.unwrap().raw();
    fill(&raw).await;
    // The last of three stores has what it has from snapshots.
    let new = cluster.add_store();
    let (old, store) = (id_of(&cluster, 0), id_of(&cluster, new));
    cluster.run(&[
        "ctl",
        "--pd",
        &cluster.pd(),
        "store",
        "remove",
        &old.to_string(),
    ]);
    assert!(cluster.stores[0].wait(PATIENCE) || cluster.stores[0].id().is_none());
    let peer = |region: &Value| {
        let mut peers = region["peers"].as_array().unwrap().iter();
        let found = peers.find(|peer| peer["store_id"] == store);
        found.map(|peer| peer["id"].clone())
    };
    eventually("three stores have it", PATIENCE, || {
        is_whole(&cluster, Some(old))
    });
    let before = peer(&region(&cluster)).unwrap();
    let table = damage(&cluster, new);
    let began = Instant::now();
    read_all(&raw).await;
    let pd = cluster.pd();
    cluster.yadkv(&[
        "ctl",
        "--pd",
        &pd,
        "region",
        "check",
        &region(&cluster)["id"].to_string(),
    ]);
    eventually("the file is gone", PATIENCE, || {
        (!table.exists()).then_some(())
    });
    eventually("the replica is made once more", PATIENCE, || {
        let other = peer(&region(&cluster)).is_some_and(|now| now != before);
        (other && is_whole(&cluster, Some(old)).is_some()).then_some(())
    });
    println!("made anew after {:?}", began.elapsed());
    check(&cluster);
    read_all(&raw).await;
}
