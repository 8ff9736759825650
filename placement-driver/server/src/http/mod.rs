//! HTTP/1.1 on the same port: what people, scripts and Prometheus look at.
//!
//! | path | answer |
//! |---|---|
//! | `GET /pd/api/v1/regions` | `{count, regions: [{id, start_key, end_key, epoch, peers, leader, down_peers, pending_peers, …}]}`, borders in hexadecimal; `approximate_size` in MiB |
//! | `GET /pd/api/v1/region/id/ID` | one of them |
//! | `GET /pd/api/v1/stores` | `{count, stores: [{store: {id, address, state_name, …}, status: {region_count, leader_count, capacity, available, …}}]}`, sizes in bytes; null is what no heartbeat has told |
//! | `GET /pd/api/v1/store/ID` | one of them |
//! | `GET /pd/api/v1/config/replicate` | `{max-replicas}`: voters that every region shall have |
//! | `GET /pd/api/v1/members` | `{header: {cluster_id}, members: [{name, member_id, client_urls, peer_urls}], leader}` |
//! | `/pd/api/v1/operators`, `/pd/api/v1/store/ID` | orders for regions and stores: [`orders`] |
//! | `GET /config`, `PUT /config` | this member's settings in force, and others for them: `yadkv_settings::page` |
//! | `GET /health` | 200 while this member sees a leader, else 503 |
//! | `GET /ready` | the same, and 503 from when it was asked to stop |
//! | `GET /live` | 200, unless the member's thread does not answer: start it anew |
//! | `GET /metrics` | Prometheus text |
//!
//! *Place*: merged with the gRPC services by [`crate::node`]; regions and stores come from the leader, through
//! [`Door`]'s member or forwarded as HTTP.
//!
//! *Limits*: the same hold time as for gRPC calls; a forwarded request is not forwarded again.
//!
//! *Next stop*: `yadkv_placement_core::answer::overview`.

mod one;
mod orders;

use crate::forward::{MARK, RETRY};
use crate::metrics::cluster::Cluster;
use crate::online::Settings;
use crate::service::Door;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use yadkv_metrics::Meters;
use yadkv_placement_core::answer::overview::{RegionOverview, StoreOverview};
use yadkv_placement_core::config::HOLD_MAX;
use yadkv_placement_core::{MemberAddress, Overview, Refusal};
use yadkv_proto::metapb::{Peer, PeerRole};
use yadkv_proto::pdpb::{PeerStats, StoreStats};
use yadkv_settings::near::Near;
use yadkv_settings::page;
use yadkv_tls::{Tls, host_and_port};

/// Largest answer passed on from the leader.
const ANSWER_BYTES_MAX: usize = 1 << 30;
/// Longest wait for the leader's answer, which may list very many regions.
const FORWARD_MAX: Duration = Duration::from_secs(10);
/// How long the member's thread may take to answer: longer than any of its writes on a slow disk.
const LIVE_MAX: Duration = Duration::from_secs(5);
/// Time between two questions to a full inbox.
const LIVE_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// What the routes need.
#[derive(Clone)]
pub struct Http {
    /// The way to the member.
    pub door: Door,
    /// All members.
    pub members: Arc<Vec<MemberAddress>>,
    /// Everything measured.
    pub meters: Meters,
    /// What is measured when this member leads.
    pub cluster: Cluster,
    /// Fires when this member is asked to stop.
    pub leave: CancellationToken,
    /// The settings in force.
    pub settings: Settings,
    /// Who may change them.
    pub near: Near,
}

/// All pages but those of others. They have to be told who asks: [`yadkv_tls::admit`].
pub fn routes(http: Http) -> Router {
    let settings = page::routes(http.settings.clone(), http.near);
    Router::new()
        .route("/pd/api/v1/regions", get(regions))
        .route("/pd/api/v1/region/id/{region}", get(one::region))
        .route("/pd/api/v1/stores", get(stores))
        .route(
            "/pd/api/v1/store/{store}",
            get(one::store).delete(orders::remove_store),
        )
        .route("/pd/api/v1/config/replicate", get(one::replication))
        .route(
            "/pd/api/v1/store/{store}/state",
            post(orders::set_store_state),
        )
        .route("/pd/api/v1/members", get(members))
        .route("/pd/api/v1/operators", get(orders::list).post(orders::add))
        .route("/pd/api/v1/operators/{region}", delete(orders::cancel))
        .route("/health", get(health))
        .route("/ready", get(ready))
        .route("/live", get(live))
        .route("/metrics", get(metrics))
        .merge(settings)
        .method_not_allowed_fallback(not_so)
        .with_state(http)
}

/// Whatever no service and no route knows: UNIMPLEMENTED for gRPC, 404 for people.
pub async fn unknown(request: Request) -> Response {
    let grpc = request
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
    if grpc {
        return tonic::Status::unimplemented("this server does not serve the method")
            .into_http::<axum::body::Body>();
    }
    (StatusCode::NOT_FOUND, "no such page\n").into_response()
}

