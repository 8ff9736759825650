//! What the replicas of a store have done, for whoever counts it.
//!
//! *Place*: each [`crate::peer::Peer`] keeps one and gives it away with the effects of its round; the server adds it to its
//! meters, the simulation does not look.
//!
//! *Next stop*: the server's `metrics`.

use std::time::Duration;

/// What happened since the last one was given away.
#[derive(Debug, Default)]
pub struct Tally {
    /// Entries of commands that entered a leader's log.
    pub proposals: u64,
    /// Commands in them.
    pub commands: u64,
    /// Entries committed, whoever proposed them.
    pub committed: u64,
    /// How long proposals took from the log's end to their commit; those whose callers still waited.
    pub commit_times: Vec<Duration>,
    /// Times that a replica asked for votes.
    pub elections: u64,
    /// Times that a replica became leader.
    pub leaders: u64,
}

impl Tally {
    /// Adds another one.
    pub fn add(&mut self, other: Self) {
        self.proposals += other.proposals;
        self.commands += other.commands;
        self.committed += other.committed;
        self.elections += other.elections;
        self.leaders += other.leaders;
        match self.commit_times.is_empty() {
            true => self.commit_times = other.commit_times,
            false => self.commit_times.extend(other.commit_times),
        }
    }
}
