//! `make soak`: faults of every kind for half an hour, under clients whose calls are written down and judged.
//!
//! *Place*: starts the release build of `yadkv`, which must lie beside this program. `soak MINUTES` takes another time,
//! `SEED=7` repeats the choices.
//!
//! *Life of a soak*: a cluster with its own network, clocks and disks → rounds: clients, [`FAULTS_OF_A_ROUND`] faults, calm →
//! every region has all its replicas, equal; every key of the round is linearizable; no store has more memory than it may →
//! after the last round, what was done.
//!
//! *Limits and failure*: anything that must not happen ends it at once, with the logs' ends and the seed. Faults that this
//! machine does not allow (mounts) are named at the start and left out.
//!
//! *Next stop*: `yadkv_tests::storm`.
#![allow(clippy::print_stdout)]

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use yadkv_tests::disk::Disk;
use yadkv_tests::process::resident_mib;
use yadkv_tests::recorder::Recorder;
use yadkv_tests::storm::{Fault, Storm};
use yadkv_tests::{Cluster, MakesDisks, Setup, borders, seed};

const MINUTES: u64 = 30;
const CLIENTS: usize = 16;
/// Faults between two judgements: more, and the histories of single keys become long.
const FAULTS_OF_A_ROUND: usize = 20;
/// Size of the disks that fill and hang, MiB.
const DISK_MIB: u64 = 1500;
/// Resident memory that a store may have, MiB: half as much again as `store.memory` of the test cluster, for what an
/// allocator keeps, and what the process itself has.
const RESIDENT_MIB_MAX: f64 = 128.0 * 1.5 + 64.0;

fn main() -> ExitCode {
    let minutes = std::env::args()
        .nth(1)
        .map_or(Ok(MINUTES), |text| text.parse());
    let Ok(minutes) = minutes else {
        eprintln!("soak [MINUTES]");
        return ExitCode::FAILURE;
    };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    // Whatever is mounted and runs is let go of, also if somebody has seen enough.
    runtime.block_on(async {
        tokio::select! {
            () = soak(Duration::from_secs(60 * minutes)) => ExitCode::SUCCESS,
            _ = tokio::signal::ctrl_c() => {
                println!("ended early");
                ExitCode::FAILURE
            }
        }
    })
}

/// The faults that are possible here.
fn faults() -> Vec<Fault> {
    let mut faults = vec![
        Fault::Kill,
        Fault::Stop,
        Fault::Cut,
        Fault::Flip,
        Fault::Clock,
    ];
    // Regions change as often as everything else together.
    faults.extend([Fault::Churn; 6]);
    match Disk::may_mount() {
        true => faults.extend([Fault::Fill, Fault::Hang]),
        false => println!("NOT TRIED: disks that fill and hang, which needs the right to mount"),
    }
    faults
}

async fn soak(time: Duration) {
    let faults = faults();
    let disks = |folder: &Path| {
        vec![
            Disk::in_memory(folder.join("store-0"), DISK_MIB),
            Disk::in_file(folder.join("store-1"), DISK_MIB),
        ]
    };
    let disks: Option<MakesDisks<'_>> = match Disk::may_mount() {
        true => Some(Box::new(disks)),
        false => None,
    };
    let settings = [
        &*borders(8),
        "schedule.interval=200ms",
        "schedule.store_disconnect_time=3s",
        "store.heartbeat_interval=1s",
        // Logs are shortened, and laggards get snapshots.
        "region.log_entries=500",
        "region.lag_entries=2000",
        "log.keep_entries=64",
    ];
    let mut cluster = Cluster::start_as(Setup {
        settings: &settings,
        network: true,
        clocks: true,
        disks,
        ..Setup::default()
    });
    let (began, mut storm) = (Instant::now(), Storm::new(seed()));
    let (mut answered, mut gap, mut most) = (0, Duration::ZERO, 0.0_f64);
    while began.elapsed() < time {
        let round = seed() + answered;
        let recorder = Recorder::start(&cluster.endpoints, CLIENTS, round).await;
        recorder.goes_on(500, "before");
        for _ in 0..FAULTS_OF_A_ROUND {
            storm.any(&mut cluster, &faults).await;
        }
        recorder.goes_on(1000, "afterwards");
        let recorded = recorder.stop().await;
        storm.calm(&cluster);
        answered += recorded.answered;
        gap = gap.max(recorded.gap);
        most = most.max(look_at_memory(&cluster));
        println!(
            "{:.1} min: {answered} answers, longest wait {gap:.2?}, largest store {most:.0} MiB, {:?}",
            began.elapsed().as_secs_f64() / 60.0,
            storm.done
        );
    }
}

/// The resident memory of the largest store, MiB.
fn look_at_memory(cluster: &Cluster) -> f64 {
    let mut most = 0.0_f64;
    for store in &cluster.stores {
        let mib = store.id().and_then(resident_mib).unwrap_or(0.0);
        assert!(
            mib <= RESIDENT_MIB_MAX,
            "{} has {mib:.0} MiB, at most {RESIDENT_MIB_MAX} are right",
            store.name()
        );
        most = most.max(mib);
    }
    most
}
