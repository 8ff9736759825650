//! Where the time of a request goes, from its arrival to its answer, in the order in which it goes there.
//!
//! *Next stop*: [`crate::rules`].

use super::overview::SINGLE_KEY;
use super::{chosen, mean, quantile, rate};
use crate::grafana::{Dashboard, Panel, Unit};

const CHOSEN: &str = "instance=~\"$instance\"";

/// The dashboard.
pub fn dashboard() -> Dashboard {
    let mut panels = seen_from_outside();
    panels.extend(writes());
    panels.extend(threads());
    Dashboard::new(
        "yadkv-hot-path",
        "yadkv: where does the time of a request go?",
        "A put waits for its region, its log's disk, a second store, and apply; a get for none of them while the leader's \
         lease holds.",
        Some("yadkv_store_peers"),
        panels,
    )
}

fn seen_from_outside() -> Vec<Panel> {
    vec![
        Panel::series(
            "What does the application wait for?",
            "Calls of applications that measure them (ClientMetrics) with all their attempts: 99 % take at most this long.",
            Unit::Seconds,
        )
        .ask(
            "{{call}}",
            quantile(0.99, "yadkv_client_call_seconds", "", "call"),
        ),
        Panel::heatmap(
            "How long do requests for one key take?",
            "From arrival at the store to the answer. Two bands: reads under the lease below, writes above.",
            Unit::Seconds,
        )
        .ask(
            "{{le}}",
            format!(
                "sum by (le) (rate(yadkv_store_request_seconds_bucket{{{SINGLE_KEY}, {CHOSEN}}}[$__rate_interval]))"
            ),
        ),
        Panel::series(
            "Are reads served without asking other stores?",
            "Under the lease: no message, no disk but for the data. The others wait for a majority.",
            Unit::PerSecond,
        )
        .ask(
            "under the lease",
            format!("sum(rate({}[$__rate_interval]))", chosen("yadkv_store_lease_reads_total")),
        )
        .ask(
            "confirmed by a majority",
            format!("sum(rate({}[$__rate_interval]))", chosen("yadkv_store_index_reads_total")),
        ),
        Panel::series(
            "Where do requests wait?",
            "queued: for earlier writes of the region; proposed: for a majority; reads: to be confirmed; parked: for a leader.",
            Unit::Number,
        )
        .ask(
            "{{where}}",
            format!(
                "sum by (where) ({})",
                chosen("yadkv_store_raft_waiting_requests")
            ),
        ),
    ]
}

fn writes() -> Vec<Panel> {
    vec![
        Panel::series(
            "Which step of a write takes long?",
            "99 % of each step take at most this long. A write waits for the log twice at most, here and on another store, \
             within the time from proposal to commit.",
            Unit::Seconds,
        )
        .ask(
            "log: write",
            quantile(0.99, "yadkv_store_raft_log_write_seconds", CHOSEN, ""),
        )
        .ask(
            "log: sync",
            quantile(0.99, "yadkv_store_raft_log_sync_seconds", CHOSEN, ""),
        )
        .ask(
            "from proposal to commit",
            quantile(0.99, "yadkv_store_raft_commit_seconds", CHOSEN, ""),
        )
        .ask(
            "apply",
            quantile(0.99, "yadkv_store_apply_seconds", CHOSEN, ""),
        ),
        Panel::series(
            "Are commands packed into few entries?",
            "Commands of an entry, on average. It rises with the load; at 1 every command pays for its own entry.",
            Unit::Number,
        )
        .ask(
            "{{instance}}",
            format!(
                "{} / {}",
                rate("yadkv_store_raft_proposed_commands_total", "instance"),
                rate("yadkv_store_raft_proposals_total", "instance")
            ),
        ),
        Panel::series(
            "Are the writes of many regions packed together?",
            "Regions whose entries share one write and one fsync, on average.",
            Unit::Number,
        )
        .ask("{{instance}}", mean("yadkv_store_raft_batch_regions")),
        Panel::series(
            "How much is applied?",
            "Entries and pairs a second, on all replicas together.",
            Unit::PerSecond,
        )
        .ask(
            "{{instance}}: entries",
            rate("yadkv_store_apply_entries_total", "instance"),
        )
        .ask(
            "{{instance}}: pairs",
            rate("yadkv_store_apply_keys_total", "instance"),
        ),
    ]
}

fn threads() -> Vec<Panel> {
    vec![
        Panel::series(
            "Which threads are too few?",
            "What waits for a worker, for a thread that reads from the disk, and for a thread of the connections.",
            Unit::Number,
        )
        .ask("{{instance}}: {{queue}}", chosen("yadkv_store_queue_length"))
        .ask(
            "{{instance}}: connections",
            chosen("yadkv_store_runtime_queue_length"),
        ),
        Panel::series(
            "How many processors do the stores take?",
            "All of the process, and the part of it that connections take.",
            Unit::Number,
        )
        .ask(
            "{{instance}}",
            "sum by (instance) (rate(process_cpu_seconds_total{job=\"yadkv-store\", instance=~\"$instance\"}[$__rate_interval]))",
        )
        .ask(
            "{{instance}}: connections",
            rate("yadkv_store_runtime_busy_seconds_total", "instance"),
        ),
    ]
}
