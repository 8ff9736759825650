//! When this replica may vote, and when it campaigns.
//!
//! *Place*: [`crate::node`] asks before every vote request and every tick; raft-rs does the election itself.
//!
//! *Types to know*: [`Election`], [`Start`].
//!
//! A leader's lease ([`crate::lease`]) is safe because every voter that helped to confirm it keeps two promises,
//! in **real** time, since ticks are quantised and late after a stall:
//!
//! ```text
//!            leader message processed                     may vote again
//! voter  ────────────●───── shortest election timeout ──────────●──────▶
//!            process started (it may have acknowledged just before)
//! voter  ────────────●───── shortest election timeout ──────────●──────▶
//! ```
//!
//! 1. After it processed a message of the leader it neither votes nor campaigns for one shortest election
//!    timeout, whatever it hears of higher terms meanwhile. A transfer of leadership is exempt: the leader gave
//!    its lease up when it ordered the transfer.
//! 2. After a start of the process it does neither for the same time, transfers included: the process before it
//!    may have acknowledged a heartbeat. Only the very first start is exempt.
//!
//! *Invariants*: the election timeout is a function of (seed, peer, term, attempt) alone, set after every input;
//! raft-rs's own random draw never takes effect.
//!
//! *Source*: Raft paper §5.2, §9.6 of the thesis (pre-vote), §6.4.1 (leases and clocks).
//!
//! *Next stop*: [`crate::lease`].

use crate::config::Config;
use crate::error::StepError;
use crate::planted::{self, Planted};
use raft::eraftpb::MessageType;
use std::time::Duration;
use yadkv_proto::id::{PeerId, Term};
use yadkv_proto::time::Moment;
use yadkv_proto::yadkvpb::RaftMessage;

/// raft-rs's mark on the vote requests of a transfer.
const CAMPAIGN_TRANSFER: &[u8] = b"CampaignTransfer";

/// How a replica came to be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// The first start of this replica ever ([`crate::LogStore::bootstrap`] has just said true and its batch is
    /// durable): it cannot have acknowledged anything.
    Bootstrap,
    /// Any other start: no vote and no campaign for one shortest election timeout of real time.
    Restart,
}

/// The promises of one replica about votes, and its election timeouts.
#[derive(Debug)]
pub(crate) struct Election {
    peer: PeerId,
    seed: u64,
    ticks_min: u64,
    ticks_max: u64,
    /// The shortest election timeout as real time.
    window: Duration,
    hold_until: Option<Moment>,
    last_contact: Option<Moment>,
    /// Campaigns of this replica since it was opened.
    attempts: u64,
}

impl Election {
    // ANCHOR: hold
    pub(crate) fn new(config: &Config, start: Start, now: Moment) -> Self {
        let window = config.election_timeout_min();
        let hold = start == Start::Restart && !planted::is(Planted::RestartedVoterVotes);
        Self {
            peer: config.peer,
            seed: config.seed,
            ticks_min: u64::from(config.election_ticks_min),
            ticks_max: u64::from(config.election_ticks_max),
            window,
            hold_until: hold.then(|| now.after(window)),
            last_contact: None,
            attempts: 0,
        }
    }
    // ANCHOR_END: hold

    /// A message of the current leader was processed.
    pub(crate) fn heard_leader(&mut self, now: Moment) {
        self.last_contact = Some(now);
    }

    /// This replica campaigned.
    pub(crate) fn campaigned(&mut self) {
        self.attempts += 1;
    }

    /// Whether one of the two promises forbids to vote or campaign now.
    pub(crate) fn must_wait(&self, now: Moment) -> bool {
        self.in_hold(now) || self.leader_alive(now)
    }

