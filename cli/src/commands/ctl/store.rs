//! The storage nodes: how they are, and their coming and going.
//!
//! *Invariants*: `region_count` is what the placement driver's map says, `peer_count` what the store itself says that it
//! holds. What a store has not said is null.
//!
//! *Next stop*: `yadkv_placement_driver::http`.

use super::StoreAction;
use super::map;
use super::table::{Shown, bytes, columns, duration, moment, text};
use crate::commands::Servers;
use crate::commands::http::ask;
use crate::failure::Outcome;
use hyper::Method;
use serde_json::{Value, json};

/// Fields that a store's last heartbeat fills.
const STATUS: [&str; 16] = [
    "region_count",
    "leader_count",
    "peer_count",
    "capacity",
    "available",
    "used_size",
    "sending_snap_count",
    "receiving_snap_count",
    "applying_snap_count",
    "is_busy",
    "is_apply_busy",
    "bytes_written",
    "keys_written",
    "interval_seconds",
    "start_time",
    "silence_seconds",
];

/// A store leaves, or stays.
pub(super) async fn order(pd: &Servers, action: &StoreAction) -> Outcome<Vec<Value>> {
    let (id, state) = match action {
        StoreAction::Remove { id } => (id, "Offline"),
        StoreAction::Keep { id } => (id, "Up"),
    };
    let path = format!("/pd/api/v1/store/{id}/state?state={state}");
    ask(pd, Method::POST, &path, None).await?;
    Ok(vec![json!({ "store": id, "ordered": state })])
}

/// All stores.
pub(super) async fn list(pd: &Servers) -> Outcome<Shown> {
    let rows: Vec<Value> = map::stores(pd).await?.iter().map(row).collect();
    let names = [
        "ID",
        "STATE",
        "ADDRESS",
        "LEADERS",
        "REGIONS",
        "CAPACITY",
        "FREE",
        "USED",
        "SNAPSHOTS",
        "BUSY",
        "HEARTBEAT",
        "STARTED",
        "VERSION",
    ];
    let cells: Vec<_> = rows.iter().map(cells).collect();
    Ok(Shown::both(rows, columns(&names, &cells)))
}

/// One store.
pub(super) async fn one(pd: &Servers, id: u64) -> Outcome<Shown> {
    let row = row(&map::store(pd, id).await?);
    let people = describe(&row);
    Ok(Shown::both(vec![row], people))
}

fn row(shown: &Value) -> Value {
    let (store, status) = (&shown["store"], &shown["status"]);
    let mut row = json!({
        "id": store["id"],
        "address": store["address"],
        "status_address": store["status_address"],
        "state": store["state_name"],
        "version": store["version"],
        "labels": store["labels"],
    });
    for field in STATUS {
        row[field] = status[field].clone();
    }
    row
}

fn busy(row: &Value) -> String {
    match (&row["is_busy"], &row["is_apply_busy"]) {
        (Value::Bool(true), _) => "yes",
        (_, Value::Bool(true)) => "apply",
        (Value::Bool(false), _) => "no",
        _ => "-",
    }
    .into()
}

fn ago(row: &Value) -> String {
    format!("{} ago", duration(&row["silence_seconds"]))
}

fn snapshots(row: &Value) -> String {
    let counts = ["sending", "receiving", "applying"];
    counts
        .map(|kind| text(&row[format!("{kind}_snap_count")]))
        .join("/")
}

fn cells(row: &Value) -> Vec<String> {
    vec![
        text(&row["id"]),
        text(&row["state"]),
        text(&row["address"]),
        text(&row["leader_count"]),
        text(&row["region_count"]),
        bytes(&row["capacity"]),
        bytes(&row["available"]),
        bytes(&row["used_size"]),
        snapshots(row),
        busy(row),
        ago(row),
        moment(&row["start_time"]),
        text(&row["version"]),
    ]
}

fn describe(row: &Value) -> Vec<String> {
    let written = |amount: String| {
        let time = duration(&row["interval_seconds"]);
        format!("{amount} in the last {time}")
    };
    let lines = [
        ("store", text(&row["id"])),
        ("state", text(&row["state"])),
        ("address", text(&row["address"])),
        ("status address", text(&row["status_address"])),
        ("version", text(&row["version"])),
        ("started", moment(&row["start_time"])),
        ("last heartbeat", ago(row)),
        ("capacity", bytes(&row["capacity"])),
        ("available", bytes(&row["available"])),
        ("used", bytes(&row["used_size"])),
        ("regions", text(&row["region_count"])),
        ("leaders", text(&row["leader_count"])),
        ("replicas on it", text(&row["peer_count"])),
        ("snapshots sent/received/installed", snapshots(row)),
        ("busy", busy(row)),
        ("written", written(bytes(&row["bytes_written"]))),
        ("keys written", written(text(&row["keys_written"]))),
    ];
    let rows = lines.map(|(name, value)| vec![format!("{name}:"), value]);
    let mut shown = columns(&["", ""], &rows);
    shown.remove(0);
    shown
}
