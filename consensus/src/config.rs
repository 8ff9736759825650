//! What one replica of one Raft group is configured with.
//!
//! *Place*: built by whoever opens a [`crate::Node`]; turned into raft-rs's own configuration here and
//! nowhere else.
//!
//! *Invariants*: [`Config::validate`] checks the relations between settings; [`crate::Node::open`] calls it.
//!
//! *Limits*: every limit of the Raft layer is a field here (raft-rs's own defaults are one entry per message
//! and no limit elsewhere).
//!
//! *Next stop*: [`crate::node`].

use std::time::Duration;
use yadkv_proto::id::{Index, PeerId, RegionId};

/// Interval of [`crate::Node::tick`].
pub const TICK: Duration = Duration::from_millis(100);
/// Ticks between two heartbeats of a leader.
pub const HEARTBEAT_TICKS: u32 = 3;
/// Fewest ticks without a leader before a campaign.
pub const ELECTION_TICKS_MIN: u32 = 8;
/// Ticks without a leader that are never reached before a campaign.
pub const ELECTION_TICKS_MAX: u32 = 16;
/// How long a leader may serve reads after a quorum heard from it.
pub const LEASE: Duration = Duration::from_millis(550);
/// Append messages on their way to one peer.
pub const INFLIGHT_MESSAGES_MAX: usize = 64;
/// Bytes of entries in one append message.
pub const MESSAGE_BYTES_MAX: u64 = 1 << 20;
/// Bytes of proposals that are not committed yet.
pub const UNCOMMITTED_BYTES_MAX: u64 = 32 << 20;
/// Bytes of committed entries that one [`crate::Ready`] hands out.
pub const COMMITTED_BYTES_PER_READY_MAX: u64 = 16 << 20;
/// Bytes of one proposal.
pub const ENTRY_BYTES_MAX: u64 = 8 << 20;

/// Settings of one replica.
#[derive(Clone, Debug)]
pub struct Config {
    /// The region; 0 is the placement driver's own group.
    pub group: RegionId,
    /// This replica's id within the group; never 0.
    pub peer: PeerId,
    /// Different at every start of the process: makes read contexts unique over restarts, so that an
    /// acknowledgement of an earlier life never counts.
    pub boot_id: u64,
    /// Seed of the election timeouts.
    pub seed: u64,
    /// Time between two calls of [`crate::Node::tick`]. Too small: processor time per idle region; too large:
    /// coarse elections.
    pub tick: Duration,
    /// Ticks between heartbeats. Too small: traffic of idle regions; too large: a lost heartbeat is an election.
    pub heartbeat_ticks: u32,
    /// Fewest ticks without a leader before a campaign; also, as real time, how long a replica that heard its
    /// leader refuses to vote. Too small: elections under load; too large: long outages.
    pub election_ticks_min: u32,
    /// Exclusive upper end of the election timeout. Too near to the minimum: split votes.
    pub election_ticks_max: u32,
    /// Lease of a leader, from the moment before it was last confirmed. Must stay well below the election
    /// minimum: the difference is what clocks of two machines may drift apart within one lease.
    pub lease: Duration,
    /// Append messages in flight per peer. Each leader keeps 8 bytes times this per peer.
    pub inflight_messages_max: usize,
    /// Bytes of entries per append message. Too small: slow catching up; too large: heartbeats wait behind it.
    pub message_bytes_max: u64,
    /// Bytes of uncommitted proposals; above, a proposal is refused with `Busy`. Memory per region.
    pub uncommitted_bytes_max: u64,
    /// Bytes of committed entries per [`crate::Ready`]. Too large: one region starves the others' apply.
    pub committed_bytes_per_ready_max: u64,
    /// Bytes of one proposal; above, it is refused with `TooLarge`.
    pub entry_bytes_max: u64,
    /// Whether the caller can send its state to a peer that lags behind the log, as [`crate::Ready::snapshots`] asks.
    /// Without, entries that any peer lacks must not be taken out of the log.
    pub sends_snapshots: bool,
}

