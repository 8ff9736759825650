//! Random seeds find every planted mistake, each within [`SEEDS_MAX`] seeds; without it the same seeds are fine.
//!
//! `cargo test -p yadkv-simulation --features planted-bugs --test planted_bugs`
#![cfg(feature = "planted-bugs")]
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use yadkv_simulation::nemesis::plan::Plan;
use yadkv_simulation::planted::{Planted, set};
use yadkv_simulation::run::{run, run_plan};
use yadkv_simulation::shrink::{law, shrink};
use yadkv_simulation::story;

/// Seeds tried for each mistake.
const SEEDS_MAX: u64 = 200;

/// Plants a mistake and runs seeds until one breaks a law in the expected way.
fn found(bug: Planted, signs: &[&str]) {
    set(Some(bug));
    let failed = (0..SEEDS_MAX)
        .map(run)
        .find(|report| report.failure.is_some());
    set(None);
    let report =
        failed.unwrap_or_else(|| panic!("{} was not found in {SEEDS_MAX} seeds", bug.name()));
    let failure = report.failure.unwrap();
    println!("{} found by seed {}: {failure}", bug.name(), report.seed);
    assert!(
        signs.iter().any(|sign| failure.contains(sign)),
        "found in an unexpected way: {failure}"
    );
    assert_eq!(
        run(report.seed).failure,
        None,
        "the seed fails without the mistake as well"
    );
}

#[test]
fn a_skipped_fsync() {
    let signs = [
        "not linearizable",
        "applies another entry",
        "panic",
        "two leaders",
        "cannot open",
        "become equal",
        "finds a difference",
    ];
    found(Planted::FsyncSkipped, &signs);
}

#[test]
fn a_clock_read_before_the_engine() {
    found(Planted::ClockBeforeEngine, &["not linearizable"]);
}

#[test]
fn an_engine_read_before_the_delegate() {
    found(Planted::EngineBeforeDelegate, &["not linearizable"]);
}

#[test]
fn a_restarted_voter_that_votes() {
    found(
        Planted::RestartedVoterVotes,
        &["two lease holders", "not linearizable", "timestamp"],
    );
}

#[test]
fn a_lease_kept_after_a_transfer() {
    found(
        Planted::LeaseKeptAfterTransfer,
        &["two lease holders", "not linearizable"],
    );
}

#[test]
fn a_vote_sent_before_the_hard_state() {
    found(
        Planted::VoteBeforeHardState,
        &["two leaders", "applies another entry", "two lease holders"],
    );
}

#[test]
fn a_timestamp_bound_read_too_early() {
    found(Planted::TsoBoundReadTooEarly, &["timestamp"]);
}

#[test]
fn a_lease_renewed_during_a_split() {
    found(
        Planted::LeaseRenewedDuringSplit,
        &["two lease holders", "not linearizable"],
    );
}

#[test]
fn an_epoch_that_is_not_checked_when_applied() {
    let signs = [
        "not linearizable",
        "become equal",
        "finds a difference",
        "panic",
    ];
    found(Planted::EpochUncheckedAtApply, &signs);
}

#[test]
fn a_split_that_is_not_synced() {
    let signs = [
        "not linearizable",
        "two leaders",
        "applies another entry",
        "become equal",
        "finds a difference",
        "panic",
        "cannot open",
        "two lease holders",
    ];
    found(Planted::SplitNotSynced, &signs);
}

#[test]
fn a_log_truncated_before_the_data_is_flushed() {
    found(Planted::LogTruncatedBeforeFlush, &["cannot open"]);
}

#[test]
fn a_log_that_is_kept_when_an_installation_goes_on() {
    found(Planted::LogKeptOnResume, &["cannot open"]);
}

#[test]
fn a_reset_of_a_log_that_is_not_synced() {
    found(Planted::ResetNotSynced, &["cannot open"]);
}

#[test]
fn a_snapshot_ahead_of_its_data() {
    found(
        Planted::SnapshotAheadOfData,
        &[
            "become equal",
            "finds a difference",
            "not linearizable",
            "panic",
            "two lease holders",
        ],
    );
}

#[test]
fn a_snapshot_over_old_data() {
    found(
        Planted::OldDataKept,
        &["become equal", "finds a difference", "not linearizable"],
    );
}

#[test]
fn members_that_change_under_the_old_epoch() {
    let signs = [
        "become equal",
        "finds a difference",
        "not linearizable",
        "panic",
        "map",
        // A replica that was destroyed by old news is handed entries.
        "not open for apply",
    ];
    found(Planted::MembersUnderOldEpoch, &signs);
}

#[test]
fn a_lease_kept_by_a_merge() {
    let signs = ["two lease holders", "not linearizable"];
    found(Planted::LeaseKeptByMerge, &signs);
}

#[test]
fn a_merge_that_is_not_synced() {
    let signs = [
        "cannot open",
        "become equal",
        "finds a difference",
        "not linearizable",
    ];
    found(Planted::MergeNotSynced, &signs);
}

#[test]
fn a_rollback_without_proof() {
    let signs = [
        "two lease holders",
        "become equal",
        "finds a difference",
        "not linearizable",
        "apply fails",
    ];
    found(Planted::RollbackWithoutProof, &signs);
}

#[test]
fn a_check_that_does_not_pause() {
    found(Planted::CheckNotPaused, &["finds a difference"]);
}

#[test]
fn a_damaged_file_that_is_taken_away_early() {
    let signs = ["not linearizable", "become equal", "finds a difference"];
    found(Planted::DamagedFileDiscardedEarly, &signs);
}

#[test]
fn damage_that_is_read_as_nothing() {
    found(Planted::DamageReadAsMissing, &["not linearizable"]);
}

#[test]
fn a_write_past_the_row_cache() {
    found(Planted::WritePastRows, &["not linearizable"]);
}

#[test]
fn a_placement_drivers_log_truncated_before_its_state_is_synced() {
    found(Planted::PdLogTruncatedBeforeSync, &["cannot open"]);
}

#[test]
fn a_snapshot_over_the_old_state_of_a_placement_driver() {
    let signs = ["holds something else", "cannot open", "become equal"];
    found(Planted::PdOldStateKept, &signs);
}

#[test]
fn a_placement_drivers_log_that_is_kept_when_an_installation_goes_on() {
    found(Planted::PdLogKeptOnResume, &["cannot open"]);
}

#[test]
fn a_failing_seed_shrinks_to_a_story() {
    set(Some(Planted::FsyncSkipped));
    let whole = run(0).failure.expect("seed 0 finds the mistake");
    let shrunk = shrink(0).expect("it fails again");
    let ended = run_plan(&shrunk.plan);
    let story = story::tell(&ended, &shrunk.failure);
    set(None);
    println!("{story}");
    assert_eq!(ended.failure.as_ref(), Some(&shrunk.failure), "it repeats");
    assert_eq!(law(&shrunk.failure), law(&whole), "the same law is broken");
    assert!(shrunk.actions.1 <= 2, "{:?} actions", shrunk.actions);
    assert!(story.lines().count() <= 60);
    assert!(story.contains("loses power") && story.contains("THE LAW: "));
    assert!(story.ends_with(&format!("{} --planted fsync-skipped", shrunk.plan)));
    assert_ne!(shrunk.plan, Plan::of(0));
    assert_eq!(run_plan(&shrunk.plan).failure, None, "without the mistake");
}
