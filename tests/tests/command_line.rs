//! The command line as a person uses it.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;
use yadkv_tests::{Cluster, binary, eventually};

#[test]
fn raw_and_ctl() {
    let cluster = Cluster::start(&[]);
    let pd = cluster.pd();
    let raw = |args: &[&str]| cluster.run(&[&["raw", "--pd", &pd], args].concat());
    raw(&["put", "a\\x00b", "tab\\there"]);
    assert_eq!(raw(&["get", "a\\x00b"]), "tab\\there\n");
    raw(&["put", "b", "2", "--ttl", "100"]);
    let ttl: u64 = raw(&["ttl", "b"]).trim().parse().unwrap();
    assert!((1..=100).contains(&ttl), "{ttl}");
    raw(&["cas", "b", "2", "3"]);
    assert_eq!(
        raw(&["scan", "a", "c", "--reverse"]),
        "b\t3\na\\x00b\ttab\\there\n"
    );
    assert!(
        !cluster
            .yadkv(&["raw", "--pd", &pd, "cas", "b", "2", "4"])
            .status
            .success()
    );
    assert!(
        !cluster
            .yadkv(&["raw", "--pd", &pd, "get", "none"])
            .status
            .success()
    );
    raw(&["delete-range", "a", "c"]);
    assert_eq!(raw(&["scan", "a", "c"]), "");
    raw(&["--api", "v1", "put", "v1", "1"]);
    assert_eq!(raw(&["--api", "v1", "scan", "v1", "v2"]), "v1\t1\n");

    assert_eq!(
        cluster
            .run(&["ctl", "--pd", &pd, "member", "--json"])
            .lines()
            .count(),
        3
    );
    let stores = cluster.run(&["ctl", "--pd", &pd, "store", "--json"]);
    assert_eq!(stores.matches("\"state\":\"Up\"").count(), 3, "{stores}");
    let regions = cluster.run(&["ctl", "--pd", &pd, "region", "--json"]);
    assert!(
        regions.lines().count() >= 5 && regions.contains("\"peers\":["),
        "{regions}"
    );
    cluster.run(&["ctl", "--pd", &pd, "tso", "--json"]);
}

#[test]
fn the_playground_says_when_it_is_ready_and_stops_with_its_signal() {
    let mut playground = Command::new(binary())
        .args(["playground", "--port-base", "0"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(playground.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let pd = line
        .trim()
        .strip_prefix("ready: pd=")
        .unwrap_or_else(|| panic!("{line:?}"))
        .to_owned();
    let put = Command::new(binary())
        .args(["raw", "--pd", &pd, "put", "a", "1"])
        .status()
        .unwrap();
    assert!(put.success());
    let stopped = Command::new("kill")
        .args(["-INT", &playground.id().to_string()])
        .status()
        .unwrap();
    assert!(stopped.success());
    let ended = eventually("the playground ends", Duration::from_secs(20), || {
        playground.try_wait().unwrap()
    });
    assert!(ended.success());
}

#[test]
fn wrong_settings_say_what_is_allowed() {
    for (setting, expected) in [
        ("store.memory=1MiB", "store.memory"),
        ("region.entry_size=1", "64KiB to 16MiB"),
        ("region.nonsense=1", "nonsense"),
        ("store", "KEY=VALUE"),
    ] {
        let output = Command::new(binary())
            .args(["store", "--set", setting])
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success() && errors.contains(expected),
            "{setting}: {errors}"
        );
    }
}
