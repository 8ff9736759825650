//! The files that are made here are checked in as they are made, and dashboards can be read.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeSet;
use yadkv_monitoring::dashboards::{self, PANELS_MAX};
use yadkv_monitoring::grafana::{Panel, WIDTH};
use yadkv_monitoring::{files, root};

#[test]
fn what_is_checked_in_is_what_would_be_made() {
    for file in files().unwrap() {
        let there = std::fs::read_to_string(root().join(&file.path)).unwrap_or_default();
        assert!(
            there == file.text,
            "{} is not up to date: run `cargo run -p yadkv-monitoring`, and commit what it writes",
            file.path
        );
    }
    let made: BTreeSet<String> = files().unwrap().into_iter().map(|file| file.path).collect();
    for entry in std::fs::read_dir(root().join(dashboards::FOLDER)).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let path = format!("{}/{name}", dashboards::FOLDER);
        assert!(made.contains(&path), "nobody makes {path}: remove it");
    }
}

/// What is wrong with the panels of a dashboard.
fn complaints(panels: &[Panel]) -> Vec<String> {
    let mut found = Vec::new();
    let mut titles = BTreeSet::new();
    for (number, panel) in panels.iter().enumerate() {
        let (title, place) = (panel.title, panel.grid_pos);
        if !title.ends_with('?') || !titles.insert(title) {
            found.push(format!("{title}: is no question of its own"));
        }
        if panel.description.is_empty() || panel.targets.is_empty() {
            found.push(format!("{title}: is not explained, or not answered"));
        }
        if place.x + place.w > WIDTH || place.w == 0 || place.h == 0 {
            found.push(format!("{title}: is outside"));
        }
        for other in &panels[..number] {
            let over = other.grid_pos;
            let beside = place.x + place.w <= over.x || over.x + over.w <= place.x;
            let below = place.y + place.h <= over.y || over.y + over.h <= place.y;
            if !beside && !below {
                found.push(format!("{title}: lies over {}", other.title));
            }
        }
    }
    found
}

#[test]
fn panels_are_few_ask_and_do_not_overlap() {
    for dashboard in dashboards::all() {
        let count = dashboard.panels.len();
        assert!(
            (6..=PANELS_MAX).contains(&count),
            "{}: {count}",
            dashboard.uid
        );
        assert_eq!(complaints(&dashboard.panels), [""; 0], "{}", dashboard.uid);
    }
    let mut panels = dashboards::overview::dashboard().panels;
    panels[1].title = "Leaders";
    panels[2].grid_pos.x -= 1;
    panels[3].grid_pos.x = WIDTH;
    let found = complaints(&panels).join("\n");
    for sign in ["no question", "lies over", "outside"] {
        assert!(found.contains(sign), "{sign}: {found}");
    }
}
