//! One region, one store, one setting.
//!
//! *Limits and failure*: 404 for an id that nobody has, 400 for what is no id.
//!
//! *Next stop*: `yadkv_placement_core::answer::overview`.

use super::{Http, show_region, show_store};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// An id in a path, or the answer to what is none.
pub(super) fn id(what: &str, written: &str) -> Result<u64, Box<Response>> {
    written.parse().map_err(|_| {
        let reason = format!("{written:?} is no {what}: give its number\n");
        Box::new((StatusCode::BAD_REQUEST, reason).into_response())
    })
}

pub(super) async fn region(
    State(http): State<Http>,
    Path(region): Path<String>,
    headers: HeaderMap,
    uri: Uri,
) -> Response {
    let id = match id("region", &region) {
        Ok(id) => id,
        Err(refusal) => return *refusal,
    };
    http.show_one(&headers, &uri, |overview| {
        let found = overview.regions.iter().find(|shown| shown.region.id == id);
        found.map(show_region).ok_or(format!(
            "region {id} was not found: list the regions; it may have become part of another one"
        ))
    })
    .await
}

pub(super) async fn store(
    State(http): State<Http>,
    Path(store): Path<String>,
    headers: HeaderMap,
    uri: Uri,
) -> Response {
    let id = match id("store", &store) {
        Ok(id) => id,
        Err(refusal) => return *refusal,
    };
    http.show_one(&headers, &uri, |overview| {
        let found = overview.stores.iter().find(|shown| shown.store.id == id);
        let none = || format!("store {id} was not found: list the stores");
        found.map(show_store).ok_or_else(none)
    })
    .await
}

pub(super) async fn replication(
    State(http): State<Http>,
    headers: HeaderMap,
    uri: Uri,
) -> Response {
    http.show(
        &headers,
        &uri,
        |overview| json!({ "max-replicas": overview.replicas }),
    )
    .await
}