/// A page that exists, asked for in a way that it does not know.
async fn not_so(method: Method, uri: Uri) -> (StatusCode, String) {
    let reason = format!(
        "{} does not take {method}: the header \"allow\" says what it takes\n",
        uri.path()
    );
    (StatusCode::METHOD_NOT_ALLOWED, reason)
}

async fn regions(State(http): State<Http>, headers: HeaderMap, uri: Uri) -> Response {
    http.show(&headers, &uri, |overview| {
        let regions: Vec<_> = overview.regions.iter().map(show_region).collect();
        json!({ "count": regions.len(), "regions": regions })
    })
    .await
}

async fn stores(State(http): State<Http>, headers: HeaderMap, uri: Uri) -> Response {
    http.show(&headers, &uri, |overview| {
        let stores: Vec<_> = overview.stores.iter().map(show_store).collect();
        json!({ "count": stores.len(), "stores": stores })
    })
    .await
}

async fn members(State(http): State<Http>) -> Json<Value> {
    let state = http.door.handle.state().borrow().clone();
    Json(json!({
        "header": { "cluster_id": state.cluster_id },
        "members": http.members.iter().map(show_member).collect::<Vec<_>>(),
        "leader": state.leader.as_ref().map(show_member),
        "etcd_leader": state.leader.as_ref().map(show_member),
    }))
}

async fn health(State(http): State<Http>) -> (StatusCode, Json<Value>) {
    let healthy = http.door.handle.state().borrow().leader.is_some();
    let code = if healthy {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (code, Json(json!({ "health": healthy })))
}

async fn ready(State(http): State<Http>) -> (StatusCode, &'static str) {
    if http.leave.is_cancelled() {
        return (StatusCode::SERVICE_UNAVAILABLE, "the member stops\n");
    }
    match http.door.handle.state().borrow().leader {
        Some(_) => (StatusCode::OK, "ok\n"),
        None => (StatusCode::SERVICE_UNAVAILABLE, "no leader is known\n"),
    }
}

async fn live(State(http): State<Http>) -> (StatusCode, &'static str) {
    let answer = tokio::time::timeout(LIVE_MAX, async {
        // A full inbox is asked again.
        while !http.door.handle.answers().await {
            tokio::time::sleep(LIVE_AGAIN_AFTER).await;
        }
    });
    match answer.await {
        Ok(()) => (StatusCode::OK, "ok\n"),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "the member is stuck\n"),
    }
}

async fn metrics(State(http): State<Http>) -> Result<String, (StatusCode, String)> {
    // A member that does not lead refuses.
    let overview = http.door.handle.overview().await.ok();
    http.cluster.show(overview.as_ref());
    let text = http.meters.text();
    text.map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
}

impl Http {
    /// Answers from the leader's overview, here or at the leader.
    async fn show(
        &self,
        headers: &HeaderMap,
        uri: &Uri,
        render: impl Fn(&Overview) -> Value,
    ) -> Response {
        let request = (Method::GET, uri.clone(), Bytes::new());
        let render = &render;
        self.at_the_leader(headers, request, || async move {
            let overview = self.door.handle.overview().await?;
            Ok(Json(render(&overview)).into_response())
        })
        .await
        .unwrap_or_else(|refusal| refused(&refusal))
    }

    /// Likewise one thing of it, or says that there is no such thing.
    async fn show_one(
        &self,
        headers: &HeaderMap,
        uri: &Uri,
        render: impl Fn(&Overview) -> Result<Value, String>,
    ) -> Response {
        let request = (Method::GET, uri.clone(), Bytes::new());
        let render = &render;
        self.at_the_leader(headers, request, || async move {
            let overview = self.door.handle.overview().await?;
            Ok(match render(&overview) {
                Ok(found) => Json(found).into_response(),
                Err(reason) => (StatusCode::NOT_FOUND, reason + "\n").into_response(),
            })
        })
        .await
        .unwrap_or_else(|refusal| refused(&refusal))
    }

    /// Serves here if this member leads, else passes the request on to the one that does.
    async fn at_the_leader<F>(
        &self,
        headers: &HeaderMap,
        request: (Method, Uri, Bytes),
        serve: impl Fn() -> F,
    ) -> Result<Response, Refusal>
    where
        F: Future<Output = Result<Response, Refusal>>,
    {
        let deadline = Instant::now() + HOLD_MAX;
        loop {
            let refusal = match serve().await {
                Ok(answer) => return Ok(answer),
                Err(refusal) => refusal,
            };
            let url = match &refusal {
                Refusal::NotLeader { leader: Some(url) } if !headers.contains_key(MARK) => url,
                _ => return Err(refusal),
            };
            let forwarded = forward(self.door.forwarder.tls(), url, &request);
            match tokio::time::timeout(FORWARD_MAX, forwarded).await {
                Ok(Ok(answer)) if answer.status() != StatusCode::SERVICE_UNAVAILABLE => {
                    return Ok(answer);
                }
                _ if Instant::now() < deadline => tokio::time::sleep(RETRY).await,
                Ok(Ok(answer)) => return Ok(answer),
                _ => {
                    let reason = format!("the leader at {url} does not answer\n");
                    return Ok((StatusCode::SERVICE_UNAVAILABLE, reason).into_response());
                }
            }
        }
    }
}

