//! `yadkv ctl`: look at a running cluster, cut its regions and move their replicas.
//!
//! *Invariants*: `--json` prints one object a line with stable names; without it a table for people.
//!
//! *Next stop*: `yadkv_client::admin`.

use super::connect;
use super::http::ask;
use crate::failure::{Context, Failure, Outcome};
use crate::output::say;
use crate::text::{escape, unescape};
use clap::{Args, Subcommand};
use hyper::Method;
use serde_json::{Value, json};
use yadkv_client::Api;
use yadkv_client::{AdminClient, Client};
use yadkv_proto::metapb::PeerRole;
use yadkv_proto::pdpb;

/// Flags of every ctl command.
#[derive(Args, Debug)]
pub(crate) struct CtlArgs {
    /// Placement drivers, comma separated.
    #[arg(long, default_value = "127.0.0.1:2379", global = true)]
    pd: String,
    /// One JSON object a line.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: CtlCommand,
}

#[derive(Debug, Subcommand)]
enum CtlCommand {
    /// The placement drivers and their leader.
    Member,
    /// The storage nodes, or one of them; or what can be done to them.
    #[command(args_conflicts_with_subcommands = true)]
    Store {
        #[command(subcommand)]
        action: Option<StoreAction>,
        id: Option<u64>,
    },
    /// The regions, or one of them; or what can be done to them.
    #[command(args_conflicts_with_subcommands = true)]
    Region {
        #[command(subcommand)]
        action: Option<RegionAction>,
        id: Option<u64>,
        /// The region that holds this key (in region space, with escapes).
        #[arg(long, conflicts_with = "id")]
        key: Option<String>,
    },
    /// What regions are asked to do, and what became of it.
    Operator {
        #[command(subcommand)]
        action: OperatorAction,
    },
    /// A fresh timestamp.
    Tso,
}

#[derive(Debug, Subcommand)]
enum StoreAction {
    /// A store gives all its replicas to others and leaves for good.
    Remove { id: u64 },
    /// A store that is leaving stays after all.
    Keep { id: u64 },
}

#[derive(Debug, Subcommand)]
enum OperatorAction {
    /// Running operators, and those that ended last.
    List,
    /// Gives up what a region is asked to do.
    Cancel { region: u64 },
}

#[derive(Debug, Subcommand)]
enum RegionAction {
    /// Cuts regions at keys (in region space, with escapes); prints what took their place.
    Split {
        #[arg(required = true)]
        keys: Vec<String>,
        /// The region that all keys have to lie in.
        #[arg(long)]
        region: Option<u64>,
    },
    /// Gives a region a replica on another store: first it learns, then it votes.
    AddPeer { region: u64, store: u64 },
    /// Takes a region's replica on a store away.
    RemovePeer { region: u64, store: u64 },
    /// Moves a region's replica from one store to another.
    MovePeer { region: u64, from: u64, to: u64 },
    /// Lets a region become part of its neighbour; its replicas move to the neighbour's stores first.
    Merge { region: u64, into: u64 },
    /// Lets a region's replica on a store lead.
    TransferLeader { region: u64, store: u64 },
}

impl RegionAction {
    /// The order that the placement driver is given; none for what the stores do.
    fn order(&self) -> Option<Value> {
        Some(match self {
            Self::Split { .. } => return None,
            Self::AddPeer { region, store } => {
                json!({ "name": "add-peer", "region_id": region, "store_id": store })
            }
            Self::RemovePeer { region, store } => {
                json!({ "name": "remove-peer", "region_id": region, "store_id": store })
            }
            Self::MovePeer { region, from, to } => json!({
                "name": "transfer-peer",
                "region_id": region,
                "from_store_id": from,
                "to_store_id": to,
            }),
            Self::Merge { region, into } => json!({
                "name": "merge-region",
                "source_region_id": region,
                "target_region_id": into,
            }),
            Self::TransferLeader { region, store } => {
                json!({ "name": "transfer-leader", "region_id": region, "to_store_id": store })
            }
        })
    }
}

