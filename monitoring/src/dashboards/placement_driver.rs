//! Whether the placement drivers can be relied on.
//!
//! *Next stop*: [`super::hot_path`].

use super::{chosen, mean, quantile, rate};
use crate::grafana::{Dashboard, Panel, Unit};

const CHOSEN: &str = "instance=~\"$instance\"";

/// The dashboard.
pub fn dashboard() -> Dashboard {
    let mut panels = members();
    panels.extend(calls());
    Dashboard::new(
        "yadkv-pd",
        "yadkv: can the placement drivers be relied on?",
        "The members, their log and who asks them for what. What they know of the cluster is on the overview.",
        Some("yadkv_pd_leads"),
        panels,
    )
}

fn members() -> Vec<Panel> {
    vec![
        Panel::series(
            "Who leads?",
            "1 for the member in office. It should be the same one for days.",
            Unit::Number,
        )
        .ask("{{instance}}", chosen("yadkv_pd_leads")),
        Panel::series(
            "Is the leader lost again and again?",
            "Times that each member learned of another leader or term, in an hour. More than a few without a restart: a slow \
             disk, or a network that loses messages.",
            Unit::Number,
        )
        .ask(
            "{{instance}}",
            format!(
                "sum by (instance) (increase(yadkv_pd_leader_changes_total{{{CHOSEN}}}[1h]))"
            ),
        ),
        Panel::series(
            "Is the disk slow?",
            "Time to write a batch of log entries, with its fsync. Timestamps and every change wait for it.",
            Unit::Seconds,
        )
        .ask(
            "{{instance}}: 99 % at most",
            quantile(0.99, "yadkv_pd_log_write_seconds", CHOSEN, "instance"),
        )
        .ask(
            "{{instance}}: half at most",
            quantile(0.5, "yadkv_pd_log_write_seconds", CHOSEN, "instance"),
        ),
        Panel::series(
            "Does a member know less than the others?",
            "Regions in each member's map. One that is behind for long lacks the network or the disk to follow.",
            Unit::Number,
        )
        .ask("{{instance}}", chosen("yadkv_pd_map_regions")),
        Panel::series(
            "Does a member need the whole state?",
            "Transfers of it, by outcome: after a long absence one is sent and installed; any that fail leave a member behind.",
            Unit::PerSecond,
        )
        .ask(
            "{{instance}}: {{outcome}}",
            rate("yadkv_pd_state_transfers_total", "instance, outcome"),
        ),
        Panel::series(
            "Are messages between members dropped?",
            "By reason: inbox_full is a member that does not keep up, queue_full one that cannot be reached.",
            Unit::PerSecond,
        )
        .ask(
            "{{instance}}: {{reason}}",
            rate("yadkv_pd_raft_dropped_messages_total", "instance, reason"),
        ),
    ]
}

fn calls() -> Vec<Panel> {
    vec![
        Panel::series(
            "Who asks for what?",
            "Calls a second. Heartbeats come from stores, the others from clients; many look-ups of regions are clients that \
             start, or routes that are stale.",
            Unit::PerSecond,
        )
        .ask("{{call}}", rate("yadkv_pd_request_seconds_count", "call")),
        Panel::series(
            "Is it slow, and at what?",
            "99 % of the calls take at most this long.",
            Unit::Seconds,
        )
        .ask(
            "{{call}}",
            quantile(0.99, "yadkv_pd_request_seconds", CHOSEN, "call"),
        ),
        Panel::series(
            "Do calls wait?",
            "Calls that wait for a lease, a timestamp or a leader. They are answered or refused within seconds: a number that \
             stays means that there is no leader.",
            Unit::Number,
        )
        .ask("{{instance}}", chosen("yadkv_pd_waiting_calls")),
        Panel::series(
            "Do callers go to the wrong member?",
            "Calls that were passed on to the leader, and calls that nobody served.",
            Unit::PerSecond,
        )
        .ask(
            "{{instance}}: passed on",
            rate("yadkv_pd_forwarded_total", "instance"),
        )
        .ask(
            "{{instance}}: not served",
            rate("yadkv_pd_refused_total", "instance"),
        ),
        Panel::series(
            "Do clients ask for timestamps in batches?",
            "Timestamps of a question, on average; nothing while nobody asks.",
            Unit::Number,
        )
        .ask("{{instance}}", mean("yadkv_pd_tso_batch")),
        Panel::series(
            "Do stores do what they are told?",
            "Operators that ended, by how. timeout: a store did not do its part in time; cancel: the region has changed \
             meanwhile.",
            Unit::PerSecond,
        )
        .ask(
            "{{status}}",
            rate("yadkv_pd_operators_ended_total", "status"),
        ),
    ]
}
