//! Processes that are killed: nothing acknowledged is lost, clients see no error.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use yadkv_client::{Client, Options};
use yadkv_tests::{Cluster, eventually};

const WRITERS: u64 = 16;

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_store_loses_nothing_and_no_error_surfaces() {
    let mut cluster = Cluster::start(&["bootstrap.borders=[\"hex:7200000061\"]"]);
    let client = Client::connect(cluster.endpoints.clone(), Options::default())
        .await
        .unwrap();
    let raw = client.raw();
    let stop = Arc::new(AtomicBool::new(false));
    let written = Arc::new(AtomicU64::new(0));
    let mut writers = Vec::new();
    for writer in 0..WRITERS {
        let (raw, stop, written) = (raw.clone(), stop.clone(), written.clone());
        writers.push(tokio::spawn(async move {
            let mut count = 0_u64;
            while !stop.load(Ordering::Relaxed) {
                raw.put(format!("w{writer}-{count}"), format!("{count}"))
                    .await
                    .unwrap();
                count += 1;
                written.fetch_add(1, Ordering::Relaxed);
            }
            count
        }));
    }
    for victim in 0..3 {
        wait_for_progress(&written, "before the kill");
        cluster.stores[victim].kill();
        wait_for_progress(&written, "while a store is away");
        cluster.stores[victim].start();
        wait_for_progress(&written, "after its return");
    }
    stop.store(true, Ordering::Relaxed);
    for (writer, task) in writers.into_iter().enumerate() {
        let count = task.await.unwrap();
        for number in 0..count {
            let value = raw.get(format!("w{writer}-{number}")).await.unwrap();
            assert_eq!(
                value.as_deref(),
                Some(number.to_string().as_bytes()),
                "w{writer}-{number} of {count}"
            );
        }
    }
}

fn wait_for_progress(written: &AtomicU64, when: &str) {
    let target = written.load(Ordering::Relaxed) + 300;
    eventually(
        &format!("writes go on {when}"),
        Duration::from_secs(20),
        || (written.load(Ordering::Relaxed) >= target).then_some(()),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn all_processes_killed_and_started_again() {
    let mut cluster = Cluster::start(&[]);
    let client = Client::connect(cluster.endpoints.clone(), Options::default())
        .await
        .unwrap();
    for number in 0..500 {
        client
            .raw()
            .put(format!("k{number}"), format!("{number}"))
            .await
            .unwrap();
    }
    let before = client.timestamp().await.unwrap();
    cluster
        .pds
        .iter_mut()
        .chain(&mut cluster.stores)
        .for_each(yadkv_tests::Process::kill);
    cluster
        .pds
        .iter_mut()
        .chain(&mut cluster.stores)
        .for_each(yadkv_tests::Process::start);
    let client = Client::connect(cluster.endpoints.clone(), Options::default())
        .await
        .unwrap();
    for number in 0..500 {
        let value = client.raw().get(format!("k{number}")).await.unwrap();
        assert_eq!(value.as_deref(), Some(number.to_string().as_bytes()));
    }
    assert!(
        client.timestamp().await.unwrap() > before,
        "timestamps never step back"
    );
}
