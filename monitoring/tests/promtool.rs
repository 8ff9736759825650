//! Prometheus' own tool reads the rules and the configuration, and runs the unit tests of the rules.
#![allow(clippy::unwrap_used, missing_docs)]

use serde_json::Value;
use std::collections::BTreeMap;
use std::process::Command;
use yadkv_monitoring::{root, rules};

const TESTS: &str = "deploy/prometheus/rules_test.yml";

/// What it says; whether it agrees.
fn promtool(arguments: &[&str]) -> (bool, String) {
    let output = Command::new("promtool")
        .args(arguments)
        .current_dir(root())
        .output();
    let output = output.unwrap_or_else(|error| {
        panic!("promtool: {error}: apt-get install prometheus (`make setup` does it)")
    });
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

#[test]
fn rules_and_configuration_are_sound() {
    let (fine, said) = promtool(&["check", "rules", rules::PATH]);
    let count: usize = rules::groups().iter().map(|group| group.alerts.len()).sum();
    assert!(
        fine && said.contains(&format!("{count} rules found")),
        "{said}"
    );
    let (fine, said) = promtool(&["check", "config", "deploy/prometheus/prometheus.yml"]);
    assert!(fine && said.contains("1 rule files found"), "{said}");
}

#[test]
fn alerts_fire_when_they_should() {
    let (fine, said) = promtool(&["test", "rules", TESTS]);
    assert!(fine, "{said}");
}

/// A test that asks for nothing would be fine with everything.
#[test]
fn every_alert_is_seen_to_fire_and_not_to_fire() {
    let text = std::fs::read_to_string(root().join(TESTS)).unwrap();
    let tests: Value = serde_saphyr::from_str(&text).unwrap();
    let mut seen: BTreeMap<String, [bool; 2]> = BTreeMap::new();
    let stories = tests["tests"].as_array().unwrap().iter();
    for check in stories.flat_map(|story| story["promql_expr_test"].as_array().unwrap()) {
        let expr = check["expr"].as_str().unwrap();
        let name = expr.split('"').nth(1).unwrap().to_owned();
        let fires = !check["exp_samples"].as_array().unwrap().is_empty();
        seen.entry(name).or_default()[usize::from(fires)] = true;
    }
    for alert in rules::groups().iter().flat_map(|group| &group.alerts) {
        let name = alert.full_name();
        assert_eq!(
            seen.remove(&name),
            Some([true, true]),
            "{name}: not firing, firing"
        );
    }
    assert!(seen.is_empty(), "tests of alerts that are gone: {seen:?}");
}
