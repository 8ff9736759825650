//! `kill -9` of a store under 64 writers, ten times: how long a writer waits, and that nothing is lost.
//!
//! *Life of a round*: leaders spread over all stores → a store is killed → every writer goes on → the store
//! starts again → its replicas catch up and get leaders back.
//!
//! *Invariants*: no call of a writer fails; at the end every acknowledged write is read back.
//!
//! *Next stop*: [`super::pd_kill`].

use super::writers::Writers;
use crate::Figure;
use yadkv_tests::{Cluster, NODES, borders};

const REGIONS: u32 = 32;
const KILLS: usize = 10;
const P50_SECONDS_MAX: f64 = 2.0;
const LONGEST_SECONDS_MAX: f64 = 4.0;

pub(crate) fn measure() -> Vec<Figure> {
    let mut cluster = Cluster::start(&[&borders(REGIONS)]);
    let writers = Writers::start(&cluster);
    let mut gaps = Vec::new();
    for round in 0..KILLS {
        cluster.wait_until_leaders_are_spread();
        writers.begin();
        let victim = round % NODES;
        cluster.stores[victim].kill();
        writers.go_on("while a store is away");
        cluster.stores[victim].start();
        writers.go_on("after its return");
        let of_round = writers.gaps();
        let longest = of_round.iter().copied().fold(0.0, f64::max);
        eprintln!("  kill {}: longest wait {longest:.2} s", round + 1);
        gaps.extend(of_round);
    }
    writers.end();
    gaps.sort_by(f64::total_cmp);
    let of = format!("writers' longest wait over {KILLS} kills of a store");
    vec![
        Figure::at_most(
            format!("{of}: p50"),
            P50_SECONDS_MAX,
            gaps[gaps.len() / 2],
            "s",
        ),
        Figure::at_most(
            format!("{of}: longest"),
            LONGEST_SECONDS_MAX,
            gaps[gaps.len() - 1],
            "s",
        ),
    ]
}
