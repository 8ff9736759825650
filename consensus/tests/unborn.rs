//! Votes of replicas that do not exist yet: one a term, whatever comes between.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use yadkv_consensus::{
    Config, FAMILIES, FIRST_INDEX, LogStore, Members, Node, Start, StepError, says_nothing_is_here,
};
use yadkv_engine::memory::Memory;
use yadkv_engine::{Durability, LogEngine as _, WriteBatch};
use yadkv_proto::id::{Index, PeerId, RegionId, Term};
use yadkv_proto::time::Moment;
use yadkv_proto::yadkvpb::RaftMessage;

const GROUP: RegionId = RegionId(7);
const OWN: PeerId = PeerId(3);
const VOTE: u32 = 5;
const VOTE_ANSWER: u32 = 6;
const PREVOTE: u32 = 17;
const PREVOTE_ANSWER: u32 = 18;

struct Machine(Memory);

impl Machine {
    fn new() -> Self {
        Self(Memory::new(FAMILIES.len()))
    }

    fn log(&self) -> LogStore {
        LogStore::open(Arc::new(self.0.clone()), 0).unwrap()
    }

    fn write<T>(&self, fill: impl FnOnce(&mut WriteBatch) -> T) -> T {
        let mut batch = WriteBatch::new();
        let made = fill(&mut batch);
        self.0.write(batch, Durability::Synced).unwrap();
        made
    }

    /// Asks for a vote as a candidate with the log of position (index, term); whether it was given, and the term.
    fn ask(
        &self,
        kind: u32,
        from: u64,
        to: PeerId,
        term: u64,
        last: (u64, u64),
    ) -> Option<(bool, u64)> {
        let request = RaftMessage {
            kind,
            from,
            to: to.0,
            term,
            index: last.0,
            log_term: last.1,
            ..RaftMessage::default()
        };
        let log = self.log();
        let answer = self.write(|batch| log.vote_unborn(GROUP, &request, batch).unwrap())?;
        assert_eq!((answer.from, answer.to), (to.0, from));
        let kinds = [(VOTE, VOTE_ANSWER), (PREVOTE, PREVOTE_ANSWER)];
        assert!(kinds.contains(&(kind, answer.kind)));
        self.0.power_loss(0);
        Some((!answer.reject, answer.term))
    }

    fn vote(&self, from: u64, term: u64) -> Option<(bool, u64)> {
        self.ask(VOTE, from, OWN, term, (5, 5))
    }

    fn node(&self, start: Start) -> Node {
        let members = Members {
            voters: vec![PeerId(1), PeerId(2), OWN],
            ..Members::default()
        };
        let config = Config::new(GROUP, OWN, 9, 1);
        Node::open(config, self.log(), members, FIRST_INDEX, start, Moment(1)).unwrap()
    }

    /// What the replica answers in the same way, once it exists.
    fn asked_later(&self, start: Start, from: u64, term: u64) -> Result<bool, StepError> {
        let mut node = self.node(start);
        let now = Moment(60_000_000_000);
        let request = RaftMessage {
            kind: VOTE,
            from,
            to: OWN.0,
            term,
            index: 9,
            log_term: 8,
            ..RaftMessage::default()
        };
        node.step(request, now)?;
        let mut batch = WriteBatch::new();
        let ready = node.ready(&mut batch, now).unwrap();
        self.0.write(batch, Durability::Synced).unwrap();
        let mut sent = ready.send_now.clone();
        sent.extend(node.persisted(ready, now).send);
        let answer = sent.iter().find(|sent| sent.kind == VOTE_ANSWER).unwrap();
        Ok(!answer.reject)
    }
}

