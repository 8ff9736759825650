//! What watches a cluster, made from what it measures: dashboards for Grafana, alert rules for Prometheus, and the page
//! of all metrics.
//!
//! *Place*: `cargo run -p yadkv-monitoring` writes the files that `deploy/` and `guide/` hold; nothing of it runs in a
//! cluster.
//!
//! *Types to know*: [`catalogue::Component`], everything that one kind of process measures; [`grafana::Dashboard`];
//! [`rules::Alert`]; [`expression::Known`], which judges a query.
//!
//! *Life of a metric here*: described by whoever counts it → [`catalogue`] → a row of the [`page`] → asked by a panel
//! or a rule, whose expression is checked against the catalogue → written → compared with what is checked in.
//!
//! *Invariants*: a panel's title is a question; a rule has a page in the guide that says what to do. No expression names a
//! metric or label that nobody has. The tests of this crate see to that, and to files that are not up to date.
//!
//! *Limits*: four dashboards of at most [`dashboards::PANELS_MAX`] panels. What nobody would look at or act on stays out.
//!
//! *Next stop*: [`catalogue`].

pub mod catalogue;
pub mod dashboards;
pub mod expression;
pub mod grafana;
pub mod page;
pub mod rules;

use std::path::{Path, PathBuf};

/// Why the files cannot be made: a mistake in this repository.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Two metrics have one name, or one is malformed.
    #[error("metrics: {0}")]
    Metrics(#[from] yadkv_metrics::Error),
    /// A dashboard cannot be written.
    #[error("dashboard: {0}")]
    Json(#[from] serde_json::Error),
    /// The rules cannot be written.
    #[error("rules: {0}")]
    Yaml(#[from] serde_saphyr::ser::Error),
    /// A file cannot be written.
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

/// A file that is made here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// From the root of the repository.
    pub path: String,
    /// All of it.
    pub text: String,
}

/// Every file, as it should be.
pub fn files() -> Result<Vec<Made>, Error> {
    let mut files = vec![
        Made {
            path: page::PATH.into(),
            text: page::text(&catalogue::components()?),
        },
        Made {
            path: rules::PATH.into(),
            text: rules::text(&rules::groups())?,
        },
    ];
    for dashboard in dashboards::all() {
        files.push(Made {
            path: format!("{}/{}.json", dashboards::FOLDER, dashboard.uid),
            text: dashboard.text()?,
        });
    }
    Ok(files)
}

/// The root of the repository that this was built in.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}
