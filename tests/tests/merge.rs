//! Regions of real processes become one, while clients go on and a store is killed.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use serde_json::Value;
use std::time::{Duration, Instant};
use yadkv_client::{Client, Options};
use yadkv_tests::load::Load;
use yadkv_tests::{Cluster, borders, eventually};

const PATIENCE: Duration = Duration::from_secs(60);
/// Regions of keyspace DEFAULT.
const REGIONS: u32 = 16;

fn ctl(cluster: &Cluster, args: &[&str]) -> Vec<Value> {
    let pd = cluster.pd();
    let args = [&["ctl", "--json", "--pd", &pd], args].concat();
    let printed = cluster.run(&args);
    let lines = printed.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// What `ctl` says when it refuses, once the regions have reported.
fn refusal(cluster: &Cluster, args: &[&str]) -> String {
    let pd = cluster.pd();
    eventually("regions report", PATIENCE, || {
        let output = cluster.yadkv(&[&["ctl", "--pd", &pd], args].concat());
        assert!(!output.status.success(), "{args:?} is taken");
        let reason = String::from_utf8(output.stderr).unwrap();
        (!reason.contains("reported yet")).then_some(reason)
    })
}

/// The ids of all regions, in the order of their keys.
fn regions(cluster: &Cluster) -> Vec<String> {
    let regions = ctl(cluster, &["region"]);
    let ids = regions.iter().map(|region| region["id"].to_string());
    ids.collect()
}

/// Orders a merge and waits for it; ordered again if it was given up because somebody was in the way.
fn merge(cluster: &Cluster, source: &str, target: &str) {
    let pd = cluster.pd();
    let order = ["ctl", "--pd", &pd, "region", "merge", source, target];
    eventually(&format!("{source} is part of {target}"), PATIENCE, || {
        if !regions(cluster).iter().any(|region| region == source) {
            return Some(());
        }
        // Refused while the order before is under way.
        cluster.yadkv(&order);
        None
    });
}

fn spread(writer: u64, number: u64) -> String {
    let first = (writer * 31 + number * 7) as u8 as char;
    format!("{first}-{writer}-{number}")
}

#[tokio::test(flavor = "multi_thread")]
async fn regions_become_one_under_load() {
    let borders = borders(REGIONS);
    let mut cluster = Cluster::start(&[&borders, "schedule.interval=200ms"]);
    let client = Client::connect(cluster.endpoints.clone(), Options::default());
    let client = client.await.unwrap();
    let load = Load::start(&client.raw(), 16, spread);
    load.goes_on(500, "before");
    let before = regions(&cluster);
    // What is left of the keyspace, and what is right of it, stays.
    let first = before.len() - REGIONS as usize - 4;
    let own = &before[first..first + REGIONS as usize];
    let began = Instant::now();
    // To the right, to the left, and with a store away that was killed in the middle of it.
    for pair in own[..8].chunks(2) {
        merge(&cluster, &pair[0], &pair[1]);
    }
    for pair in own[8..].chunks(2) {
        merge(&cluster, &pair[1], &pair[0]);
    }
    println!("8 merges took {:?}", began.elapsed());
    load.goes_on(500, "after the first merges");
    let pd = cluster.pd();
    cluster.yadkv(&["ctl", "--pd", &pd, "region", "merge", &own[1], &own[3]]);
    cluster.stores[1].kill();
    load.goes_on(500, "without a store");
    cluster.stores[1].start();
    merge(&cluster, &own[1], &own[3]);
    merge(&cluster, &own[5], &own[3]);
    load.goes_on(500, "at the end");
    println!("{} writes", load.stop().await);
    assert_eq!(regions(&cluster).len(), before.len() - 10);
}

#[test]
fn merges_that_make_no_sense_are_refused() {
    let cluster = Cluster::start(&[&borders(3)]);
    let all = regions(&cluster);
    let refused =
        |source: &str, target: &str| refusal(&cluster, &["region", "merge", source, target]);
    let reason = refused(&all[0], &all[2]);
    assert!(reason.contains("are no neighbours"), "{reason}");
    let reason = refused(&all[0], &all[1]);
    assert!(reason.contains("belongs to the keyspaces"), "{reason}");
    let reason = refused("999999", &all[1]);
    assert!(reason.contains("does not exist"), "{reason}");
    let reason = refused(&all[1], "999999");
    assert!(reason.contains("does not exist"), "{reason}");
    let reason = refused(&all[1], &all[1]);
    assert!(reason.contains("are no neighbours"), "{reason}");
    assert_eq!(regions(&cluster), all);
}
