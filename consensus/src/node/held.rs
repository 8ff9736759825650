//! Changes of members wait until it is durable that they are committed.
//!
//! *Place*: part of [`Node`]; `round` puts every committed entry through [`Node::hold`].
//!
//! *Life of a held entry*: committed, durable itself, but the durable commit position is before it → the next round
//! writes the position, synced → handed out, and others are told that it is committed.
//!
//! *Invariants*: entries leave in order. Whoever applied a change of members and lost its data in a crash finds the
//! change committed in its own log, and raft-rs does not let it campaign before it has applied it again: nobody comes back
//! in need of the vote of a peer that was removed on its own word. The data itself need not be synced for that. One that
//! a merge applies ahead of the log's own round is not held: the merge is synced, and a region that ends has no votes.
//!
//! *Limits*: what is held is at most what two rounds commit ([`crate::Config::committed_bytes_per_ready_max`] each).
//!
//! *Source*: Raft thesis §4.1 (members are those of the latest change); raft-rs, `Raft::hup`.
//!
//! *Scenario*: `consensus/tests/scripts/members`.
//!
//! *Next stop*: [`crate::storage`].

use super::{MEMBERS_ENTRY, Node};
use yadkv_proto::yadkvpb::LogEntry;

impl Node {
    /// Takes entries that were committed; gives back what may be applied now.
    pub(super) fn hold(&mut self, committed: Vec<LogEntry>) -> Vec<LogEntry> {
        let mut free = match self.held.is_empty() {
            true => committed,
            false => std::mem::take(&mut self.held)
                .into_iter()
                .chain(committed)
                .collect(),
        };
        let durable = self.raw.store().hard_state().commit;
        let waits = |entry: &LogEntry| entry.kind == MEMBERS_ENTRY && entry.index > durable.0;
        if let Some(first) = free.iter().position(waits) {
            self.held = free.split_off(first);
        }
        free
    }

    /// Whether the commit position has to become durable for somebody.
    pub(super) fn holds_back(&self) -> bool {
        !self.held.is_empty()
    }
}
