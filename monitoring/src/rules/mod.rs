//! The alert rules: what somebody should act on, and where it says how.
//!
//! *Place*: [`crate::files`] writes them to [`PATH`], which `deploy/prometheus/prometheus.yml` names. Each has a page of the
//! same name in the guide, written by hand, and a unit test in `deploy/prometheus/rules_test.yml`.
//!
//! *Types to know*: [`Alert`], [`Severity`].
//!
//! *What is where*: [`servers`] processes · [`cluster`] what the placement driver knows · [`store`] what a store is short of.
//!
//! *Invariants*: names begin with `Yadkv`; an alert is about symptoms, or about what cannot be undone once it has come.
//!
//! *Limits*: none of them fires for a restart, the loss of a leader, or a store that is away for a minute.
//!
//! *Next stop*: [`servers`].

pub mod cluster;
pub mod servers;
pub mod store;

use crate::Error;
use serde::Serialize;

/// Where they are.
pub const PATH: &str = "deploy/prometheus/rules.yml";
/// Where their pages are, from the root of the repository.
pub const RUNBOOKS: &str = "guide/src/operate/runbooks";
/// What the names begin with: they live beside those of other programs.
pub const PREFIX: &str = "Yadkv";

const HEAD: &str = "# Made by `cargo run -p yadkv-monitoring`: change it there. `runbook_url` is within the guide.\n";

/// How soon somebody has to act.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Now: clients see it, or data is in danger.
    Critical,
    /// Today: the next failure would be worse.
    Warning,
}

/// One rule.
#[derive(Clone, Copy, Debug)]
pub struct Alert {
    /// In capitals, behind [`PREFIX`].
    pub name: &'static str,
    /// What is the case.
    pub expr: &'static str,
    /// How long it has to be, as Prometheus writes times.
    pub hold: &'static str,
    /// How soon somebody has to act.
    pub severity: Severity,
    /// In one line, with what Prometheus puts in for `{{ … }}`.
    pub summary: &'static str,
    /// What it means for whoever is called.
    pub description: &'static str,
}

/// Rules that belong together.
#[derive(Clone, Debug)]
pub struct Group {
    /// Its name.
    pub name: &'static str,
    /// Its rules.
    pub alerts: Vec<Alert>,
}

impl Alert {
    /// The name under which it fires.
    pub fn full_name(&self) -> String {
        format!("{PREFIX}{}", self.name)
    }

    /// The name of its page, without an ending: the same in small letters, with hyphens.
    pub fn page(&self) -> String {
        let mut page = String::new();
        for letter in self.name.chars() {
            if letter.is_ascii_uppercase() && !page.is_empty() {
                page.push('-');
            }
            page.push(letter.to_ascii_lowercase());
        }
        page
    }
}

/// All of them.
pub fn groups() -> Vec<Group> {
    let group = |name, alerts: &[Alert]| Group {
        name,
        alerts: alerts.to_vec(),
    };
    vec![
        group("yadkv-servers", &servers::ALERTS),
        group("yadkv-cluster", &cluster::ALERTS),
        group("yadkv-store", &store::ALERTS),
    ]
}

#[derive(Serialize)]
struct File {
    groups: Vec<FileGroup>,
}

#[derive(Serialize)]
struct FileGroup {
    name: &'static str,
    rules: Vec<Rule>,
}

#[derive(Serialize)]
struct Rule {
    alert: String,
    expr: &'static str,
    #[serde(rename = "for")]
    hold: &'static str,
    labels: Labels,
    annotations: Annotations,
}

#[derive(Serialize)]
struct Labels {
    severity: Severity,
}

#[derive(Serialize)]
struct Annotations {
    summary: &'static str,
    description: &'static str,
    runbook_url: String,
}

/// The file of all rules.
pub fn text(groups: &[Group]) -> Result<String, Error> {
    let rule = |alert: &Alert| Rule {
        alert: alert.full_name(),
        expr: alert.expr,
        hold: alert.hold,
        labels: Labels {
            severity: alert.severity,
        },
        annotations: Annotations {
            summary: alert.summary,
            description: alert.description,
            runbook_url: format!("operate/runbooks/{}.html", alert.page()),
        },
    };
    let file = File {
        groups: groups
            .iter()
            .map(|group| FileGroup {
                name: group.name,
                rules: group.alerts.iter().map(rule).collect(),
            })
            .collect(),
    };
    let yaml = serde_saphyr::to_string(&file)?;
    Ok(format!("{HEAD}{}\n", yaml.trim_end()))
}
