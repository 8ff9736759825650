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
/// How long the disk is out of order.
const STRUCK: Duration = Duration::from_secs(8);

pub(crate) fn measure() -> Vec<Figure> {
    if !Disk::may_mount() {
        eprintln!("  NOT MEASURED: this needs the right to mount");
        return Vec::new();
    }
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let hung = runtime.block_on(hangs());
    let (full, restarted) = runtime.block_on(fills());
    let errors = |seen: &Recorded| (seen.not_done + seen.unknown) as f64;
    let gap = |what: &str, seen: &Recorded| {
        Figure::at_most(
            format!("{what}: a client's longest wait"),
            SECONDS_MAX,
            seen.gap.as_secs_f64(),
            "s",
        )
    };
    vec![
        gap("one store's disk hangs", &hung),
        gap("one store's disk is full", &full),
        Figure::at_most("one store's disk is full: errors", 0.0, errors(&full), ""),
        Figure::at_most(
            "one store's disk is full: restarts until it serves again",
            0.0,
            restarted,
            "",
        ),
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

/// What clients saw, and how often the process had to start again.
async fn fills() -> (Recorded, f64) {
    let disk = |folder: &Path| vec![Disk::in_memory(place(folder), DISK_MIB)];
    let cluster = cluster(Box::new(disk));
    let process = cluster.stores[STORE].id();
    let recorder = Recorder::start(&cluster.endpoints, CLIENTS, seed()).await;
    recorder.goes_on(1000, "before");
    cluster.disks[0].fill(220);
    tokio::time::sleep(STRUCK).await;
    recorder.goes_on(1000, "on a disk that is full");
    cluster.disks[0].empty();
    eventually("writes are taken again", PATIENCE, || {
        let log = cluster.stores[STORE].log();
        log.contains("writes are taken again").then_some(())
    });
    recorder.goes_on(1000, "afterwards");
    let seen = recorder.stop().await;
    let again = cluster.stores[STORE].id() != process;
    (seen, f64::from(u8::from(again)))
}
