//! Reads that need a round of heartbeats (ReadIndex), from request to answer.
//!
//! *Place*: [`crate::node`] registers rounds with raft-rs and hands answers out in [`crate::Ready`].
//!
//! *Types to know*: [`Reads`], [`ReadToken`].
//!
//! *Life of a read*: [`crate::Node::read_index`] → a token waits → the next `ready` starts one round for all
//! waiting tokens, under a context → a leader's heartbeats carry the context, a follower's message takes it to
//! the leader → a quorum answered → the tokens come out with the index to wait for. Whatever is pending when
//! role or term changes comes out as lost: raft-rs forgets it without a word.
//!
//! | context | |
//! |---|---|
//! | `01` | format |
//! | peer:8 boot:8 | who asks; unique over restarts |
//! | round:8 | counts up, never used twice; each node that the process opens has a stretch of its own |
//!
//! (A replica that installed a snapshot is opened again under the same peer and boot.)
//!
//! A repeated context would be dropped by raft-rs in silence, or confirmed by an answer to an older heartbeat. A
//! follower alone sends one again, unchanged: any answer to it is later than the request.
//!
//! *Limits*: [`TOKENS_MAX`] tokens and [`ROUNDS_MAX`] rounds at once; above the first a read is refused, above
//! the second it waits for the next round.
//!
//! *Source*: Raft thesis §6.4.
//!
//! *Next stop*: [`crate::node`].

use bytes::{BufMut, Bytes, BytesMut};
use std::collections::BTreeMap;
use yadkv_proto::id::{Index, PeerId};
use yadkv_proto::time::Moment;

/// Reads pending at once in one group.
const TOKENS_MAX: usize = 16_384;
/// Rounds under way at once in one group.
const ROUNDS_MAX: usize = 64;
/// Rounds of followers that a leader keeps.
pub(crate) const FOREIGN_ROUNDS_MAX: usize = 1024;
/// Rounds of one node: at ten thousand a second they last for three years.
const ROUND_BITS: u32 = 40;
/// Bytes of a context.
pub(crate) const CONTEXT_BYTES: usize = 25;
const FORMAT: u8 = 1;

/// Names one pending read of one [`crate::Node`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReadToken(pub u64);

/// A read that may be served once everything up to `index` is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadReady {
    /// What [`crate::Node::read_index`] returned.
    pub token: ReadToken,
    /// Everything committed when the read was requested is at or before this position.
    pub index: Index,
}

/// One round of heartbeats.
#[derive(Debug)]
pub(crate) struct Round {
    /// Reads that it serves; empty in a round that only renews the lease.
    pub(crate) tokens: Vec<ReadToken>,
    /// When it was registered, before anything was sent.
    pub(crate) registered: Moment,
}

/// Pending reads of one replica.
#[derive(Debug)]
pub(crate) struct Reads {
    peer: PeerId,
    boot_id: u64,
    next_token: u64,
    next_round: u64,
    waiting: Vec<ReadToken>,
    rounds: BTreeMap<u64, Round>,
    lost: Vec<ReadToken>,
    /// Tokens in `waiting` and `rounds`.
    pending: usize,
}

impl Reads {
    /// Of the node that is the `opened`th of its process.
    pub(crate) fn new(peer: PeerId, boot_id: u64, opened: u64) -> Self {
        Self {
            peer,
            boot_id,
            next_token: 1,
            next_round: (opened << ROUND_BITS) + 1,
            waiting: Vec::new(),
            rounds: BTreeMap::new(),
            lost: Vec::new(),
            pending: 0,
        }
    }

    /// A new read; `None` if too many are pending.
    pub(crate) fn request(&mut self) -> Option<ReadToken> {
        if self.pending + self.lost.len() >= TOKENS_MAX {
            return None;
        }
        let token = ReadToken(self.next_token);
        self.next_token += 1;
        self.pending += 1;
        self.waiting.push(token);
        Some(token)
    }

    /// Whether [`Self::start_round`] would start one.
    pub(crate) fn can_start(&self) -> bool {
        !self.waiting.is_empty() && self.rounds.len() < ROUNDS_MAX
    }

    /// Starts a round for all waiting tokens and returns its context.
    pub(crate) fn start_round(&mut self, now: Moment) -> Option<Bytes> {
        if !self.can_start() {
            return None;
        }
        let tokens = std::mem::take(&mut self.waiting);
        Some(self.register(tokens, now))
    }

