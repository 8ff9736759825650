//! Replicas of real processes move, by hand and by themselves, while clients go on.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use serde_json::Value;
use std::fs;
use std::time::{Duration, Instant};
use yadkv_client::{Client, Options};
use yadkv_tests::load::Load;
use yadkv_tests::{Cluster, borders, eventually};

const PATIENCE: Duration = Duration::from_secs(60);

/// What `ctl` prints, one object a line.
fn ctl(cluster: &Cluster, args: &[&str]) -> Vec<Value> {
    let pd = cluster.pd();
    let args = [&["ctl", "--json", "--pd", &pd], args].concat();
    let printed = cluster.run(&args);
    let lines = printed.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// An id as arguments have it.
fn text(id: &Value) -> String {
    id.to_string()
}

/// What `ctl` says when it refuses.
fn refusal(cluster: &Cluster, args: &[&str]) -> String {
    let pd = cluster.pd();
    let output = cluster.yadkv(&[&["ctl", "--pd", &pd], args].concat());
    assert!(!output.status.success(), "{args:?} is taken");
    String::from_utf8(output.stderr).unwrap()
}

/// The id of a store, when it has registered and lives.
fn store_id(cluster: &Cluster, place: usize) -> String {
    let address = cluster.stores[place].address();
    eventually("the store registers", PATIENCE, || {
        let stores = ctl(cluster, &["store"]);
        let found = stores
            .into_iter()
            .find(|store| store["address"] == address && store["state"] == "Up");
        Some(found?["id"].to_string())
    })
}

/// The stores of each region's peers.
fn places(cluster: &Cluster) -> Vec<(String, Vec<String>)> {
    let regions = ctl(cluster, &["region"]);
    let place = |region: Value| {
        let peers = region["peers"].as_array().unwrap();
        let stores = peers.iter().map(|peer| text(&peer["store_id"]));
        (text(&region["id"]), stores.collect())
    };
    regions.into_iter().map(place).collect()
}

/// Waits until every region has three voters that keep up, none of them on the store.
fn leaves(cluster: &Cluster, store: &str, limit: Duration) {
    eventually("replicas are elsewhere", limit, || {
        let good = |region: &Value| {
            let peers = region["peers"].as_array().unwrap();
            let fine = |peer: &Value| {
                let state = (&peer["role"], &peer["state"]);
                text(&peer["store_id"]) != store && state == (&"Voter".into(), &"normal".into())
            };
            peers.len() == 3 && peers.iter().all(fine)
        };
        ctl(cluster, &["region"]).iter().all(good).then_some(())
    });
}

async fn connect(cluster: &Cluster) -> Client {
    let client = Client::connect(cluster.endpoints.clone(), Options::default());
    client.await.unwrap()
}

fn spread(writer: u64, number: u64) -> String {
    let first = (writer * 31 + number * 7) as u8 as char;
    format!("{first}-{writer}-{number}")
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_move_to_a_new_store_and_back_under_load() {
    let regions = borders(6);
    let mut cluster = Cluster::start(&[&regions, "schedule.interval=200ms"]);
    let client = connect(&cluster).await;
    let load = Load::start(&client.raw(), 16, spread);
    let new = cluster.add_store();
    let (old, new) = (store_id(&cluster, 0), store_id(&cluster, new));
    load.goes_on(500, "before the moves");

    for (region, _) in places(&cluster) {
        ctl(&cluster, &["region", "move-peer", &region, &old, &new]);
    }
    leaves(&cluster, &old, PATIENCE);
    load.goes_on(500, "on the new store");
    let (region, _) = places(&cluster).swap_remove(0);
    let leads = || {
        let region = ctl(&cluster, &["region", &region]).swap_remove(0);
        (text(&region["leader"]["store_id"]) == new).then_some(())
    };
    if leads().is_none() {
        ctl(&cluster, &["region", "transfer-leader", &region, &new]);
    }
    eventually("the new replica leads", PATIENCE, leads);

    // One voter too many goes again, by itself.
    ctl(&cluster, &["region", "add-peer", &region, &old]);
    eventually("the operator ends", PATIENCE, || {
        let operators = ctl(&cluster, &["operator", "list"]);
        let mut ended = operators.iter().filter(|operator| {
            text(&operator["region_id"]) == region && operator["status"] == "SUCCESS"
        });
        // The region has moved before.
        let added = |step: &Value| {
            let step = step.as_str().unwrap_or_default();
            step.starts_with("add learner") && step.ends_with(&format!("on store {old}"))
        };
        ended
            .any(|operator| operator["steps"].as_array().unwrap().iter().any(added))
            .then_some(())
    });
    leaves(&cluster, "none", PATIENCE);
    let all: Vec<String> = (0..4).map(|place| store_id(&cluster, place)).collect();
    for (region, stores) in places(&cluster) {
        let free = all.iter().find(|store| !stores.contains(store)).unwrap();
        if stores.contains(&new) {
            ctl(&cluster, &["region", "move-peer", &region, &new, free]);
        }
    }
    leaves(&cluster, &new, PATIENCE);
    load.goes_on(500, "after the way back");
    println!("{} writes", load.stop().await);
    eventually("nothing is left on the new store", PATIENCE, || {
        let store = ctl(&cluster, &["store", &new]).swap_remove(0);
        (store["peer_count"] == 0).then_some(())
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_gone_for_good_is_replaced_and_its_leftovers_go() {
    let dead = [
        "schedule.store_disconnect_time=3s",
        "schedule.store_dead_time=3s",
    ];
    let regions = borders(10);
    let settings = [&regions, dead[0], dead[1], "schedule.interval=200ms"];
    let mut cluster = Cluster::start(&settings);
    let client = connect(&cluster).await;
    let load = Load::start(&client.raw(), 16, spread);
    cluster.add_store();
    let gone = store_id(&cluster, 1);
    load.goes_on(500, "before the loss");

    cluster.stores[1].kill();
    let killed = Instant::now();
    leaves(&cluster, &gone, PATIENCE);
    println!("replaced after {:?}", killed.elapsed());
    load.goes_on(500, "without the store");

    // It comes back with replicas that nobody knows any more: they go, and it may be given new ones.
    cluster.stores[1].start();
    eventually("the leftovers are gone", PATIENCE, || {
        let store = ctl(&cluster, &["store", &gone]).swap_remove(0);
        (store["state"] == "Up" && store["peer_count"] == 0).then_some(())
    });
    let (region, stores) = places(&cluster).swap_remove(0);
    ctl(
        &cluster,
        &["region", "move-peer", &region, &stores[0], &gone],
    );
    leaves(&cluster, "none", PATIENCE);
    eventually("it has a replica", PATIENCE, || {
        let places = places(&cluster);
        let found = places.iter().find(|(id, _)| *id == region).unwrap();
        found.1.contains(&gone).then_some(())
    });
    load.goes_on(500, "with its return");
    println!("{} writes", load.stop().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_that_make_no_sense_are_refused() {
    let mut cluster = Cluster::start(&["schedule.store_disconnect_time=2s"]);
    let (region, stores) = eventually("a region has reported", PATIENCE, || {
        let found = places(&cluster).swap_remove(0);
        let store = found.1[0].clone();
        let args = ["region", "remove-peer", &found.0, "999"];
        refusal(&cluster, &args)
            .contains("no peer")
            .then_some((found, store))
            .map(|one| one.0)
    });
    let refused = |args: &[&str], sign: &str| {
        let said = refusal(&cluster, args);
        assert!(said.contains(sign), "{args:?}: {said}");
    };
    refused(
        &["region", "add-peer", "99999", &stores[0]],
        "does not exist",
    );
    refused(&["region", "add-peer", &region, "99999"], "does not exist");
    refused(&["region", "add-peer", &region, &stores[0]], "has a peer");
    refused(
        &["region", "move-peer", &region, "99999", &stores[0]],
        "has a peer",
    );
    refused(&["region", "transfer-leader", &region, "99999"], "no peer");
    refused(&["operator", "cancel", &region], "not asked");
    assert_eq!(places(&cluster).swap_remove(0).1, stores);

    let new = cluster.add_store();
    let id = store_id(&cluster, new);
    cluster.stores[new].kill();
    eventually("its silence is noticed", PATIENCE, || {
        let store = ctl(&cluster, &["store", &id]).swap_remove(0);
        (store["state"] == "Disconnected").then_some(())
    });
    let said = refusal(&cluster, &["region", "add-peer", &region, &id]);
    assert!(said.contains("Disconnected"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn stores_leave_and_lost_ones_are_replaced_at_the_same_address() {
    let regions = borders(6);
    let mut cluster = Cluster::start(&[&regions, "schedule.interval=200ms"]);
    let client = connect(&cluster).await;
    let load = Load::start(&client.raw(), 8, spread);
    let said = refusal(&cluster, &["store", "remove", &store_id(&cluster, 0)]);
    assert!(said.contains("add a store first"), "{said}");
    cluster.add_store();
    let leaves_now = store_id(&cluster, 0);
    load.goes_on(300, "before a store leaves");

    ctl(&cluster, &["store", "remove", &leaves_now]);
    assert!(!cluster.stores[0].wait(PATIENCE), "a removed store ends");
    let log = cluster.stores[0].log();
    assert!(log.contains("was removed from the cluster"), "{log}");
    leaves(&cluster, &leaves_now, PATIENCE);
    load.goes_on(300, "after it left");

    // A disk is lost: the store comes back empty, at the address that it had.
    let lost = store_id(&cluster, 1);
    cluster.stores[1].kill();
    fs::remove_dir_all(cluster.stores[1].data()).unwrap();
    cluster.stores[1].start();
    assert!(!cluster.stores[1].wait(PATIENCE), "the address is taken");
    let log = cluster.stores[1].log();
    assert!(
        log.contains(&format!("yadkv ctl store remove {lost}")),
        "{log}"
    );
    eventually("a silent store may be removed", PATIENCE, || {
        let pd = cluster.pd();
        let output = cluster.yadkv(&["ctl", "--pd", &pd, "store", "remove", &lost]);
        output.status.success().then_some(())
    });
    cluster.stores[1].start();
    leaves(&cluster, &lost, PATIENCE);
    assert_ne!(store_id(&cluster, 1), lost);
    load.goes_on(300, "with the new store");
    println!("{} writes", load.stop().await);
}