    // ANCHOR: admit
    /// Decides whether raft-rs may see a message that could make this replica vote.
    pub(crate) fn admit(
        &self,
        kind: MessageType,
        message: &RaftMessage,
        term: Term,
        now: Moment,
    ) -> Result<(), StepError> {
        let vote = matches!(
            kind,
            MessageType::MsgRequestVote | MessageType::MsgRequestPreVote
        );
        if !vote && kind != MessageType::MsgTimeoutNow {
            return Ok(());
        }
        if self.in_hold(now) {
            return Err(StepError::VoteHold);
        }
        // A request of an earlier term is let through: raft-rs answers it with the present term and never
        // with a vote.
        let forced = message.context.as_ref() == CAMPAIGN_TRANSFER;
        if vote && !forced && message.term >= term.0 && self.leader_alive(now) {
            return Err(StepError::LeaderAlive);
        }
        Ok(())
    }
    // ANCHOR_END: admit

    /// Ticks without a leader after which this replica campaigns in `term`.
    pub(crate) fn timeout_ticks(&self, term: Term) -> usize {
        let chance = [self.peer.0, term.0, self.attempts]
            .into_iter()
            .fold(self.seed, |state, part| mix(state ^ part));
        let ticks = self.ticks_min + chance % (self.ticks_max - self.ticks_min);
        usize::try_from(ticks).unwrap_or(usize::MAX)
    }

    fn in_hold(&self, now: Moment) -> bool {
        self.hold_until.is_some_and(|until| now < until)
    }

    fn leader_alive(&self, now: Moment) -> bool {
        self.last_contact
            .is_some_and(|contact| now.since(contact) < self.window)
    }
}

/// One round of SplitMix64.
fn mix(state: u64) -> u64 {
    let state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use yadkv_proto::id::RegionId;

    fn at(ms: u64) -> Moment {
        Moment::default().after(Duration::from_millis(ms))
    }

    fn election(start: Start) -> Election {
        let config = Config::new(RegionId(1), PeerId(1), 1, 1);
        Election::new(&config, start, at(1000))
    }

    fn request(context: &'static [u8]) -> RaftMessage {
        RaftMessage {
            term: 7,
            context: context.into(),
            ..RaftMessage::default()
        }
    }

    #[test]
    fn a_restart_holds_even_transfers() {
        let election = election(Start::Restart);
        for kind in [
            MessageType::MsgRequestVote,
            MessageType::MsgRequestPreVote,
            MessageType::MsgTimeoutNow,
        ] {
            let forced = request(CAMPAIGN_TRANSFER);
            assert_eq!(
                election.admit(kind, &forced, Term(6), at(1799)),
                Err(StepError::VoteHold)
            );
            assert_eq!(election.admit(kind, &forced, Term(6), at(1800)), Ok(()));
        }
        assert!(election.must_wait(at(1799)));
        assert!(!election.must_wait(at(1800)));
    }

    #[test]
    fn a_live_leader_is_not_voted_away_but_may_hand_over() {
        let mut election = election(Start::Bootstrap);
        assert!(!election.must_wait(at(1000)));
        election.heard_leader(at(2000));
        let vote = MessageType::MsgRequestVote;
        let refused = Err(StepError::LeaderAlive);
        assert_eq!(
            election.admit(vote, &request(b""), Term(6), at(2799)),
            refused
        );
        assert_eq!(
            election.admit(vote, &request(b""), Term(7), at(2799)),
            refused
        );
        assert_eq!(
            election.admit(vote, &request(b""), Term(8), at(2799)),
            Ok(())
        );
        assert_eq!(
            election.admit(vote, &request(b""), Term(6), at(2800)),
            Ok(())
        );
        let forced = request(CAMPAIGN_TRANSFER);
        assert_eq!(election.admit(vote, &forced, Term(6), at(2001)), Ok(()));
    }

    #[test]
    fn timeouts_are_spread_and_repeatable() {
        let mut one = election(Start::Bootstrap);
        let seen: BTreeSet<usize> = (0..200).map(|term| one.timeout_ticks(Term(term))).collect();
        assert_eq!(seen, (8..16).collect());
        assert_eq!(one.timeout_ticks(Term(6)), one.timeout_ticks(Term(6)));
        let before: Vec<usize> = (0..20).map(|term| one.timeout_ticks(Term(term))).collect();
        one.campaigned();
        let after: Vec<usize> = (0..20).map(|term| one.timeout_ticks(Term(term))).collect();
        assert_ne!(before, after);
    }
}
