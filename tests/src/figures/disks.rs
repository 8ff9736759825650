//! One store's disk hangs, or has no room left: how long a client waits at most, and what it is told.
//!
//! *Place*: the same faults as `tests/faults_disk.rs`, over the release build; without the right to mount neither is
//! measured, and the table says so.
//!
//! *Next stop*: [`super::store_kill`].

use crate::Figure;
use std::path::Path;
use std::time::Duration;
use yadkv_tests::disk::Disk;
use yadkv_tests::recorder::{Recorded, Recorder};
use yadkv_tests::{Cluster, MakesDisks, Setup, borders, eventually, seed};

const CLIENTS: usize = 64;
const DISK_MIB: u64 = 1200;
const SECONDS_MAX: f64 = 4.0;
const PATIENCE: Duration = Duration::from_secs(60);
/// The store with a disk of its own.
const STORE: usize = 1;
/// Less than a store keeps free, MiB.
const RESERVE_MIB: u64 = 220;
/// How long the disk is out of order.
const STRUCK: Duration = Duration::from_secs(8);

pub(crate) fn measure() -> Vec<Figure> {
    if !Disk::may_mount() {
        eprintln!("  NOT MEASURED: this needs the right to mount");
        return Vec::new();
    }
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let hung = runtime.block_on(hangs());
    let scarce = runtime.block_on(fills(|disk| disk.fill(RESERVE_MIB)));
    let full = runtime.block_on(fills(Disk::fill_up));
    let gap = |what: &str, seen: &Recorded| {
        let seconds = seen.gap.as_secs_f64();
        Figure::at_most(
            format!("{what}: a client's longest wait"),
            SECONDS_MAX,
            seconds,
            "s",
        )
    };
    let errors = |what: &str, seen: &Recorded| {
        // Writes whose answer was lost are repeated by the SDK, unless it is told not to, as here.
        eprintln!("  {what}: {} writes never heard of", seen.unknown);
        let not_done = seen.not_done as f64;
        Figure::at_most(
            format!("{what}: calls that were not done"),
            0.0,
            not_done,
            "",
        )
    };
    vec![
        gap("one store's disk hangs", &hung),
        gap("one store's disk has only its reserve", &scarce),
        errors("one store's disk has only its reserve", &scarce),
        gap("one store's disk is full to the last byte", &full),
        errors("one store's disk is full to the last byte", &full),
    ]
}

fn cluster(make: MakesDisks<'_>) -> Cluster {
    let settings = [
        &*borders(8),
        "schedule.interval=200ms",
        "store.heartbeat_interval=1s",
    ];
    let cluster = Cluster::start_as(Setup {
        settings: &settings,
        disks: Some(make),
        ..Setup::default()
    });
    cluster.wait_until_leaders_are_spread();
    cluster
}

fn place(folder: &Path) -> std::path::PathBuf {
    folder.join(format!("store-{STORE}"))
}

async fn hangs() -> Recorded {
    let disk = |folder: &Path| vec![Disk::in_file(place(folder), DISK_MIB)];
    let cluster = cluster(Box::new(disk));
    let recorder = Recorder::start(&cluster.endpoints, CLIENTS, seed()).await;
    recorder.goes_on(1000, "before");
    cluster.disks[0].freeze();
    tokio::time::sleep(STRUCK).await;
    recorder.goes_on(1000, "while a disk hangs");
    cluster.disks[0].thaw();
    recorder.goes_on(1000, "afterwards");
    recorder.stop().await
}

/// Nobody restarts the store: it is the same process afterwards.
async fn fills(fill: impl FnOnce(&Disk)) -> Recorded {
    let disk = |folder: &Path| vec![Disk::in_memory(place(folder), DISK_MIB)];
    let cluster = cluster(Box::new(disk));
    let process = cluster.stores[STORE].id();
    let recorder = Recorder::start(&cluster.endpoints, CLIENTS, seed()).await;
    recorder.goes_on(1000, "before");
    fill(&cluster.disks[0]);
    tokio::time::sleep(STRUCK).await;
    recorder.goes_on(1000, "on a disk that is full");
    cluster.disks[0].empty();
    eventually("the store is there again", PATIENCE, || {
        let log = cluster.stores[STORE].log();
        let says = |words: &str| log.contains(words);
        (says("writes are taken again") || says("there is room again")).then_some(())
    });
    recorder.goes_on(1000, "afterwards");
    let seen = recorder.stop().await;
    assert!(process.is_some() && cluster.stores[STORE].id() == process);
    seen
}
