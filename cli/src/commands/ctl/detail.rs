//! One region: what the placement driver was told, what its leader knows of each peer, and what each replica says.
//!
//! *Life of a look*: the region and the stores from the placement driver → the status port of every store with a peer, all
//! at once → put together.
//!
//! *Invariants*: a store that cannot be asked hides nothing of the others.
//!
//! *Limits and failure*: each store has a second. One that does not answer is `unreachable`, one that answers and cannot
//! say has an `error`, with the reason each.
//!
//! *Next stop*: `yadkv_storage_node::status`.

use super::health::Judge;
use super::map;
use super::region;
use super::table::{Shown, bytes, columns, duration, text};
use crate::commands::Servers;
use crate::commands::http::{Silence, look};
use crate::failure::Outcome;
use futures::future::join_all;
use serde_json::{Value, json};

/// Fields of the leader's view of a peer.
const VIEW: [&str; 5] = [
    "lag",
    "matched_index",
    "replication",
    "silence_seconds",
    "snapshot",
];

/// Everything about a region.
pub(super) async fn show(pd: &Servers, id: u64) -> Outcome<Shown> {
    let region = map::region(pd, id).await?;
    let stores = map::stores(pd).await?;
    // How many voters it should have does not matter here.
    let mut row = region::row(&region, &Judge::new(&stores, 0));
    let peers = row["peers"].as_array().into_iter().flatten();
    let asked = peers.map(|peer| ask(pd, &stores, &peer["store_id"], id));
    let said = join_all(asked).await;
    let leader = leader_of(&said).cloned();
    let peers = row["peers"].as_array_mut().into_iter().flatten();
    for (peer, said) in peers.zip(said) {
        complete(peer, said, &stores, leader.as_ref());
    }
    if let Some(leader) = &leader {
        correct(&mut row, leader);
    }
    let people = describe(&row);
    Ok(Shown::both(vec![row], people))
}

fn store<'a>(stores: &'a [Value], id: &Value) -> &'a Value {
    let found = stores.iter().find(|shown| shown["store"]["id"] == *id);
    found.map_or(&Value::Null, |shown| &shown["store"])
}

async fn ask(pd: &Servers, stores: &[Value], id: &Value, region: u64) -> Result<Value, Silence> {
    match store(stores, id)["status_address"].as_str() {
        None | Some("") => {
            let reason = format!("store {id} has no status address: set store.status_addr");
            Err(Silence::Unreachable(reason))
        }
        Some(address) => look(&pd.at(address), &format!("/regions/{region}")).await,
    }
}

/// The replica that leads. One that was replaced and has not noticed has an earlier term.
fn leader_of(said: &[Result<Value, Silence>]) -> Option<&Value> {
    let replicas = said.iter().flatten();
    let leaders = replicas.filter(|replica| replica["role"] == "Leader");
    leaders.max_by_key(|replica| replica["term"].as_u64())
}

/// Adds what the leader and the replica itself say.
fn complete(
    peer: &mut Value,
    said: Result<Value, Silence>,
    stores: &[Value],
    leader: Option<&Value>,
) {
    peer["store_address"] = store(stores, &peer["store_id"])["address"].clone();
    let mut followers = leader
        .and_then(|leader| leader["followers"].as_array())
        .into_iter()
        .flatten();
    let view = followers.find(|follower| follower["id"] == peer["id"]);
    for field in VIEW {
        peer[field] = view.map_or(Value::Null, |view| view[field].clone());
    }
    if let Some(leader) = leader.filter(|leader| leader["peer_id"] == peer["id"]) {
        peer["lag"] = json!(0);
        peer["matched_index"] = leader["last_index"].clone();
    }
    let (mut replica, mut unreachable, mut error) = (Value::Null, None, None);
    match said {
        Ok(mut said) => {
            // Told of each peer above.
            if let Some(fields) = said.as_object_mut() {
                fields.remove("followers");
                fields.remove("region_id");
            }
            replica = said;
        }
        Err(Silence::Unreachable(reason)) => unreachable = Some(reason),
        Err(Silence::Refused(reason)) => error = Some(reason),
    }
    peer["replica"] = replica;
    peer["unreachable"] = json!(unreachable);
    peer["error"] = json!(error);
}

/// A leader knows better than the placement driver, which heard of it.
fn correct(row: &mut Value, leader: &Value) {
    let known = row["leader"]["term"].as_u64();
    if known > leader["term"].as_u64() {
        return;
    }
    let peers = row["peers"].as_array().into_iter().flatten();
    let own = peers.clone().find(|peer| peer["id"] == leader["peer_id"]);
    let store = own.map_or(Value::Null, |peer| peer["store_id"].clone());
    row["leader"] = json!({ "id": leader["peer_id"], "store_id": store, "term": leader["term"] });
    for field in ["approximate_bytes", "approximate_keys"] {
        row[field] = leader[field].clone();
    }
}