/// Settings that contradict each other.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub &'static str);

impl Config {
    /// The defaults for one replica.
    pub fn new(group: RegionId, peer: PeerId, boot_id: u64, seed: u64) -> Self {
        Self {
            group,
            peer,
            boot_id,
            seed,
            tick: TICK,
            heartbeat_ticks: HEARTBEAT_TICKS,
            election_ticks_min: ELECTION_TICKS_MIN,
            election_ticks_max: ELECTION_TICKS_MAX,
            lease: LEASE,
            inflight_messages_max: INFLIGHT_MESSAGES_MAX,
            message_bytes_max: MESSAGE_BYTES_MAX,
            uncommitted_bytes_max: UNCOMMITTED_BYTES_MAX,
            committed_bytes_per_ready_max: COMMITTED_BYTES_PER_READY_MAX,
            entry_bytes_max: ENTRY_BYTES_MAX,
            sends_snapshots: false,
        }
    }

    /// Checks the relations between settings.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let rules = [
            (self.peer == PeerId::NONE, "the peer id must not be 0"),
            (self.tick.is_zero(), "the tick must not be zero"),
            (
                self.heartbeat_ticks == 0,
                "the heartbeat must be at least one tick",
            ),
            (
                self.election_ticks_min < 2 * self.heartbeat_ticks,
                "the shortest election timeout must be at least two heartbeats",
            ),
            (
                self.election_ticks_max <= self.election_ticks_min,
                "the longest election timeout must be above the shortest",
            ),
            (
                self.lease.saturating_mul(5) > self.election_timeout_min().saturating_mul(4),
                "the lease must be at most four fifths of the shortest election timeout",
            ),
            (
                self.inflight_messages_max == 0,
                "at least one message must be allowed in flight",
            ),
            (
                self.message_bytes_max == 0,
                "a message must hold at least one byte",
            ),
            (
                self.uncommitted_bytes_max < self.message_bytes_max,
                "the uncommitted bytes must be at least those of one message",
            ),
            (
                self.uncommitted_bytes_max < self.entry_bytes_max,
                "the uncommitted bytes must be at least those of one entry",
            ),
        ];
        match rules.into_iter().find(|(broken, _)| *broken) {
            Some((_, reason)) => Err(ConfigError(reason)),
            None => Ok(()),
        }
    }

    /// The shortest election timeout as real time.
    pub fn election_timeout_min(&self) -> Duration {
        self.tick.saturating_mul(self.election_ticks_min)
    }

    /// The form that raft-rs takes.
    pub(crate) fn raft(&self, applied: Index) -> raft::Config {
        raft::Config {
            id: self.peer.0,
            election_tick: self.election_ticks_min as usize,
            heartbeat_tick: self.heartbeat_ticks as usize,
            applied: applied.0,
            max_size_per_msg: self.message_bytes_max,
            max_inflight_msgs: self.inflight_messages_max,
            check_quorum: true,
            pre_vote: true,
            min_election_tick: self.election_ticks_min as usize,
            max_election_tick: self.election_ticks_max as usize,
            read_only_option: raft::ReadOnlyOption::Safe,
            skip_bcast_commit: true,
            batch_append: true,
            priority: 0,
            max_uncommitted_size: self.uncommitted_bytes_max,
            max_committed_size_per_ready: self.committed_bytes_per_ready_max,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_valid() {
        let config = Config::new(RegionId(1), PeerId(1), 1, 1);
        assert_eq!(config.validate(), Ok(()));
        assert!(config.raft(Index(5)).validate().is_ok());
    }

    #[test]
    fn a_lease_as_long_as_an_election_is_refused() {
        let mut config = Config::new(RegionId(1), PeerId(1), 1, 1);
        config.lease = config.election_timeout_min();
        assert!(config.validate().is_err());
    }
}
