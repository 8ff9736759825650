//! Certificates in a folder, a server that says everything twice, and a word with it.
//!
//! *Next stop*: `handshakes`, `exchange`.
#![allow(clippy::unwrap_used, dead_code)]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use yadkv_tls::authority::{Authority, Pair, replace};
use yadkv_tls::{Connection, Settings, Speaks, Tls};

/// Long enough for any of these tests.
pub(crate) const DAY: Duration = Duration::from_secs(24 * 3600);
/// How long a condition may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Where files lie.
pub(crate) struct Place(pub(crate) TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        replace(&self.file(name), text, 0o600).unwrap();
    }

    /// Writes what one side needs, and names it.
    pub(crate) fn settings(&self, who: &str, ca: &str, pair: Option<&Pair>) -> Settings {
        let ca_file = format!("{who}-ca.pem");
        self.write(&ca_file, ca);
        let mut settings = Settings {
            ca: self.file(&ca_file),
            reload_interval: Settings::RELOAD_INTERVAL_MIN,
            ..Settings::default()
        };
        if let Some(pair) = pair {
            settings.cert = self.file(&format!("{who}.pem"));
            settings.key = self.file(&format!("{who}-key.pem"));
            pair.write(&settings.cert, &settings.key).unwrap();
        }
        settings
    }

    /// A client's side of it.
    pub(crate) fn client(&self, who: &str, ca: &str, pair: Option<&Pair>) -> Tls {
        Tls::client(&self.settings(who, ca, pair)).unwrap()
    }
}

pub(crate) fn authority() -> Authority {
    Authority::new("the cluster's CA", DAY).unwrap()
}

/// A certificate for what listens on loopback.
pub(crate) fn pair(authority: &Authority) -> Pair {
    authority
        .issue("somebody", &["127.0.0.1", "localhost"], DAY)
        .unwrap()
}

/// Serves until the test ends.
pub(crate) async fn serve(tls: &Tls) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut incoming = tls.incoming(listener, Speaks::Both);
    let address = incoming.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (connection, _) = incoming.accept().await;
            tokio::spawn(echo(connection));
        }
    });
    address
}

async fn echo(mut connection: Connection) -> std::io::Result<()> {
    let mut bytes = [0; 4096];
    loop {
        let read = connection.read(&mut bytes).await?;
        if read == 0 {
            return Ok(());
        }
        connection.write_all(&bytes[..read]).await?;
    }
}

/// Connects, says something, and hears it again; or what went wrong, in words.
pub(crate) async fn talk(tls: &Tls, address: impl ToString) -> Result<(), String> {
    let connected = tls.pages().dial(&address.to_string()).await;
    let mut connection = connected.map_err(|error| error.to_string())?;
    let said = vec![7; 100_000];
    let (mut reader, mut writer) = tokio::io::split(&mut connection);
    let saying = async {
        // What ends it is seen by who reads.
        let _ = writer.write_all(&said).await;
    };
    let mut heard = vec![0; said.len()];
    let ((), read) = tokio::join!(saying, reader.read_exact(&mut heard));
    read.map_err(|error| error.to_string())?;
    assert_eq!(said, heard);
    Ok(())
}

/// Talks until it goes as `wanted`.
pub(crate) async fn until(
    tls: &Tls,
    address: SocketAddr,
    wanted: impl Fn(&Result<(), String>) -> bool,
) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let result = talk(tls, address).await;
        if wanted(&result) {
            return;
        }
        assert!(Instant::now() < deadline, "still {result:?}");
    }
}
