//! Under strace: no write is acknowledged before a majority's log reached the disk.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use yadkv_client::{Client, Options};
use yadkv_tests::{Cluster, eventually};

const WRITES: usize = 20;

/// Follows a process and notes when its synced writes return.
fn trace(pid: u32, output: &str) -> Child {
    Command::new("strace")
        .args([
            "-f",
            "-ttt",
            "-T",
            "-e",
            "trace=fdatasync,fsync,sync_file_range",
            "-o",
            output,
            "-p",
            &pid.to_string(),
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("strace is installed")
}

fn now() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs_f64()
}

/// When each successful sync of a trace returned, seconds since the epoch.
fn syncs(trace: &str) -> Vec<f64> {
    let mut returned = Vec::new();
    for line in trace
        .lines()
        .filter(|line| line.contains("sync") && line.contains("= 0 <"))
    {
        let mut words = line.split_whitespace();
        let begun: f64 = words
            .nth(1)
            .and_then(|word| word.parse().ok())
            .unwrap_or(0.0);
        let took = line
            .rsplit_once('<')
            .and_then(|(_, rest)| rest.trim_end_matches('>').parse::<f64>().ok());
        // A resumed call carries the time of its return; one in a line of its own the time of its begin.
        let end = if line.contains("resumed") {
            begun
        } else {
            begun + took.unwrap_or(0.0)
        };
        returned.push(end);
    }
    returned
}

#[tokio::test(flavor = "multi_thread")]
async fn a_majority_syncs_before_each_acknowledgement() {
    let cluster = Cluster::start(&[]);
    let client = Client::connect(cluster.endpoints.clone(), Options::default())
        .await
        .unwrap();
    client.raw().put("warm", "up").await.unwrap();
    let mut tracers = Vec::new();
    for (number, store) in cluster.stores.iter().enumerate() {
        let output = cluster.folder.path().join(format!("trace-{number}"));
        tracers.push((trace(store.id().unwrap(), output.to_str().unwrap()), output));
    }
    for (_, output) in &tracers {
        eventually("strace attaches", Duration::from_secs(10), || {
            output.exists().then_some(())
        });
    }
    // Attached to every thread once syncs of a write show up in at least two traces.
    let mut probe = 0;
    loop {
        client.raw().put("probe", format!("{probe}")).await.unwrap();
        probe += 1;
        let seen = tracers
            .iter()
            .filter(|(_, output)| !syncs(&fs::read_to_string(output).unwrap()).is_empty());
        if seen.count() == tracers.len() {
            break;
        }
        assert!(probe < 2000, "no syncs are seen");
    }
    let mut spans = Vec::new();
    for number in 0..WRITES {
        let begun = now();
        client
            .raw()
            .put(format!("k{number}"), "value")
            .await
            .unwrap();
        spans.push((begun, now()));
    }
    for (tracer, _) in &mut tracers {
        let detached = Command::new("kill")
            .args(["-INT", &tracer.id().to_string()])
            .status()
            .unwrap();
        assert!(detached.success());
        tracer.wait().unwrap();
    }
    let traces: Vec<Vec<f64>> = tracers
        .iter()
        .map(|(_, output)| syncs(&fs::read_to_string(output).unwrap()))
        .collect();
    for (number, (begun, acknowledged)) in spans.into_iter().enumerate() {
        let synced = |times: &&Vec<f64>| {
            times
                .iter()
                .any(|time| (begun..=acknowledged).contains(time))
        };
        let stores = traces.iter().filter(synced).count();
        assert!(
            stores >= 2,
            "write {number} was acknowledged with {stores} stores synced"
        );
    }
}
