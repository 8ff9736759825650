//! The cluster of `deploy/compose.yaml`.
//!
//! *Types to know*: [`File`] and [`Service`] have the fields of the Compose specification that the file uses; any
//! other name is refused. Where Docker's Compose is installed it judges the file too, by the published schema.
//!
//! *Next stop*: [`crate::settings`].

use crate::files::{below, one_yaml, root, run, said, skipped, string, strings, version};
use crate::settings::{Start, given};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const PATH: &str = "deploy/compose.yaml";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
struct File {
    name: String,
    #[serde(rename = "x-server")]
    server: Value,
    services: BTreeMap<String, Service>,
    volumes: BTreeMap<String, Option<BTreeMap<String, String>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
struct Service {
    image: String,
    build: Option<Build>,
    restart: String,
    stop_grace_period: Option<String>,
    #[serde(default)]
    read_only: bool,
    cap_drop: Vec<String>,
    security_opt: Vec<String>,
    ulimits: Option<BTreeMap<String, u64>>,
    #[serde(default)]
    command: Vec<String>,
    #[serde(default)]
    environment: BTreeMap<String, String>,
    #[serde(default)]
    volumes: Vec<String>,
    #[serde(default)]
    ports: Vec<String>,
    #[serde(default)]
    depends_on: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Build {
    context: String,
    dockerfile: String,
}

/// How the servers of the file are started.
pub(crate) fn starts() -> Vec<Start> {
    let file = one_yaml(PATH);
    let services = file["services"].as_object().unwrap().iter();
    let servers = services.filter(|(_, service)| service.get("build").is_some());
    let start = |(name, service): (&String, &Value)| Start {
        place: name.clone(),
        arguments: strings(service.get("command")),
    };
    servers.map(start).collect()
}

/// What is wrong with the file.
fn complaints(value: &Value) -> Vec<String> {
    let file: File = match serde_json::from_value(value.clone()) {
        Ok(file) => file,
        Err(error) => return vec![error.to_string()],
    };
    let mut found = Vec::new();
    let mut check = |ok: bool, what: String| {
        if !ok {
            found.push(what);
        }
    };
    let pds = file.services.keys().filter(|name| name.starts_with("pd-"));
    let pds: Vec<_> = pds.map(|name| format!("{name}:2379")).collect();
    for (name, service) in &file.services {
        for volume in &service.volumes {
            let from = volume.split(':').next().unwrap_or_default();
            let there = match from.strip_prefix("./") {
                Some(path) => root().join("deploy").join(path).exists(),
                None => file.volumes.contains_key(from),
            };
            check(there, format!("{name}: {from} is not there"));
        }
        for port in &service.ports {
            let local = port.starts_with("127.0.0.1:");
            check(local, format!("{name}: {port} is open to other machines"));
        }
        for other in &service.depends_on {
            let there = file.services.contains_key(other);
            check(there, format!("{name}: needs {other}"));
        }
        let Some(build) = &service.build else {
            continue;
        };
        let dockerfile = root().join("deploy").join(&build.context);
        let there = dockerfile.join(&build.dockerfile).exists();
        check(there, format!("{name}: no {}", build.dockerfile));
        check(
            service.image == format!("yadkv:{}", version()),
            format!("{name}: {}", service.image),
        );
        check(service.read_only, format!("{name}: can be written"));
        let start = Start {
            place: name.clone(),
            arguments: service.command.clone(),
        };
        let (own, port) = match service.command.first().map(String::as_str) {
            Some("pd") => ("pd.advertise_addr", 2379),
            _ => ("store.advertise_addr", 20160),
        };
        check(
            given(&start, own) == Some(format!("{name}:{port}")),
            format!("{name}: is not told its own name"),
        );
        check(
            given(&start, "--pd") == Some(pds.join(",")),
            format!("{name}: is told of other placement drivers"),
        );
    }
    found
}

#[test]
fn the_file_is_sound() {
    assert_eq!(complaints(&one_yaml(PATH)), [""; 0]);
}

#[test]
fn docker_takes_the_file_if_it_is_there() {
    let commands: [&[&str]; 2] = [
        &["docker", "compose", "--file", PATH, "config", "--quiet"],
        &["docker-compose", "--file", PATH, "config", "--quiet"],
    ];
    for command in commands {
        let known = std::process::Command::new(command[0])
            .args(&command[1..command.len() - 4])
            .arg("version")
            .output();
        if known.is_ok_and(|output| output.status.success()) {
            let output = run(command[0], &command[1..], "compose").unwrap();
            assert!(output.status.success(), "{}", said(&output));
            return;
        }
    }
    skipped(
        "the published schema of compose files",
        "Docker's Compose is not installed",
    );
}

#[test]
fn prometheus_asks_every_server() {
    let prometheus = one_yaml("deploy/prometheus/prometheus.yml");
    let mut asked = Vec::new();
    for job in prometheus["scrape_configs"].as_array().unwrap() {
        for group in job["static_configs"].as_array().unwrap() {
            asked.extend(strings(group.get("targets")));
        }
    }
    let mut expected = Vec::new();
    for start in starts() {
        let (_, port) = match start.arguments[0].as_str() {
            "pd" => given(&start, "--addr").unwrap(),
            _ => given(&start, "store.status_addr").unwrap(),
        }
        .rsplit_once(':')
        .map(|(host, port)| (host.to_string(), port.to_string()))
        .unwrap();
        expected.push(format!("{}:{port}", start.place));
    }
    asked.sort();
    expected.sort();
    assert_eq!(asked, expected);
}

#[test]
fn prometheus_finds_its_rules() {
    let file = one_yaml(PATH);
    let mounted = strings(file.pointer("/services/prometheus/volumes"));
    let wanted = "./prometheus:/etc/prometheus:ro".to_string();
    assert!(mounted.contains(&wanted), "{mounted:?}");
    let prometheus = one_yaml("deploy/prometheus/prometheus.yml");
    let rules = strings(prometheus.get("rule_files"));
    assert!(!rules.is_empty(), "no rules");
    for rules in rules {
        let path = format!("deploy/prometheus/{rules}");
        assert!(one_yaml(&path)["groups"].is_array(), "{path}");
    }
}

#[test]
fn grafana_finds_prometheus_and_its_dashboards() {
    let file = one_yaml(PATH);
    let sources = one_yaml("deploy/grafana/provisioning/datasources/prometheus.yaml");
    let url = string(&sources, "/datasources/0/url");
    let port = string(&file, "/services/prometheus/ports/0");
    let port = port.rsplit(':').next().unwrap();
    assert_eq!(url, format!("http://prometheus:{port}"));
    let folders = one_yaml("deploy/grafana/provisioning/dashboards/yadkv.yaml");
    let path = string(&folders, "/providers/0/options/path");
    let mounted = strings(file.pointer("/services/grafana/volumes"));
    assert!(
        mounted.contains(&format!("./grafana/dashboards:{path}:ro")),
        "{mounted:?}"
    );
    let source = string(&sources, "/datasources/0/uid");
    let dashboards = below("deploy/grafana/dashboards");
    assert!(dashboards.len() >= 4, "{dashboards:?}: some are not found");
    for dashboard in dashboards {
        let text = crate::files::text(&dashboard);
        let value: Value = serde_json::from_str(&text).unwrap();
        // What is chosen at first is what is provisioned.
        let chosen = string(&value, "/templating/list/0/current/value");
        assert_eq!(chosen, source, "{dashboard}");
    }
}

#[test]
fn mistakes_are_seen() {
    type Change = fn(&mut Value);
    let plants: [(&str, Change, &str); 5] = [
        (
            "/services/pd-0",
            |pd| pd["comand"] = json!([]),
            "unknown field",
        ),
        (
            "/services/pd-0",
            |pd| pd["volumes"] = json!(["pd-9:/data"]),
            "not there",
        ),
        (
            "/services/pd-0",
            |pd| pd["ports"] = json!(["2379:2379"]),
            "open to",
        ),
        (
            "/services/store-1/command/4",
            |own| *own = json!("--set=store.advertise_addr=store-2:20160"),
            "own name",
        ),
        (
            "/services/store-1/command/3",
            |pd| *pd = json!("--pd=pd-0:2379,pd-1:2379"),
            "other placement drivers",
        ),
    ];
    for (pointer, change, expected) in plants {
        let mut file = one_yaml(PATH);
        change(file.pointer_mut(pointer).unwrap());
        let found = complaints(&file);
        assert!(
            found.iter().any(|one| one.contains(expected)),
            "{expected}: {found:?}"
        );
    }
}
