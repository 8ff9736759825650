//! `yadkv ctl`: look at a running cluster, cut its regions, move their replicas, set its servers.
//!
//! *Types to know*: [`Shown`], what a command shows: objects for programs, lines for people.
//!
//! *Life of a look*: the placement driver's map and reports over HTTP ([`map`]) → judged ([`health`]) → rows; a single
//! region also asks the stores of its peers ([`detail`]).
//!
//! *Invariants*: `--json` prints one object a line with stable names, sizes in bytes; without it tables for people.
//!
//! *Next stop*: [`map`].

mod check;
mod cluster;
mod config;
mod detail;
mod health;
mod map;
mod operator;
mod profile;
mod region;
mod servers;
mod store;
mod table;

use super::{Servers, http};
use crate::failure::{Context, Failure, Outcome};
use crate::output::say;
use crate::text::unescape;
use crate::tls::TlsArgs;
use clap::{Args, Subcommand};
use config::ConfigAction;
use health::Trouble;
use hyper::Method;
use profile::ProfileArgs;
use serde_json::{Value, json};
use table::Shown;
use yadkv_client::Api;
use yadkv_client::{AdminClient, Client};
use yadkv_proto::pdpb;

/// Flags of every ctl command.
#[derive(Args, Debug)]
pub(crate) struct CtlArgs {
    /// Placement drivers, comma separated.
    #[arg(long, default_value = "127.0.0.1:2379", global = true)]
    pd: String,
    #[command(flatten)]
    tls: TlsArgs,
    /// One JSON object a line.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: CtlCommand,
}

#[derive(Debug, Subcommand)]
enum CtlCommand {
    /// How the cluster is: stores, regions that are not fine, running operators.
    #[command(visible_alias = "status")]
    Cluster,
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
        /// Only regions with a peer on this store.
        #[arg(long, conflicts_with_all = ["id", "key"])]
        store: Option<u64>,
        /// Only regions that are not fine in this way.
        #[arg(long, value_enum, conflicts_with_all = ["id", "key"])]
        state: Option<Trouble>,
    },
    /// What regions are asked to do, and what became of it.
    Operator {
        #[command(subcommand)]
        action: OperatorAction,
    },
    /// A fresh timestamp.
    Tso,
    /// The servers' settings: what is in force, and others until they start anew.
    Config {
        #[command(subcommand)]
        action: ConfigAction,
    },
    /// Where a server's processor time goes, or what it allocates and keeps.
    Profile(ProfileArgs),
    /// Shows or sets what a server logs, until it starts anew: levels by module, for example info,yadkv_storage_core=debug.
    Log {
        /// A placement driver's address, or a store's status address.
        server: String,
        filter: Option<String>,
    },
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
    /// Compares the replicas of a region, or of all one after the other. Fails if some differ or cannot be compared.
    Check { region: Option<u64> },
    /// Lets a region's replica on a store lead.
    TransferLeader { region: u64, store: u64 },
}

impl RegionAction {
    /// The order that the placement driver is given; none for what the stores do.
    fn order(&self) -> Option<Value> {
        Some(match self {
            Self::Split { .. } | Self::Check { .. } => return None,
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
    let pd = Servers::new(&args.pd, args.tls.files()?)?;
    if let CtlCommand::Region {
        action: Some(RegionAction::Check { region }),
        ..
    } = args.command
    {
        return check::run(&pd, region, args.json).await;
    }
    if let CtlCommand::Config { action } = &args.command {
        let said = config::run(&pd, action).await?;
        print(&said.shown, args.json)?;
        return match said.failed.is_empty() {
            true => Ok(()),
            false => Err(Failure(said.failed.join("; "))),
        };
    }
    print(&show(&pd, &args).await?, args.json)
}

fn print(shown: &Shown, json: bool) -> Outcome {
    if json {
        return shown.rows.iter().try_for_each(say);
    }
    match &shown.people {
        Some(lines) => lines.iter().try_for_each(say),
        None => shown.rows.iter().map(table::line).try_for_each(say),
    }
}

async fn show(pd: &Servers, args: &CtlArgs) -> Outcome<Shown> {
    match &args.command {
        CtlCommand::Cluster => cluster::show(pd).await,
        CtlCommand::Operator { action } => operator::run(pd, action).await.map(Shown::rows),
        CtlCommand::Store {
            action: Some(action),
            ..
        } => store::order(pd, action).await.map(Shown::rows),
        CtlCommand::Store { id: None, .. } => store::list(pd).await,
        CtlCommand::Store { id: Some(id), .. } => store::one(pd, *id).await,
        CtlCommand::Region {
            action: Some(action),
            ..
        } => match action.order() {
            Some(order) => operator::order(pd, order).await.map(Shown::rows),
            None => look(pd, args).await.map(Shown::rows),
        },
        CtlCommand::Region { id: Some(id), .. } => detail::show(pd, *id).await,
        CtlCommand::Region { key: Some(key), .. } => {
            detail::show(pd, region::holds(pd, key).await?).await
        }
        CtlCommand::Region { store, state, .. } => region::list(pd, *store, *state).await,
        CtlCommand::Profile(args) => profile::run(pd, args).await.map(Shown::rows),
        CtlCommand::Log { server, filter } => {
            let server = pd.at(server);
            log(&server, filter.as_deref()).await.map(Shown::rows)
        }
        CtlCommand::Member | CtlCommand::Tso | CtlCommand::Config { .. } => {
            look(pd, args).await.map(Shown::rows)
        }
    }
}

/// What the SDK can answer.
async fn look(pd: &Servers, args: &CtlArgs) -> Outcome<Vec<Value>> {
    let client = pd.connect(Api::V1).await?;
    let admin = client.admin();
    match &args.command {
        CtlCommand::Member => members(&admin).await,
        CtlCommand::Region {
            action: Some(RegionAction::Split { keys, region }),
            ..
        } => split(&admin, keys.clone(), *region).await,
        CtlCommand::Tso => Ok(vec![timestamp(&client).await?]),
        _ => Ok(Vec::new()),
    }
}

async fn log(server: &Servers, filter: Option<&str>) -> Outcome<Vec<Value>> {
    let wanted = filter.map(|filter| json!({ "filter": filter }));
    let method = wanted.as_ref().map_or(Method::GET, |_| Method::PUT);
    Ok(vec![http::ask(server, method, "/log", wanted).await?])
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

async fn split(admin: &AdminClient, keys: Vec<String>, region: Option<u64>) -> Outcome<Vec<Value>> {
    let keys = keys.iter().map(|key| unescape(key).map(Into::into));
    let keys: Vec<bytes::Bytes> = keys.collect::<Result<_, _>>()?;
    let regions = admin.split_regions(keys, region).await.context("split")?;
    Ok(regions.iter().map(region::of_split).collect())
}

async fn timestamp(client: &Client) -> Outcome<Value> {
    let timestamp = client.timestamp().await.context("timestamp")?;
    Ok(json!({
        "physical": timestamp.physical_ms,
        "logical": timestamp.logical,
        "version": timestamp.version(),
    }))
}
