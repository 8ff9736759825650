//! Regions of real processes are cut by size and by hand while clients go on.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use yadkv_client::{Api, Client, Options, RawClient};
use yadkv_tests::demo::{import, packages, read_back, scan_both_ways};
use yadkv_tests::{Cluster, eventually};

async fn client(cluster: &Cluster, api: Api) -> Client {
    let options = Options {
        api,
        ..Options::default()
    };
    let endpoints = cluster.endpoints.clone();
    Client::connect(endpoints, options).await.unwrap()
}

fn user(number: u64) -> String {
    format!("user{number:016}")
}

/// The borders of raw V1 regions, as the placement driver knows them.
async fn borders(client: &Client) -> Vec<Vec<u8>> {
    let regions = client.admin().regions("", 0).await.unwrap();
    let descriptors = regions.into_iter().filter_map(|found| found.region);
    descriptors
        .map(|region| region.start_key.to_vec())
        .collect()
}

/// Package names share long prefixes; keys of both API versions lie in one map of regions.
#[tokio::test(flavor = "multi_thread")]
async fn packages_are_cut_by_number_while_a_store_is_gone() {
    let records = packages();
    let mut cluster = Cluster::start(&["region.split_keys=2000", "store.memory=256MiB"]);
    for api in [Api::V1, Api::default()] {
        let client = client(&cluster, api.clone()).await;
        let raw = client.raw();
        raw.delete("ready").await.unwrap();
        let before = borders(&client).await.len();
        let victim = cluster.stores.len() - 1;
        import(&raw, &records, || cluster.stores[victim].kill()).await;
        read_back(&raw, &records).await;
        cluster.stores[victim].start();
        scan_both_ways(&raw, &records).await;
        read_back(&raw, &records).await;
        // A part is cut at 3000 records, so each has at most that many and what came before it was looked at.
        let least = records.len() / 4000;
        let mut after = 0;
        for _ in 0..500 {
            after = borders(&client).await.len() - before;
            if after >= least {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        println!("{api:?}: {} records in {after} more regions", records.len());
        assert!(after >= least, "{after} more regions, {least} expected");
        scan_both_ways(&raw, &records).await;
        let sum = raw.checksum("", "").await.unwrap();
        assert_eq!(sum.total_kvs, records.len() as u64);
    }
}

/// Writers and readers that never hear of a split but by a little delay.
struct Load {
    stop: AtomicBool,
    calls: AtomicU64,
}

impl Load {
    async fn write_and_read(self: Arc<Self>, raw: RawClient, writer: u64) {
        let mut round = 0_u64;
        while !self.stop.load(Ordering::Relaxed) {
            let key = user((round * 97 + writer * 131) % 10_000);
            let key = format!("{key}-{writer}");
            let value = format!("{round}");
            raw.put(key.clone(), value.clone()).await.unwrap();
            let read = raw.get(key.clone()).await.unwrap();
            assert_eq!(read.as_deref(), Some(value.as_bytes()), "{key}");
            self.calls.fetch_add(2, Ordering::Relaxed);
            round += 1;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cuts_by_hand_go_unnoticed_under_load() {
    let cluster = Cluster::start(&["store.memory=256MiB"]);
    let client = client(&cluster, Api::V1).await;
    let load = Arc::new(Load {
        stop: AtomicBool::new(false),
        calls: AtomicU64::new(0),
    });
    let writers: Vec<_> = (0..16)
        .map(|writer| tokio::spawn(load.clone().write_and_read(client.raw(), writer)))
        .collect();
    let enough = |more: u64| {
        let from = load.calls.load(Ordering::Relaxed);
        eventually("calls go on", Duration::from_secs(10), || {
            (load.calls.load(Ordering::Relaxed) >= from + more).then_some(())
        });
    };
    let published = tikv_client::RawClient::new(cluster.endpoints.clone())
        .await
        .unwrap();
    published
        .put("user-published".to_owned(), "1")
        .await
        .unwrap();
    for number in [5000, 2500, 7500] {
        enough(200);
        let key = user(number);
        let regions = client
            .admin()
            .split_regions([key.clone().into()], None)
            .await
            .unwrap();
        assert_eq!(regions.len(), 2);
        assert_eq!(regions[0].end_key, key.as_bytes());
        assert_eq!(regions[1].start_key, key.as_bytes());
        // The placement driver was told before the caller.
        assert!(borders(&client).await.contains(&key.into_bytes()));
        let value = published.get("user-published".to_owned()).await.unwrap();
        assert_eq!(value, Some(b"1".to_vec()));
    }
    let many: Vec<_> = (1..100)
        .map(|number| user(number * 100 + 7).into())
        .collect();
    let regions = client.admin().split_regions(many, None).await.unwrap();
    assert_eq!(regions.len(), 99 + 4, "four regions were cut");
    enough(2000);
    load.stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.unwrap();
    }
    let scanned = published.scan(user(0)..user(9999), 10_000).await.unwrap();
    let raw = client.raw();
    let own = raw.scan_all(user(0), user(9999), Default::default());
    assert_eq!(scanned.len(), own.await.unwrap().len());
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_cuts_are_refused_by_name() {
    let cluster = Cluster::start(&[]);
    let pd = cluster.pd();
    let ctl = |args: &[&str]| cluster.yadkv(&[&["ctl", "--pd", &pd, "region"], args].concat());
    let run = |args: &[&str]| ctl(&[&["split"], args].concat());
    let done = run(&["k", "m", "--json"]);
    assert!(done.status.success(), "{done:?}");
    assert_eq!(String::from_utf8_lossy(&done.stdout).lines().count(), 3);
    let whole = |args: &[&str], reason: &str| {
        let output = run(args);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && text.contains(reason), "{text}");
    };
    whole(&["k"], "is the region's border already: leave it out");
    whole(&["kk", "kk"], "is not above the one before it");
    whole(&["z", "--region", "999999"], "not in region 999999");
    whole(
        &[r"dog\x00\x00\x00\x00\x00\xfax"],
        "parts rows of one encoded key: cut at its first 9 bytes",
    );
    whole(&[], "required arguments were not provided");
    let regions = ctl(&["--json"]);
    assert_eq!(String::from_utf8_lossy(&regions.stdout).lines().count(), 8);
}
