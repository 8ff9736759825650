//! Orders for regions and stores, and what became of them.
//!
//! | request | body or answer |
//! |---|---|
//! | `POST /pd/api/v1/operators` | `{"name": "add-peer" \| "remove-peer", "region_id", "store_id"}`, `{"name": "transfer-leader", "region_id", "to_store_id"}`, `{"name": "transfer-peer", "region_id", "from_store_id", "to_store_id"}`, `{"name": "merge-region", "source_region_id", "target_region_id"}` |
//! | `GET /pd/api/v1/operators` | `{operators: [{region_id, status, reason, steps, step}]}`, running ones first |
//! | `DELETE /pd/api/v1/operators/REGION` | gives up what the region is asked to do |
//! | `DELETE /pd/api/v1/store/STORE` | the store gives its replicas away and leaves |
//! | `POST /pd/api/v1/store/STORE/state?state=Up` | a store that leaves stays after all; `Offline` is the same as DELETE |
//!
//! *Limits and failure*: 400 with the reason for what makes no sense; nothing is begun then.
//!
//! *Next stop*: `yadkv_placement_core::Order`.

use super::one::id;
use super::{Http, refused};
use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use yadkv_placement_core::schedule::operator::{Operator, Status};
use yadkv_placement_core::{Order, StoreOrder};
use yadkv_proto::id::{RegionId, StoreId};

/// An order as it is written in JSON.
#[derive(Deserialize)]
#[serde(tag = "name", rename_all = "kebab-case", deny_unknown_fields)]
enum Written {
    AddPeer {
        region_id: u64,
        store_id: u64,
    },
    RemovePeer {
        region_id: u64,
        store_id: u64,
    },
    TransferLeader {
        region_id: u64,
        to_store_id: u64,
    },
    TransferPeer {
        region_id: u64,
        from_store_id: u64,
        to_store_id: u64,
    },
    MergeRegion {
        source_region_id: u64,
        target_region_id: u64,
    },
}

impl From<Written> for Order {
    fn from(written: Written) -> Self {
        match written {
            Written::AddPeer {
                region_id,
                store_id,
            } => Self::AddPeer(RegionId(region_id), StoreId(store_id)),
            Written::RemovePeer {
                region_id,
                store_id,
            } => Self::RemovePeer(RegionId(region_id), StoreId(store_id)),
            Written::TransferLeader {
                region_id,
                to_store_id,
            } => Self::TransferLeader(RegionId(region_id), StoreId(to_store_id)),
            Written::MergeRegion {
                source_region_id,
                target_region_id,
            } => Self::Merge(RegionId(source_region_id), RegionId(target_region_id)),
            Written::TransferPeer {
                region_id,
                from_store_id,
                to_store_id,
            } => Self::MovePeer(
                RegionId(region_id),
                StoreId(from_store_id),
                StoreId(to_store_id),
            ),
        }
    }
}

pub(super) async fn list(State(http): State<Http>, headers: HeaderMap, uri: Uri) -> Response {
    http.show(&headers, &uri, |overview| {
        let operators: Vec<_> = overview.operators.iter().map(show).collect();
        json!({ "count": operators.len(), "operators": operators })
    })
    .await
}

pub(super) async fn add(
    State(http): State<Http>,
    headers: HeaderMap,
    uri: Uri,
    body: Bytes,
) -> Response {
    match read(&body) {
        Ok(written) => {
            http.order(written.into(), &headers, (Method::POST, uri, body))
                .await
        }
        Err(error) => {
            let reason = format!("the order cannot be read: {error}; {EXAMPLE}\n");
            (StatusCode::BAD_REQUEST, reason).into_response()
        }
    }
}

/// What an order looks like, for whoever wrote it otherwise.
const EXAMPLE: &str =
    r#"write it like {"name": "add-peer", "region_id": 2, "store_id": 5}, ids as numbers"#;

fn read(body: &[u8]) -> Result<Written, serde_json::Error> {
    // An enum would also be read from a list.
    let object: Map<String, Value> = serde_json::from_slice(body)?;
    serde_json::from_value(Value::Object(object))
}

pub(super) async fn cancel(
    State(http): State<Http>,
    Path(region): Path<String>,
    headers: HeaderMap,
    uri: Uri,
) -> Response {
    let region = match id("region", &region) {
        Ok(id) => id,
        Err(refusal) => return *refusal,
    };
    let order = Order::Cancel(RegionId(region));
    http.order(order, &headers, (Method::DELETE, uri, Bytes::new()))
        .await
}

pub(super) async fn remove_store(
    State(http): State<Http>,
    Path(store): Path<String>,
    headers: HeaderMap,
    uri: Uri,
) -> Response {
    let store = match id("store", &store) {
        Ok(id) => id,
        Err(refusal) => return *refusal,
    };
    let order = Order::Store(StoreId(store), StoreOrder::Remove);
    http.order(order, &headers, (Method::DELETE, uri, Bytes::new()))
        .await
}

/// What a store is to be.
#[derive(Deserialize)]
pub(super) struct Wanted {
    #[serde(default)]
    state: String,
}

pub(super) async fn set_store_state(
    State(http): State<Http>,
    Path(store): Path<String>,
    Query(wanted): Query<Wanted>,
    headers: HeaderMap,
    uri: Uri,
) -> Response {
    let store = match id("store", &store) {
        Ok(id) => id,
        Err(refusal) => return *refusal,
    };
    let order = match wanted.state.as_str() {
        "Up" => StoreOrder::Keep,
        "Offline" => StoreOrder::Remove,
        other => {
            let reason =
                format!("a store cannot be made {other:?}: ask for ?state=Up or ?state=Offline\n");
            return (StatusCode::BAD_REQUEST, reason).into_response();
        }
    };
    let order = Order::Store(StoreId(store), order);
    http.order(order, &headers, (Method::POST, uri, Bytes::new()))
        .await
}

impl Http {
    /// Gives an order to the member, or to the leader as it came.
    async fn order(
        &self,
        order: Order,
        headers: &HeaderMap,
        request: (Method, Uri, Bytes),
    ) -> Response {
        self.at_the_leader(headers, request, || async {
            self.door.handle.order(order).await?;
            Ok(Json(json!("The order is taken.")).into_response())
        })
        .await
        .unwrap_or_else(|refusal| refused(&refusal))
    }
}

fn show(operator: &Operator) -> Value {
    let status = match operator.status {
        Status::Running => "RUNNING",
        Status::Success => "SUCCESS",
        Status::Cancel => "CANCEL",
        Status::Timeout => "TIMEOUT",
    };
    json!({
        "region_id": operator.region.0,
        "status": status,
        "reason": operator.reason,
        "steps": operator.steps.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "step": operator.step().map(ToString::to_string),
    })
}
