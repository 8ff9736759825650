//! The main job on real input: every package that Debian knows, imported, read back, scanned both ways in V1
//! and V2, with a store killed in the middle. `make demo-data` runs it.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, Instant};
use yadkv_client::raw::ScanOptions;
use yadkv_client::{Api, Client, Options, RawClient};
use yadkv_tests::Cluster;

/// Fewest records that make the run worth its name.
const RECORDS_MIN: usize = 50_000;
/// Records written at a time.
const BATCH: usize = 512;

type Records = BTreeMap<Vec<u8>, Vec<u8>>;

/// One record a package: its name, and all its fields as Debian prints them.
fn packages() -> Records {
    let printed = Command::new("apt-cache")
        .arg("dumpavail")
        .output()
        .expect("apt-cache runs")
        .stdout;
    let text = String::from_utf8_lossy(&printed);
    let mut records = Records::new();
    for stanza in text
        .split("\n\n")
        .filter(|stanza| !stanza.trim().is_empty())
    {
        let name = stanza
            .lines()
            .find_map(|line| line.strip_prefix("Package: "))
            .expect("every stanza has a name");
        let version = stanza
            .lines()
            .find_map(|line| line.strip_prefix("Version: "))
            .unwrap_or("");
        records.insert(
            format!("{name} {version}").into_bytes(),
            stanza.as_bytes().to_vec(),
        );
    }
    assert!(
        records.len() >= RECORDS_MIN,
        "{} packages: run `apt-get update` first",
        records.len()
    );
    records
}

async fn import(raw: &RawClient, records: &Records, mut at_half: impl FnMut()) {
    let all: Vec<_> = records.iter().collect();
    let batches: Vec<_> = all.chunks(BATCH).collect();
    let half = batches.len() / 2;
    for (number, batch) in batches.into_iter().enumerate() {
        if number == half {
            at_half();
        }
        let pairs = batch
            .iter()
            .map(|(key, value)| ((*key).clone(), (*value).clone()));
        raw.batch_put(pairs).await.unwrap();
    }
}

async fn read_back(raw: &RawClient, records: &Records) {
    let all: Vec<_> = records.iter().collect();
    for batch in all.chunks(BATCH) {
        let values = raw
            .batch_get(batch.iter().map(|(key, _)| (*key).clone()))
            .await
            .unwrap();
        for ((key, expected), value) in batch.iter().zip(values) {
            assert_eq!(
                value.as_deref(),
                Some(&expected[..]),
                "{}",
                String::from_utf8_lossy(key)
            );
        }
    }
}

async fn scan_both_ways(raw: &RawClient, records: &Records) {
    for (start, end) in [
        ("a", "b"),
        ("lib", "libx"),
        ("", ""),
        ("python3-", "python3."),
    ] {
        let inside = |key: &&Vec<u8>| {
            &key[..] >= start.as_bytes() && (end.is_empty() || &key[..] < end.as_bytes())
        };
        let mut expected: Vec<_> = records.iter().filter(|(key, _)| inside(key)).collect();
        for reverse in [false, true] {
            let options = ScanOptions {
                reverse,
                ..ScanOptions::default()
            };
            let found = raw.scan_all(start, end, options).await.unwrap();
            assert_eq!(
                found.len(),
                expected.len(),
                "{start}..{end} reverse={reverse}"
            );
            for (pair, (key, value)) in found.iter().zip(&expected) {
                assert!(
                    pair.key == **key && pair.value == **value,
                    "{}",
                    String::from_utf8_lossy(key)
                );
            }
            expected.reverse();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_package_survives_a_killed_store() {
    let records = packages();
    let borders = "bootstrap.borders=[\"g\", \"libm\", \"p\", \"hex:720000006700000000f9\", \"hex:7200000070000000fc\"]";
    let mut cluster = Cluster::start(&[borders, "store.memory=256MiB"]);
    for api in [Api::V1, Api::default()] {
        let options = Options {
            api: api.clone(),
            ..Options::default()
        };
        let client = Client::connect(cluster.endpoints.clone(), options)
            .await
            .unwrap();
        let raw = client.raw();
        // Written while the cluster started.
        raw.delete("ready").await.unwrap();
        let victim = cluster.stores.len() - 1;
        let begun = Instant::now();
        import(&raw, &records, || cluster.stores[victim].kill()).await;
        let took: Duration = begun.elapsed();
        println!(
            "{api:?}: {} records imported in {took:?}, a store killed half way",
            records.len()
        );
        read_back(&raw, &records).await;
        cluster.stores[victim].start();
        scan_both_ways(&raw, &records).await;
        read_back(&raw, &records).await;
        let sum = raw.checksum("", "").await.unwrap();
        println!(
            "{api:?}: read back and scanned both ways; checksum {:016x} over {}",
            sum.checksum, sum.total_kvs
        );
    }
}
