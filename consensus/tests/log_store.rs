//! The log on disk: what is written, what is refused when it is opened, and what damage does.
#![allow(clippy::unwrap_used)]

mod harness;

use harness::{Cluster, GROUP};
use std::sync::Arc;
use yadkv_consensus::{
    Config, FAMILIES, FIRST_INDEX, LogStore, Members, Node, OpenError, Role, Start, StepError,
};
use yadkv_engine::memory::Memory;
use yadkv_engine::{Durability, Family, LogEngine as _, WriteBatch};
use yadkv_proto::id::{Index, PeerId, RegionId, Term};
use yadkv_proto::time::Moment;
use yadkv_proto::yadkvpb::RaftMessage;

const LOG: Family = Family(0);
const STATE: Family = Family(1);

fn write(disk: &Memory, fill: impl FnOnce(&mut WriteBatch)) {
    let mut batch = WriteBatch::new();
    fill(&mut batch);
    disk.write(batch, Durability::Synced).unwrap();
}

fn entry_key(index: u64) -> Vec<u8> {
    [GROUP.0.to_be_bytes(), index.to_be_bytes()].concat()
}

/// The disk of a node whose log ends at 10 (entry 6 begins the term), everything committed.
fn used_disk() -> Memory {
    let mut cluster = Cluster::new(1, 0);
    let now = cluster.now;
    cluster.node(1).campaign(now);
    cluster.work(1);
    for data in ["a", "b", "c", "d"] {
        cluster.propose(1, data).unwrap();
        cluster.work(1);
    }
    assert_eq!(cluster.node(1).last_index(), Index(10));
    cluster.stop(1, Some(0));
    cluster.machines[&1].disk.clone()
}

fn open(disk: &Memory, peer: u64, applied: u64, cache_bytes: usize) -> Result<Node, OpenError> {
    let store = LogStore::open(Arc::new(disk.clone()), cache_bytes)?;
    let config = Config::new(GROUP, PeerId(peer), 9, 1);
    let members = Members {
        voters: vec![PeerId(1), PeerId(2)],
        ..Members::default()
    };
    Node::open(
        config,
        store,
        members,
        Index(applied),
        Start::Restart,
        Moment(1),
    )
}

#[test]
fn what_a_killed_process_wrote_is_durable_before_it_is_counted_on() {
    let disk = used_disk();
    let mut batch = WriteBatch::new();
    batch.put(LOG, entry_key(11), vec![1]);
    disk.write(batch, Durability::Buffered).unwrap();
    disk.restart();
    LogStore::open(Arc::new(disk.clone()), 0).unwrap();
    disk.power_loss(0);
    assert!(disk.get(LOG, &entry_key(11)).unwrap().is_some());
}

#[test]
fn state_is_created_once_and_listed() {
    let disk = Memory::new(FAMILIES.len());
    let store = LogStore::open(Arc::new(disk.clone()), 0).unwrap();
    assert_eq!(store.groups().unwrap(), []);
    for group in [7, 2, 300] {
        let mut batch = WriteBatch::new();
        assert!(
            store
                .bootstrap(RegionId(group), PeerId(1), &mut batch)
                .unwrap()
        );
        disk.write(batch, Durability::Synced).unwrap();
        let mut again = WriteBatch::new();
        assert!(
            !store
                .bootstrap(RegionId(group), PeerId(5), &mut again)
                .unwrap()
        );
        assert!(again.is_empty());
    }
    let groups = store.groups().unwrap();
    assert_eq!(groups, [RegionId(2), RegionId(7), RegionId(300)]);
}

/// Term and vote of a node's disk, by what it answers to candidates of its term.
fn promises(disk: &Memory, peer: u64) -> (Term, Index) {
    let node = open(disk, peer, 20, 0).unwrap();
    (node.term(), node.last_index())
}

#[test]
fn a_snapshot_ends_the_log_and_keeps_the_promises_of_the_same_replica_only() {
    let disk = used_disk();
    let store = LogStore::open(Arc::new(disk.clone()), 0).unwrap();
    let reset = |peer, index, term| {
        let mut batch = WriteBatch::new();
        let position = (Index(index), Term(term));
        store
            .reset(GROUP, PeerId(peer), position, &mut batch)
            .unwrap();
        disk.write(batch, Durability::Synced).unwrap();
    };
    let vote = || {
        let key = [&[1][..], &GROUP.0.to_be_bytes(), &[1]].concat();
        let state = disk.get(STATE, &key).unwrap().unwrap();
        state[17..25].to_vec()
    };
    reset(1, 20, 6);
    assert_eq!(promises(&disk, 1), (Term(6), Index(20)));
    assert_eq!(vote(), 1_u64.to_be_bytes(), "it voted for itself in term 6");
    assert_eq!(disk.get(LOG, &entry_key(10)).unwrap(), None);
    // A later term brings no vote along; an earlier one takes none away.
    reset(1, 20, 8);
    assert_eq!(promises(&disk, 1), (Term(8), Index(20)));
    assert_eq!(vote(), 0_u64.to_be_bytes());
    reset(1, 20, 7);
    assert_eq!(promises(&disk, 1), (Term(8), Index(20)));
    // Another replica of the region starts afresh.
    reset(2, 20, 7);
    assert_eq!(promises(&disk, 2), (Term(7), Index(20)));
    let mut batch = WriteBatch::new();
    store.wipe(GROUP, &mut batch);
    disk.write(batch, Durability::Synced).unwrap();
    assert_eq!(store.groups().unwrap(), []);
    assert_eq!(store.owner(GROUP).unwrap(), None);
}

