//! Servers that do nothing, in a process of their own, so that their processor time is told from the load generator's.
//!
//! *Place*: `yadkv bench --serve NAME`, started by `targets::process`.
//!
//! *Life of a server*: listens → prints where, its first address on one line → serves until its standard input ends.
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
        let mut listeners = Vec::new();
        for _ in 0..self.addresses() {
            listeners.push(TcpListener::bind("127.0.0.1:0").await?);
        }
        let addresses: std::io::Result<Vec<String>> = listeners
            .iter()
            .map(|listener| Ok(listener.local_addr()?.to_string()))
            .collect();
        let addresses = addresses?;
        let mut output = std::io::stdout();
        writeln!(output, "{}", addresses[0])?;
        output.flush()?;
        let all = null::Everything::new(addresses);
        let served = listeners.into_iter().map(|listener| {
            let services = match self {
                Self::Echo => echo::services(),
                Self::Null => null::services(all.clone()),
            };
            services.serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true)))
        });
        let end = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
        tokio::select! {
            served = futures::future::try_join_all(served) => {
                served.map(drop).map_err(std::io::Error::other)
            }
            // An input that cannot be read has ended too.
            _ = end => Ok(()),
        }
    }

    fn addresses(self) -> usize {
        match self {
            Self::Echo => 1,
            Self::Null => null::STORES,
        }
    }
}
