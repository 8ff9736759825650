//! Shortening the log: what every replica needs no more and the data engine holds durably.
//!
//! *Life of a prefix*:
//! ```text
//! leader: everybody who keeps up has it, it is long enough → TruncateLog proposed
//!   → applied, on every replica → the data engine is asked to be durable up to there → it is
//!   → the next round's batch takes the prefix out, together with where the log begins now
//! ```
//!
//! *Invariants*: nothing leaves the log that the data engine could lose at a power loss. What a replica lacks stays as
//! long as the log is below [`Config::lag_entries`] and [`Config::lag_bytes`], and the logs of the store are not large;
//! after that the replica needs a snapshot.
//!
//! *Limits*: see [`Config::log_entries`] and [`Config::log_bytes`]; fewer entries stay for [`AGE_MAX`], and fewer than
//! [`ENTRIES_MIN`] for ever, unless the logs of the store are large. A lost answer of the data engine is asked for
//! again after [`ASK_MAX`].
//!
//! *Source*: Raft paper section 7; `ARCHITECTURE.md`, How data would be lost.
//!
//! *Next stop*: `consensus::storage`.

use super::Peer;
use crate::config::Config;
use crate::layout::FORMAT;
use crate::planted::{self, Planted};
use crate::store::message::Effects;
use prost::Message;
use std::time::Duration;
use yadkv_engine::WriteBatch;
use yadkv_proto::id::Index;
use yadkv_proto::time::{Moment, Now};
use yadkv_proto::yadkvpb::command::Operation;
use yadkv_proto::yadkvpb::{Command, RegionEntry, TruncateLog};

/// Fewest entries worth an entry of their own.
const ENTRIES_MIN: u64 = 64;
/// How long fewer entries than [`Config::log_entries`] stay.
const AGE_MAX: Duration = Duration::from_secs(600);
/// How long the data engine may take.
const ASK_MAX: Duration = Duration::from_secs(60);

/// What is known of the log's prefix.
#[derive(Default)]
pub(super) struct Truncation {
    /// Bytes put since the last time.
    bytes: u64,
    /// The store's logs are large: even a few entries are worth it.
    pressed: bool,
    /// When a truncation was proposed last.
    proposed: Moment,
    /// Entries up to here may leave once they are durable.
    wanted: Option<Index>,
    /// When the data engine was asked.
    asked: Option<Moment>,
    /// What the data engine holds durably, at least.
    durable: Index,
}

impl Peer {
    /// Proposes to shorten the log, if that is due.
    pub(super) fn propose_truncation(&mut self, now: Now, config: &Config) {
        let start = self.node.truncated_index();
        let all = self.applied.index.0.saturating_sub(start.0);
        let patient = all < config.lag_entries
            && self.truncation.bytes < config.lag_bytes
            && !self.truncation.pressed;
        let replicated = match patient {
            true => self.node.replicated_index(),
            false => self.node.replicated_index_within(config.log_entries),
        };
        let Some(replicated) = replicated else {
            return;
        };
        let end = replicated.min(self.applied.index);
        let entries = end.0.saturating_sub(start.0);
        let old = now.moment.since(self.truncation.proposed) >= AGE_MAX;
        // Of what was put, the part that these entries hold, about.
        let bytes = self.truncation.bytes * entries / all.max(1);
        let due = entries >= config.log_entries
            || bytes >= config.log_bytes
            || (old && entries >= ENTRIES_MIN)
            // One is left by the last time.
            || (self.truncation.pressed && entries > 1);
        if !due || entries == 0 || self.truncation.wanted.is_some() || self.holds_writes() {
            return;
        }
        let command = Command {
            version: self.view.version(),
            operation: Some(Operation::TruncateLog(TruncateLog { index: end.0 })),
        };
        let entry = RegionEntry {
            format: FORMAT,
            now_ms: now.wall_ms,
            commands: vec![command],
        };
        // A refusal is made good by the next tick.
        let proposed = self.node.propose(entry.encode_to_vec().into(), now.moment);
        if proposed.is_ok() {
            self.truncation.proposed = now.moment;
            self.truncation.bytes -= bytes;
            self.truncation.pressed = false;
        }
    }

    /// The store's logs are large, whatever this region knows of its own: after a restart it does not know its bytes.
    pub fn shorten_log(&mut self) {
        self.truncation.pressed = true;
    }

    /// What was applied says that entries may leave, and how much was put.
    pub(super) fn truncation_applied(&mut self, index: Option<Index>, bytes: u64) {
        self.truncation.bytes += bytes;
        self.truncation.wanted = self.truncation.wanted.max(index);
    }

    /// Asks for the data to be durable, if entries wait for that.
    pub(super) fn ask_for_durability(&mut self, now: Moment, effects: &mut Effects) {
        let late = |since: Moment| now.since(since) >= ASK_MAX;
        if self.truncation.asked.is_some_and(late) {
            self.truncation.asked = None;
        }
        let waits = |wanted: &Index| *wanted > self.truncation.durable;
        let wanted = self.truncation.wanted.filter(waits);
        if let (Some(wanted), None) = (wanted, self.truncation.asked) {
            self.truncation.asked = Some(now);
            effects.flush.push((self.id(), wanted));
        }
    }

    /// The data engine holds everything up to `index` durably.
    pub fn durable(&mut self, index: Index) {
        self.truncation.asked = None;
        self.truncation.durable = self.truncation.durable.max(index);
    }

    /// Whether a prefix is ready to leave.
    pub(super) fn may_truncate(&self) -> bool {
        let durable = match planted::is(Planted::LogTruncatedBeforeFlush) {
            true => self.applied.index,
            false => self.truncation.durable,
        };
        self.truncation.wanted.is_some_and(|index| index <= durable)
    }

    /// Takes it out of the log.
    pub(super) fn truncate_log(&mut self, batch: &mut WriteBatch) {
        if self.may_truncate()
            && let Some(index) = self.truncation.wanted.take()
        {
            self.node.truncate(index, batch);
        }
    }
}
