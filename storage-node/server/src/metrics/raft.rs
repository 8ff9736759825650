//! Logs and elections, and the threads that drive them.
//!
//! *Place*: [`crate::threads::worker`] and [`crate::transport`] count.
//!
//! *Next stop*: [`super::apply`].

use std::time::Duration;
use yadkv_metrics::{
    Counter, CounterVec, Error, Histogram, IntCounter, IntCounterVec, IntGaugeVec, Meters, about,
    level,
};
use yadkv_storage_core::peer::inspect::Waiting;
use yadkv_storage_core::tally::Tally;

/// Why a message is dropped: its worker has too many before it.
pub const WORKER_IS_BEHIND: &str = "no room before the worker";
/// Why a message is dropped: the store that it goes to has too many bytes before it.
pub const TOO_MANY_BYTES: &str = "too many bytes wait for the store";
/// Why a message is dropped: the store that it goes to has too many messages before it.
pub const TOO_MANY_MESSAGES: &str = "too many messages wait for the store";

/// Counters of the Raft logs. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Raft {
    /// Writing one batch into the log's file.
    pub write_seconds: Histogram,
    /// Waiting until the disk has it.
    pub sync_seconds: Histogram,
    /// Bytes of the batches.
    pub written_bytes: IntCounter,
    /// Regions of one batch.
    pub batch_regions: Histogram,
    /// Messages that were dropped.
    pub dropped_messages: IntCounterVec,
    proposals: IntCounter,
    commands: IntCounter,
    committed: IntCounter,
    commit_seconds: Histogram,
    elections: IntCounter,
    leaders: IntCounter,
    waiting: IntGaugeVec,
    busy: CounterVec,
}

impl Raft {
    pub(super) fn new(meters: &Meters) -> Result<Self, Error> {
        let (write_seconds, sync_seconds) = writes(meters)?;
        let (proposals, commands, committed, commit_seconds) = proposals(meters)?;
        let waiting = about(
            "raft_waiting_requests",
            "Requests that wait in their region: writes to be proposed, entries to be committed, reads to be confirmed, \
             requests parked until there is a leader.",
            "Where do requests wait?",
        );
        let busy = about(
            "worker_busy_seconds_total",
            "Time that a worker thread did not wait for work, by its number.",
            "Is a worker at its limit?",
        );
        let dropped = about(
            "raft_dropped_messages_total",
            "Raft messages that were dropped, by reason.",
            "Does a peer talk to the wrong store, or is there no room for messages?",
        );
        let batch = about(
            "raft_batch_regions",
            "Regions whose entries went to the log in one write.",
            "Are the writes of many regions packed together?",
        );
        let bytes = about(
            "raft_log_written_bytes_total",
            "Bytes written to the Raft logs.",
            "How much does the log's disk have to take?",
        );
        let elections = about(
            "raft_elections_total",
            "Times that a replica here missed its leader and asked whether it would be elected.",
            "Do followers lose their leaders?",
        );
        let leaders = about(
            "raft_leader_changes_total",
            "Times that a replica here became leader.",
            "Does leadership move about?",
        );
        let dropped_messages = meters.counters(dropped, "reason")?;
        // What an alert looks at is there from the start; replicas have more reasons.
        for reason in [WORKER_IS_BEHIND, TOO_MANY_BYTES, TOO_MANY_MESSAGES] {
            dropped_messages.with_label_values(&[reason]);
        }
        Ok(Self {
            write_seconds,
            sync_seconds,
            written_bytes: meters.counter(bytes)?,
            batch_regions: meters.amounts(batch)?,
            dropped_messages,
            proposals,
            commands,
            committed,
            commit_seconds,
            elections: meters.counter(elections)?,
            leaders: meters.counter(leaders)?,
            waiting: meters.gauges(waiting, "where")?,
            busy: meters.seconds_by(busy, "worker")?,
        })
    }

    /// Adds what replicas have done.
    pub fn count(&self, tally: &Tally) {
        self.proposals.inc_by(tally.proposals);
        self.commands.inc_by(tally.commands);
        self.committed.inc_by(tally.committed);
        self.elections.inc_by(tally.elections);
        self.leaders.inc_by(tally.leaders);
        let times = tally.commit_times.iter().map(Duration::as_secs_f64);
        times.for_each(|time| self.commit_seconds.observe(time));
    }

    /// The clock of a worker's busy time.
    pub fn busy(&self, worker: u64) -> Counter {
        self.busy.with_label_values(&[worker.to_string()])
    }

    /// Shows who waits in the regions of a worker; `before` is what it showed the last time.
    pub fn show_waiting(&self, now: Waiting, before: Waiting) {
        let change = |place, now: usize, before: usize| {
            let gauge = self.waiting.with_label_values(&[place]);
            gauge.add(level(now) - level(before));
        };
        change("queued", now.queued, before.queued);
        change("proposed", now.proposed, before.proposed);
        change("reads", now.reads, before.reads);
        change("parked", now.parked, before.parked);
    }
}

fn writes(meters: &Meters) -> Result<(Histogram, Histogram), Error> {
    let write = about(
        "raft_log_write_seconds",
        "Time to write a batch of entries into the log's file.",
        "Does the log's file take its writes quickly?",
    );
    let sync = about(
        "raft_log_sync_seconds",
        "Time until the disk has a batch of entries (fsync).",
        "Is the disk slow?",
    );
    Ok((meters.times(write)?, meters.times(sync)?))
}

type Proposals = (IntCounter, IntCounter, IntCounter, Histogram);

fn proposals(meters: &Meters) -> Result<Proposals, Error> {
    let proposals = about(
        "raft_proposals_total",
        "Entries with commands that leaders here have proposed.",
        "How much goes through Raft?",
    );
    let commands = about(
        "raft_proposed_commands_total",
        "Commands of clients in them.",
        "Are commands of many clients packed into few entries?",
    );
    let committed = about(
        "raft_committed_entries_total",
        "Entries of replicas here that are known to be committed.",
        "Does Raft go on?",
    );
    let seconds = about(
        "raft_commit_seconds",
        "Time from a proposal to its commit.",
        "Is replication slow?",
    );
    Ok((
        meters.counter(proposals)?,
        meters.counter(commands)?,
        meters.counter(committed)?,
        meters.times(seconds)?,
    ))
}
