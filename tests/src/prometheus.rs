//! A real Prometheus that watches a cluster.
//!
//! *Place*: `tests/monitoring.rs` asks it what dashboards and rules ask.
//!
//! *Life*: a configuration with the addresses of this cluster → the process, on a port of its own → ready → queries →
//! dropped: it is killed.
//!
//! *Limits and failure*: without the program a test fails with the words what to install.
//!
//! *Next stop*: `tests/monitoring.rs`.

use crate::http::page;
use crate::{Cluster, eventually, free_addresses};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// How long it may take to start.
const PATIENCE: Duration = Duration::from_secs(60);

/// The process.
#[derive(Debug)]
pub struct Prometheus {
    address: String,
    child: Child,
    folder: TempDir,
}

impl Prometheus {
    /// Starts one that asks all servers of a cluster, and `clients`, once a second, and judges these rules as often.
    pub fn start(cluster: &Cluster, clients: &str, rules: &Path) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let pds: Vec<_> = cluster.pds.iter().map(|pd| pd.address()).collect();
        let config = format!(
            "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\n\
             rule_files: [{rules:?}]\n\
             scrape_configs:\n\
             - {{ job_name: yadkv-pd, static_configs: [ {{ targets: {pds:?} }} ] }}\n\
             - {{ job_name: yadkv-store, static_configs: [ {{ targets: {:?} }} ] }}\n\
             - {{ job_name: application, static_configs: [ {{ targets: [{clients:?}] }} ] }}\n",
            cluster.status,
        );
        let path = folder.path().join("prometheus.yml");
        std::fs::write(&path, config).expect("a file");
        let address = free_addresses(1).remove(0);
        let log = File::create(folder.path().join("log")).expect("a file");
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", path.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                folder.path().join("data").display()
            ))
            .arg(format!("--web.listen-address={address}"))
            .arg("--log.level=warn")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        let child = child.unwrap_or_else(|error| {
            panic!("prometheus: {error}: apt-get install prometheus (`make setup` does it)")
        });
        let started = Self {
            address,
            child,
            folder,
        };
        eventually("Prometheus is ready", PATIENCE, || {
            let ready = page(&started.address, "/-/ready").ok()?;
            (ready.0 == 200).then_some(())
        });
        started
    }

    /// What it answers to a query: one value for each series.
    pub fn query(&self, query: &str) -> Result<Vec<Value>, String> {
        let query = utf8_percent_encode(query, NON_ALPHANUMERIC);
        let mut answer = self.ask(&format!("/api/v1/query?query={query}"))?;
        match answer["result"].take() {
            Value::Array(series) => Ok(series),
            other => Err(format!("no series: {other}")),
        }
    }

    /// Its rules, as it sees them.
    pub fn rules(&self) -> Result<Vec<Value>, String> {
        let answer = self.ask("/api/v1/rules")?;
        let groups = answer["groups"].as_array().into_iter().flatten();
        let rules = groups.flat_map(|group| group["rules"].as_array().into_iter().flatten());
        Ok(rules.cloned().collect())
    }

    fn ask(&self, path: &str) -> Result<Value, String> {
        let (code, body) = page(&self.address, path).map_err(|error| error.to_string())?;
        let mut answer: Value =
            serde_json::from_str(&body).map_err(|error| format!("{code}: {error}: {body}"))?;
        match answer["status"] == "success" {
            true => Ok(answer["data"].take()),
            false => Err(format!("{code}: {}", answer["error"])),
        }
    }

    /// What it has complained about.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- prometheus\n{}", self.log());
        }
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
