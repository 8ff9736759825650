//! `/metrics` and `/health` on the status port.
//!
//! *Place*: operators and Prometheus ask; [`crate::node`] starts it.
//!
//! *Next stop*: [`crate::metrics`].

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use prometheus::{Registry, TextEncoder};
use std::future::Future;
use tokio::net::TcpListener;

/// Serves until `shutdown` is done.
pub async fn serve(
    listener: TcpListener,
    registry: Registry,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
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
        .route("/health", get(async || "ok"));
    axum::serve(listener, app)
        .with_graceful_shutdown(shutdown)
        .await
}
