//! Who may ask for what, once a connection is made.
//!
//! *Place*: around all routes of a port that shows pages: the status port of a store, the port of a placement driver.
//!
//! *Why*: probes and Prometheus have to be let in without a certificate where that is too much to ask of them
//! ([`crate::ClientAuth::ExceptProbes`]); on a port that speaks gRPC as well, what they are there for is known only with their
//! first request.
//!
//! *Invariants*: a request whose connection is not known gets nowhere.
//!
//! *Next stop*: `yadkv_settings::near`, which asks for the address that is noted here.

use crate::Caller;
use axum::extract::{ConnectInfo, Request};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::net::SocketAddr;
use tonic::Status;

/// What may be seen without a certificate: nothing of it changes anything or shows data.
pub const PROBES: [&str; 4] = ["/live", "/ready", "/health", "/metrics"];

/// Lets a request through if its connection may ask for it, and notes who asks as `ConnectInfo<SocketAddr>`.
pub async fn admit(mut request: Request, next: Next) -> Response {
    let extensions = request.extensions();
    let noted = extensions.get::<ConnectInfo<Caller>>();
    let caller = noted
        .map(|noted| noted.0)
        .or_else(|| extensions.get::<Caller>().copied());
    let path = request.uri().path();
    let may = caller.is_some_and(|caller| !caller.only_probes || PROBES.contains(&path));
    if !may {
        return refuse(&request);
    }
    if let Some(address) = caller.and_then(|caller| caller.address) {
        let address: ConnectInfo<SocketAddr> = ConnectInfo(address);
        request.extensions_mut().insert(address);
    }
    next.run(request).await
}

fn refuse(request: &Request) -> Response {
    let reason = format!(
        "this server asks for a certificate for everything but {}: set tls.cert and tls.key (--tls-cert, --tls-key)",
        PROBES.join(", ")
    );
    let kind = request.headers().get(header::CONTENT_TYPE);
    match kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc")) {
        true => Status::unauthenticated(reason).into_http::<axum::body::Body>(),
        false => (StatusCode::UNAUTHORIZED, reason + "\n").into_response(),
    }
}
