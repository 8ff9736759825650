//! The same over gRPC: what is wrong is found in the status of a call.
#![allow(clippy::unwrap_used)]

mod support;

use std::net::SocketAddr;
use std::time::Duration;
use support::{Place, authority, pair};
use tokio::net::TcpListener;
use tonic::Status;
use tonic::transport::Server;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use yadkv_tls::authority::Authority;
use yadkv_tls::{Speaks, Tls, words};

async fn serve(tls: &Tls) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let incoming = tls.incoming(listener, Speaks::Grpc).into_stream();
    let (_, health) = tonic_health::server::health_reporter();
    tokio::spawn(
        Server::builder()
            .add_service(health)
            .serve_with_incoming(incoming),
    );
    address
}

async fn call(tls: &Tls, address: SocketAddr) -> Result<(), Status> {
    let endpoint = tls.endpoint(&address.to_string()).unwrap();
    let endpoint = endpoint.connect_timeout(Duration::from_secs(5));
    let channel = endpoint.connect_with_connector_lazy(tls.connector());
    let request = HealthCheckRequest::default();
    HealthClient::new(channel).check(request).await.map(|_| ())
}

#[tokio::test]
async fn a_status_says_what_is_wrong() {
    let (place, ca, other) = (
        Place::new(),
        authority(),
        Authority::new("another CA", support::DAY).unwrap(),
    );
    let settings = place.settings("server", &ca.pem(), Some(&pair(&ca)));
    let server = Tls::server(&settings).unwrap();
    let (secure, plain) = (serve(&server).await, serve(&Tls::off()).await);
    call(&server, secure).await.unwrap();
    call(&Tls::off(), plain).await.unwrap();
    let stranger = place.client("stranger", &ca.pem(), Some(&pair(&other)));
    let misled = place.client("misled", &other.pem(), Some(&pair(&ca)));
    let nobody = place.client("nobody", &ca.pem(), None);
    for (tls, address, words) in [
        (
            &stranger,
            secure,
            "refuses our certificate: it is not signed by the CA there",
        ),
        (&nobody, secure, "asks for a certificate and we have none"),
        (&misled, secure, "is not signed by our CA"),
        (&Tls::off(), secure, "speaks TLS only"),
        (&server, plain, "speaks plain text, no TLS"),
    ] {
        let status = call(tls, address).await.unwrap_err();
        let said = words::of_status(&status);
        assert!(
            said.contains(words),
            "{said:?} without {words:?}: {status:?}"
        );
    }
}

/// With TLS 1.3 a client is through with its handshake before the server has looked at its certificate: a connection that
/// was made may end before the first call, which then hears only that it has.
#[tokio::test]
async fn a_refusal_that_no_call_has_heard_is_kept() {
    let (place, ca, other) = (
        Place::new(),
        authority(),
        Authority::new("another CA", support::DAY).unwrap(),
    );
    let settings = place.settings("server", &ca.pem(), Some(&pair(&ca)));
    let address = serve(&Tls::server(&settings).unwrap()).await;
    let stranger = place.client("stranger", &ca.pem(), Some(&pair(&other)));
    let connector = stranger.connector();
    let endpoint = stranger.endpoint(&address.to_string()).unwrap();
    let connecting = endpoint.connect_with_connector(connector.clone());
    let _channel = connecting.await.unwrap();
    let late = Status::unavailable("connection closed");
    let explained = async {
        while !connector
            .explain(&late)
            .contains("refuses our certificate: it is not signed by the CA there")
        {
            tokio::task::yield_now().await;
        }
    };
    let limit = Duration::from_secs(10);
    let heard = tokio::time::timeout(limit, explained).await;
    assert!(heard.is_ok(), "{}", connector.explain(&late));
}
