//! A server that shows pages for probes to who has no certificate, and nothing else.
#![allow(clippy::unwrap_used)]

mod support;

use axum::Router;
use axum::routing::get;
use std::net::SocketAddr;
use support::{Place, authority, pair};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use yadkv_tls::admit::{PROBES, admit};
use yadkv_tls::authority::Authority;
use yadkv_tls::{Caller, ClientAuth, Settings, Speaks, Tls};

fn pages() -> Router {
    let pages = PROBES.iter().fold(Router::new(), |pages, path| {
        pages.route(path, get(async || "fine"))
    });
    pages.route("/config", get(async || "secret"))
}

/// Pages alone, as a store's status port has them.
async fn alone(tls: &Tls) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let incoming = tls.incoming(listener, Speaks::Pages);
    let app = pages().layer(axum::middleware::from_fn(admit));
    let app = app.into_make_service_with_connect_info::<Caller>();
    tokio::spawn(async move { axum::serve(incoming, app).await });
    address
}

/// Pages beside gRPC, as a placement driver has them.
async fn beside_grpc(tls: &Tls) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (_, health) = tonic_health::server::health_reporter();
    let routes = Routes::new(health).into_axum_router();
    let routes = routes.merge(pages());
    let routes = routes.layer(axum::middleware::from_fn(admit));
    let incoming = tls.incoming(listener, Speaks::Both).into_stream();
    let server = Server::builder()
        .accept_http1(true)
        .add_routes(Routes::from(routes));
    tokio::spawn(server.serve_with_incoming(incoming));
    address
}

async fn page(tls: &Tls, address: SocketAddr, path: &str) -> Result<String, String> {
    let connected = tls.pages().dial(&address.to_string()).await;
    let mut connection = connected.map_err(|error| error.to_string())?;
    let asked = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    let mut answer = String::new();
    connection.write_all(asked.as_bytes()).await.unwrap();
    let read = connection.read_to_string(&mut answer).await;
    read.map_err(|error| error.to_string())?;
    Ok(answer)
}

async fn call(tls: &Tls, address: SocketAddr) -> Result<(), tonic::Status> {
    let endpoint = tls.endpoint(&address.to_string()).unwrap();
    let channel = endpoint.connect_with_connector_lazy(tls.connector());
    let request = HealthCheckRequest::default();
    HealthClient::new(channel).check(request).await.map(|_| ())
}

#[tokio::test]
async fn who_has_no_certificate_sees_probes_and_nothing_else() {
    let (place, ca, other) = (
        Place::new(),
        authority(),
        Authority::new("another CA", support::DAY).unwrap(),
    );
    let settings = Settings {
        client_auth: ClientAuth::ExceptProbes,
        ..place.settings("server", &ca.pem(), Some(&pair(&ca)))
    };
    let server = Tls::server(&settings).unwrap();
    let known = place.client("known", &ca.pem(), Some(&pair(&ca)));
    let nobody = place.client("nobody", &ca.pem(), None);
    let stranger = place.client("stranger", &ca.pem(), Some(&pair(&other)));
    let both = beside_grpc(&server).await;
    for address in [alone(&server).await, both] {
        for path in PROBES {
            for client in [&known, &nobody] {
                let answer = page(client, address, path).await.unwrap();
                assert!(answer.ends_with("fine"), "{path}: {answer}");
            }
            // A certificate that nobody here signed is no better for what it might see without.
            let refused = page(&stranger, address, path).await.unwrap_err();
            assert!(refused.contains("not signed by the CA there"), "{refused}");
        }
        let answer = page(&known, address, "/config").await.unwrap();
        assert!(answer.ends_with("secret"), "{answer}");
        for path in [
            "/config",
            "/live/",
            "//live",
            "/LIVE",
            "/config?/live",
            "/%6cive",
            "/",
        ] {
            let answer = page(&nobody, address, path).await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 401 "), "{path}: {answer}");
            assert!(answer.contains("set tls.cert"), "{path}: {answer}");
        }
    }
    call(&known, both).await.unwrap();
    let refused = call(&nobody, both).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unauthenticated, "{refused:?}");
    assert!(refused.message().contains("set tls.cert"), "{refused:?}");
}

#[tokio::test]
async fn a_port_without_pages_asks_everybody() {
    let (place, ca) = (Place::new(), authority());
    let settings = Settings {
        client_auth: ClientAuth::ExceptProbes,
        ..place.settings("server", &ca.pem(), Some(&pair(&ca)))
    };
    let server = Tls::server(&settings).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (_, health) = tonic_health::server::health_reporter();
    let incoming = server.incoming(listener, Speaks::Grpc).into_stream();
    let service = Server::builder().add_service(health);
    tokio::spawn(service.serve_with_incoming(incoming));
    let known = place.client("known", &ca.pem(), Some(&pair(&ca)));
    call(&known, address).await.unwrap();
    let nobody = place.client("nobody", &ca.pem(), None);
    let refused = call(&nobody, address).await.unwrap_err();
    let said = yadkv_tls::words::of_status(&refused);
    assert!(said.contains("asks for a certificate"), "{said}");
}
