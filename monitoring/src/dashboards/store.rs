//! What a store is short of.
//!
//! *Next stop*: [`super::placement_driver`].

use super::{chosen, quantile, rate};
use crate::grafana::{Dashboard, Panel, Unit};

const CHOSEN: &str = "instance=~\"$instance\"";

/// The dashboard.
pub fn dashboard() -> Dashboard {
    let mut panels = disk();
    panels.extend(work());
    panels.extend(replicas());
    Dashboard::new(
        "yadkv-store",
        "yadkv: what is a store short of?",
        "Disk, memory and threads of the chosen stores, and how their replicas are.",
        Some("yadkv_store_peers"),
        panels,
    )
}

fn disk() -> Vec<Panel> {
    let share = "instance, budget";
    vec![
        Panel::series(
            "Is the disk slow?",
            "Time until the disk has a batch of log entries (fsync). Every write waits for it; on a good disk it is a few \
             milliseconds at most.",
            Unit::Seconds,
        )
        .ask(
            "{{instance}}: 99 % at most",
            quantile(0.99, "yadkv_store_raft_log_sync_seconds", CHOSEN, "instance"),
        )
        .ask(
            "{{instance}}: half at most",
            quantile(0.5, "yadkv_store_raft_log_sync_seconds", CHOSEN, "instance"),
        ),
        Panel::series(
            "What is written to the disk?",
            "Logs, flushes of memtables, and compactions: a byte of a client is written by all three.",
            Unit::BytesPerSecond,
        )
        .ask(
            "{{instance}}: log",
            rate("yadkv_store_raft_log_written_bytes_total", "instance"),
        )
        .ask(
            "{{instance}}: {{by}}",
            rate("yadkv_store_engine_written_bytes_total", "instance, by"),
        ),
        Panel::series(
            "What takes the disk?",
            "Data and logs of the store, and what is free on the disk.",
            Unit::Bytes,
        )
        .ask("{{instance}}: {{engine}}", chosen("yadkv_store_disk_bytes"))
        .ask("{{instance}}: free", chosen("yadkv_store_disk_free_bytes")),
        Panel::series(
            "Which memory budget is used up?",
            "1 is all of a budget of store.memory. block_cache, row_cache and log_entries are caches, full on a store that \
             works. Any other that stays at 1 refuses requests or drops messages.",
            Unit::Share,
        )
        .ask(
            "{{instance}}: {{budget}}",
            format!(
                "max by ({share}) ({} / {})",
                chosen("yadkv_store_memory_bytes"),
                chosen("yadkv_store_memory_limit_bytes")
            ),
        ),
    ]
}

fn work() -> Vec<Panel> {
    vec![
        Panel::series(
            "Is a thread at its limit?",
            "Share of the time that each worker, and apply, had work; at 1 it is the limit of the store: more workers \
             (store.workers), or another store.",
            Unit::Share,
        )
        .ask(
            "{{instance}}: worker {{worker}}",
            rate("yadkv_store_worker_busy_seconds_total", "instance, worker"),
        )
        .ask(
            "{{instance}}: apply",
            rate("yadkv_store_apply_seconds_sum", "instance"),
        ),
        Panel::series(
            "Does apply keep up?",
            "Regions with committed entries that wait. Those with entries left in the log are so far behind that they are read \
             from there again.",
            Unit::Number,
        )
        .ask(
            "{{instance}}: waiting",
            chosen("yadkv_store_apply_queue_regions"),
        )
        .ask(
            "{{instance}}: left in the log",
            chosen("yadkv_store_apply_queue_left_regions"),
        ),
        Panel::series(
            "Does RocksDB hold writes up?",
            "Share of the time that it did. Files of level 0, which every read searches, tell of it before.",
            Unit::Share,
        )
        .ask(
            "{{instance}}: held up",
            rate("yadkv_store_engine_stall_seconds_total", "instance"),
        )
        .ask(
            "{{instance}}: stopped",
            chosen("yadkv_store_engine_writes_stopped"),
        ),
        Panel::series(
            "Do reads find in memory what they need?",
            "Share of the gets that found their row in the row cache, and of the blocks that all other reads needed and \
             found in the block cache; nothing while nobody reads.",
            Unit::Share,
        )
        .ask(
            "{{instance}}: rows",
            format!(
                "sum by (instance) (rate(yadkv_store_engine_row_lookups_total{{result=\"hit\", {CHOSEN}}}[$__rate_interval])) / {}",
                rate("yadkv_store_engine_row_lookups_total", "instance")
            ),
        )
        .ask(
            "{{instance}}: blocks",
            format!(
                "sum by (instance) (rate(yadkv_store_engine_block_reads_total{{from=\"cache\", {CHOSEN}}}[$__rate_interval])) / {}",
                rate("yadkv_store_engine_block_reads_total", "instance")
            ),
        ),
    ]
}

fn replicas() -> Vec<Panel> {
    vec![
        Panel::series(
            "Do followers lose their leaders?",
            "Campaigns, and leaders that came of them. Both rise when a store goes, and are nearly 0 otherwise.",
            Unit::PerSecond,
        )
        .ask(
            "{{instance}}: campaigns",
            rate("yadkv_store_raft_elections_total", "instance"),
        )
        .ask(
            "{{instance}}: new leaders",
            rate("yadkv_store_raft_leader_changes_total", "instance"),
        ),
        Panel::series(
            "Are messages dropped?",
            "By reason. Those about room tell of a store, or a network, that is too slow; those about members and regions come \
             with every change and go.",
            Unit::PerSecond,
        )
        .ask(
            "{{instance}}: {{reason}}",
            rate("yadkv_store_raft_dropped_messages_total", "instance, reason"),
        ),
        Panel::series(
            "Do replicas move?",
            "Snapshots that are sent, received and installed now. Many for long: moves wait for network or disk.",
            Unit::Number,
        )
        .ask("{{instance}}: {{kind}}", chosen("yadkv_store_snapshots")),
        Panel::stat(
            "Is the data sound?",
            "Files with damaged bytes, replicas that apply no more because of them, and comparisons that found replicas \
             that differ, since the start of the process.",
            Unit::Number,
        )
        .red_from(1.0)
        .ask(
            "damaged files",
            format!("sum({})", chosen("yadkv_store_damaged_files")),
        )
        .ask(
            "halted replicas",
            format!("sum(yadkv_store_peers{{role=\"halted\", {CHOSEN}}})"),
        )
        .ask(
            "different replicas",
            format!("sum(yadkv_store_region_checks_total{{found=\"different\", {CHOSEN}}})"),
        ),
    ]
}
