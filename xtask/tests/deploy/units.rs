//! The systemd units, and the Debian package that carries them.
//!
//! *Limits*: no unit is started here. `systemd-analyze`, where it is installed, reads them as systemd would and weighs
//! what a server can still reach; the package's lists are compared with the files, not built.
//!
//! *Next stop*: [`crate::image`].

use crate::files::{below, manifest, root, run, said, text};
use crate::settings::Start;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Output;
use toml::Value;

const FOLDER: &str = "deploy/systemd";
/// What keeps a server that was taken over from the rest of the machine.
const HARDENING: &[(&str, &str)] = &[
    ("NoNewPrivileges", "yes"),
    ("CapabilityBoundingSet", ""),
    ("ProtectSystem", "strict"),
    ("ProtectHome", "yes"),
    ("PrivateTmp", "yes"),
    ("PrivateDevices", "yes"),
    ("RestrictAddressFamilies", "AF_INET AF_INET6 AF_UNIX"),
    ("MemoryDenyWriteExecute", "yes"),
    ("User", "yadkv"),
    ("Restart", "on-failure"),
    ("LimitNOFILE", "1048576"),
];
/// The most that `systemd-analyze security` may count, in tenths: "OK" ends at 20.
const EXPOSURE_MAX: &str = "--threshold=20";

fn paths() -> Vec<String> {
    let mut paths = below(FOLDER);
    paths.retain(|path| path.ends_with(".service"));
    paths
}

/// Keys and values, the last of each.
fn keys(unit: &str) -> BTreeMap<&str, &str> {
    let lines = unit.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split_once('=')).collect()
}

/// How the units start their servers.
pub(crate) fn starts() -> Vec<Start> {
    let start = |path: String| {
        let unit = text(&path);
        let command = keys(&unit)["ExecStart"].to_string();
        let mut words = command.split_whitespace().map(str::to_string);
        assert_eq!(words.next().as_deref(), Some("/usr/bin/yadkv"), "{path}");
        Start {
            place: path,
            arguments: words.collect(),
        }
    };
    paths().into_iter().map(start).collect()
}

/// What is wrong with a unit.
fn complaints(unit: &str) -> Vec<String> {
    let keys = keys(unit);
    let mut found = Vec::new();
    for (key, value) in HARDENING {
        if keys.get(key) != Some(value) {
            found.push(format!("{key}={value} is missing"));
        }
    }
    let stop = keys.get("TimeoutStopSec").unwrap_or(&"");
    let seconds = stop.trim_end_matches('s').parse::<u32>();
    if !seconds.is_ok_and(|seconds| seconds > 10) {
        found.push("is killed before it has stopped gracefully".into());
    }
    let config = keys["ExecStart"]
        .split_once("--config /etc/yadkv/")
        .map(|(_, file)| format!("{FOLDER}/{file}"));
    if !config.is_some_and(|path| root().join(path).exists()) {
        found.push("reads settings that are not packaged".into());
    }
    found
}

/// Copies of the units that start a program which every machine has.
fn startable() -> (PathBuf, Vec<String>) {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("units");
    std::fs::create_dir_all(&folder).unwrap();
    let copy = |path: &String| {
        let to = folder.join(path.rsplit('/').next().unwrap());
        std::fs::write(&to, text(path).replace("/usr/bin/yadkv", "/bin/true")).unwrap();
        to.to_str().unwrap().to_string()
    };
    let copies = paths().iter().map(copy).collect();
    (folder, copies)
}

#[test]
fn units_are_hardened_and_stop_in_time() {
    let paths = paths();
    assert_eq!(paths.len(), 2);
    for path in paths {
        assert_eq!(complaints(&text(&path)), [""; 0], "{path}");
    }
}

