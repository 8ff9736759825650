//! The status port: what people, scripts and Prometheus look at.
//!
//! | path | answer |
//! |---|---|
//! | `GET /metrics` | Prometheus text |
//! | `GET /live`, `GET /health` | 200, unless a worker is stuck and its disk is not to blame: [`live`] |
//! | `GET /ready` | `ok`; 503, with the reason, while others should not count on this store ([`crate::life`]) |
//! | `GET /regions/ID` | this store's replica of a region: [`regions`] |
//! | `GET /regions?from=ID&limit=N` | replicas in the order of their regions: `{store_id, count, regions: [...], next}` |
//!
//! *Place*: operators and Prometheus ask; [`crate::node`] starts it.
//!
//! *Next stop*: [`crate::metrics`].

mod live;
mod regions;

use crate::life::Life;
use crate::router::Router as Workers;
use crate::transport::snapshots::UnderWay;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use prometheus::{Registry, TextEncoder};
use std::future::Future;
use yadkv_proto::id::StoreId;
use yadkv_tls::Incoming;

/// What the pages show.
#[derive(Clone)]
pub struct Pages {
    /// This store.
    pub store: StoreId,
    /// Everything measured.
    pub registry: Registry,
    /// Who knows the replicas.
    pub router: Workers,
    /// Snapshots on their way to other stores.
    pub under_way: UnderWay,
    /// Whether it serves.
    pub life: Life,
}

/// Serves until `shutdown` is done; `more` are pages of others.
pub async fn serve(
    incoming: Incoming,
    pages: Pages,
    more: Router,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let registry = pages.registry.clone();
    let metrics = move || {
        let families = registry.gather();
        async move {
            TextEncoder::new()
                .encode_to_string(&families)
                .map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
        }
    };
    let app = Router::new()
        .route("/metrics", get(metrics))
        .route("/ready", get(ready))
        .with_state(pages.clone())
        .merge(live::routes(pages.clone()))
        .merge(more)
        .merge(regions::routes(pages));
    axum::serve(incoming, app)
        .with_graceful_shutdown(shutdown)
        .await
}

async fn ready(State(pages): State<Pages>) -> Result<&'static str, (StatusCode, String)> {
    let ready = pages.life.ready();
    ready.map_err(|reason| (StatusCode::SERVICE_UNAVAILABLE, reason + "\n"))?;
    Ok("ok\n")
}
