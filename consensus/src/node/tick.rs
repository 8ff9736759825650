//! What a node does when time passes.
//!
//! *Place*: part of [`Node`]; servers and the simulation call [`Node::tick`] at [`crate::Config::tick`].
//!
//! *Life of a tick*: a leader whose heartbeat is due attaches a read context to it, so that the acknowledgements
//! renew its lease, and raft-rs sends it or steps down if too few peers were heard of lately → anyone else counts
//! towards its next campaign, unless a promise of [`crate::election`] forbids one, and asks again for the
//! answers to its reads.
//!
//! *Limits*: one tick is one tick however late it comes; real time is compared with real time only.
//!
//! *Scenario*: `consensus/tests/scripts/lease`.
//!
//! *Next stop*: [`crate::election`].

use super::{Node, carrying};
use raft::eraftpb::MessageType;
use yadkv_proto::id::Index;
use yadkv_proto::time::Moment;

/// Ticks without an append after which applied entries leave the cache even if a peer lacks them.
const QUIET_TICKS_MAX: u32 = 50;

impl Node {
    /// One [`crate::Config::tick`] has passed. Missed ticks are given as one.
    pub fn tick(&mut self, now: Moment) {
        self.assert_accepts_input();
        if self.is_damaged() {
            return;
        }
        if self.raw.raft.state == raft::StateRole::Leader {
            self.renew_lease_with_heartbeat(now);
            self.raw.tick();
        } else {
            self.tick_election(now);
            self.retry_reads();
        }
        self.release_cache();
        self.forget_arrived();
        self.adjust(now);
    }

    /// A heartbeat that is about to be sent carries a read context, whose confirmation renews the lease.
    fn renew_lease_with_heartbeat(&mut self, now: Moment) {
        let raft = &self.raw.raft;
        let due = raft.heartbeat_elapsed() + 1 >= raft.heartbeat_timeout();
        if !due || !self.lease.renewable() {
            return;
        }
        if raft.prs().is_singleton() {
            self.lease.acknowledged(now);
            return;
        }
        let Some(context) = self.reads.start_renewal(now) else {
            return;
        };
        // `RawNode::read_index` would send a second round of heartbeats beside the one of the tick.
        let message = carrying(MessageType::MsgReadIndex, context);
        let (commit, id) = (raft.raft_log.committed, raft.id);
        self.raw.raft.read_only.add_request(commit, message, id);
    }

    /// A tick of a replica that does not lead; stays one tick short of a campaign while it must not campaign.
    fn tick_election(&mut self, now: Moment) {
        let timeout = self.raw.raft.randomized_election_timeout();
        let elapsed = self.raw.raft.election_elapsed;
        if self.election.must_wait(now) || !self.log_is_durable() {
            self.raw.raft.election_elapsed = elapsed.min(timeout.saturating_sub(2));
        } else if elapsed + 1 >= timeout && self.raw.raft.promotable() {
            self.election.campaigned();
        }
        self.raw.tick();
    }

    /// A follower's reads get lost with any message: send them again at heartbeat pace.
    fn retry_reads(&mut self) {
        self.ticks_since_retry += 1;
        if self.ticks_since_retry < self.config.heartbeat_ticks {
            return;
        }
        self.ticks_since_retry = 0;
        for context in self.reads.contexts() {
            self.raw.read_index(context.to_vec());
        }
    }

    /// Gives back cached entries that are applied here and that no peer will ask for.
    fn release_cache(&mut self) {
        self.quiet_ticks = self.quiet_ticks.saturating_add(1);
        let mut index = self.applied_index().0;
        if self.raw.raft.state == raft::StateRole::Leader && self.quiet_ticks < QUIET_TICKS_MAX {
            let peers = self.raw.raft.prs().iter();
            index = peers.fold(index, |least, (_, progress)| least.min(progress.matched));
        }
        self.raw.mut_store().release(Index(index));
    }
}