    /// Starts a round that serves nobody but the lease.
    pub(crate) fn start_renewal(&mut self, now: Moment) -> Option<Bytes> {
        (self.rounds.len() < ROUNDS_MAX).then(|| self.register(Vec::new(), now))
    }

    /// The round of a confirmed context; `None` if it is not ours or not pending.
    pub(crate) fn answered(&mut self, context: &[u8]) -> Option<Round> {
        let mut expected = self.context(0);
        expected.truncate(CONTEXT_BYTES - 8);
        let number = context.strip_prefix(expected.as_ref())?;
        let number = u64::from_be_bytes(number.try_into().ok()?);
        let round = self.rounds.remove(&number)?;
        self.pending -= round.tokens.len();
        Some(round)
    }

    /// Contexts of all rounds under way, for a follower to send again.
    pub(crate) fn contexts(&self) -> Vec<Bytes> {
        self.rounds
            .keys()
            .map(|round| self.context(*round))
            .collect()
    }

    /// Role or term changed: everything pending is lost.
    pub(crate) fn fail_all(&mut self) {
        self.lost.append(&mut self.waiting);
        while let Some((_, mut round)) = self.rounds.pop_first() {
            self.lost.append(&mut round.tokens);
        }
        self.pending = 0;
    }

    /// Whether lost tokens wait to be handed out.
    pub(crate) fn has_lost(&self) -> bool {
        !self.lost.is_empty()
    }

    /// Hands out the lost tokens.
    pub(crate) fn take_lost(&mut self) -> Vec<ReadToken> {
        std::mem::take(&mut self.lost)
    }

    fn register(&mut self, tokens: Vec<ReadToken>, now: Moment) -> Bytes {
        let number = self.next_round;
        self.next_round += 1;
        let round = Round {
            tokens,
            registered: now,
        };
        self.rounds.insert(number, round);
        self.context(number)
    }

    fn context(&self, round: u64) -> Bytes {
        let mut context = BytesMut::with_capacity(CONTEXT_BYTES);
        context.put_u8(FORMAT);
        context.put_u64(self.peer.0);
        context.put_u64(self.boot_id);
        context.put_u64(round);
        context.freeze()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn one_round_serves_all_that_wait() {
        let mut reads = Reads::new(PeerId(1), 7, 0);
        let tokens = [reads.request().unwrap(), reads.request().unwrap()];
        let context = reads.start_round(Moment(10)).unwrap();
        assert_eq!(context.len(), CONTEXT_BYTES);
        assert_eq!(reads.start_round(Moment(11)), None);
        let round = reads.answered(&context).unwrap();
        assert_eq!(round.tokens, tokens);
        assert_eq!(round.registered, Moment(10));
        assert!(reads.answered(&context).is_none(), "answered once only");
    }

    #[test]
    fn contexts_of_another_life_are_not_ours() {
        let mut old = Reads::new(PeerId(1), 7, 0);
        let mut new = Reads::new(PeerId(1), 8, 0);
        let context = old.start_renewal(Moment(1)).unwrap();
        new.start_renewal(Moment(1)).unwrap();
        assert!(new.answered(&context).is_none());
        assert!(new.answered(b"").is_none());
        let mut reopened = Reads::new(PeerId(1), 7, 1);
        reopened.start_renewal(Moment(1)).unwrap();
        assert!(reopened.answered(&context).is_none());
    }

    #[test]
    fn a_change_of_role_loses_everything_once() {
        let mut reads = Reads::new(PeerId(1), 7, 0);
        let first = reads.request().unwrap();
        let context = reads.start_round(Moment(1)).unwrap();
        let second = reads.request().unwrap();
        reads.fail_all();
        assert_eq!(reads.take_lost(), [second, first]);
        assert!(reads.answered(&context).is_none());
        assert!(reads.take_lost().is_empty());
    }

    #[test]
    fn tokens_and_rounds_are_bounded() {
        let mut reads = Reads::new(PeerId(1), 7, 0);
        for _ in 0..ROUNDS_MAX {
            reads.request().unwrap();
            reads.start_round(Moment(1)).unwrap();
        }
        for _ in ROUNDS_MAX..TOKENS_MAX {
            reads.request().unwrap();
        }
        assert_eq!(reads.request(), None);
        assert_eq!(reads.start_round(Moment(1)), None);
        assert_eq!(reads.start_renewal(Moment(1)), None);
    }
}
