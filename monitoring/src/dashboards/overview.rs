//! Whether the cluster is well, on one screen.
//!
//! *Next stop*: [`super::store`].

use super::quantile;
use crate::grafana::{Dashboard, Panel, Unit};

/// Calls for one key: what is measured of them does not depend on how much was asked for.
pub const SINGLE_KEY: &str = "call=~\"RawGet|RawPut|RawDelete|RawGetKeyTtl|RawCompareAndSwap\"";

/// The dashboard.
pub fn dashboard() -> Dashboard {
    let mut panels = states();
    panels.extend(requests());
    panels.extend(balance());
    Dashboard::new(
        "yadkv-overview",
        "yadkv: is the cluster well?",
        "The whole cluster. The first row is green when nobody has to do anything.",
        None,
        panels,
    )
}

fn states() -> Vec<Panel> {
    vec![
        Panel::stat(
            "Does a server not answer?",
            "Servers that Prometheus asked without an answer. Which ones: the page Targets of Prometheus.",
            Unit::Number,
        )
        .red_from(1.0)
        .ask("silent servers", "sum(1 - up{job=~\"yadkv-(pd|store)\"})"),
        Panel::stat(
            "Is there one leader of the placement drivers?",
            "1 is right. With 0 nothing is mended, no region is found anew and no timestamp is given; see the dashboard of \
             the placement drivers.",
            Unit::Number,
        )
        .green_at(1)
        .ask("leaders", "sum(yadkv_pd_leads)"),
        Panel::stat(
            "Is data unavailable?",
            "Regions that nobody leads, as far as the placement driver knows. `yadkv ctl region --state no-leader` lists them.",
            Unit::Number,
        )
        .red_from(1.0)
        .ask(
            "regions without leader",
            "max(yadkv_pd_regions{state=\"without_leader\"})",
        ),
        Panel::stat(
            "Is a store gone?",
            "Stores that the placement driver does not hear: Disconnected for a while, Down for so long that their replicas \
             are made anew elsewhere. `yadkv ctl store` shows them.",
            Unit::Number,
        )
        .red_from(1.0)
        .ask(
            "{{state}}",
            "max by (state) (yadkv_pd_stores{state=~\"Disconnected|Down\"})",
        ),
        Panel::series(
            "Is data one failure away from being unavailable?",
            "Regions with a peer that is down, that lags, or that is missing. A few that lag for seconds are no trouble; any \
             that stay are.",
            Unit::Number,
        )
        .ask(
            "{{state}}",
            "max by (state) (yadkv_pd_regions{state=~\"with_.*\"})",
        ),
        Panel::table(
            "Which alerts fire?",
            "Each has a page in the guide, Operating, that says what to do. Nothing is shown when all is well.",
        )
        .ask(
            "",
            "sum by (alertname, severity, instance) (ALERTS{alertname=~\"Yadkv.*\", alertstate=\"firing\"})",
        ),
    ]
}

fn requests() -> Vec<Panel> {
    vec![
        Panel::series(
            "What are the stores asked for?",
            "Requests a second by call. Calls that nobody makes are left out.",
            Unit::PerSecond,
        )
        .ask(
            "{{call}}",
            "sum by (call) (rate(yadkv_store_request_seconds_count[$__rate_interval])) > 0",
        ),
        Panel::series(
            "How long do clients wait for a key?",
            "From a request's arrival at a store to its answer, of calls for one key; the network is not in it. Where the time \
             goes: the dashboard of the hot path.",
            Unit::Seconds,
        )
        .ask(
            "half of them, at most",
            quantile(0.5, "yadkv_store_request_seconds", SINGLE_KEY, ""),
        )
        .ask(
            "99 % of them, at most",
            quantile(0.99, "yadkv_store_request_seconds", SINGLE_KEY, ""),
        ),
        Panel::series(
            "Why are requests refused?",
            "not_leader, epoch_not_match and the like tell a client of a new route: they come with every change and go. \
             server_is_busy and disk_full stay until somebody does something.",
            Unit::PerSecond,
        )
        .ask(
            "{{kind}}",
            "sum by (kind) (rate(yadkv_store_request_errors_total[$__rate_interval]))",
        ),
    ]
}

fn balance() -> Vec<Panel> {
    vec![
        Panel::series(
            "Are leaders spread evenly?",
            "Regions that each store leads: it answers their requests. They are spread within minutes after a store has come \
             back.",
            Unit::Number,
        )
        .ask("store {{store}}", "max by (store) (yadkv_pd_store_leaders)"),
        Panel::series(
            "Is the cluster being mended or rebalanced?",
            "Operators that run: replicas that move, leaders that change. `yadkv ctl operator list` shows them.",
            Unit::Number,
        )
        .ask("running", "max(yadkv_pd_operators)"),
        Panel::series(
            "How full are the disks?",
            "Of the disk of each store's data. Writes are refused when less than 256 MiB are free.",
            Unit::Share,
        )
        .ask(
            "{{instance}}",
            "1 - yadkv_store_disk_free_bytes / yadkv_store_disk_size_bytes",
        ),
    ]
}