/// What people see of a refusal.
fn refused(refusal: &Refusal) -> Response {
    let code = match refusal {
        Refusal::Invalid(_) => StatusCode::BAD_REQUEST,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    (code, format!("{refusal}\n")).into_response()
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Asks the leader the same over a connection of its own.
async fn forward(
    tls: &Tls,
    url: &str,
    request: &(Method, Uri, Bytes),
) -> Result<Response, Failure> {
    let address = host_and_port(url);
    let (method, uri, body) = request;
    let stream = tls.pages().dial(address).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let request = hyper::Request::builder()
        .method(method)
        .uri(
            uri.path_and_query()
                .map_or(uri.path(), |whole| whole.as_str()),
        )
        .header(header::HOST, address)
        .header(MARK, "1")
        .body(Full::new(body.clone()))?;
    let exchange = async {
        let answer = sender.send_request(request).await?;
        let (parts, body) = answer.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX)
            .collect()
            .await?
            .to_bytes();
        let mut response = Response::new(axum::body::Body::from(body));
        *response.status_mut() = parts.status;
        if let Some(kind) = parts.headers.get(header::CONTENT_TYPE) {
            response
                .headers_mut()
                .insert(header::CONTENT_TYPE, kind.clone());
        }
        Ok(response)
    };
    let mut connection = std::pin::pin!(connection);
    let mut exchange = std::pin::pin!(exchange);
    tokio::select! {
        answer = &mut exchange => answer,
        end = &mut connection => {
            end?;
            // The connection may end together with the answer.
            exchange.await
        }
    }
}

fn show_member(member: &MemberAddress) -> Value {
    json!({
        "name": member.name,
        "member_id": member.id.0,
        "peer_urls": [member.peer_url],
        "client_urls": [member.client_url],
    })
}

fn show_peer(peer: &Peer) -> Value {
    json!({ "id": peer.id, "store_id": peer.store_id, "role_name": peer.role().as_str_name(),
            "is_learner": peer.role() == PeerRole::Learner })
}

fn show_down(down: &PeerStats) -> Value {
    json!({ "peer": down.peer.as_ref().map(show_peer), "down_seconds": down.down_seconds })
}

fn hex(key: &[u8]) -> String {
    key.iter().map(|byte| format!("{byte:02X}")).collect()
}

fn show_region(shown: &RegionOverview) -> Value {
    let region = &shown.region;
    let epoch = region.region_epoch.unwrap_or_default();
    json!({
        "id": region.id,
        "start_key": hex(&region.start_key),
        "end_key": hex(&region.end_key),
        "epoch": { "conf_ver": epoch.conf_ver, "version": epoch.version },
        "peers": region.peers.iter().map(show_peer).collect::<Vec<_>>(),
        "leader": shown.leader.as_ref().map(show_peer),
        "term": shown.reported.map(|(term, _)| term.0),
        "reported_seconds_ago": shown.reported.map(|(_, ago)| ago.as_secs_f64()),
        "approximate_size": shown.size_bytes.map(|bytes| bytes.div_ceil(1 << 20)),
        "approximate_bytes": shown.size_bytes,
        "approximate_keys": shown.keys,
        "down_peers": shown.down.iter().map(show_down).collect::<Vec<_>>(),
        "pending_peers": shown.pending.iter().map(show_peer).collect::<Vec<_>>(),
    })
}

fn show_store(shown: &StoreOverview) -> Value {
    let stats = shown.stats.as_ref();
    let told = |field: fn(&StoreStats) -> u64| stats.map(field);
    let interval = stats.and_then(|stats| stats.interval);
    let store = &shown.store;
    json!({
        "store": {
            "id": store.id,
            "address": store.address,
            "status_address": store.status_address,
            "version": store.version,
            "state_name": shown.condition.name(),
            "labels": store.labels.iter().map(|label| json!({ "key": label.key, "value": label.value })).collect::<Vec<_>>(),
        },
        "status": {
            "capacity": told(|stats| stats.capacity),
            "available": told(|stats| stats.available),
            "used_size": told(|stats| stats.used_size),
            "region_count": shown.regions,
            "peer_count": told(|stats| stats.region_count.into()),
            "leader_count": shown.leaders,
            "sending_snap_count": told(|stats| stats.sending_snap_count.into()),
            "receiving_snap_count": told(|stats| stats.receiving_snap_count.into()),
            "applying_snap_count": told(|stats| stats.applying_snap_count.into()),
            "is_busy": stats.map(|stats| stats.is_busy),
            "is_apply_busy": stats.map(|stats| stats.is_apply_busy),
            "bytes_written": told(|stats| stats.bytes_written),
            "keys_written": told(|stats| stats.keys_written),
            "interval_seconds": interval.map(|time| time.end_timestamp.saturating_sub(time.start_timestamp)),
            "start_time": told(|stats| stats.start_time.into()),
            "heartbeat_known": shown.stats.is_some(),
            "silence_seconds": shown.silence.as_secs_f64(),
        },
    })
}
