//! Every query of every panel and rule can be read, and asks for what is there.
#![allow(clippy::unwrap_used, missing_docs)]

use yadkv_monitoring::catalogue::descriptions;
use yadkv_monitoring::expression::{Known, Mistake, without_variables};
use yadkv_monitoring::{dashboards, rules};

/// Every query, with where it is.
fn queries() -> Vec<(String, String)> {
    let mut all = Vec::new();
    for dashboard in dashboards::all() {
        for panel in &dashboard.panels {
            for query in &panel.targets {
                let place = format!("{}: {}", dashboard.uid, panel.title);
                all.push((place, without_variables(&query.expr, "1m")));
            }
        }
    }
    for alert in rules::groups().iter().flat_map(|group| &group.alerts) {
        all.push((alert.full_name(), alert.expr.into()));
    }
    all
}

#[test]
fn every_query_asks_for_what_is_there() {
    let known = Known::new(&descriptions().unwrap());
    for (place, query) in queries() {
        assert_eq!(known.judge(&query), Ok(()), "{place}");
    }
}

/// Whatever is renamed, the queries that ask for it are found.
#[test]
fn a_renamed_metric_is_seen() {
    let mut descriptions = descriptions().unwrap();
    let renamed =
        |one: &&mut yadkv_metrics::Description| one.name == "yadkv_store_raft_log_sync_seconds";
    let one = descriptions.iter_mut().find(renamed).unwrap();
    one.name = "yadkv_store_log_sync_seconds".into();
    let known = Known::new(&descriptions);
    let found: Vec<_> = queries()
        .into_iter()
        .filter_map(|(place, query)| Some((place, known.judge(&query).err()?)))
        .collect();
    let places = [
        "yadkv-store: Is the disk slow?",
        "yadkv-hot-path: Which step",
        "YadkvSlowDisk",
    ];
    for place in places {
        let mut found = found.iter();
        let found = found.find(|(other, _)| other.starts_with(place));
        let Some((_, Mistake::Metric { name, .. })) = found else {
            panic!("{place}: {found:?}");
        };
        assert!(
            name.starts_with("yadkv_store_raft_log_sync_seconds"),
            "{name}"
        );
    }
}
