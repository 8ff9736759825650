//! Which crate may use which: dependencies point down the list, never up and never sideways.
//!
//! *Next stop*: [`super::guide`]; `ARCHITECTURE.md` explains the order.

use std::path::Path;
use toml::{Table, Value};

/// Each crate with the crates of this workspace that it may use (development dependencies included, but for
/// the integration crate, which stands above all).
const MAY_USE: &[(&str, &str, &[&str])] = &[
    ("metrics", "yadkv-metrics", &[]),
    ("proto", "yadkv-proto", &[]),
    ("settings", "yadkv-settings", &[]),
    ("tls", "yadkv-tls", &[]),
    ("engine", "yadkv-engine", &[]),
    (
        "consensus",
        "yadkv-consensus",
        &["yadkv-engine", "yadkv-proto"],
    ),
    (
        "storage-node/core",
        "yadkv-storage-core",
        &["yadkv-consensus", "yadkv-engine", "yadkv-proto"],
    ),
    (
        "storage-node/server",
        "yadkv-storage-node",
        &[
            "yadkv-consensus",
            "yadkv-engine",
            "yadkv-metrics",
            "yadkv-proto",
            "yadkv-settings",
            "yadkv-storage-core",
            "yadkv-tls",
        ],
    ),
    (
        "placement-driver/core",
        "yadkv-placement-core",
        &["yadkv-consensus", "yadkv-engine", "yadkv-proto"],
    ),
    (
        "placement-driver/server",
        "yadkv-placement-driver",
        &[
            "yadkv-consensus",
            "yadkv-engine",
            "yadkv-metrics",
            "yadkv-placement-core",
            "yadkv-proto",
            "yadkv-settings",
            "yadkv-tls",
        ],
    ),
    (
        "client",
        "yadkv-client",
        &["yadkv-metrics", "yadkv-proto", "yadkv-tls"],
    ),
    (
        "monitoring",
        "yadkv-monitoring",
        &[
            "yadkv-client",
            "yadkv-metrics",
            "yadkv-placement-driver",
            "yadkv-storage-node",
        ],
    ),
    (
        "simulation",
        "yadkv-simulation",
        &[
            "yadkv-client",
            "yadkv-consensus",
            "yadkv-engine",
            "yadkv-placement-core",
            "yadkv-proto",
            "yadkv-storage-core",
        ],
    ),
    (
        "benches",
        "yadkv-benches",
        &[
            "yadkv-client",
            "yadkv-consensus",
            "yadkv-engine",
            "yadkv-proto",
        ],
    ),
    (
        "cli",
        "yadkv",
        &[
            "yadkv-benches",
            "yadkv-client",
            "yadkv-placement-driver",
            "yadkv-proto",
            "yadkv-settings",
            "yadkv-storage-node",
            "yadkv-tls",
        ],
    ),
    ("tests/clock", "yadkv-test-clock", &[]),
    (
        "tests",
        "yadkv-tests",
        &[
            "yadkv",
            "yadkv-client",
            "yadkv-engine",
            "yadkv-metrics",
            "yadkv-monitoring",
            "yadkv-proto",
            "yadkv-simulation",
            "yadkv-storage-core",
            "yadkv-tls",
            "yadkv-tls",
        ],
    ),
];

pub(super) fn check(root: &Path, complaints: &mut Vec<String>) {
    for (folder, name, allowed) in MAY_USE {
        let path = root.join(folder).join("Cargo.toml");
        let Ok(text) = std::fs::read_to_string(&path) else {
            continue;
        };
        let manifest: Table = match text.parse() {
            Ok(manifest) => manifest,
            Err(error) => {
                complaints.push(format!("{}: {error}", path.display()));
                continue;
            }
        };
        for used in dependencies(&manifest) {
            let ours = used == "yadkv" || used.starts_with("yadkv-");
            if ours && used != *name && !allowed.contains(&used.as_str()) {
                complaints.push(format!("{folder}/Cargo.toml: {name} may not use {used}"));
            }
        }
    }
}

fn dependencies(manifest: &Table) -> Vec<String> {
    let sections = ["dependencies", "dev-dependencies", "build-dependencies"];
    let tables = sections
        .iter()
        .filter_map(|section| manifest.get(*section).and_then(Value::as_table));
    tables.flat_map(|table| table.keys().cloned()).collect()
}
