//! Pages about the process itself, beside those of its server.
//!
//! | path | answer |
//! |---|---|
//! | `GET /log` | what is logged, `{"filter": "info,…"}`: levels by module, as `YADKV_LOG` has them |
//! | `PUT /log` | takes another one, in the same form, for this life of the process; 400 with the reason if it makes no sense |
//! | `GET /debug/pprof/…` | profiles: [`super::profile`] |
//!
//! *Place*: on a store's status port and a placement driver's port; `yadkv ctl log` asks for them.
//!
//! *Limits*: a filter of at most [`FILTER_BYTES_MAX`].
//!
//! *Next stop*: `yadkv_storage_node::status`.

use super::profile;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::reload::Handle;
use yadkv_settings::near::Near;

/// Far more than all modules by name.
const FILTER_BYTES_MAX: usize = 4096;

/// What the process logs, to be looked at and changed. Cheap to clone.
#[derive(Clone)]
pub(crate) struct LogFilter(Arc<dyn Filter>);

trait Filter: Send + Sync {
    fn show(&self) -> Result<String, String>;
    fn set(&self, filter: EnvFilter) -> Result<(), String>;
}

impl<S: Send + Sync> Filter for Handle<EnvFilter, S> {
    fn show(&self) -> Result<String, String> {
        self.with_current(EnvFilter::to_string)
            .map_err(|error| error.to_string())
    }

    fn set(&self, filter: EnvFilter) -> Result<(), String> {
        self.reload(filter).map_err(|error| error.to_string())
    }
}

impl LogFilter {
    /// The filter behind a subscriber's handle.
    pub(crate) fn new<S: Send + Sync + 'static>(handle: Handle<EnvFilter, S>) -> Self {
        Self(Arc::new(handle))
    }
}

/// The pages; `near` says who may use those that cost.
pub(crate) fn pages(log: LogFilter, near: Near) -> Router {
    let pages = Router::new()
        .route("/log", get(show).put(set))
        .layer(DefaultBodyLimit::max(FILTER_BYTES_MAX))
        .with_state(log);
    pages.merge(profile::pages(near))
}

type Answer = Result<Json<Shown>, (StatusCode, String)>;

#[derive(Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
struct Shown {
    filter: String,
}

async fn show(State(log): State<LogFilter>) -> Answer {
    let shown = log.0.show();
    let filter = shown.map_err(|reason| (StatusCode::INTERNAL_SERVER_ERROR, reason))?;
    Ok(Json(Shown { filter }))
}

async fn set(State(log): State<LogFilter>, wanted: String) -> Answer {
    let refused = |error: &dyn std::fmt::Display| {
        let example = r#"for example {"filter": "info,yadkv_storage_core=debug"}"#;
        (StatusCode::BAD_REQUEST, format!("{error}: {example}\n"))
    };
    let wanted: Shown = serde_json::from_str(&wanted).map_err(|error| refused(&error))?;
    let filter = EnvFilter::try_new(&wanted.filter).map_err(|error| refused(&error))?;
    let set = log.0.set(filter);
    set.map_err(|reason| (StatusCode::INTERNAL_SERVER_ERROR, reason))?;
    tracing::info!(filter = wanted.filter, "what is logged has changed");
    show(State(log)).await
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use tracing_subscriber::{Registry, reload};

    #[tokio::test]
    async fn a_filter_is_shown_taken_and_refused() {
        let (layer, handle) = reload::Layer::<_, Registry>::new(EnvFilter::new("info"));
        let log = LogFilter::new(handle);
        let shown = async || show(State(log.clone())).await.unwrap().0.filter;
        let put = async |body: &str| set(State(log.clone()), body.into()).await;
        assert_eq!(shown().await, "info");
        let taken = put(r#"{"filter": "warn,yadkv=debug"}"#).await.unwrap();
        assert!(taken.filter.contains("yadkv=debug"));
        for bad in [
            "info",
            "{}",
            r#"{"filter": "info,=x="}"#,
            r#"{"level": "info"}"#,
        ] {
            let (code, reason) = put(bad).await.unwrap_err();
            assert_eq!(code, StatusCode::BAD_REQUEST, "{bad}");
            assert!(reason.contains("for example"), "{reason}");
        }
        assert!(shown().await.contains("yadkv=debug"));
        drop(layer);
        assert!(show(State(log)).await.is_err(), "nobody logs any more");
    }
}
