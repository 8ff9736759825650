//! Replicas compared on real processes: equal ones, while clients write, and one that was changed behind its store's back.
#![allow(clippy::unwrap_used, missing_docs)]

use serde_json::Value;
use std::path::Path;
use std::time::Duration;
use yadkv_client::{Client, Options as ClientOptions};
use yadkv_engine::rocks::{BlockCache, FamilyOptions, Options, Rocks};
use yadkv_engine::{Durability, LogEngine, WriteBatch};
use yadkv_storage_core::layout::{FAMILIES, RAW, RawValue};
use yadkv_tests::load::Load;
use yadkv_tests::{Cluster, borders, eventually};

/// The rows of `ctl region check`, and whether it succeeded.
fn check(cluster: &Cluster, region: &[&str]) -> (Vec<Value>, bool, String) {
    let pd = cluster.pd();
    let args = [&["ctl", "--pd", &pd, "region", "check", "--json"], region].concat();
    let output = cluster.yadkv(&args);
    let rows = String::from_utf8(output.stdout).unwrap();
    let rows = rows.lines().map(|line| serde_json::from_str(line).unwrap());
    let errors = String::from_utf8(output.stderr).unwrap();
    (rows.collect(), output.status.success(), errors)
}

/// Puts a pair into the data of a store that does not run.
fn spoil(data: &Path, key: &str) {
    let families = FAMILIES.map(FamilyOptions::new).into();
    let options = Options::new(families, BlockCache::new(1 << 20)).unlogged();
    let engine = Rocks::open(data.join("kv"), &options).unwrap();
    let mut batch = WriteBatch::new();
    batch.put(RAW, key.to_owned(), RawValue::encode(b"from nowhere", None));
    engine.write(batch, Durability::Synced).unwrap();
}

fn spread(writer: u64, number: u64) -> String {
    let first = (writer * 31 + number * 7) as u8 as char;
    format!("{first}-{writer}-{number}")
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_are_the_same_while_clients_write() {
    let cluster = Cluster::start(&[&borders(4), "region.check_interval=10s"]);
    let client = Client::connect(cluster.endpoints.clone(), ClientOptions::default());
    let load = Load::start(&client.await.unwrap().raw(), 16, spread);
    for round in 0..3 {
        load.goes_on(500, "between checks");
        let (rows, fine, errors) = check(&cluster, &[]);
        assert!(fine, "round {round}: {errors} {rows:?}");
    }
    let pairs: u64 = check(&cluster, &[])
        .0
        .iter()
        .filter_map(|row| row["pairs"].as_u64())
        .sum();
    assert!(pairs >= 1500, "{pairs} pairs were compared");
    load.stop().await;
}

#[test]
fn a_replica_that_differs_is_found_by_its_first_key() {
    let mut cluster = Cluster::start(&["region.split_keys=500"]);
    let pd = cluster.pd();
    let put = |key: &str| cluster.run(&["raw", "--pd", &pd, "--api", "v1", "put", key, "1"]);
    for number in 0..20 {
        put(&format!("key{number:02}"));
    }
    let (rows, fine, errors) = check(&cluster, &[]);
    assert!(fine && !rows.is_empty(), "{rows:?} {errors}");
    for row in &rows {
        assert_eq!(row["same"], true, "{row}");
        assert_eq!(row["compared"].as_array().unwrap().len(), 3, "{row}");
    }

    cluster.stores[1].kill();
    spoil(cluster.stores[1].data(), "key07+");
    cluster.stores[1].start();
    let found = eventually("all replicas are compared", Duration::from_secs(60), || {
        let (rows, fine, errors) = check(&cluster, &[]);
        let silent = |row: &Value| row["silent"] != serde_json::json!([]);
        let whole = !rows.is_empty() && !rows.iter().any(silent);
        whole.then_some((rows, fine, errors))
    });
    let (rows, fine, errors) = found;
    assert!(!fine && errors.contains("move-peer"), "{rows:?} {errors}");
    let differ: Vec<_> = rows.iter().filter(|row| row["same"] == false).collect();
    let [row] = &differ[..] else {
        panic!("one region differs: {rows:?}");
    };
    let difference = &row["difference"];
    assert_eq!(difference["key"], "key07+", "{row}");
    assert_eq!(
        (&difference["family"], &difference["exact"]),
        (&"raw".into(), &true.into())
    );
    let groups = difference["stores_that_agree"].as_array().unwrap();
    let sizes: Vec<_> = groups
        .iter()
        .map(|group| group.as_array().unwrap().len())
        .collect();
    assert!(sizes == [2, 1] || sizes == [1, 2], "{row}");

    let (_, fine, errors) = check(&cluster, &["4711"]);
    assert!(!fine && errors.contains("not found"), "{errors}");
}
