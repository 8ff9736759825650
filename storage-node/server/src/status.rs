//! The status port: what people, scripts and Prometheus look at.
//!
//! | path | answer |
//! |---|---|
//! | `GET /metrics` | Prometheus text |
//! | `GET /live`, `GET /health` | 200, unless a worker is stuck and its disk is not to blame: [`live`] |
//! | `GET /ready` | `ok`; 503, with the reason, while others should not count on this store ([`crate::life`]) |
//! | `GET /regions/ID` | this store's replica of a region: [`regions`] |
//! | `GET /config`, `PUT /config` | the settings in force, and others for them: `yadkv_settings::page` |
//! | `GET /regions?from=ID&limit=N` | replicas in the order of their regions: `{store_id, count, regions: [...], next}` |
//!
//! *Place*: operators and Prometheus ask; [`crate::node`] starts it.
//!
//! *Next stop*: [`crate::metrics`].

mod live;
mod regions;

use crate::life::Life;
use crate::online::Settings;
use crate::router::Router as Workers;
use crate::transport::snapshots::UnderWay;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use std::future::Future;
use yadkv_metrics::Meters;
use yadkv_proto::id::StoreId;
use yadkv_settings::near::Near;
use yadkv_settings::page;
use yadkv_tls::admit::admit;
use yadkv_tls::{Caller, Incoming};

/// What the pages show.
#[derive(Clone)]
pub struct Pages {
    /// This store.
    pub store: StoreId,
    /// Everything measured.
    pub meters: Meters,
    /// Who knows the replicas.
    pub router: Workers,
    /// Snapshots on their way to other stores.
    pub under_way: UnderWay,
    /// Whether it serves.
    pub life: Life,
    /// The settings in force.
    pub settings: Settings,
    /// Who may change them.
    pub near: Near,
}

/// Serves until `shutdown` is done; `more` are pages of others.
pub async fn serve(
    incoming: Incoming,
    pages: Pages,
    more: Router,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let app = Router::new()
        .route("/metrics", get(metrics))
        .route("/ready", get(ready))
        .with_state(pages.clone())
        .merge(live::routes(pages.clone()))
        .merge(page::routes(pages.settings.clone(), pages.near))
        .merge(more)
        .merge(regions::routes(pages));
    let app = app.layer(axum::middleware::from_fn(admit));
    let app = app.into_make_service_with_connect_info::<Caller>();
    axum::serve(incoming, app)
        .with_graceful_shutdown(shutdown)
        .await
}

async fn metrics(State(pages): State<Pages>) -> Result<String, (StatusCode, String)> {
    let text = pages.meters.text();
    text.map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
}

async fn ready(State(pages): State<Pages>) -> Result<&'static str, (StatusCode, String)> {
    let ready = pages.life.ready();
    ready.map_err(|reason| (StatusCode::SERVICE_UNAVAILABLE, reason + "\n"))?;
    Ok("ok\n")
}
