//! Servers that do nothing, in a process of their own, so that their processor time is told from the load generator's.
//!
//! *Place*: `yadkv bench --serve NAME`, started by `targets::process`.
//!
//! *Life of a server*: listens → prints where, on one line → serves until its standard input ends.
//!
//! *Next stop*: [`crate::targets::echo`].

use crate::targets::{echo, null};
use std::io::{Read, Write};
use tokio::net::TcpListener;
use tonic::transport::server::TcpIncoming;

/// A server by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// Sends back what it gets.
    Echo,
    /// A cluster that does nothing.
    Null,
}

impl Service {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Echo, Self::Null];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Echo => echo::NAME,
            Self::Null => null::NAME,
        }
    }

    /// Serves until standard input ends.
    pub async fn run(self) -> std::io::Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let services = match self {
            Self::Echo => echo::services(),
            Self::Null => null::services(&address),
        };
        let mut output = std::io::stdout();
        writeln!(output, "{address}")?;
        output.flush()?;
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        let end = async {
            let read = || std::io::stdin().read_to_end(&mut Vec::new());
            // An input that cannot be read has ended too.
            let _ = tokio::task::spawn_blocking(read).await;
        };
        let served = services.serve_with_incoming_shutdown(incoming, end).await;
        served.map_err(std::io::Error::other)
    }
}