/// Runs one command.
pub(crate) async fn run(args: CtlArgs) -> Outcome {
    let rows = match &args.command {
        CtlCommand::Operator { action } => operators(&args.pd, action).await?,
        CtlCommand::Store {
            action: Some(action),
            ..
        } => order_store(&args.pd, action).await?,
        CtlCommand::Store { id, .. } => stores(&args.pd, *id).await?,
        CtlCommand::Region {
            action: Some(action),
            ..
        } if action.order().is_some() => order(&args.pd, action).await?,
        _ => look(&args).await?,
    };
    for row in &rows {
        if args.json {
            say(row)?;
        } else {
            say(line(row))?;
        }
    }
    Ok(())
}

const OPERATORS: &str = "/pd/api/v1/operators";

async fn order(pd: &str, action: &RegionAction) -> Outcome<Vec<Value>> {
    let order = action.order().unwrap_or_default();
    ask(pd, Method::POST, OPERATORS, Some(order.clone())).await?;
    let region = order.get("region_id").or(order.get("source_region_id"));
    Ok(vec![json!({ "ordered": order["name"], "region": region })])
}

async fn order_store(pd: &str, action: &StoreAction) -> Outcome<Vec<Value>> {
    let (id, state) = match action {
        StoreAction::Remove { id } => (id, "Offline"),
        StoreAction::Keep { id } => (id, "Up"),
    };
    let path = format!("/pd/api/v1/store/{id}/state?state={state}");
    ask(pd, Method::POST, &path, None).await?;
    Ok(vec![json!({ "store": id, "ordered": state })])
}

async fn operators(pd: &str, action: &OperatorAction) -> Outcome<Vec<Value>> {
    match action {
        OperatorAction::List => {
            let answer = ask(pd, Method::GET, OPERATORS, None).await?;
            Ok(answer["operators"].as_array().cloned().unwrap_or_default())
        }
        OperatorAction::Cancel { region } => {
            let path = format!("{OPERATORS}/{region}");
            ask(pd, Method::DELETE, &path, None).await?;
            Ok(vec![json!({ "cancelled": region })])
        }
    }
}

/// What the SDK can answer.
async fn look(args: &CtlArgs) -> Outcome<Vec<Value>> {
    let client = connect(&args.pd, Api::V1).await?;
    let admin = client.admin();
    Ok(match &args.command {
        CtlCommand::Member => members(&admin).await?,
        CtlCommand::Region {
            action: Some(RegionAction::Split { keys, region }),
            ..
        } => split(&admin, keys.clone(), *region).await?,
        CtlCommand::Region { id, key, .. } => regions(&admin, *id, key.clone()).await?,
        CtlCommand::Tso => vec![timestamp(&client).await?],
        CtlCommand::Operator { .. } | CtlCommand::Store { .. } => Vec::new(),
    })
}

/// `name=value` pairs of an object, for people.
fn line(row: &Value) -> String {
    let show = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let fields = row.as_object().into_iter().flatten();
    fields
        .map(|(name, value)| format!("{name}={}", show(value)))
        .collect::<Vec<_>>()
        .join("  ")
}

async fn members(admin: &AdminClient) -> Outcome<Vec<Value>> {
    let members = admin.members().await.context("members")?;
    let leader = members.leader.as_ref().map_or(0, |leader| leader.member_id);
    let row = |member: &pdpb::Member| {
        json!({
            "id": member.member_id,
            "name": member.name,
            "client_urls": member.client_urls,
            "leader": member.member_id == leader,
        })
    };
    Ok(members.members.iter().map(row).collect())
}

