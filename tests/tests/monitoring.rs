//! A real Prometheus watches a cluster: everything that dashboards and rules ask for is there, and what is described is
//! exported.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use yadkv_client::metrics::{ClientMetrics, Registry};
use yadkv_client::raw::ScanOptions;
use yadkv_client::{Client, Options};
use yadkv_metrics::Meters;
use yadkv_monitoring::expression::{selectors, without_variables};
use yadkv_monitoring::rules::{self, Alert};
use yadkv_monitoring::{catalogue, dashboards, root};
use yadkv_tests::http::page;
use yadkv_tests::load::Load;
use yadkv_tests::prometheus::Prometheus;
use yadkv_tests::{Cluster, borders, eventually};

const PATIENCE: Duration = Duration::from_secs(90);
/// Ten scrapes: what dashboards take rates over.
const RATE_INTERVAL: &str = "10s";

/// Questions without an answer in a cluster that is well, and why.
const EMPTY: [(&str, &str); 1] = [("Which alerts fire?", "none does")];

/// An application's page of metrics, for as long as this lives.
struct Page {
    address: String,
    serving: JoinHandle<()>,
}

impl Page {
    async fn serve(registry: Registry) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let meters = Meters::within("application", registry);
        let serving = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                // Whatever is asked for, there is one page.
                let _ = stream.read(&mut [0; 4096]).await;
                let text = meters.text().unwrap();
                let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nConnection: close\r\n\r\n";
                let _ = stream.write_all(format!("{head}{text}").as_bytes()).await;
            }
        });
        Self { address, serving }
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn spread(writer: u64, number: u64) -> String {
    let first = (writer * 31 + number * 7) as u8 as char;
    format!("{first}-{writer}-{number}")
}

fn alerts() -> Vec<Alert> {
    let groups = rules::groups().into_iter();
    groups.flat_map(|group| group.alerts).collect()
}

/// Every question of every dashboard is answered; with data, but for those of [`EMPTY`].
fn ask_dashboards(prometheus: &Prometheus) {
    let mut unknown: BTreeSet<&str> = EMPTY.iter().map(|(title, _)| *title).collect();
    for dashboard in dashboards::all() {
        for panel in &dashboard.panels {
            let stays_empty = unknown.remove(panel.title);
            for query in &panel.targets {
                let query = without_variables(&query.expr, RATE_INTERVAL);
                let place = format!("{}: {}: {query}", dashboard.uid, panel.title);
                if stays_empty {
                    let found = prometheus.query(&query).unwrap();
                    assert!(found.is_empty(), "{place}: {found:?}");
                    continue;
                }
                eventually(&place, PATIENCE, || {
                    let found = prometheus.query(&query).unwrap();
                    (!found.is_empty()).then_some(())
                });
            }
        }
    }
    assert!(
        unknown.is_empty(),
        "no panels have these titles: {unknown:?}"
    );
}

/// Every rule is judged without an error, nobody is called, and whatever a rule looks at is there.
fn ask_rules(prometheus: &Prometheus) {
    let judged = prometheus.rules().unwrap();
    assert_eq!(judged.len(), alerts().len());
    eventually("every rule is judged", PATIENCE, || {
        let mut judged = prometheus.rules().unwrap().into_iter();
        judged.all(|rule| rule["health"] == "ok").then_some(())
    });
    for rule in prometheus.rules().unwrap() {
        assert_ne!(rule["state"], "firing", "{rule}");
    }
    for alert in alerts() {
        prometheus.query(alert.expr).unwrap();
        for selector in selectors(alert.expr).unwrap() {
            let found = prometheus.query(&selector).unwrap();
            assert!(!found.is_empty(), "{}: nothing is {selector}", alert.name);
        }
    }
}

/// Whatever is described is on somebody's page.
fn look_at_pages(cluster: &Cluster, clients: &Page) {
    let pds = cluster.pds.iter().map(|pd| pd.address());
    let mut text = String::new();
    for address in pds.chain(cluster.status.iter().map(String::as_str)) {
        // Two stores of three are gone by now.
        if let Ok((200, more)) = page(address, "/metrics") {
            text += &more;
        }
    }
    text += &page(&clients.address, "/metrics").unwrap().1;
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let names: BTreeSet<_> = types.filter_map(|line| line.split(' ').next()).collect();
    for one in catalogue::descriptions().unwrap() {
        assert!(
            names.contains(one.name.as_str()),
            "nobody exports {}",
            one.name
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_answers_what_dashboards_and_rules_ask() {
    let quick = [
        "schedule.store_disconnect_time=3s",
        "store.heartbeat_interval=500ms",
    ];
    let mut cluster = Cluster::start(&[&borders(4), quick[0], quick[1]]);
    let registry = Registry::new();
    let observer = Arc::new(ClientMetrics::new(registry.clone()).unwrap());
    let options = |timeout| Options {
        observer: Some(observer.clone()),
        timeout,
        ..Options::default()
    };
    let clients = Page::serve(registry).await;
    let rules = root().join(rules::PATH);
    let prometheus = Prometheus::start(&cluster, &clients.address, &rules);
    let client = Client::connect(cluster.endpoints.clone(), options(Duration::from_secs(20)));
    let client = client.await.unwrap();
    let raw = client.raw();
    let load = Load::start(&raw, 8, spread);
    load.goes_on(200, "under the eyes of Prometheus");
    client.timestamp().await.unwrap();
    raw.scan_all("", "", ScanOptions::default()).await.unwrap();
    ask_dashboards(&prometheus);
    ask_rules(&prometheus);
    load.stop().await;

    cluster.stores[0].kill();
    cluster.stores[1].kill();
    let hasty = Client::connect(cluster.endpoints.clone(), options(Duration::from_secs(2)));
    let failed = hasty.await.unwrap().raw().put("a", "1").await;
    assert!(failed.is_err(), "two stores of three are gone");
    for name in ["TargetDown", "StoreDown", "RegionsWithoutLeader"] {
        let alert = alerts()
            .into_iter()
            .find(|alert| alert.name == name)
            .unwrap();
        eventually(&format!("{name} sees it"), PATIENCE, || {
            let found = prometheus.query(alert.expr).unwrap();
            (!found.is_empty()).then_some(())
        });
    }
    look_at_pages(&cluster, &clients);
}

/// A command of a runbook is one that there is: its words and flags are taken.
#[test]
fn runbooks_name_commands_that_there_are() {
    let mut commands = BTreeSet::new();
    for entry in std::fs::read_dir(root().join(rules::RUNBOOKS)).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        let text = text.replace('\n', " ");
        let codes = text.split('`').skip(1).step_by(2);
        let ours = codes.filter_map(|code| code.strip_prefix("yadkv "));
        commands.extend(ours.map(str::to_owned));
    }
    assert!(commands.len() > 15, "{commands:?}: some are not found");
    for command in commands {
        let stands_for = |word: &&str| word.chars().any(|letter| letter.is_ascii_uppercase());
        let number = |word| if stands_for(&word) { "1" } else { word };
        let mut words: Vec<&str> = command.split_whitespace().map(number).collect();
        words.push("--help");
        let mut yadkv = std::process::Command::new(yadkv_tests::binary());
        let output = yadkv.args(&words).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "yadkv {command}: {said}");
    }
}
