//! The servers of a cluster, one by one: for what is asked of a process and not of the cluster.
//!
//! *Invariants*: members first, each kind by its id. Stores that have left for good are no servers.
//!
//! *Next stop*: [`super::map`].

use super::map;
use crate::commands::Servers;
use crate::failure::{Failure, Outcome};
use clap::Args;
use yadkv_tls::host_and_port;

/// Which of them.
#[derive(Args, Clone, Copy, Debug, Default)]
pub(super) struct Whom {
    /// Only this store.
    #[arg(long, value_name = "ID")]
    pub(super) store: Option<u64>,
    /// Only this placement driver, by its id in `ctl member`.
    #[arg(long, value_name = "ID", conflicts_with = "store")]
    pub(super) member: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Member,
    Store,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) kind: Kind,
    pub(super) id: u64,
    /// Where its pages are, or why nowhere.
    pub(super) address: Result<String, String>,
}

impl Whom {
    /// The only one, if it is not all.
    pub(super) fn only(&self) -> Option<(Kind, u64)> {
        let store = self.store.map(|id| (Kind::Store, id));
        store.or(self.member.map(|id| (Kind::Member, id)))
    }
}

impl Server {
    /// `store 4`, or `pd 1`.
    pub(super) fn name(&self) -> String {
        match self.kind {
            Kind::Member => format!("pd {}", self.id),
            Kind::Store => format!("store {}", self.id),
        }
    }
}

/// All that are meant.
pub(super) async fn servers(pd: &Servers, whom: &Whom) -> Outcome<Vec<Server>> {
    let mut all = members(pd).await?;
    all.extend(stores(pd).await?);
    let Some(only) = whom.only() else {
        return Ok(all);
    };
    all.retain(|server| (server.kind, server.id) == only);
    match all.is_empty() {
        false => Ok(all),
        true => {
            let (what, list) = match only.0 {
                Kind::Member => ("placement driver", "member"),
                Kind::Store => ("store", "store"),
            };
            Err(Failure(format!(
                "there is no {what} {}: `yadkv ctl {list}` lists them",
                only.1
            )))
        }
    }
}

async fn members(pd: &Servers) -> Outcome<Vec<Server>> {
    let answer = map::get(pd, "/pd/api/v1/members").await?;
    let members = answer["members"].as_array().into_iter().flatten();
    let server = |member: &serde_json::Value| Server {
        kind: Kind::Member,
        id: member["member_id"].as_u64().unwrap_or(0),
        address: match member["client_urls"][0].as_str() {
            Some(url) => Ok(host_and_port(url).to_owned()),
            None => Err("its address is not known".into()),
        },
    };
    let mut members: Vec<_> = members.map(server).collect();
    members.sort_by_key(|server| server.id);
    Ok(members)
}

async fn stores(pd: &Servers) -> Outcome<Vec<Server>> {
    let shown = map::stores(pd).await?;
    let here = shown
        .iter()
        .map(|shown| &shown["store"])
        .filter(|store| store["state_name"] != "Tombstone");
    let server = |store: &serde_json::Value| Server {
        kind: Kind::Store,
        id: store["id"].as_u64().unwrap_or(0),
        address: match store["status_address"].as_str() {
            None | Some("") => Err("it has no status address: set store.status_addr".into()),
            Some(address) => Ok(address.to_owned()),
        },
    };
    let mut stores: Vec<_> = here.map(server).collect();
    stores.sort_by_key(|server| server.id);
    Ok(stores)
}
