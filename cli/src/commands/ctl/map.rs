//! The placement driver's map and reports, as its HTTP interface shows them.
//!
//! *Place*: every look at stores and regions begins here.
//!
//! *Invariants*: regions are in key order; what was not reported is null.
//!
//! *Limits and failure*: a field that a member of another release does not send is null.
//!
//! *Next stop*: [`super::health`].

use crate::commands::Servers;
use crate::commands::http::ask;
use crate::failure::Outcome;
use hyper::Method;
use serde_json::Value;

/// All stores, with `store` and `status` each.
pub(super) async fn stores(pd: &Servers) -> Outcome<Vec<Value>> {
    list(pd, "/pd/api/v1/stores", "stores").await
}

/// All regions.
pub(super) async fn regions(pd: &Servers) -> Outcome<Vec<Value>> {
    list(pd, "/pd/api/v1/regions", "regions").await
}

/// One region.
pub(super) async fn region(pd: &Servers, id: u64) -> Outcome<Value> {
    get(pd, &format!("/pd/api/v1/region/id/{id}")).await
}

/// One store.
pub(super) async fn store(pd: &Servers, id: u64) -> Outcome<Value> {
    get(pd, &format!("/pd/api/v1/store/{id}")).await
}

/// Voters that every region shall have.
pub(super) async fn replicas(pd: &Servers) -> Outcome<u64> {
    let answer = get(pd, "/pd/api/v1/config/replicate").await?;
    Ok(answer["max-replicas"].as_u64().unwrap_or(0))
}

/// A page of the placement driver.
pub(super) async fn get(pd: &Servers, path: &str) -> Outcome<Value> {
    ask(pd, Method::GET, path, None).await
}

async fn list(pd: &Servers, path: &str, name: &str) -> Outcome<Vec<Value>> {
    let mut answer = get(pd, path).await?;
    Ok(items(&mut answer[name]))
}

/// The items of a list; none of what is no list.
pub(super) fn items(list: &mut Value) -> Vec<Value> {
    list.as_array_mut().map(std::mem::take).unwrap_or_default()
}
