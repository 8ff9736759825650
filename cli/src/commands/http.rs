//! HTTP interfaces of placement drivers and stores: what their protocols have no call for.
//!
//! *Place*: [`super::ctl`] looks at the cluster and orders through it, and asks stores on their status ports.
//!
//! *Limits and failure*: one member after the other is asked; a refusal of any of them is final.
//!
//! *Next stop*: `yadkv_placement_driver::http`.

use super::Servers;
use crate::failure::{Failure, Outcome};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::time::Duration;
use yadkv_tls::{Connector, host_and_port, words};

const TIMEOUT: Duration = Duration::from_secs(5);
/// Largest answer: some hundred thousand regions.
const ANSWER_BYTES_MAX: usize = 256 << 20;
/// How long a store may take to say what it knows of a region.
const STORE_TIMEOUT: Duration = Duration::from_secs(1);

type Error = Box<dyn std::error::Error + Send + Sync>;

/// Sends a request to the first of the members that answers; its JSON.
pub(crate) async fn ask(
    pd: &Servers,
    method: Method,
    path: &str,
    body: Option<Value>,
) -> Outcome<Value> {
    let body = body.map_or(Bytes::new(), |body| body.to_string().into());
    let mut last = String::from("no placement driver is named");
    for member in pd.list().map(host_and_port) {
        let asked = exchange((pd, member), method.clone(), path, body.clone());
        match tokio::time::timeout(TIMEOUT, asked).await {
            Ok(Ok((StatusCode::OK, answer))) => {
                return serde_json::from_slice(&answer)
                    .map_err(|error| Failure(format!("{member}{path}: {error}")));
            }
            Ok(Ok((StatusCode::SERVICE_UNAVAILABLE, answer))) => last = text(&answer),
            Ok(Ok((_, answer))) => return Err(Failure(text(&answer))),
            Ok(Err(error)) => last = format!("{member}: {}", words::cause(&*error)),
            Err(_) => last = format!("{member} does not answer"),
        }
    }
    Err(Failure(last))
}

/// What a server says on a page as it is, if it says so within a time.
pub(crate) async fn fetch(servers: &Servers, path: &str, limit: Duration) -> Outcome<Bytes> {
    let server = host_and_port(&servers.addresses);
    let asked = exchange((servers, server), Method::GET, path, Bytes::new());
    match tokio::time::timeout(limit, asked).await {
        Ok(Ok((StatusCode::OK, answer))) => Ok(answer),
        Ok(Ok((_, answer))) => Err(Failure(text(&answer))),
        Ok(Err(error)) => {
            let reason = words::cause(&*error);
            Err(Failure(format!("{server}: {reason}")))
        }
        Err(_) => Err(Failure(format!(
            "{server} does not answer within {limit:?}"
        ))),
    }
}

/// Why a server said nothing useful.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Silence {
    /// It cannot be reached, or does not answer in time.
    Unreachable(String),
    /// It answers that it cannot say.
    Refused(String),
}

/// What one server says on a page, within [`STORE_TIMEOUT`].
pub(crate) async fn look(server: &Servers, path: &str) -> Result<Value, Silence> {
    let servers = server;
    let server = host_and_port(&servers.addresses);
    let asked = exchange((servers, server), Method::GET, path, Bytes::new());
    let answered = tokio::time::timeout(STORE_TIMEOUT, asked).await;
    let (code, answer) = match answered {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => {
            let reason = words::cause(&*error);
            return Err(Silence::Unreachable(format!("{server}: {reason}")));
        }
        Err(_) => {
            let reason = format!("{server} does not answer within {STORE_TIMEOUT:?}");
            return Err(Silence::Unreachable(reason));
        }
    };
    if code != StatusCode::OK {
        return Err(Silence::Refused(text(&answer)));
    }
    serde_json::from_slice(&answer)
        .map_err(|error| Silence::Refused(format!("{server}{path}: {error}")))
}

fn text(answer: &[u8]) -> String {
    String::from_utf8_lossy(answer).trim_end().to_owned()
}

async fn exchange(
    (servers, member): (&Servers, &str),
    method: Method,
    path: &str,
    body: Bytes,
) -> Result<(StatusCode, Bytes), Error> {
    let connector = servers.tls.pages();
    let exchanged = exchange_over(&connector, member, method, path, body).await;
    // A request that comes when the connection has ended hears only that it has.
    exchanged.map_err(|error| connector.refusal().map_or(error, Error::from))
}

async fn exchange_over(
    connector: &Connector,
    member: &str,
    method: Method,
    path: &str,
    body: Bytes,
) -> Result<(StatusCode, Bytes), Error> {
    let stream = connector.dial(member).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, member)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(body))?;
    let answer = sender.send_request(request).await?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX);
    Ok((status, body.collect().await?.to_bytes()))
}
