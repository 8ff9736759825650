//! The main job on real input: every package that Debian knows, imported, read back, scanned both ways.
//!
//! *Place*: the tests that load a cluster with data whose keys share long prefixes.
//!
//! *Next stop*: `tests/demo_data.rs`, `tests/split.rs`.

use std::collections::BTreeMap;
use std::process::Command;
use yadkv_client::RawClient;
use yadkv_client::raw::ScanOptions;

/// Fewest records that make the run worth its name.
const RECORDS_MIN: usize = 50_000;
/// Records written at a time.
const BATCH: usize = 512;

/// Values by key.
pub type Records = BTreeMap<Vec<u8>, Vec<u8>>;

/// One record a package: its name, and all its fields as Debian prints them.
pub fn packages() -> Records {
    let printed = Command::new("apt-cache")
        .arg("dumpavail")
        .output()
        .expect("apt-cache runs")
        .stdout;
    let text = String::from_utf8_lossy(&printed);
    let mut records = Records::new();
    for stanza in text
        .split("\n\n")
        .filter(|stanza| !stanza.trim().is_empty())
    {
        let name = stanza
            .lines()
            .find_map(|line| line.strip_prefix("Package: "))
            .expect("every stanza has a name");
        let version = stanza
            .lines()
            .find_map(|line| line.strip_prefix("Version: "))
            .unwrap_or("");
        records.insert(
            format!("{name} {version}").into_bytes(),
            stanza.as_bytes().to_vec(),
        );
    }
    assert!(
        records.len() >= RECORDS_MIN,
        "{} packages: run `apt-get update` first",
        records.len()
    );
    records
}

/// Writes the records, half of them before `at_half`.
pub async fn import(raw: &RawClient, records: &Records, mut at_half: impl FnMut()) {
    let all: Vec<_> = records.iter().collect();
    let batches: Vec<_> = all.chunks(BATCH).collect();
    let half = batches.len() / 2;
    for (number, batch) in batches.into_iter().enumerate() {
        if number == half {
            at_half();
        }
        let pairs = batch
            .iter()
            .map(|(key, value)| ((*key).clone(), (*value).clone()));
        raw.batch_put(pairs).await.expect("the cluster answers");
    }
}

/// Reads every record, and compares.
pub async fn read_back(raw: &RawClient, records: &Records) {
    let all: Vec<_> = records.iter().collect();
    for batch in all.chunks(BATCH) {
        let values = raw
            .batch_get(batch.iter().map(|(key, _)| (*key).clone()))
            .await
            .expect("the cluster answers");
        for ((key, expected), value) in batch.iter().zip(values) {
            assert_eq!(
                value.as_deref(),
                Some(&expected[..]),
                "{}",
                String::from_utf8_lossy(key)
            );
        }
    }
}

/// Scans ranges in both directions, and compares.
pub async fn scan_both_ways(raw: &RawClient, records: &Records) {
    for (start, end) in [
        ("a", "b"),
        ("lib", "libx"),
        ("", ""),
        ("python3-", "python3."),
    ] {
        let inside = |key: &&Vec<u8>| {
            &key[..] >= start.as_bytes() && (end.is_empty() || &key[..] < end.as_bytes())
        };
        let mut expected: Vec<_> = records.iter().filter(|(key, _)| inside(key)).collect();
        for reverse in [false, true] {
            let options = ScanOptions {
                reverse,
                ..ScanOptions::default()
            };
            let found = raw
                .scan_all(start, end, options)
                .await
                .expect("the cluster answers");
            assert_eq!(
                found.len(),
                expected.len(),
                "{start}..{end} reverse={reverse}"
            );
            for (pair, (key, value)) in found.iter().zip(&expected) {
                assert!(
                    pair.key == **key && pair.value == **value,
                    "{}",
                    String::from_utf8_lossy(key)
                );
            }
            expected.reverse();
        }
    }
}
