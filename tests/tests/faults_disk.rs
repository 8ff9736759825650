//! One store's disk fills up, hangs, or has other bytes than were written: clients go on elsewhere, and what they saw stays
//! linearizable. A store whose disk was full or hung is back when its disk is, without a restart by anybody; one with other
//! bytes mends itself or asks to begin anew.
//!
//! Those that fill and hang need the right to mount; without it they say so and try nothing.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::path::Path;
use std::time::Duration;
use yadkv_tests::disk::Disk;
use yadkv_tests::recorder::Recorder;
use yadkv_tests::storm::{Fault, Storm};
use yadkv_tests::{Cluster, Setup, borders, eventually, seed};

/// Clients at once.
const CLIENTS: usize = 16;
const PATIENCE: Duration = Duration::from_secs(60);
/// The longest that a client may wait.
const GAP_MAX: Duration = Duration::from_secs(4);
/// Bytes that are flipped, one after another.
const FLIPS: usize = 2;
/// The store with a disk of its own.
const STORE: usize = 1;

/// A cluster, one of whose stores has this disk.
fn cluster(disk: impl FnOnce(&Path) -> Disk) -> Option<Cluster> {
    if !Disk::may_mount() {
        println!("NOT TRIED: this needs the right to mount");
        return None;
    }
    let settings = [
        &*borders(8),
        "schedule.interval=200ms",
        "store.heartbeat_interval=1s",
    ];
    let make = |folder: &Path| vec![disk(&folder.join(format!("store-{STORE}")))];
    let cluster = Cluster::start_as(Setup {
        settings: &settings,
        disks: Some(Box::new(make)),
        ..Setup::default()
    });
    cluster.wait_until_leaders_are_spread();
    Some(cluster)
}

/// Regions that each store leads, by its address.
fn led(cluster: &Cluster, place: usize) -> Option<usize> {
    let pd = cluster.pd();
    let rows = |what: &str| -> Option<Vec<serde_json::Value>> {
        let output = cluster.yadkv(&["ctl", "--json", "--pd", &pd, what]);
        let text = String::from_utf8(output.stdout).ok()?;
        text.lines()
            .map(|line| serde_json::from_str(line).ok())
            .collect()
    };
    let stores = rows("store")?;
    let own = stores
        .iter()
        .find(|store| store["address"] == cluster.stores[place].address())?;
    let regions = rows("region")?;
    let leads = |region: &&serde_json::Value| region["leader"]["store_id"] == own["id"];
    Some(regions.iter().filter(leads).count())
}

fn leads_nothing(cluster: &Cluster) {
    eventually("the store leads nothing", PATIENCE, || {
        (led(cluster, STORE)? == 0).then_some(())
    });
}

fn keeps_up_again(cluster: &Cluster) {
    let pd = cluster.pd();
    eventually(
        "every region has all its replicas up to date",
        PATIENCE,
        || {
            let output = cluster.yadkv(&["ctl", "--pd", &pd, "region", "check"]);
            output.status.success().then_some(())
        },
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fills() {
    let disk = |place: &Path| Disk::in_memory(place.into(), 1200);
    let Some(cluster) = cluster(disk) else { return };
    let recorder = Recorder::start(&cluster.endpoints, CLIENTS, seed()).await;
    recorder.goes_on(500, "before");
    cluster.disks[0].fill(220);
    recorder.goes_on(1000, "on a disk that is nearly full");
    leads_nothing(&cluster);
    let log = || cluster.stores[STORE].log();
    assert!(log().contains("writes are refused"), "nobody is told");
    cluster.disks[0].empty();
    eventually("writes are taken again", PATIENCE, || {
        log().contains("writes are taken again").then_some(())
    });
    recorder.goes_on(1000, "afterwards");
    let recorded = recorder.stop().await;
    assert!(recorded.gap <= GAP_MAX, "{recorded:?}");
    assert_eq!(recorded.not_done + recorded.unknown, 0, "no error at all");
    keeps_up_again(&cluster);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_full_at_once() {
    let disk = |place: &Path| Disk::in_memory(place.into(), 1200);
    let Some(cluster) = cluster(disk) else { return };
    let process = cluster.stores[STORE].id();
    let recorder = Recorder::start(&cluster.endpoints, CLIENTS, seed()).await;
    recorder.goes_on(500, "before");
    cluster.disks[0].fill_up();
    recorder.goes_on(2000, "on a full disk");
    // A write fails, and the store waits for room; or the watch sees it first, and the store lives on without writes.
    let says = |words: [&str; 2]| {
        let log = cluster.stores[STORE].log();
        words.iter().find_map(|words| log.rfind(words))
    };
    eventually("the store stops writing", PATIENCE, || {
        says(["waits for room", "writes are refused"])
    });
    cluster.disks[0].empty();
    eventually("the store is there again", PATIENCE, || {
        says(["there is room again", "writes are taken again"])
    });
    recorder.goes_on(1000, "afterwards");
    let recorded = recorder.stop().await;
    assert!(recorded.gap <= GAP_MAX, "{recorded:?}");
    assert_eq!(recorded.not_done, 0);
    keeps_up_again(&cluster);
    assert_eq!(cluster.stores[STORE].id(), process);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_hangs() {
    let disk = |place: &Path| Disk::in_file(place.into(), 1200);
    let Some(cluster) = cluster(disk) else { return };
    let recorder = Recorder::start(&cluster.endpoints, CLIENTS, seed()).await;
    recorder.goes_on(500, "before");
    cluster.disks[0].freeze();
    recorder.goes_on(3000, "while a disk hangs");
    leads_nothing(&cluster);
    cluster.disks[0].thaw();
    recorder.goes_on(1000, "afterwards");
    let recorded = recorder.stop().await;
    assert!(recorded.gap <= GAP_MAX, "{recorded:?}");
    assert_eq!(recorded.not_done, 0);
    keeps_up_again(&cluster);
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_flip() {
    let settings = [
        &*borders(8),
        "schedule.interval=200ms",
        "schedule.store_disconnect_time=2s",
        "store.heartbeat_interval=500ms",
    ];
    let mut cluster = Cluster::start(&settings);
    let mut storm = Storm::new(seed());
    let recorder = Recorder::start(&cluster.endpoints, CLIENTS, seed()).await;
    recorder.goes_on(5000, "before");
    for _ in 0..FLIPS {
        storm.strike(&mut cluster, Fault::Flip).await;
        recorder.goes_on(500, "after a flipped byte");
    }
    recorder.stop().await;
    storm.calm(&cluster);
}
