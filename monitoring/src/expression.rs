//! Whether a query means anything here: it can be read, and every metric and label in it exists.
//!
//! *Place*: the tests of this crate judge every panel and rule by it; the integration test asks a Prometheus the same.
//!
//! *Types to know*: [`Known`], what there is; [`Mistake`].
//!
//! *Life of a query*: Grafana's variables replaced ([`without_variables`]) → parsed → each selector's name looked up, then
//! the labels that it and whatever is around it name.
//!
//! *Limits*: values of labels are not judged, since code makes them as it runs: the integration test does.
//!
//! *Next stop*: [`crate::grafana`].

use promql_parser::parser::{self, Expr, LabelModifier, VectorSelector};
use promql_parser::util::{ExprVisitor, walk_expr};
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use yadkv_metrics::{Description, Kind};

/// What Prometheus adds to whatever it scrapes.
const TARGET: [&str; 2] = ["job", "instance"];

/// What is wrong with a query.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mistake {
    /// It is no PromQL.
    #[error("{query}: {reason}")]
    Unreadable {
        /// As it was judged.
        query: String,
        /// What the parser says.
        reason: String,
    },
    /// No process exports the metric.
    #[error("{query}: there is no metric {name}")]
    Metric {
        /// As it was judged.
        query: String,
        /// What was asked for.
        name: String,
    },
    /// The metric is not divided by the label.
    #[error("{query}: nothing here has a label {label}")]
    Label {
        /// As it was judged.
        query: String,
        /// What was asked for.
        label: String,
    },
}

/// Every series that there can be, with its labels.
#[derive(Clone, Debug)]
pub struct Known(BTreeMap<String, BTreeSet<String>>);

/// The query as it is asked for all servers, with this span of time for rates.
pub fn without_variables(query: &str, rate_interval: &str) -> String {
    query
        .replace("$__rate_interval", rate_interval)
        .replace("$instance", ".+")
}

/// Every selector of a query, as a query of its own: without the range, without what is done to it.
pub fn selectors(query: &str) -> Result<Vec<String>, Mistake> {
    let found = Seen::of(&parse(query)?).selectors;
    Ok(found.iter().map(ToString::to_string).collect())
}

impl Known {
    /// What these describe, and what Prometheus knows by itself: `up`, and which alerts there are.
    pub fn new(descriptions: &[Description]) -> Self {
        let mut known = BTreeMap::new();
        let labels = |own: &[&str]| -> BTreeSet<String> {
            let all = TARGET.iter().chain(own);
            all.map(ToString::to_string).collect()
        };
        for one in descriptions {
            let own: Vec<&str> = one.label.into_iter().collect();
            for series in one.series() {
                let bucket = one.kind == Kind::Histogram && series.ends_with("_bucket");
                let le: &[&str] = if bucket { &["le"] } else { &[] };
                known.insert(series, labels(&[&own, le].concat()));
            }
        }
        known.insert("up".into(), labels(&[]));
        let alert = ["alertname", "alertstate", "severity"];
        known.insert("ALERTS".into(), labels(&alert));
        Self(known)
    }

    /// Judges a query without variables.
    pub fn judge(&self, query: &str) -> Result<(), Mistake> {
        let seen = Seen::of(&parse(query)?);
        for selector in &seen.selectors {
            let name = selector.name.clone().unwrap_or_default();
            let Some(labels) = self.0.get(&name) else {
                let query = query.into();
                return Err(Mistake::Metric { query, name });
            };
            let named = selector.matchers.matchers.iter().map(|one| &one.name);
            check(query, labels, named)?;
        }
        for (named, within) in &seen.groupings {
            let labels = within.iter().filter_map(|name| self.0.get(name));
            check(query, &labels.flatten().cloned().collect(), named.iter())?;
        }
        Ok(())
    }
}

fn check<'a>(
    query: &str,
    labels: &BTreeSet<String>,
    mut named: impl Iterator<Item = &'a String>,
) -> Result<(), Mistake> {
    match named.find(|label| !labels.contains(*label)) {
        None => Ok(()),
        Some(label) => Err(Mistake::Label {
            query: query.into(),
            label: label.clone(),
        }),
    }
}