#[test]
fn one_vote_a_term_over_losses_of_power() {
    let machine = Machine::new();
    assert_eq!(machine.ask(PREVOTE, 1, OWN, 6, (5, 5)), Some((true, 6)));
    assert_eq!(
        machine.log().groups().unwrap(),
        [],
        "the question before binds nobody"
    );
    assert_eq!(machine.vote(1, 6), Some((true, 6)));
    assert_eq!(machine.vote(2, 6), Some((false, 6)));
    assert_eq!(machine.vote(1, 6), Some((true, 6)));
    assert_eq!(machine.ask(PREVOTE, 2, OWN, 6, (5, 5)), Some((false, 6)));
    assert_eq!(machine.ask(PREVOTE, 2, OWN, 7, (5, 5)), Some((true, 7)));
    assert_eq!(machine.vote(2, 7), Some((true, 7)));
    assert_eq!(machine.vote(1, 6), Some((false, 7)), "an earlier term");
    assert_eq!(machine.log().owner(GROUP).unwrap(), None);
}

#[test]
fn only_those_that_have_nothing_or_had_the_vote() {
    let machine = Machine::new();
    assert_eq!(machine.ask(VOTE, 1, OWN, 6, (6, 6)), None);
    assert_eq!(machine.ask(VOTE, 1, OWN, 6, (5, 6)), None);
    assert_eq!(machine.vote(1, 6), Some((true, 6)));
    assert_eq!(machine.ask(VOTE, 1, OWN, 7, (6, 6)), Some((true, 7)));
    assert_eq!(machine.ask(PREVOTE, 2, OWN, 8, (6, 6)), None);
    assert_eq!(machine.ask(VOTE, 2, OWN, 8, (6, 6)), None);
}

#[test]
fn nonsense_is_not_answered() {
    let machine = Machine::new();
    assert_eq!(machine.vote(OWN.0, 6), None);
    assert_eq!(machine.vote(0, 6), None);
    assert_eq!(machine.vote(1, 5), None, "every group begins with term 5");
    assert_eq!(machine.vote(1, u64::MAX), None);
    assert_eq!(machine.ask(3, 1, OWN, 6, (5, 5)), None);
    assert_eq!(machine.ask(77, 1, OWN, 6, (5, 5)), None);
    let nothing = says_nothing_is_here(&RaftMessage {
        kind: VOTE,
        ..RaftMessage::default()
    });
    assert_eq!(nothing, None);
}

#[test]
fn a_replica_made_by_a_split_keeps_the_vote() {
    let machine = Machine::new();
    assert_eq!(machine.vote(1, 6), Some((true, 6)));
    let log = machine.log();
    assert!(machine.write(|batch| log.bootstrap(GROUP, OWN, batch).unwrap()));
    assert!(!machine.write(|batch| log.bootstrap(GROUP, OWN, batch).unwrap()));
    assert_eq!(log.owner(GROUP).unwrap(), Some(OWN));
    assert_eq!(machine.vote(1, 7), None, "it speaks for itself now");
    assert_eq!(machine.asked_later(Start::Bootstrap, 2, 6), Ok(false));
    assert_eq!(machine.asked_later(Start::Restart, 1, 6), Ok(true));
    assert_eq!(machine.asked_later(Start::Restart, 2, 7), Ok(true));
}

#[test]
fn a_replica_made_by_a_snapshot_keeps_the_vote() {
    for (snapshot_term, given) in [(5, false), (6, false), (7, true)] {
        let machine = Machine::new();
        assert_eq!(machine.vote(1, 6), Some((true, 6)));
        let (log, position) = (machine.log(), (Index(5), Term(snapshot_term)));
        machine.write(|batch| log.reset(GROUP, OWN, position, batch).unwrap());
        assert_eq!(log.owner(GROUP).unwrap(), Some(OWN));
        let term = snapshot_term.max(6);
        let asked = machine.asked_later(Start::Restart, 2, term);
        assert_eq!(asked, Ok(given), "snapshot of term {snapshot_term}");
    }
}

#[test]
fn a_later_replica_of_the_region_starts_afresh() {
    let machine = Machine::new();
    assert_eq!(machine.vote(1, 6), Some((true, 6)));
    let later = PeerId(9);
    assert_eq!(machine.ask(VOTE, 2, later, 6, (5, 5)), Some((true, 6)));
    assert_eq!(machine.vote(1, 6), None, "the earlier one is over");
    let log = machine.log();
    assert!(machine.write(|batch| log.bootstrap(GROUP, OWN, batch).unwrap()));
    assert_eq!(machine.node(Start::Bootstrap).term(), Term(5));
}
