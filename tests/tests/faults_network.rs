//! Servers that do not hear each other, in one direction or both: what clients saw stays linearizable, and they go on
//! afterwards.
//!
//! `SEED=7` repeats the choices of a run, as far as the operating system lets it.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::time::Duration;
use yadkv_client::{Client, Error, Options};
use yadkv_tests::recorder::Recorder;
use yadkv_tests::storm::{Fault, Storm};
use yadkv_tests::{Cluster, borders, seed};

/// Clients at once.
const CLIENTS: usize = 16;

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_holds_what_is_sent() {
    let cluster = Cluster::start_behind_network(&[]);
    let network = cluster.network.clone().unwrap();
    // While servers start, the network may need seconds to find out whose a connection is.
    let patient = Client::connect(cluster.endpoints.clone(), Options::default());
    let patient = patient.await.unwrap().raw();
    patient.put("key", "before").await.unwrap();
    let options = Options {
        timeout: Duration::from_secs(3),
        ..Options::default()
    };
    let client = Client::connect(cluster.endpoints.clone(), options);
    let raw = client.await.unwrap().raw();
    // Nobody has two voices out of three.
    for (one, other) in [(0, 1), (1, 2), (2, 0)] {
        network.part(&format!("store-{one}"), &format!("store-{other}"));
    }
    let meanwhile = raw.put("key", "meanwhile").await;
    assert!(
        matches!(
            meanwhile,
            Err(Error::OutcomeUnknown { .. } | Error::Unavailable { .. })
        ),
        "stores without peers took a write: {meanwhile:?}"
    );
    // A leader that is heard by nobody hears of another one; a lease of its own is over by then.
    assert!(raw.get("key").await.is_err(), "nobody may know the value");
    network.mend();
    let mut after = raw.put("key", "after").await;
    for _ in 0..10 {
        if after.is_err() {
            after = raw.put("key", "after").await;
        }
    }
    after.unwrap();
    assert_eq!(
        raw.get("key").await.unwrap().as_deref(),
        Some(&b"after"[..])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_in_parts() {
    let settings = [&*borders(8), "schedule.interval=200ms"];
    let mut cluster = Cluster::start_behind_network(&settings);
    let mut storm = Storm::new(seed());
    let recorder = Recorder::start(&cluster.endpoints, CLIENTS, seed()).await;
    recorder.goes_on(500, "before");
    for _ in 0..8 {
        storm.strike(&mut cluster, Fault::Cut).await;
    }
    recorder.goes_on(1000, "after all of it");
    recorder.stop().await;
}
