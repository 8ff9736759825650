//! Random seeds: each is a cluster under faults that must keep every law and converge.
//!
//! `SEED=7 cargo test -p yadkv-simulation --test random` runs one seed, `SEEDS=500` so many from 0 (or from SEED).
//!
//! *Next stop*: `scenarios.rs`.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use yadkv_simulation::run::run;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().expect("SEED and SEEDS are numbers"))
}

#[test]
fn seeds_keep_every_law() {
    let first = number("SEED").unwrap_or(0);
    let count = number("SEEDS").unwrap_or(if number("SEED").is_some() { 1 } else { 50 });
    let (mut undecided, mut copies) = (0, 0);
    let (mut merged, mut compared, mut pd_snapshots) = (0, 0, 0);
    for seed in first..first + count {
        let report = run(seed);
        println!("{report}");
        assert!(report.failure.is_none(), "seed {seed} failed, see above");
        assert!(report.virtual_ms >= 30_000, "seed {seed} is too short");
        assert!(
            report.operations >= 500,
            "seed {seed} has too few operations"
        );
        assert!(report.faults >= 5, "seed {seed} has too few faults");
        undecided += report.undecided;
        copies += report.copies;
        merged += report.merged;
        compared += report.compared;
        pd_snapshots += report.pd_snapshots;
    }
    if count >= 10 {
        assert!(copies > 0, "no write was sent again");
        assert!(merged > 0, "no region became part of another one");
        assert!(compared > 0, "no replicas were compared");
        assert!(pd_snapshots > 0, "no placement driver was sent the state");
    }
    assert!(
        undecided as u64 <= count / 10,
        "the search gives up on too many keys: {undecided}"
    );
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in [3, 4, 5] {
        let (one, other) = (run(seed), run(seed));
        assert_eq!(one.trace, other.trace, "seed {seed}");
        assert_eq!(one.tail, other.tail, "seed {seed}");
        assert_ne!(one.trace, run(seed + 100).trace);
    }
}
