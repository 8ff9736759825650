//! Servers that are asked to stop: they hand over, nobody sees an error, and what they say of themselves is true.
#![allow(clippy::unwrap_used)]

use rustix::process::Signal;
use std::time::{Duration, Instant};
use yadkv_client::{Client, Options};
use yadkv_tests::http::page;
use yadkv_tests::load::Load;
use yadkv_tests::{Cluster, borders, eventually};

/// How long a server may take to stop.
const STOP_MAX: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(60);

fn key(writer: u64, number: u64) -> String {
    format!(
        "{}w{writer}-{number}",
        char::from(b'0' + (number % 64) as u8)
    )
}

fn says(address: &str, path: &str) -> Option<u16> {
    page(address, path).ok().map(|(code, _)| code)
}

fn is_ready(address: &str) {
    eventually(&format!("{address} is ready"), PATIENCE, || {
        (says(address, "/ready") == Some(200)).then_some(())
    });
    assert_eq!(says(address, "/live"), Some(200));
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_are_asked_to_stop_hand_over() {
    let mut cluster = Cluster::start(&[&borders(8)]);
    let connected = Client::connect(cluster.endpoints.clone(), Options::default()).await;
    let client = connected.unwrap();
    let load = Load::start(&client.raw(), 8, key);
    cluster.wait_until_leaders_are_spread();
    load.goes_on(200, "before");
    let members = cluster.rows(&["member"]).unwrap();
    let leads = members.iter().find(|member| member["leader"] == true);
    let url = leads.unwrap()["client_urls"].to_string();
    let leader = cluster.pds.iter().position(|pd| url.contains(pd.address()));
    let leader = leader.expect("it is one of ours");

    let status = cluster.status[0].clone();
    is_ready(&status);
    cluster.stores[0].signal(Signal::TERM);
    assert!(cluster.stores[0].wait(STOP_MAX), "it ended with an error");
    let said = cluster.stores[0].log();
    let handed_over = said
        .lines()
        .rfind(|line| line.contains("leadership handed over"));
    let handed_over = handed_over.expect("it says so");
    assert!(handed_over.contains("left=0"), "{handed_over}");
    load.goes_on(200, "without a store");
    cluster.stores[0].start();
    is_ready(&status);

    let address = cluster.pds[leader].address().to_owned();
    is_ready(&address);
    let before = client.timestamp().await.unwrap();
    cluster.pds[leader].signal(Signal::TERM);
    assert!(cluster.pds[leader].wait(STOP_MAX), "it ended with an error");
    assert!(client.timestamp().await.unwrap() > before);
    load.goes_on(200, "without a placement driver");
    cluster.pds[leader].start();
    is_ready(&address);
    load.stop().await;
}

/// Nobody can take over: it stops nevertheless, in time.
#[test]
fn a_store_that_is_alone_stops_in_time() {
    let mut cluster = Cluster::start(&[&borders(2)]);
    cluster.wait_until_leaders_are_spread();
    cluster.stores[1].kill();
    cluster.stores[2].kill();
    // It leads for as long as it does not know that it is alone, and knows nobody who could take over.
    let began = Instant::now();
    cluster.stores[0].signal(Signal::TERM);
    assert!(cluster.stores[0].wait(STOP_MAX), "it ended with an error");
    assert!(began.elapsed() < STOP_MAX);
}
