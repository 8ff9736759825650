//! Connections that come to us.
//!
//! *Place*: tonic serves [`Incoming::into_stream`]; axum takes [`Incoming`] itself as a listener.
//!
//! *Life of a connection*: accepted → its handshake in a task of its own, if there is TLS, or a look at its first byte where
//! peers come as well as HTTP/2 → handed on. One that fails is told why by an alert, logged, and forgotten.
//!
//! *Invariants*: no failure of a connection ends the listener or holds up another connection.
//!
//! *Limits and failure*: [`HANDSHAKES_MAX`] at a time ([`SILENT_MAX`] without TLS), [`HANDSHAKE_MAX`] each; beyond, connections wait in the operating
//! system's queue. Failures are warned of now and then ([`Pace`]), with the number of those in between; all are in the log
//! at level debug. When the process has no more descriptors, it waits [`ACCEPT_AGAIN_AFTER`].
//!
//! *Next stop*: [`crate::connection`].

#[cfg(feature = "axum")]
use crate::Caller;
use crate::connection::buffered;
use crate::{Connection, Pace, Speaks, Tls, words};
use futures::Stream;
use rustls::ServerConfig;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
#[cfg(feature = "axum")]
use tonic::transport::server::Connected;

/// Handshakes under way at a time.
const HANDSHAKES_MAX: usize = 1024;
/// Plain connections at a time that have not said anything: they cost next to nothing.
const SILENT_MAX: usize = 65_536;
/// How long one may take.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// How long one that was refused may go on sending: a socket that is closed before it was read takes the alert back.
const LINGER_MAX: Duration = Duration::from_secs(1);
/// Time between two tries to accept when that fails.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// A connection and who is at its other end.
type Accepted = (Connection, SocketAddr);
/// What became of a handshake.
type Shaken = (Result<Connection, Failure>, SocketAddr);

/// Why a handshake failed.
#[derive(Debug)]
enum Failure {
    /// Somebody looked whether the port is open.
    Nothing,
    /// Anything else, in words.
    Refused(String),
}

/// The connections of one listener.
#[derive(Debug)]
pub struct Incoming {
    listener: TcpListener,
    tls: Tls,
    speaks: Speaks,
    handshakes: JoinSet<Shaken>,
    warnings: Pace,
}

impl Incoming {
    pub(crate) fn new(listener: TcpListener, tls: Tls, speaks: Speaks) -> Self {
        Self {
            listener,
            tls,
            speaks,
            handshakes: JoinSet::new(),
            warnings: Pace::default(),
        }
    }

    /// Where it listens.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// All that come, without end; dropping it closes the port and gives up what has not shaken hands.
    pub fn into_stream(self) -> impl Stream<Item = io::Result<Connection>> + Send {
        futures::stream::unfold(self, async |mut incoming| {
            let (connection, _) = incoming.accept().await;
            Some((Ok(connection), incoming))
        })
    }

    /// The next one that is fine. Nothing is lost when it is not waited for.
    pub async fn accept(&mut self) -> Accepted {
        loop {
            tokio::select! {
                Some(shaken) = self.handshakes.join_next() => {
                    // A panic ends the process elsewhere.
                    let Ok((shaken, peer)) = shaken else { continue };
                    match shaken {
                        Ok(connection) => return (connection, peer),
                        Err(failure) => self.tell(&failure, peer),
                    }
                }
                accepted = self.listener.accept(), if self.handshakes.len() < self.handshakes_max() => {
                    let (stream, peer) = match accepted {
                        Ok(accepted) => accepted,
                        Err(error) => {
                            pause_after(&error).await;
                            continue;
                        }
                    };
                    // It is only slower without.
                    let _ = stream.set_nodelay(true);
                    if !self.tls.is_on() && self.speaks != Speaks::Grpc {
                        return (Connection::plain(stream), peer);
                    }
                    let (tls, speaks) = (self.tls.clone(), self.speaks);
                    self.handshakes.spawn(async move { (handshake(tls, speaks, stream).await, peer) });
                }
            }
        }
    }

    fn handshakes_max(&self) -> usize {
        match self.tls.is_on() {
            true => HANDSHAKES_MAX,
            false => SILENT_MAX,
        }
    }

    fn tell(&mut self, failure: &Failure, peer: SocketAddr) {
        let reason = match failure {
            Failure::Nothing => return tracing::debug!(%peer, "a connection without a word"),
            Failure::Refused(reason) => reason,
        };
        match self.warnings.warn() {
            Some(more) => tracing::warn!(%peer, reason, more, "a connection was refused"),
            None => tracing::debug!(%peer, reason, "a connection was refused"),
        }
    }
}

/// A connection that is gone again is nothing; without descriptors there is no use in haste.
async fn pause_after(error: &io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    if matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset
    ) {
        return;
    }
    tracing::warn!(%error, "cannot accept connections");
    tokio::time::sleep(ACCEPT_AGAIN_AFTER).await;
}

async fn handshake(tls: Tls, speaks: Speaks, stream: TcpStream) -> Result<Connection, Failure> {
    let shaken = tokio::time::timeout(HANDSHAKE_MAX, async {
        let Some(material) = tls.current().await else {
            return listen(stream).await;
        };
        match &material.server {
            Some(server) => {
                let shaken = shake(server.of(speaks), stream).await;
                shaken.map(|connection| connection.under(tls.client_auth()))
            }
            None => Err(Failure::Refused("this process is no server".into())),
        }
    });
    shaken.await.unwrap_or_else(|_| {
        let reason =
            format!("it did not end its handshake, or said nothing, within {HANDSHAKE_MAX:?}");
        Err(Failure::Refused(reason))
    })
}

/// Plain text, which says by its first byte what it is.
async fn listen(stream: TcpStream) -> Result<Connection, Failure> {
    let mut first = [0];
    match stream.peek(&mut first).await {
        Ok(1) => Ok(Connection::plain(stream).beginning_with(first[0])),
        Ok(_) => Err(Failure::Nothing),
        Err(error) => Err(Failure::Refused(error.to_string())),
    }
}

async fn shake(config: Arc<ServerConfig>, stream: TcpStream) -> Result<Connection, Failure> {
    let accepted = TlsAcceptor::from(config).accept(buffered(stream));
    let (error, mut stream) = match accepted.into_fallible().await {
        Ok(stream) => return Ok(Connection::tls(stream)),
        Err(failed) => failed,
    };
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return Err(Failure::Nothing);
    }
    let reason = words::of_client(&error);
    // The alert is under way.
    let lingering = async {
        let mut sink = [0; 1024];
        let _ = stream.shutdown().await;
        while stream.read(&mut sink).await.is_ok_and(|read| read > 0) {}
    };
    let _ = tokio::time::timeout(LINGER_MAX, lingering).await;
    Err(Failure::Refused(reason))
}

#[cfg(feature = "axum")]
impl axum::extract::connect_info::Connected<axum::serve::IncomingStream<'_, Incoming>> for Caller {
    fn connect_info(stream: axum::serve::IncomingStream<'_, Incoming>) -> Self {
        stream.io().connect_info()
    }
}

#[cfg(feature = "axum")]
impl axum::serve::Listener for Incoming {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> Accepted {
        Incoming::accept(self).await
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Incoming::local_addr(self)
    }
}
