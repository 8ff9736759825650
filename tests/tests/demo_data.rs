//! The main job on real input, with a store killed in the middle. `make demo-data` runs it.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::time::{Duration, Instant};
use yadkv_client::{Api, Client, Options};
use yadkv_tests::Cluster;
use yadkv_tests::demo::{import, packages, read_back, scan_both_ways};

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
