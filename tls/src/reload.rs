//! What a process knows about TLS, kept as new as its files.
//!
//! *Place*: [`crate::Incoming`] and [`crate::Connector`] ask [`Tls`] for the configuration of each handshake.
//!
//! *Life of a change*: files are exchanged → the next connection, [`crate::Settings::reload_interval`] after the last look,
//! finds other files → they are loaded whole → this connection and all later ones use them; those that are open go on.
//!
//! *Invariants*: there is always one set that was loaded whole. One that does not load leaves the old one in use, is warned
//! of once, and is tried again at each look: it may be half exchanged, or of the near future.
//!
//! *Limits and failure*: one look at a time, in a thread that may block: a disk that hangs holds up one handshake, not all.
//!
//! *Next stop*: [`crate::incoming`], [`crate::connector`].

use crate::files::{LoadError, Material};
use crate::{ClientAuth, Connector, Incoming, Settings, Speaks};
use arc_swap::ArcSwap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Instant, SystemTime};
use tokio::net::TcpListener;
use tokio::sync::{Mutex, OwnedMutexGuard};
use tonic::transport::{Endpoint, Uri};

/// How a process listens and dials: plain, or with TLS. Cheap to clone.
#[derive(Clone, Default)]
pub struct Tls(Option<Arc<Shared>>);

struct Shared {
    settings: Settings,
    load: fn(&Settings) -> Result<Material, LoadError>,
    current: ArcSwap<Material>,
    look: Arc<Mutex<Look>>,
}

/// What the last look at the files found.
struct Look {
    next: Instant,
    /// Of the files in use.
    used: Stamps,
    /// Of files that were refused, and told of.
    refused: Option<Stamps>,
    /// Whether the end of the certificate in use was told.
    end_told: bool,
}

/// What tells one content of the three files from another without reading them: time of change, length, inode.
type Stamps = [Option<(i64, i64, u64, u64)>; 3];

fn stamps(settings: &Settings) -> Stamps {
    let stamp = |path: &Path| {
        let found = std::fs::metadata(path).ok()?;
        Some((found.mtime(), found.mtime_nsec(), found.len(), found.ino()))
    };
    [&settings.ca, &settings.cert, &settings.key].map(|path| stamp(path))
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            None => out.write_str("Tls(off)"),
            Some(shared) => out.debug_tuple("Tls").field(&shared.settings).finish(),
        }
    }
}

impl Tls {
    /// Plain text, both ways.
    pub fn off() -> Self {
        Self::default()
    }

    /// For a server, which listens and dials; plain text if no file is named.
    pub fn server(settings: &Settings) -> Result<Self, LoadError> {
        Self::load(settings, Material::of_server)
    }

    /// For who only dials; plain text if no file is named.
    pub fn client(settings: &Settings) -> Result<Self, LoadError> {
        Self::load(settings, Material::of_client)
    }

    fn load(
        settings: &Settings,
        load: fn(&Settings) -> Result<Material, LoadError>,
    ) -> Result<Self, LoadError> {
        if !settings.is_on() {
            return Ok(Self::off());
        }
        // Before the files are read: a change while they are is seen at the next look.
        let used = stamps(settings);
        let material = load(settings)?;
        let look = Look {
            next: Instant::now() + settings.reload_interval,
            used,
            refused: None,
            end_told: false,
        };
        Ok(Self(Some(Arc::new(Shared {
            settings: settings.clone(),
            load,
            current: ArcSwap::from_pointee(material),
            look: Arc::new(Mutex::new(look)),
        }))))
    }

    /// Whether it is TLS.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// What is asked of who connects.
    pub(crate) fn client_auth(&self) -> ClientAuth {
        self.0
            .as_ref()
            .map_or(ClientAuth::None, |shared| shared.settings.client_auth)
    }

    /// When the certificate that was loaded last ends; none without one.
    pub fn valid_until(&self) -> Option<SystemTime> {
        self.0.as_ref()?.current.load().valid_until
    }

    /// `https`, or `http`.
    pub fn scheme(&self) -> &'static str {
        match self.is_on() {
            true => "https",
            false => "http",
        }
    }

    /// The connections that come to a listener.
    pub fn incoming(&self, listener: TcpListener, speaks: Speaks) -> Incoming {
        Incoming::new(listener, self.clone(), speaks)
    }

    /// Makes connections for gRPC.
    pub fn connector(&self) -> Connector {
        Connector::new(self.clone(), Speaks::Grpc)
    }

    /// Makes connections to a peer.
    pub fn peers(&self) -> Connector {
        Connector::new(self.clone(), Speaks::Peers)
    }

    /// Makes connections for pages over HTTP/1.1.
    pub fn pages(&self) -> Connector {
        Connector::new(self.clone(), Speaks::Pages)
    }

    /// A server to call at `host:port`, or at a URL, over [`Tls::connector`].
    pub fn endpoint(&self, address: &str) -> Result<Endpoint, tonic::transport::Error> {
        let address = host_and_port(address);
        // What is dialled is told by the connector; the origin is what calls name.
        let endpoint = Endpoint::from_shared(format!("http://{address}"))?;
        let origin = format!("{}://{address}", self.scheme()).parse::<Uri>();
        Ok(match origin {
            Ok(origin) => endpoint.origin(origin),
            Err(_) => endpoint,
        })
    }

    /// What the next handshake uses; none for plain text.
    pub(crate) async fn current(&self) -> Option<Arc<Material>> {
        let shared = self.0.as_ref()?;
        // Whoever comes while another one looks goes on with what there is.
        if let Ok(look) = shared.look.clone().try_lock_owned()
            && look.next <= Instant::now()
        {
            let shared = shared.clone();
            let looking = tokio::task::spawn_blocking(move || shared.look_again(look));
            // It ends early only together with the process.
            let _ = looking.await;
        }
        Some(shared.current.load_full())
    }
}

/// `host:port` of an address or URL.
pub fn host_and_port(address: &str) -> &str {
    let address = address.trim();
    let stripped = ["http://", "https://"]
        .iter()
        .find_map(|scheme| address.strip_prefix(scheme));
    stripped.unwrap_or(address).trim_end_matches('/')
}

impl Shared {
    /// Holds the lock until it is over, also when nobody waits for it any more: a disk that hangs costs one thread.
    fn look_again(&self, mut look: OwnedMutexGuard<Look>) {
        look.next = Instant::now() + self.settings.reload_interval;
        let now = stamps(&self.settings);
        if now != look.used {
            match (self.load)(&self.settings) {
                Ok(material) => {
                    self.current.store(Arc::new(material));
                    *look = Look {
                        next: look.next,
                        used: now,
                        refused: None,
                        end_told: false,
                    };
                    let (ca, cert) = (&self.settings.ca, &self.settings.cert);
                    tracing::info!(?ca, ?cert, "new certificate files are in use");
                }
                Err(error) if look.refused != Some(now) => {
                    tracing::warn!(%error, "new certificate files are of no use, the old ones stay");
                    look.refused = Some(now);
                }
                Err(_) => {}
            }
        }
        let end = self.current.load().valid_until;
        if !look.end_told && end.is_some_and(|end| end < SystemTime::now()) {
            let cert = &self.settings.cert;
            tracing::warn!(?cert, "our certificate has expired: others refuse us");
            look.end_told = true;
        }
    }
}