fn parse(query: &str) -> Result<Expr, Mistake> {
    parser::parse(query).map_err(|reason| Mistake::Unreadable {
        query: query.into(),
        reason,
    })
}

/// What a walk over a query finds.
#[derive(Default)]
struct Seen {
    selectors: Vec<VectorSelector>,
    /// Labels that a `by`, `without`, `on` or `ignoring` names, and the metrics that it is about.
    groupings: Vec<(Vec<String>, Vec<String>)>,
}

impl Seen {
    fn of(query: &Expr) -> Self {
        let mut seen = Self::default();
        match walk_expr(&mut seen, query) {
            Ok(_) => seen,
            Err(never) => match never {},
        }
    }

    fn group(&mut self, modifier: Option<&LabelModifier>, about: &[&Expr]) {
        let Some(modifier) = modifier else {
            return;
        };
        let within = about.iter().flat_map(|part| Self::of(part).selectors);
        let within = within.filter_map(|selector| selector.name);
        let named = modifier.labels().labels.clone();
        self.groupings.push((named, within.collect()));
    }
}

impl ExprVisitor for Seen {
    type Error = Infallible;

    fn pre_visit(&mut self, part: &Expr) -> Result<bool, Infallible> {
        match part {
            Expr::VectorSelector(selector) => self.selectors.push(selector.clone()),
            Expr::MatrixSelector(range) => self.selectors.push(range.vs.clone()),
            Expr::Aggregate(all) => self.group(all.modifier.as_ref(), &[&all.expr]),
            Expr::Binary(both) => {
                let modifier = both.modifier.as_ref();
                let matching = modifier.and_then(|modifier| modifier.matching.as_ref());
                self.group(matching, &[&both.lhs, &both.rhs]);
            }
            _ => {}
        }
        Ok(true)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use yadkv_metrics::{Meters, about};

    fn known(name: &'static str) -> Known {
        let meters = Meters::new("yadkv_test");
        meters
            .times_by(about(name, "Times.", "Is it slow?"), "call")
            .unwrap();
        meters
            .gauge(about("level", "A level.", "Is it high?"))
            .unwrap();
        Known::new(&meters.descriptions())
    }

    const QUERY: &str = "histogram_quantile(0.99, sum by (le, call) (rate(yadkv_test_seconds_bucket{instance=~\"$instance\"}[$__rate_interval])))";

    #[test]
    fn a_renamed_metric_is_seen() {
        let query = without_variables(QUERY, "1m");
        assert_eq!(known("seconds").judge(&query), Ok(()));
        let renamed = known("time").judge(&query).unwrap_err();
        let name = "yadkv_test_seconds_bucket".into();
        assert_eq!(renamed, Mistake::Metric { query, name });
    }

    #[test]
    fn what_is_not_there_is_seen() {
        let known = known("seconds");
        for fine in [
            "up{job=\"a\"} == 0 or ALERTS{alertstate=\"firing\"}",
            "yadkv_test_level > on (job, instance) 1.5 * sum by (job, instance) (yadkv_test_seconds_count{call=\"a\"})",
            "predict_linear(yadkv_test_level[6h], 3600) < 0 and on (instance) yadkv_test_level > 1",
        ] {
            assert_eq!(known.judge(fine), Ok(()));
        }
        for (query, sign) in [
            (
                "rate(yadkv_test_seconds[1m])",
                "no metric yadkv_test_seconds",
            ),
            ("sum(yadkv_test_level", "yadkv_test_level"),
            ("rate(yadkv_test_level)", "rate"),
            ("yadkv_test_level{call=\"a\"}", "a label call"),
            ("sum by (le) (yadkv_test_seconds_count)", "a label le"),
            ("sum(yadkv_test_level) by (store)", "a label store"),
            (
                "yadkv_test_level * on (call) yadkv_test_level",
                "a label call",
            ),
            ("{job=\"a\"}", "no metric"),
        ] {
            let said = known.judge(query).unwrap_err().to_string();
            assert!(said.contains(sign), "{query}: {said}");
        }
    }

    #[test]
    fn selectors_stand_alone() {
        let parts = selectors("sum(rate(a{b=\"c\"}[5m])) / (d > 3) or e").unwrap();
        assert_eq!(parts, ["a{b=\"c\"}", "d", "e"]);
    }
}
