//! Every alert has a page that says what to do, every page an alert, and what the pages name is there.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::{BTreeMap, BTreeSet};
use yadkv_monitoring::rules::{self, Alert, RUNBOOKS, Severity};
use yadkv_monitoring::{dashboards, root};

const HEADINGS: [&str; 4] = [
    "## What it means",
    "## How to look",
    "## What to do",
    "## When it is over",
];

fn alerts() -> Vec<Alert> {
    let groups = rules::groups().into_iter();
    groups.flat_map(|group| group.alerts).collect()
}

/// Pages by name.
fn pages() -> BTreeMap<String, String> {
    let entries = std::fs::read_dir(root().join(RUNBOOKS)).unwrap();
    let page = |entry: std::io::Result<std::fs::DirEntry>| {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        (name, std::fs::read_to_string(&path).unwrap())
    };
    entries.map(page).collect()
}

/// Texts in a page between two marks, with a line's end as a space.
fn between(page: &str, mark: char) -> Vec<String> {
    let page = page.replace('\n', " ");
    let parts = page.split(mark).skip(1).step_by(2);
    parts
        .map(|part| part.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect()
}

#[test]
fn every_alert_has_a_page_and_every_page_an_alert() {
    let pages = pages();
    let named: BTreeSet<String> = alerts().iter().map(Alert::page).collect();
    let there: BTreeSet<String> = pages.keys().cloned().collect();
    assert_eq!(named, there, "alerts, and pages in {RUNBOOKS}");
    assert_eq!(named.len(), alerts().len(), "two alerts have one page");
    for alert in alerts() {
        let page = &pages[&alert.page()];
        let severity = match alert.severity {
            Severity::Critical => "critical",
            Severity::Warning => "warning",
        };
        let line = format!("\n`{}`, {severity}.\n", alert.full_name());
        assert!(page.contains(&line), "{}: lacks {line}", alert.page());
        let places: Vec<_> = HEADINGS.iter().map(|heading| page.find(heading)).collect();
        assert!(
            places.is_sorted() && places[0].is_some(),
            "{}: {places:?}",
            alert.page()
        );
    }
}

/// Names in italics are dashboards and panels; metrics are spelled as they are.
#[test]
fn pages_name_panels_and_metrics_that_there_are() {
    let mut names: BTreeSet<&str> = BTreeSet::new();
    let dashboards = dashboards::all();
    for dashboard in &dashboards {
        names.insert(dashboard.title);
        names.extend(dashboard.panels.iter().map(|panel| panel.title));
    }
    let metrics = yadkv_monitoring::catalogue::descriptions().unwrap();
    let metrics: BTreeSet<String> = metrics.into_iter().map(|one| one.name).collect();
    let mut found = 0;
    for (page, text) in pages() {
        let texts = between(&text, '*');
        for title in texts.iter().filter(|text| text.ends_with('?')) {
            assert!(
                names.contains(title.as_str()),
                "{page}: there is no {title}"
            );
            found += 1;
        }
        for code in between(&text, '`') {
            let is_metric = ["yadkv_store_", "yadkv_pd_", "process_"];
            let is_metric = is_metric.iter().any(|prefix| code.starts_with(prefix));
            assert!(
                !is_metric || metrics.contains(&code),
                "{page}: there is no {code}"
            );
        }
    }
    assert!(found >= 18, "{found} panels are named: some are not found");
}
