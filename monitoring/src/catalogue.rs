//! Everything that is measured, by whom.
//!
//! *Place*: servers and the SDK describe their metrics; the [`crate::page`] shows them, [`crate::expression`] looks names
//! up.
//!
//! *Types to know*: [`Component`], [`Topic`].
//!
//! *Invariants*: every metric has a topic, and every topic a metric: a test here says so.
//!
//! *Next stop*: [`crate::page`].

use crate::Error;
use yadkv_metrics::Description;

/// One kind of process.
#[derive(Clone, Debug)]
pub struct Component {
    /// What it is called.
    pub title: &'static str,
    /// Where its metrics are found.
    pub place: &'static str,
    /// Its metrics.
    pub topics: Vec<Topic>,
}

/// Metrics that belong together.
#[derive(Clone, Debug)]
pub struct Topic {
    /// What they are about.
    pub title: &'static str,
    /// In the order in which they were made.
    pub metrics: Vec<Description>,
}

/// A topic, and how names of its metrics begin behind the component's own part. The first topic that fits has it.
type Naming = (&'static str, &'static [&'static str]);

const STORE: &[Naming] = &[
    (
        "Requests of clients",
        &["request_", "lease_reads", "index_reads"],
    ),
    ("Raft and its log", &["raft_", "worker_", "queue_"]),
    ("Apply", &["apply_"]),
    (
        "Replicas",
        &["peers", "snapshot", "replica_", "region_", "damaged_"],
    ),
    ("Memory and disk", &["memory_", "disk_", "writes_refused"]),
    ("RocksDB", &["engine_"]),
    ("Connections", &["runtime_"]),
];
const PD: &[Naming] = &[
    (
        "The cluster, as the leader knows it",
        &["stores", "regions", "store_", "operators"],
    ),
    (
        "Calls",
        &["request_", "refused", "forwarded", "waiting_", "tso_"],
    ),
    (
        "The members",
        &[
            "leads", "term", "leader_", "log_", "raft_", "state_", "map_",
        ],
    ),
    ("Connections", &["runtime_"]),
];
const CLIENT: &[Naming] = &[
    ("Calls of the application", &["call_", "failed_"]),
    ("Requests to servers", &["request_"]),
];

/// How the names of a process's own metrics begin: the same for every program that Prometheus knows.
const PROCESS: &str = "process_";

/// All of them.
pub fn components() -> Result<Vec<Component>, Error> {
    let store = yadkv_storage_node::metrics::describe()?;
    let pd = yadkv_placement_driver::metrics::describe()?;
    let client = yadkv_client::metrics::describe()?;
    let (process, store): (Vec<_>, Vec<_>) = store
        .into_iter()
        .partition(|one| one.name.starts_with(PROCESS));
    let pd = pd.into_iter().filter(|one| !one.name.starts_with(PROCESS));
    Ok(vec![
        Component {
            title: "A placement driver",
            place: "`/metrics` on its port. What the cluster is like is shown by the member that leads, and by no other.",
            topics: sorted(yadkv_placement_driver::metrics::PREFIX, PD, pd.collect()),
        },
        Component {
            title: "A store",
            place: "`/metrics` on its status port.",
            topics: sorted(yadkv_storage_node::metrics::PREFIX, STORE, store),
        },
        Component {
            title: "The process of a server",
            place: "Beside the others on both pages.",
            topics: vec![Topic {
                title: "What the operating system counts",
                metrics: process,
            }],
        },
        Component {
            title: "A client",
            place: "In the application's own registry, if it asks for them: see `client/src/metrics.rs`.",
            topics: sorted(yadkv_client::metrics::PREFIX, CLIENT, client),
        },
    ])
}

/// Every description, in one list.
pub fn descriptions() -> Result<Vec<Description>, Error> {
    let topics = components()?.into_iter().flat_map(|one| one.topics);
    Ok(topics.flat_map(|topic| topic.metrics).collect())
}

fn sorted(prefix: &str, namings: &[Naming], metrics: Vec<Description>) -> Vec<Topic> {
    let mut rest = metrics;
    let mut topics = Vec::new();
    for (title, beginnings) in namings {
        let fits = |one: &Description| {
            let own = one.name.strip_prefix(prefix);
            let own = own
                .and_then(|own| own.strip_prefix('_'))
                .unwrap_or_default();
            beginnings
                .iter()
                .any(|beginning| own.starts_with(beginning))
        };
        let (metrics, others) = rest.into_iter().partition(fits);
        rest = others;
        topics.push(Topic { title, metrics });
    }
    if !rest.is_empty() {
        topics.push(Topic {
            title: UNSORTED,
            metrics: rest,
        });
    }
    topics
}

/// The topic of what fits nowhere.
const UNSORTED: &str = "Others";

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_has_a_topic_and_every_topic_a_metric() {
        for component in components().unwrap() {
            for topic in component.topics {
                let (what, where_) = (topic.title, component.title);
                assert_ne!(what, UNSORTED, "{where_}: {:?}", topic.metrics);
                assert!(!topic.metrics.is_empty(), "{where_}: {what}: none");
            }
        }
    }

    #[test]
    fn what_a_runtime_does_is_described() {
        let names = descriptions().unwrap().into_iter().map(|one| one.name);
        let names: Vec<_> = names.filter(|name| name.contains("_runtime_")).collect();
        assert_eq!(names.len(), 6, "{names:?}");
    }
}
