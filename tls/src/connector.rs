//! Connections that we make.
//!
//! *Place*: tonic's endpoints ask it through [`tower::Service`], who fetches pages through [`Connector::dial`].
//!
//! *Life of a connection*: name looked up, TCP → handshake, if there is TLS: the certificate has to be signed by our CA and to
//! be for the host that was dialled, a name or an address → [`Connection`].
//!
//! *Limits and failure*: how long it may take is the caller's to say (`connect_timeout`). What went wrong is a
//! [`ConnectError`], after which nothing was sent.
//!
//! *Next stop*: [`crate::words`].

use crate::connection::{Dialled, buffered};
use crate::{Connection, Speaks, Tls, words};
use futures::FutureExt;
use futures::future::BoxFuture;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rustls::pki_types::ServerName;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::Status;
use tonic::transport::Uri;
use tower::{Service, ServiceExt};

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The address makes no sense: correct it.
    #[error("{0} is no address: use host:port")]
    Address(String),
    /// Nobody listens there, or nobody can be reached: try again, or elsewhere.
    #[error("{address}: {}", words::cause(source.as_ref()))]
    Tcp {
        /// Who was dialled.
        address: String,
        /// What the operating system says.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// One of the two does not trust the other: correct files or settings here or there.
    #[error("{0}")]
    Tls(String),
}

/// Makes connections. Cheap to clone; clones know the same.
#[derive(Clone, Debug)]
pub struct Connector {
    tls: Tls,
    speaks: Speaks,
    tcp: HttpConnector,
    /// Why the last one ended before its server said anything, if it did.
    refusal: Arc<Mutex<Option<String>>>,
}

impl Connector {
    pub(crate) fn new(tls: Tls, speaks: Speaks) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        tcp.enforce_http(false);
        Self {
            tls,
            speaks,
            tcp,
            refusal: Arc::default(),
        }
    }

    /// Breaks a connection whose other side confirms nothing of what was sent for so long (`TCP_USER_TIMEOUT` of tcp(7);
    /// elsewhere than on Linux, the system's own patience).
    pub fn gives_up_after(mut self, patience: Duration) -> Self {
        #[cfg(target_os = "linux")]
        self.tcp.set_tcp_user_timeout(Some(patience));
        #[cfg(not(target_os = "linux"))]
        let _ = patience;
        self
    }

    /// Connects to `host:port`, or to the host and port of a URL.
    pub async fn dial(&self, address: &str) -> Result<Connection, ConnectError> {
        let address = crate::host_and_port(address);
        let uri = format!("http://{address}").parse::<Uri>();
        let uri = uri.map_err(|_| ConnectError::Address(address.to_owned()))?;
        self.connect(uri).await
    }

    /// Why a call failed over a connection of this connector. Not for one that dials several servers.
    pub fn explain(&self, status: &Status) -> String {
        self.refusal().unwrap_or_else(|| words::of_status(status))
    }

    /// Why the server let us not in, if that is why the last connection ended.
    pub fn refusal(&self) -> Option<String> {
        self.refusal.lock().clone()
    }

    async fn connect(&self, uri: Uri) -> Result<Connection, ConnectError> {
        let address = uri.authority().map_or("", |authority| authority.as_str());
        let address: Arc<str> = address.into();
        *self.refusal.lock() = None;
        let host = uri.host().unwrap_or_default().to_owned();
        let connected = self.tcp.clone().oneshot(uri).await;
        let stream = connected.map_err(|error| ConnectError::Tcp {
            address: address.to_string(),
            source: error.into(),
        })?;
        let stream = stream.into_inner();
        let connection = match self.tls.current().await {
            None => Connection::plain(stream),
            Some(material) => {
                let config = material.client.of(self.speaks);
                self::handshake(config, &host, &address, stream).await?
            }
        };
        let refusal = self.refusal.clone();
        Ok(connection.to(Dialled { address, refusal }))
    }
}

async fn handshake(
    config: Arc<rustls::ClientConfig>,
    host: &str,
    address: &str,
    stream: TcpStream,
) -> Result<Connection, ConnectError> {
    // IPv6 addresses stand in brackets in a URL.
    let name = host.trim_start_matches('[').trim_end_matches(']');
    let name = ServerName::try_from(name.to_owned());
    let name = name.map_err(|_| ConnectError::Address(address.to_owned()))?;
    let shaken = TlsConnector::from(config).connect(name, buffered(stream));
    match shaken.await {
        Ok(stream) => Ok(Connection::tls(stream)),
        Err(error) => Err(ConnectError::Tls(words::of_server(address, &error))),
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Connection>;
    type Error = ConnectError;
    type Future = BoxFuture<'static, Result<Self::Response, ConnectError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connector = self.clone();
        async move { connector.connect(uri).await.map(TokioIo::new) }.boxed()
    }
}