#[test]
fn a_newer_store_is_refused() {
    let disk = Memory::new(FAMILIES.len());
    write(&disk, |batch| batch.put(STATE, vec![0], vec![2]));
    let opened = LogStore::open(Arc::new(disk), 0).map(|_| ());
    assert!(matches!(
        opened,
        Err(OpenError::TooNew { found: 2, known: 1 })
    ));
}

#[test]
fn a_shortened_log_keeps_what_is_behind_and_opens_where_it_begins() {
    let disk = used_disk();
    let mut node = open(&disk, 1, 9, 0).unwrap();
    for outside in [5, 10] {
        let mut batch = WriteBatch::new();
        node.truncate(Index(outside), &mut batch);
        assert!(batch.is_empty(), "{outside} is no place to cut at");
    }
    write(&disk, |batch| node.truncate(Index(8), batch));
    assert_eq!(node.truncated_index(), Index(8));
    assert_eq!(node.term_at(Index(7)), None);
    assert_eq!(node.term_at(Index(8)), Some(Term(6)));
    assert_eq!(node.term_at(Index(9)), Some(Term(6)));
    let mut again = WriteBatch::new();
    node.truncate(Index(8), &mut again);
    assert!(again.is_empty(), "once is enough");
    assert_eq!(disk.get(LOG, &entry_key(8)).unwrap(), None);
    assert!(disk.get(LOG, &entry_key(9)).unwrap().is_some());

    let node = open(&disk, 1, 10, 0).unwrap();
    assert_eq!(
        (node.truncated_index(), node.last_index()),
        (Index(8), Index(10))
    );
    let refused = open(&disk, 1, 7, 0).map(|_| ());
    assert!(
        matches!(&refused, Err(OpenError::Damaged { reason, .. }) if reason.contains("before the log's start")),
        "{refused:?}"
    );
}

#[test]
fn what_does_not_fit_together_is_refused() {
    let disk = used_disk();
    assert!(open(&disk, 1, 10, 0).is_ok());
    assert!(matches!(
        open(&disk, 2, 10, 0),
        Err(OpenError::OtherPeer {
            found: PeerId(1),
            ..
        })
    ));
    assert!(matches!(
        open(&disk, 3, 10, 0),
        Err(OpenError::NotMember { .. })
    ));
    // The state machine is ahead of the log, or before its start.
    assert!(matches!(
        open(&disk, 1, 11, 0),
        Err(OpenError::Damaged { .. })
    ));
    assert!(matches!(
        open(&disk, 1, 4, 0),
        Err(OpenError::Damaged { .. })
    ));
    let empty = Memory::new(FAMILIES.len());
    assert!(matches!(
        open(&empty, 1, 5, 0),
        Err(OpenError::Missing(GROUP))
    ));
    write(&disk, |batch| batch.put(LOG, entry_key(10), vec![1, 0xff]));
    assert!(matches!(
        open(&disk, 1, 10, 0),
        Err(OpenError::Damaged { .. })
    ));
}

#[test]
fn the_commit_position_follows_the_state_machine() {
    let node = open(&used_disk(), 1, 10, 0).unwrap();
    assert_eq!(
        (node.commit(), node.applied_index()),
        (Index(10), Index(10))
    );
    assert_eq!(node.term_at(Index(5)), Some(Term(5)));
    assert_eq!(node.term_at(Index(10)), Some(Term(6)));
    assert_eq!(node.term_at(Index(11)), None);
}

#[test]
fn damage_found_later_puts_the_replica_into_quarantine() {
    let disk = used_disk();
    write(&disk, |batch| batch.delete(LOG, entry_key(7)));
    let mut node = open(&disk, 1, FIRST_INDEX.0, 0).unwrap();
    let heartbeat = RaftMessage {
        kind: 8,
        to: 1,
        from: 2,
        term: 7,
        commit: 10,
        ..RaftMessage::default()
    };
    node.step(heartbeat.clone(), Moment(2)).unwrap();
    // Reading the committed entries finds the hole.
    assert!(node.ready(&mut WriteBatch::new(), Moment(2)).is_none());
    assert_eq!(node.damage().unwrap(), "log of r1: entry i7 is missing");
    assert!(!node.has_ready());
    assert_eq!(node.step(heartbeat, Moment(3)), Err(StepError::Damaged));
    assert_eq!((node.role(), node.lease()), (Role::Follower, None));
    node.tick(Moment(4));
    assert!(node.ready(&mut WriteBatch::new(), Moment(4)).is_none());
}

#[test]
fn a_small_cache_changes_nothing_but_speed() {
    let mut histories = Vec::new();
    for cache_bytes in [0, 350, 1 << 20] {
        let mut node = open(&used_disk(), 1, FIRST_INDEX.0, cache_bytes).unwrap();
        let append = RaftMessage {
            kind: 3,
            to: 1,
            from: 2,
            term: 7,
            index: 10,
            log_term: 6,
            commit: 10,
            ..RaftMessage::default()
        };
        node.step(append, Moment(2)).unwrap();
        let mut history = Vec::new();
        while let Some(mut ready) = node.ready(&mut WriteBatch::new(), Moment(2)) {
            history.append(&mut ready.committed);
            history.append(&mut node.persisted(ready, Moment(2)).committed);
        }
        assert_eq!(
            history.iter().map(|entry| entry.index).collect::<Vec<_>>(),
            [6, 7, 8, 9, 10]
        );
        histories.push(history);
    }
    assert!(histories.windows(2).all(|pair| pair[0] == pair[1]));
}
