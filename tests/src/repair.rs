//! What an operator does about a store with damaged files: nothing while it mends itself, and what it asks for otherwise.
//!
//! *Place*: [`crate::storm`] damages files and comes here.
//!
//! *Life of a repair*: the store goes on, and every region has all its replicas, equal, again → done. Or the store refuses to
//! start, stops, or says that it cannot mend itself → its old id is removed, its directory emptied, and it starts as a new
//! store.
//!
//! *Next stop*: the tests in `tests/faults_disk.rs`.
#![allow(clippy::print_stdout)]

use crate::{Cluster, eventually};
use std::fs;
use std::time::{Duration, Instant};

/// How long a cluster may take to become whole.
pub const PATIENCE: Duration = Duration::from_secs(180);
/// How long a check of all regions may take.
const CHECK_MAX: Duration = Duration::from_secs(5);
/// What a store says that needs a new life.
const GIVES_UP: &str = "cannot be taken away: remove this store";

/// Mends a store.
pub fn repair(cluster: &mut Cluster, place: usize) {
    let deadline = Instant::now() + PATIENCE;
    let said = cluster.stores[place].log().len();
    loop {
        let ended = cluster.stores[place].has_ended();
        let log = cluster.stores[place].log();
        let gives_up = log.get(said..).is_some_and(|log| log.contains(GIVES_UP));
        if ended || gives_up {
            let last = log.lines().last().unwrap_or_default();
            println!("{} begins anew: {last}", cluster.stores[place].name());
            begin_anew(cluster, place);
            return;
        }
        if is_whole(cluster) {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "the cluster does not become whole\n{}",
            cluster.logs()
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Gives a store an empty directory and a new id.
fn begin_anew(cluster: &mut Cluster, place: usize) {
    cluster.stores[place].kill();
    let address = cluster.stores[place].address().to_owned();
    let pd = cluster.pd();
    eventually("the old store may be removed", PATIENCE, || {
        let stores = cluster.rows(&["store"])?;
        let mut here = stores
            .iter()
            .filter(|store| store["address"] == *address && store["state"] != "Tombstone");
        let Some(old) = here.next() else {
            return Some(());
        };
        let id = old["id"].to_string();
        let removed = cluster.yadkv(&["ctl", "--pd", &pd, "store", "remove", &id]);
        removed.status.success().then_some(())
    });
    // The directory itself may be where a disk is mounted.
    let data = cluster.stores[place].data();
    for entry in fs::read_dir(data).expect("its directory").flatten() {
        let path = entry.path();
        let removed = match path.is_dir() {
            true => fs::remove_dir_all(&path),
            false => fs::remove_file(&path),
        };
        removed.expect("its own files");
    }
    cluster.stores[place].start();
    eventually("every region is whole again", PATIENCE, || {
        is_whole(cluster).then_some(())
    });
}

/// Whether every region has three voters that keep up and are equal.
pub fn is_whole(cluster: &Cluster) -> bool {
    let Some(regions) = cluster.rows(&["region"]) else {
        return false;
    };
    let whole = |region: &serde_json::Value| {
        let peers = region["peers"].as_array();
        let voters = peers.into_iter().flatten();
        let voters = voters.filter(|peer| peer["role"] == "Voter" && peer["store_state"] == "Up");
        voters.count() == crate::NODES
    };
    let pd = cluster.pd();
    // A check waits for minutes for a store that has just gone.
    let equal = || cluster.succeeds_within(&["ctl", "--pd", &pd, "region", "check"], CHECK_MAX);
    !regions.is_empty() && regions.iter().all(whole) && equal()
}