#[test]
fn systemd_takes_the_units_if_it_is_there() {
    let (folder, copies) = startable();
    let verify = |paths: &[&str]| {
        let arguments: Vec<_> = ["verify", "--man=no"]
            .iter()
            .chain(paths)
            .copied()
            .collect();
        run("systemd-analyze", &arguments, "systemd units")
    };
    let paths: Vec<_> = copies.iter().map(String::as_str).collect();
    let Some(output) = verify(&paths) else { return };
    // It names unknown keys, and succeeds; what it says of other units is not ours.
    let ours = |output: &Output| {
        let said = said(output);
        let lines = said.lines().filter(|line| line.contains("yadkv-"));
        lines.map(str::to_string).collect::<Vec<_>>()
    };
    assert_eq!(ours(&output), [""; 0]);
    assert!(output.status.success(), "{}", said(&output));
    for path in &paths {
        let arguments = ["security", "--offline=true", EXPOSURE_MAX, path];
        let output = run("systemd-analyze", &arguments, "exposure of units").unwrap();
        assert!(output.status.success(), "{path}: {}", said(&output));
    }
    let broken = folder.join("yadkv-broken.service");
    let unit = std::fs::read_to_string(paths[0]).unwrap();
    std::fs::write(&broken, unit.replace("NoNewPrivileges", "NoPrivileges")).unwrap();
    let found = ours(&verify(&[broken.to_str().unwrap()]).unwrap());
    assert!(
        found.len() == 1 && found[0].contains("NoPrivileges"),
        "{found:?}"
    );
}

#[test]
fn mistakes_in_units_are_seen() {
    let unit = text(&paths()[0]);
    for (of, by) in [
        ("ProtectSystem=strict", "ProtectSystem=full"),
        ("TimeoutStopSec=30s", "TimeoutStopSec=10s"),
        ("/etc/yadkv/pd.toml", "/etc/yadkv/pds.toml"),
        ("User=yadkv\n", ""),
    ] {
        assert!(unit.contains(of), "{of}");
        assert_eq!(complaints(&unit.replace(of, by)).len(), 1, "{by}");
    }
}

/// What is wrong with the package's metadata.
fn package_complaints(deb: &toml::Table) -> Vec<String> {
    let mut found = Vec::new();
    let assets = deb["assets"].as_array().unwrap();
    let mut installed = Vec::new();
    for asset in assets {
        let (from, to) = (asset[0].as_str().unwrap(), asset[1].as_str().unwrap());
        if !from.starts_with("target/") && !root().join("cli").join(from).exists() {
            found.push(format!("{from}: no such file"));
        }
        let name = match to.ends_with('/') {
            true => from.rsplit('/').next().unwrap(),
            false => "",
        };
        installed.push(format!("/{to}{name}"));
    }
    for file in deb["conf-files"].as_array().unwrap() {
        let file = file.as_str().unwrap();
        if !installed.iter().any(|one| one == file) {
            found.push(format!("{file}: no asset"));
        }
    }
    for path in below(FOLDER) {
        let name = path.rsplit('/').next().unwrap();
        let etc = format!("/etc/yadkv/{name}");
        let unit = name.strip_suffix(".service");
        let packaged = match unit {
            Some(unit) => deb["systemd-units"]
                .as_array()
                .unwrap()
                .iter()
                .any(|one| one["unit-name"].as_str() == Some(unit)),
            None => deb["conf-files"]
                .as_array()
                .unwrap()
                .contains(&Value::String(etc)),
        };
        if !packaged {
            found.push(format!("{path}: not packaged"));
        }
    }
    let scripts = deb["maintainer-scripts"].as_str().unwrap();
    for script in ["postinst", "postrm"] {
        let path = root().join("cli").join(scripts).join(script);
        let text = std::fs::read_to_string(path).unwrap_or_default();
        if !text.contains("#DEBHELPER#") {
            found.push(format!("{script}: no place for what the units need"));
        }
    }
    found
}

fn package() -> toml::Table {
    let manifest = manifest("cli/Cargo.toml");
    manifest["package"]["metadata"]["deb"]
        .as_table()
        .unwrap()
        .clone()
}

#[test]
fn the_debian_package_has_all_files() {
    assert_eq!(package_complaints(&package()), [""; 0]);
}

#[test]
fn mistakes_in_the_package_are_seen() {
    let mut deb = package();
    let assets = deb["assets"].as_array_mut().unwrap();
    let at = assets
        .iter()
        .position(|asset| asset[0].as_str().unwrap().ends_with("pd.toml"))
        .unwrap();
    assets.remove(at);
    assert_eq!(package_complaints(&deb), ["/etc/yadkv/pd.toml: no asset"]);
    let mut deb = package();
    deb["conf-files"].as_array_mut().unwrap().pop();
    deb["systemd-units"].as_array_mut().unwrap().pop();
    assert_eq!(package_complaints(&deb).len(), 2);
}
