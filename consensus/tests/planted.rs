//! Each planted bug does what its rule prevents; without it, the same story ends well.
//!
//! `cargo test -p yadkv-consensus --features planted-bugs --test planted`
#![cfg(feature = "planted-bugs")]
#![allow(clippy::unwrap_used)]

mod harness;

use harness::{Cluster, kind_number};
use std::panic::{AssertUnwindSafe, catch_unwind};
use yadkv_consensus::planted::{self, Planted};
use yadkv_engine::WriteBatch;
use yadkv_proto::id::PeerId;
use yadkv_proto::yadkvpb::RaftMessage;

/// Whether the story makes the harness find two leases at once.
fn two_leases(bug: Option<Planted>, story: fn()) -> bool {
    planted::set(bug);
    let end = catch_unwind(AssertUnwindSafe(story));
    planted::set(None);
    let Err(panic) = end else { return false };
    let reason = panic.downcast_ref::<String>().unwrap();
    assert!(reason.contains("hold a lease at once"), "{reason}");
    true
}

/// As in `scripts/restart`.
fn restarted_voter() {
    let mut cluster = elected();
    (0..3).for_each(|_| cluster.tick_all());
    cut(&mut cluster, 3);
    (0..9).for_each(|_| cluster.tick_all());
    cluster.stop(2, None);
    cluster.start(2);
    cluster.cuts.clear();
    cut(&mut cluster, 1);
    for _ in 0..3 {
        cluster.advance(100);
        let now = cluster.now;
        cluster.node(3).tick(now);
        cluster.work(3);
        cluster.deliver_all();
    }
}

/// As in `scripts/transfer`: the order arrives while the old leader holds a fresh lease and is cut off.
fn delayed_order() {
    let mut cluster = elected();
    cluster
        .hold_kinds
        .insert(kind_number("TimeoutNow").unwrap());
    let now = cluster.now;
    cluster.node(1).transfer_leader(PeerId(2), now).unwrap();
    cluster.work(1);
    (0..12).for_each(|_| cluster.tick_all());
    cut(&mut cluster, 1);
    for order in std::mem::take(&mut cluster.held) {
        cluster.deliver_from_far(order);
    }
    cluster.deliver_all();
}

fn elected() -> Cluster {
    let mut cluster = Cluster::new(3, 0);
    let now = cluster.now;
    cluster.node(1).campaign(now);
    cluster.work(1);
    cluster.deliver_all();
    cluster
}

fn cut(cluster: &mut Cluster, island: u64) {
    for other in 1..=3 {
        if other != island {
            cluster.cuts.insert((island, other));
            cluster.cuts.insert((other, island));
        }
    }
}

#[test]
fn a_restarted_voter_that_votes_breaks_the_lease() {
    assert!(!two_leases(None, restarted_voter));
    assert!(two_leases(
        Some(Planted::RestartedVoterVotes),
        restarted_voter
    ));
}

#[test]
fn a_lease_kept_after_a_transfer_breaks() {
    assert!(!two_leases(None, delayed_order));
    assert!(two_leases(
        Some(Planted::LeaseKeptAfterTransfer),
        delayed_order
    ));
}

#[test]
fn a_vote_waits_for_the_disk() {
    for (bug, early) in [(None, 0), (Some(Planted::VoteBeforeHardState), 1)] {
        planted::set(bug);
        let mut cluster = Cluster::new(3, 0);
        let now = cluster.now;
        let request = RaftMessage {
            kind: kind_number("RequestVote").unwrap(),
            to: 1,
            from: 2,
            term: 6,
            log_term: 5,
            index: 5,
            ..RaftMessage::default()
        };
        cluster.node(1).step(request, now).unwrap();
        let mut batch = WriteBatch::new();
        let ready = cluster.node(1).ready(&mut batch, now).unwrap();
        assert!(ready.must_sync && !batch.is_empty());
        assert_eq!(ready.send_now.len(), early);
        let sent = cluster.node(1).persisted(ready, now).send;
        assert_eq!(sent.len(), 1 - early);
        planted::set(None);
    }
}
