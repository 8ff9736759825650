//! The four dashboards: is the cluster well ([`overview`]), one store ([`store`]), the placement drivers
//! ([`placement_driver`]), and where the time of a request goes ([`hot_path`]).
//!
//! *Place*: [`crate::files`] writes them to [`FOLDER`], where Grafana finds them.
//!
//! *Invariants*: a panel's title is a question, and its description says how to read the answer.
//!
//! *Next stop*: [`overview`], then [`crate::rules`].

pub mod hot_path;
pub mod overview;
pub mod placement_driver;
pub mod store;

use crate::grafana::Dashboard;

/// Where they are.
pub const FOLDER: &str = "deploy/grafana/dashboards";
/// Panels of one dashboard: more than this nobody reads in a hurry.
pub const PANELS_MAX: usize = 12;

/// All of them.
pub fn all() -> Vec<Dashboard> {
    vec![
        overview::dashboard(),
        store::dashboard(),
        placement_driver::dashboard(),
        hot_path::dashboard(),
    ]
}

/// A quantile of a histogram, for each of `by`; `matchers` are those of its buckets.
fn quantile(quantile: f64, histogram: &str, matchers: &str, by: &str) -> String {
    let by = if by.is_empty() {
        "le".to_owned()
    } else {
        format!("le, {by}")
    };
    format!(
        "histogram_quantile({quantile}, sum by ({by}) (rate({histogram}_bucket{{{matchers}}}[$__rate_interval])))"
    )
}

/// How fast a counter rises on the chosen servers, for each of `by`.
fn rate(counter: &str, by: &str) -> String {
    format!("sum by ({by}) (rate({counter}{{instance=~\"$instance\"}}[$__rate_interval]))")
}

/// The mean of a histogram on the chosen servers, for each of them.
fn mean(histogram: &str) -> String {
    let sum = rate(&format!("{histogram}_sum"), "instance");
    let count = rate(&format!("{histogram}_count"), "instance");
    format!("{sum} / {count}")
}

/// A metric of the chosen servers.
fn chosen(metric: &str) -> String {
    format!("{metric}{{instance=~\"$instance\"}}")
}
