//! `yadkv ctl`: look at a running cluster, and cut its regions.
//!
//! *Invariants*: `--json` prints one object a line with stable names; without it a table for people.
//!
//! *Next stop*: `yadkv_client::admin`.

use super::connect;
use crate::failure::{Context, Failure, Outcome};
use crate::output::say;
use crate::text::{escape, unescape};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use yadkv_client::Api;
use yadkv_client::{AdminClient, Client};
use yadkv_proto::metapb::{PeerRole, Store, StoreState};
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
    /// The storage nodes, or one of them.
    Store { id: Option<u64> },
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
    /// A fresh timestamp.
    Tso,
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
}

/// Runs one command.
pub(crate) async fn run(args: CtlArgs) -> Outcome {
    let client = connect(&args.pd, Api::V1).await?;
    let admin = client.admin();
    let rows = match args.command {
        CtlCommand::Member => members(&admin).await?,
        CtlCommand::Store { id } => stores(&admin, id).await?,
        CtlCommand::Region {
            action: Some(RegionAction::Split { keys, region }),
            ..
        } => split(&admin, keys, region).await?,
        CtlCommand::Region { id, key, .. } => regions(&admin, id, key).await?,
        CtlCommand::Tso => vec![timestamp(&client).await?],
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

async fn stores(admin: &AdminClient, id: Option<u64>) -> Outcome<Vec<Value>> {
    let stores = match id {
        None => admin.stores(true).await.context("stores")?,
        Some(id) => {
            let found = admin.store(id).await.context("store")?;
            vec![
                found
                    .ok_or_else(|| {
                        Failure(format!(
                            "store {id}: not found; `yadkv ctl store` lists them"
                        ))
                    })?
                    .0,
            ]
        }
    };
    let mut rows = Vec::new();
    for store in stores {
        let stats = admin
            .store(store.id)
            .await
            .context("store")?
            .and_then(|(_, stats)| stats);
        rows.push(store_row(&store, &stats.unwrap_or_default()));
    }
    Ok(rows)
}

fn store_row(store: &Store, stats: &pdpb::StoreStats) -> Value {
    let state = StoreState::try_from(store.state).map_or("Unknown", |state| state.as_str_name());
    json!({
        "id": store.id,
        "address": store.address,
        "state": state,
        "region_count": stats.region_count,
        "capacity": stats.capacity,
        "available": stats.available,
        "used_size": stats.used_size,
        "version": store.version,
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
