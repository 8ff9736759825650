//! The whole cluster on one screen.
//!
//! *Limits and failure*: without a leader of the placement drivers there is no map to look at: that is an error, which
//! says so.
//!
//! *Next stop*: [`super::health`].

use super::health::{Judge, Trouble};
use super::map;
use super::operator::OPERATORS;
use super::table::{Shown, columns, text};
use crate::commands::Servers;
use crate::commands::http::{Silence, look};
use crate::failure::Outcome;
use futures::future::join_all;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// How everything is.
pub(super) async fn show(pd: &Servers) -> Outcome<Shown> {
    let members = map::get(pd, "/pd/api/v1/members").await?;
    let stores = map::stores(pd).await?;
    let regions = map::regions(pd).await?;
    let operators = map::get(pd, OPERATORS).await?;
    let judge = Judge::new(&stores, map::replicas(pd).await?);
    let count = |trouble| {
        regions
            .iter()
            .filter(|region| judge.has(region, trouble))
            .count()
    };
    let running = |operator: &&Value| operator["status"] == "RUNNING";
    let operators = operators["operators"].as_array().into_iter().flatten();
    let busy = |shown: &&Value| shown["status"]["is_busy"] == true;
    let row = json!({
        "cluster_id": members["header"]["cluster_id"],
        "pd_leader": members["leader"]["name"],
        "pd_members": members["members"].as_array().map_or(0, Vec::len),
        "pd_unreachable": unreachable(pd, &members).await,
        "stores": states(&stores),
        "busy_stores": stores.iter().filter(busy).count(),
        "regions": regions.len(),
        "no_leader_regions": count(Trouble::NoLeader),
        "down_regions": count(Trouble::Down),
        "pending_regions": count(Trouble::Pending),
        "undersized_regions": count(Trouble::Undersized),
        "running_operators": operators.filter(running).count(),
    });
    let people = describe(&row);
    Ok(Shown::both(vec![row], people))
}

/// Number of stores in each state.
fn states(stores: &[Value]) -> BTreeMap<String, usize> {
    let mut states = BTreeMap::new();
    for shown in stores {
        *states
            .entry(text(&shown["store"]["state_name"]))
            .or_default() += 1;
    }
    states
}

/// Names of members that do not answer.
async fn unreachable(pd: &Servers, members: &Value) -> Vec<String> {
    let members = members["members"].as_array().into_iter().flatten();
    let asked = members.map(async |member| {
        let url = member["client_urls"][0].as_str().unwrap_or_default();
        let answer = look(&pd.at(url), "/health").await;
        let silent = matches!(answer, Err(Silence::Unreachable(_)));
        silent.then(|| text(&member["name"]))
    });
    join_all(asked).await.into_iter().flatten().collect()
}

fn describe(row: &Value) -> Vec<String> {
    let stores = row["stores"].as_object().into_iter().flatten();
    let stores = stores.map(|(state, count)| format!("{count} {state}"));
    let silent = row["pd_unreachable"].as_array().into_iter().flatten();
    let silent: Vec<String> = silent.map(text).collect();
    let members = match silent.is_empty() {
        true => text(&row["pd_members"]),
        false => format!("{}, unreachable: {}", row["pd_members"], silent.join(", ")),
    };
    let lines = [
        ("cluster", text(&row["cluster_id"])),
        ("placement drivers", members),
        ("their leader", text(&row["pd_leader"])),
        ("stores", stores.collect::<Vec<_>>().join(", ")),
        ("busy stores", text(&row["busy_stores"])),
        ("regions", text(&row["regions"])),
        ("without leader", text(&row["no_leader_regions"])),
        ("with down peers", text(&row["down_regions"])),
        ("with pending peers", text(&row["pending_regions"])),
        ("undersized", text(&row["undersized_regions"])),
        ("running operators", text(&row["running_operators"])),
    ];
    let rows = lines.map(|(name, value)| vec![format!("{name}:"), value]);
    let mut shown = columns(&["", ""], &rows);
    shown.remove(0);
    shown
}
