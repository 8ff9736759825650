//! One connection, plain or with TLS, whoever made it.
//!
//! *Place*: [`crate::Incoming`] and [`crate::Connector`] make it; tonic, axum and hyper read and write it.
//!
//! *Invariants*: an error before the first byte of the other side says in words what that side made of us: with TLS 1.3 the
//! one who connects hears of its refusal only after its handshake is done.
//!
//! *Limits*: [`READ_BYTES`] of what was received wait in front of the cipher: without them each read of the socket would
//! bring 4 KiB at most.
//!
//! *Next stop*: [`crate::incoming`].

use crate::{ClientAuth, PEERS, PEERS_FIRST, words};
use parking_lot::Mutex;
use std::io::{Error, ErrorKind, IoSlice, Result};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, BufReader, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;
use tonic::transport::server::Connected;

/// Bytes that one read of the socket may bring.
const READ_BYTES: usize = 32 << 10;

/// What TLS reads from.
pub(crate) type Buffered = BufReader<TcpStream>;

pub(crate) fn buffered(stream: TcpStream) -> Buffered {
    BufReader::with_capacity(READ_BYTES, stream)
}

/// A connection.
#[derive(Debug)]
pub struct Connection {
    carrier: Carrier,
    /// Whom we dialled, until it has said something.
    silent: Option<Dialled>,
    /// Whether it is one between peers, not HTTP.
    is_of_peer: bool,
    /// Whether it came without a certificate to a server that shows such callers only pages for probes.
    only_probes: bool,
}

/// Who is at the other end of a connection that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Where it is; none if the connection has ended.
    pub address: Option<SocketAddr>,
    /// Whether it may see pages for probes and nothing else.
    pub only_probes: bool,
}

/// A server that has not said anything yet.
#[derive(Debug)]
pub(crate) struct Dialled {
    pub(crate) address: Arc<str>,
    /// Where it is noted that it lets us not in. Calls learn it from there: those that come when the connection has ended
    /// hear only that it has.
    pub(crate) refusal: Arc<Mutex<Option<String>>>,
}

#[derive(Debug)]
enum Carrier {
    Plain(TcpStream),
    Tls(Box<TlsStream<Buffered>>),
}

impl Connection {
    pub(crate) fn plain(stream: TcpStream) -> Self {
        Self {
            carrier: Carrier::Plain(stream),
            silent: None,
            is_of_peer: false,
            only_probes: false,
        }
    }

    pub(crate) fn tls(stream: impl Into<TlsStream<Buffered>>) -> Self {
        Self {
            carrier: Carrier::Tls(Box::new(stream.into())),
            silent: None,
            is_of_peer: false,
            only_probes: false,
        }
    }

    /// Marks it as one that came to a server with such a rule.
    pub(crate) fn under(self, rule: ClientAuth) -> Self {
        let (certified, is_of_peer) = match &self.carrier {
            Carrier::Plain(_) => (true, self.is_of_peer),
            Carrier::Tls(stream) => {
                let session = stream.get_ref().1;
                let agreed = session.alpn_protocol();
                (
                    session.peer_certificates().is_some(),
                    agreed == Some(PEERS.as_bytes()),
                )
            }
        };
        Self {
            is_of_peer,
            only_probes: rule == ClientAuth::ExceptProbes && !certified,
            ..self
        }
    }

    /// Marks a plain one by what it begins with.
    pub(crate) fn beginning_with(self, first: u8) -> Self {
        Self {
            is_of_peer: first == PEERS_FIRST,
            ..self
        }
    }

    /// Whether it is one between peers ([`crate::Speaks::Peers`]).
    pub fn is_of_peer(&self) -> bool {
        self.is_of_peer
    }

    /// Marks it as one that we made.
    pub(crate) fn to(self, dialled: Dialled) -> Self {
        Self {
            silent: Some(dialled),
            ..self
        }
    }

    fn socket(&self) -> &TcpStream {
        match &self.carrier {
            Carrier::Plain(stream) => stream,
            Carrier::Tls(stream) => stream.get_ref().0.get_ref(),
        }
    }

    /// The first words of the other side, or that it hangs up without any.
    fn first_words(&mut self, read: Result<&[u8]>) -> Result<()> {
        let Some(Dialled { address, refusal }) = self.silent.take() else {
            return read.map(|_| ());
        };
        let (kind, reason) = match (read, &self.carrier) {
            (Ok(first), Carrier::Plain(_)) if words::is_tls(first) => {
                (ErrorKind::InvalidData, words::wants_tls(&address))
            }
            (Err(error), Carrier::Tls(_)) => (error.kind(), words::of_refusal(&address, &error)),
            (read, _) => return read.map(|_| ()),
        };
        *refusal.lock() = Some(reason.clone());
        Err(Error::new(kind, reason))
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        let before = buffer.filled().len();
        let polled = match &mut self.carrier {
            Carrier::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Carrier::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        };
        if self.silent.is_none() {
            return polled;
        }
        polled.map(|read| self.first_words(read.map(|()| &buffer.filled()[before..])))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize>> {
        match &mut self.carrier {
            Carrier::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Carrier::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        match &mut self.carrier {
            Carrier::Plain(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Carrier::Tls(stream) => Pin::new(stream).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.carrier {
            Carrier::Plain(stream) => stream.is_write_vectored(),
            Carrier::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        match &mut self.carrier {
            Carrier::Plain(stream) => Pin::new(stream).poll_flush(context),
            Carrier::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        match &mut self.carrier {
            Carrier::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Carrier::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

impl Connected for Connection {
    type ConnectInfo = Caller;

    fn connect_info(&self) -> Caller {
        Caller {
            address: self.socket().peer_addr().ok(),
            only_probes: self.only_probes,
        }
    }
}