fn describe(row: &Value) -> Vec<String> {
    let leader = &row["leader"];
    let led = match leader["id"].as_u64() {
        Some(id) => format!(
            "peer {id} on store {} in term {}",
            text(&leader["store_id"]),
            text(&leader["term"])
        ),
        None => "not known".into(),
    };
    let mut lines = vec![
        format!("region:  {}", text(&row["id"])),
        format!("from:    {}", text(&row["start_key"])),
        format!("to:      {}", text(&row["end_key"])),
        format!("epoch:   {} (members.borders)", region::epoch(row)),
        format!("leader:  {led}"),
        format!(
            "size:    about {} in {} keys",
            bytes(&row["approximate_bytes"]),
            text(&row["approximate_keys"])
        ),
        format!("report:  {} ago", duration(&row["reported_seconds_ago"])),
        String::new(),
    ];
    let peers: Vec<&Value> = row["peers"].as_array().into_iter().flatten().collect();
    let names = [
        "PEER",
        "STORE",
        "ADDRESS",
        "STORE STATE",
        "ROLE",
        "STATE",
        "LAG",
        "SNAPSHOT",
        "REPLICA",
        "TERM",
        "COMMIT",
        "APPLIED",
        "LOG",
        "WAITING",
    ];
    let cells: Vec<_> = peers.iter().map(|peer| cells(peer)).collect();
    lines.extend(columns(&names, &cells));
    for peer in peers {
        let store = text(&peer["store_id"]);
        if let Some(reason) = peer["unreachable"].as_str() {
            lines.push(format!("store {store} is unreachable: {reason}"));
        }
        if let Some(reason) = peer["error"].as_str() {
            lines.push(format!("store {store} says: {reason}"));
        }
    }
    lines
}

fn cells(peer: &Value) -> Vec<String> {
    let replica = &peer["replica"];
    let log = match replica["last_index"].is_null() {
        true => "-".into(),
        false => format!("{}..={}", replica["first_index"], replica["last_index"]),
    };
    let state = match (&peer["unreachable"], &replica["merging_into"]) {
        (Value::String(_), _) => "unreachable".into(),
        (_, Value::Number(target)) => format!("merging into {target}"),
        _ => text(&replica["state"]),
    };
    vec![
        text(&peer["id"]),
        text(&peer["store_id"]),
        text(&peer["store_address"]),
        text(&peer["store_state"]),
        text(&peer["role"]),
        region::peer_state(peer),
        text(&peer["lag"]),
        snapshot(&peer["snapshot"]),
        state,
        text(&replica["term"]),
        text(&replica["commit_index"]),
        text(&replica["applied_index"]),
        log,
        waiting(replica),
    ]
}

/// How much of a snapshot is sent.
fn snapshot(snapshot: &Value) -> String {
    if snapshot.is_null() {
        return "-".into();
    }
    let since = duration(&snapshot["seconds"]);
    match snapshot["sent_bytes"].is_null() {
        true => format!("waits for {since}"),
        false => format!(
            "{} of about {} in {since}",
            bytes(&snapshot["sent_bytes"]),
            bytes(&snapshot["approximate_bytes"])
        ),
    }
}

/// Who waits for a replica; `-` if nobody does.
fn waiting(replica: &Value) -> String {
    let kinds = [
        ("queued_writes", "writes"),
        ("proposed_entries", "entries"),
        ("waiting_reads", "reads"),
        ("parked_requests", "parked"),
    ];
    let waiting = kinds.iter().filter_map(|(field, name)| {
        let count = replica[field].as_u64().filter(|count| *count > 0)?;
        Some(format!("{count} {name}"))
    });
    let waiting: Vec<String> = waiting.collect();
    match waiting.is_empty() {
        true => "-".into(),
        false => waiting.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replica(role: &str, term: u64) -> Result<Value, Silence> {
        Ok(json!({ "role": role, "term": term }))
    }

    #[test]
    fn the_latest_leader_counts() {
        let silent = Err(Silence::Unreachable("gone".into()));
        let said = [
            replica("Leader", 6),
            replica("Leader", 7),
            replica("Follower", 9),
            silent,
        ];
        assert_eq!(
            leader_of(&said).map(|leader| &leader["term"]),
            Some(&json!(7))
        );
        assert_eq!(leader_of(&said[2..]), None);
    }

    #[test]
    fn a_placement_driver_that_knows_better_is_believed() {
        let known = json!({ "id": 1, "store_id": 1, "term": 8 });
        let mut row = json!({ "leader": known, "peers": [{ "id": 2, "store_id": 5 }] });
        let mut leader = json!({ "peer_id": 2, "term": 7 });
        correct(&mut row, &leader);
        assert_eq!(row["leader"]["id"], 1);
        leader["term"] = json!(9);
        correct(&mut row, &leader);
        assert_eq!(row["leader"], json!({ "id": 2, "store_id": 5, "term": 9 }));
    }
}
