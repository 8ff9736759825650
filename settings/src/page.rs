//! The page `/config`.
//!
//! | request | answer |
//! |---|---|
//! | `GET /config` | `{"settings": [{"name", "value", "online", "start"}]}`: in force, whether it may change while the server runs, and what it was at the start if that was something else |
//! | `PUT /config`, `POST /config` | `{"region.split_size": "1MiB", …}`, or `NAME=VALUE` in lines or with `&` between them; takes all or none, answers with those settings and how long they last |
//!
//! *Place*: on a store's status port and a placement driver's port; `yadkv ctl config` asks for it.
//!
//! *Limits and failure*: [`BODY_BYTES_MAX`] of settings. 400 with setting, value and what is allowed, 503 if the server cannot
//! take them now, 403 for whoever is not [`crate::near`]: nothing has changed then. A caller who goes away changes what he
//! asked for all the same.
//!
//! *Next stop*: the settings themselves, in `config.rs` of either server.

use crate::live::{Live, Refusal, Row};
use crate::near::Near;
use crate::written::Written;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::routing::{get, put};
use axum::{Json, Router};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::sync::Arc;

/// Far more than all settings.
const BODY_BYTES_MAX: usize = 16 << 10;
/// How long a change lasts.
const LASTS: &str = "until the server starts anew; put it in its file to keep it";

type Answer = Result<Json<Value>, (StatusCode, String)>;

/// The page of these settings; `near` says who may change them.
pub fn routes<C, S>(live: Arc<Live<C>>, near: Near) -> Router<S>
where
    C: Clone + Serialize + DeserializeOwned + Send + Sync + 'static,
    S: Clone + Send + Sync + 'static,
{
    let changes = Router::new()
        .route("/config", put(change::<C>).post(change::<C>))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX));
    near.guard(changes)
        .route("/config", get(show::<C>))
        .with_state(live)
}

async fn show<C>(State(live): State<Arc<Live<C>>>) -> Answer
where
    C: Clone + Serialize + DeserializeOwned + Send + Sync + 'static,
{
    let rows = live.show();
    let rows = rows.map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    Ok(Json(json!({ "settings": rows })))
}

async fn change<C>(State(live): State<Arc<Live<C>>>, body: String) -> Answer
where
    C: Clone + Serialize + DeserializeOwned + Send + Sync + 'static,
{
    let wanted = settings(&body).map_err(|reason| (StatusCode::BAD_REQUEST, reason + "\n"))?;
    let changing = async move {
        live.change(&wanted).await?;
        let rows = live.show().unwrap_or_default();
        let is_wanted = |row: &Row| wanted.iter().any(|one| one.name == row.name);
        let rows: Vec<Row> = rows.into_iter().filter(is_wanted).collect();
        for row in &rows {
            tracing::info!(name = row.name, value = %row.value, "a setting has changed");
        }
        Ok(rows)
    };
    // To its end, even if the caller goes away.
    let changed = tokio::spawn(changing).await;
    let changed =
        changed.map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    let rows = changed.map_err(|refusal: Refusal| {
        let code = match refusal {
            Refusal::Busy(_) => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::BAD_REQUEST,
        };
        (code, format!("{refusal}\n"))
    })?;
    Ok(Json(json!({ "settings": rows, "lasts": LASTS })))
}

/// What a body asks for.
fn settings(body: &str) -> Result<Vec<Written>, String> {
    let body = body.trim();
    let wanted: Vec<Written> = match body.starts_with('{') {
        true => {
            let table: toml::Table =
                serde_json::from_str(body).map_err(|error| error.to_string())?;
            let written = |(name, value)| Written { name, value };
            table.into_iter().map(written).collect()
        }
        false => body
            .split(['\n', '&'])
            .filter(|part| !part.trim().is_empty())
            .map(|part| Written::parse(part).map_err(|error| error.to_string()))
            .collect::<Result<_, _>>()?,
    };
    match wanted.is_empty() {
        true => Err("no setting is given: NAME=VALUE, or {\"NAME\": VALUE}".into()),
        false => Ok(wanted),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::live::tests::{live, nobody};
    use axum::body::{Body, to_bytes};
    use axum::extract::ConnectInfo;
    use axum::http::{Method, Request};
    use std::net::SocketAddr;
    use tower::ServiceExt;

    async fn ask(app: &Router, method: Method, from: [u8; 4], body: &str) -> (u16, String) {
        let mut request = Request::builder()
            .method(method)
            .uri("/config")
            .body(Body::from(body.to_owned()))
            .unwrap();
        let address = ConnectInfo(SocketAddr::from((from, 1)));
        request.extensions_mut().insert(address);
        let answer = app.clone().oneshot(request).await.unwrap();
        let code = answer.status().as_u16();
        let body = to_bytes(answer.into_body(), usize::MAX).await.unwrap();
        (code, String::from_utf8(body.into()).unwrap())
    }

    #[tokio::test]
    async fn everybody_sees_and_the_machine_itself_changes() {
        let near = Near {
            open: false,
            setting: "store.open_pages",
        };
        let app: Router = routes(Arc::new(live(nobody())), near);
        let (here, away) = ([127, 0, 0, 1], [10, 0, 0, 1]);
        let (code, shown) = ask(&app, Method::GET, away, "").await;
        assert_eq!(code, 200);
        assert!(shown.contains(r#"{"name":"region.lag","online":true,"start":null,"value":0}"#));
        let (code, reason) = ask(&app, Method::PUT, away, "region.lag=1").await;
        assert_eq!(code, 403, "{reason}");
        for (body, lag) in [
            (r#"{"region.lag": 7, "region.log": "7"}"#, "400"),
            (r#"{"region.lag": 7, "region.log": 7}"#, "7"),
            ("region.lag=8&region.log=8", "8"),
            ("region.lag=9\nregion.log=9\n", "9"),
            ("region.lag=1", "400"),
            ("region.lag", "400"),
            ("lag=1", "400"),
            ("{", "400"),
            ("", "400"),
            (r#"{"region.lag": [1]}"#, "400"),
            (r#"{"region.lag": null}"#, "400"),
        ] {
            let (code, said) = ask(&app, Method::PUT, here, body).await;
            if lag == "400" {
                assert_eq!(code, 400, "{body}: {said}");
                continue;
            }
            assert_eq!(code, 200, "{body}: {said}");
            assert!(said.contains(&format!(r#""value":{lag}"#)), "{said}");
            assert!(said.contains("put it in its file"), "{said}");
        }
        let (_, shown) = ask(&app, Method::GET, here, "").await;
        assert!(shown.contains(r#""start":0,"value":9"#), "{shown}");
        let large = "x".repeat(BODY_BYTES_MAX + 1);
        assert_eq!(ask(&app, Method::POST, here, &large).await.0, 413);
    }
}
