//! TLS for everything that listens or dials.
//!
//! *Place*: servers, the SDK and the tools make one [`Tls`] of their [`Settings`]; all their connections, both ways, are
//! made by it. Without settings it hands out plain TCP.
//!
//! *Types to know*: [`Tls`], [`Incoming`] (connections that came), [`Connector`] (connections to be made), [`Connection`].
//!
//! *Life of a connection*:
//! ```text
//!   Connector: TCP → are the files new? → handshake, is it whom we dialled? → Connection → gRPC or HTTP
//!   Incoming:  TCP → are the files new? → handshake, has it a certificate of our CA? → Connection → gRPC or HTTP
//! ```
//!
//! *Invariants*: a connection that could not prove who is at its other end carries nothing, unless the settings let it look
//! at probes ([`admit`]) or ask for no proof. What is wrong is said in words, on both sides ([`words`]): nobody has to know what an alert is.
//!
//! *Limits and failure*: handshakes are bounded in number and time. Files that change are taken for the next connections,
//! those that cannot be used are refused and the old ones stay ([`Tls`]). There is no list of revoked certificates: one that
//! got into wrong hands ends with the CA that signed it.
//!
//! *Next stop*: [`settings`].

#[cfg(feature = "axum")]
pub mod admit;
#[cfg(feature = "authority")]
pub mod authority;
mod connection;
mod connector;
mod files;
mod incoming;
mod pace;
mod reload;
pub mod settings;
pub mod words;

pub use connection::{Caller, Connection};
pub use connector::{ConnectError, Connector};
pub use files::LoadError;
pub use incoming::Incoming;
pub use pace::Pace;
pub use reload::{Tls, host_and_port};
pub use settings::{ClientAuth, Settings};

/// What is spoken over a connection; both ends agree on it in the handshake (ALPN).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaks {
    /// gRPC, which is HTTP/2. Who listens for it takes [`Speaks::Peers`] as well.
    Grpc,
    /// Pages over HTTP/1.1.
    Pages,
    /// Either, as the client likes.
    Both,
    /// What servers of one kind say to each other, without HTTP. The first byte is [`PEERS_FIRST`].
    Peers,
}

/// What a connection between peers begins with, where nothing else tells it from HTTP/2.
pub const PEERS_FIRST: u8 = b'Y';
/// Its name in the handshake.
const PEERS: &str = "yadkv-peers";

impl Speaks {
    const ALL: [Self; 4] = [Self::Grpc, Self::Pages, Self::Both, Self::Peers];

    /// Names in the handshake of who listens.
    fn taken(self) -> Vec<Vec<u8>> {
        match self {
            Self::Grpc => names(&["h2", PEERS]),
            Self::Pages => names(&["http/1.1"]),
            Self::Both => names(&["h2", "http/1.1"]),
            Self::Peers => names(&[PEERS]),
        }
    }

    /// Names in the handshake of who dials.
    fn offered(self) -> Vec<Vec<u8>> {
        match self {
            Self::Grpc => names(&["h2"]),
            other => other.taken(),
        }
    }
}

fn names(names: &[&str]) -> Vec<Vec<u8>> {
    names.iter().map(|name| name.as_bytes().to_vec()).collect()
}
