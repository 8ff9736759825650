//! The regions: where they are and who leads them.
//!
//! *Invariants*: `--json` has at least `id start_key end_key epoch leader peers[] {id store_id store_state role}`. Keys
//! are in region space, as text.
//!
//! *Next stop*: [`super::detail`].

use super::health::{Judge, Trouble};
use super::map;
use super::table::{Shown, bytes, columns, shortened, text};
use crate::commands::Servers;
use crate::failure::{Context, Failure, Outcome};
use crate::text::{escape, unescape};
use serde_json::{Value, json};
use yadkv_client::Api;
use yadkv_proto::metapb::{PeerRole, Region};

/// All regions, or those on a store, or those in a trouble.
pub(super) async fn list(
    pd: &Servers,
    store: Option<u64>,
    trouble: Option<Trouble>,
) -> Outcome<Shown> {
    let stores = map::stores(pd).await?;
    let known = |id: u64| stores.iter().any(|shown| shown["store"]["id"] == id);
    if let Some(id) = store.filter(|id| !known(*id)) {
        return Err(Failure(format!(
            "store {id} was not found: `yadkv ctl store` lists them"
        )));
    }
    let judge = Judge::new(&stores, map::replicas(pd).await?);
    let on = |region: &Value, id: u64| {
        let mut peers = region["peers"].as_array().into_iter().flatten();
        peers.any(|peer| peer["store_id"] == id)
    };
    let regions = map::regions(pd).await?.into_iter();
    let wanted = regions.filter(|region| {
        store.is_none_or(|id| on(region, id))
            && trouble.is_none_or(|trouble| judge.has(region, trouble))
    });
    let rows: Vec<Value> = wanted.map(|region| row(&region, &judge)).collect();
    let names = [
        "ID", "START", "END", "EPOCH", "LEADER", "SIZE", "KEYS", "PEERS",
    ];
    let cells: Vec<_> = rows.iter().map(cells).collect();
    Ok(Shown::both(rows, columns(&names, &cells)))
}

/// The region that holds a key.
pub(super) async fn holds(pd: &Servers, key: &str) -> Outcome<u64> {
    let client = pd.connect(Api::V1).await?;
    let found = client.admin().region_by_key(unescape(key)?).await;
    let found = found.context("region")?.and_then(|found| found.region);
    found
        .map(|region| region.id)
        .ok_or_else(|| Failure(format!("key {key}: no region holds it yet")))
}

/// A region as the placement driver shows it.
pub(super) fn row(region: &Value, judge: &Judge) -> Value {
    let peers = region["peers"].as_array().into_iter().flatten();
    let leader = &region["leader"];
    let leader = leader["id"]
        .as_u64()
        .filter(|id| *id > 0)
        .map(|id| json!({ "id": id, "store_id": leader["store_id"], "term": region["term"] }));
    json!({
        "id": region["id"],
        "start_key": key(&region["start_key"]),
        "end_key": key(&region["end_key"]),
        "epoch": region["epoch"],
        "leader": leader,
        "approximate_bytes": region["approximate_bytes"],
        "approximate_keys": region["approximate_keys"],
        "reported_seconds_ago": region["reported_seconds_ago"],
        "peers": peers.map(|peer| peer_row(peer, region, judge)).collect::<Vec<_>>(),
    })
}

fn peer_row(peer: &Value, region: &Value, judge: &Judge) -> Value {
    let list = |name: &str| region[name].as_array().into_iter().flatten();
    let down = list("down_peers").find(|down| down["peer"]["id"] == peer["id"]);
    let pending = list("pending_peers").any(|pending| pending["id"] == peer["id"]);
    let state = match (down, pending) {
        (Some(_), _) => "down",
        (None, true) => "pending",
        (None, false) => "normal",
    };
    json!({
        "id": peer["id"],
        "store_id": peer["store_id"],
        "store_state": judge.state(&peer["store_id"]),
        "role": peer["role_name"],
        "state": state,
        "down_seconds": down.map(|down| &down["down_seconds"]),
    })
}

/// A part of a split, of which the descriptor is all that is known.
pub(super) fn of_split(region: &Region) -> Value {
    let epoch = region.region_epoch.unwrap_or_default();
    let peers = region.peers.iter().map(|peer| {
        let role = PeerRole::try_from(peer.role).map_or("Unknown", |role| role.as_str_name());
        json!({ "id": peer.id, "store_id": peer.store_id, "role": role })
    });
    json!({
        "id": region.id,
        "start_key": escape(&region.start_key),
        "end_key": escape(&region.end_key),
        "epoch": { "conf_ver": epoch.conf_ver, "version": epoch.version },
        "leader": null,
        "peers": peers.collect::<Vec<_>>(),
    })
}

/// A key that the placement driver shows in hexadecimal, as text.
fn key(shown: &Value) -> Value {
    let digits = shown.as_str().unwrap_or_default();
    let pairs = (0..digits.len() / 2).map(|at| digits.get(2 * at..2 * at + 2));
    let bytes = pairs.map(|pair| u8::from_str_radix(pair?, 16).ok());
    match bytes.collect::<Option<Vec<u8>>>() {
        Some(bytes) if digits.len().is_multiple_of(2) => escape(&bytes).into(),
        _ => Value::Null,
    }
}

/// An epoch: members, borders.
pub(super) fn epoch(row: &Value) -> String {
    let epoch = &row["epoch"];
    format!("{}.{}", text(&epoch["conf_ver"]), text(&epoch["version"]))
}

/// A peer's state, with its silence.
pub(super) fn peer_state(peer: &Value) -> String {
    match peer["down_seconds"].as_u64() {
        Some(seconds) => format!("down for {seconds} s"),
        None => match peer["state"].as_str() {
            Some("normal") => "ok".into(),
            _ => text(&peer["state"]),
        },
    }
}

/// `2` votes and keeps up, `2 (Learner, pending)` does not.
fn cells(row: &Value) -> Vec<String> {
    let leader = row["leader"]["store_id"].as_u64();
    let peers = row["peers"].as_array().into_iter().flatten().map(|peer| {
        let mut marks = Vec::new();
        if peer["role"] != "Voter" {
            marks.push(text(&peer["role"]));
        }
        if peer["state"] != "normal" {
            marks.push(peer_state(peer));
        }
        match marks.is_empty() {
            true => text(&peer["store_id"]),
            false => format!("{} ({})", text(&peer["store_id"]), marks.join(", ")),
        }
    });
    vec![
        text(&row["id"]),
        shortened(&row["start_key"]),
        shortened(&row["end_key"]),
        epoch(row),
        leader.map_or("-".into(), |store| format!("store {store}")),
        bytes(&row["approximate_bytes"]),
        text(&row["approximate_keys"]),
        format!("stores {}", peers.collect::<Vec<_>>().join(", ")),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_shown_as_text() {
        assert_eq!(key(&json!("61005C")), "a\\x00\\\\");
        assert_eq!(key(&json!("")), "");
        for bad in [json!("6"), json!("zz"), json!("6é6")] {
            assert_eq!(key(&bad), Value::Null, "{bad}");
        }
    }
}