async fn stores(pd: &str, id: Option<u64>) -> Outcome<Vec<Value>> {
    let answer = ask(pd, Method::GET, "/pd/api/v1/stores", None).await?;
    let stores = answer["stores"].as_array().cloned().unwrap_or_default();
    let wanted = |shown: &&Value| id.is_none_or(|id| shown["store"]["id"] == id);
    let rows: Vec<Value> = stores.iter().filter(wanted).map(store_row).collect();
    match id {
        Some(id) if rows.is_empty() => Err(Failure(format!(
            "store {id}: not found; `yadkv ctl store` lists them"
        ))),
        _ => Ok(rows),
    }
}

/// `region_count` is what the placement driver's map says, `peer_count` what the store itself says that it holds.
fn store_row(shown: &Value) -> Value {
    let (store, status) = (&shown["store"], &shown["status"]);
    json!({
        "id": store["id"],
        "address": store["address"],
        "state": store["state_name"],
        "region_count": status["region_count"],
        "leader_count": status["leader_count"],
        "peer_count": status["peer_count"],
        "capacity": status["capacity"],
        "available": status["available"],
        "used_size": status["used_size"],
        "silence_seconds": status["silence_seconds"],
        "version": store["version"],
    })
}

async fn regions(admin: &AdminClient, id: Option<u64>, key: Option<String>) -> Outcome<Vec<Value>> {
    let regions = match (id, key) {
        (Some(id), _) => {
            let found = admin.region_by_id(id).await.context("region")?;
            vec![found.ok_or_else(|| {
                Failure(format!(
                    "region {id}: not found; `yadkv ctl region` lists them"
                ))
            })?]
        }
        (None, Some(key)) => {
            let found = admin
                .region_by_key(unescape(&key)?)
                .await
                .context("region")?;
            vec![found.ok_or_else(|| Failure(format!("key {key}: no region holds it yet")))?]
        }
        (None, None) => admin.regions("", u32::MAX).await.context("regions")?,
    };
    Ok(regions.iter().map(region_row).collect())
}

async fn split(admin: &AdminClient, keys: Vec<String>, region: Option<u64>) -> Outcome<Vec<Value>> {
    let keys = keys.iter().map(|key| unescape(key).map(Into::into));
    let keys: Vec<bytes::Bytes> = keys.collect::<Result<_, _>>()?;
    let regions = admin.split_regions(keys, region).await.context("split")?;
    let rows = regions.into_iter().map(|region| {
        region_row(&pdpb::Region {
            region: Some(region),
            ..Default::default()
        })
    });
    Ok(rows.collect())
}

fn region_row(region: &pdpb::Region) -> Value {
    let descriptor = region.region.clone().unwrap_or_default();
    let epoch = descriptor.region_epoch.unwrap_or_default();
    let down = |peer: u64| {
        region
            .down_peers
            .iter()
            .any(|down| down.peer.is_some_and(|down| down.id == peer))
    };
    let pending = |peer: u64| {
        region
            .pending_peers
            .iter()
            .any(|pending| pending.id == peer)
    };
    let peers: Vec<Value> = descriptor
        .peers
        .iter()
        .map(|peer| {
            let state = match peer.id {
                id if down(id) => "down",
                id if pending(id) => "pending",
                _ => "normal",
            };
            let role = PeerRole::try_from(peer.role).map_or("Unknown", |role| role.as_str_name());
            json!({ "id": peer.id, "store_id": peer.store_id, "role": role, "state": state })
        })
        .collect();
    json!({
        "id": descriptor.id,
        "start_key": escape(&descriptor.start_key),
        "end_key": escape(&descriptor.end_key),
        "epoch": { "conf_ver": epoch.conf_ver, "version": epoch.version },
        "leader": region.leader.map(|leader| json!({ "id": leader.id, "store_id": leader.store_id })),
        "peers": peers,
    })
}

async fn timestamp(client: &Client) -> Outcome<Value> {
    let timestamp = client.timestamp().await.context("timestamp")?;
    Ok(json!({
        "physical": timestamp.physical_ms,
        "logical": timestamp.logical,
        "version": timestamp.version(),
    }))
}
