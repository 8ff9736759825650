//! Certificate files: read, checked, and made into what handshakes need.
//!
//! *Place*: [`super::reload`] loads them at the start and whenever they have changed.
//!
//! *Invariants*: what does not load whole is not used at all. An error names the file and says what is wrong with it.
//!
//! *Limits and failure*: our own certificate has to be valid now; those of the CA file are trusted whatever their dates. A
//! file is at most [`FILE_BYTES_MAX`].
//!
//! *Next stop*: [`super::reload`].

use crate::{ClientAuth, Settings, Speaks};
use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::time::ASN1Time;

/// Many CAs with their chains; a file beyond it is not one of certificates.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Why certificate files cannot be used; tell the operator.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Files are named, but not all that belong together.
    #[error("{0} is not set, though other files of tls.* are: set it as well, or none of them")]
    NotSet(&'static str),
    /// The operating system does not give a file.
    #[error("{path}: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: std::io::Error,
    },
    /// A file without what is looked for.
    #[error("{path}: there is no {what} in it: is it a PEM file?")]
    Nothing {
        /// The file.
        path: PathBuf,
        /// What is looked for.
        what: &'static str,
    },
    /// A file with something of the right kind that makes no sense.
    #[error("{path}: {reason}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Key and certificate are not a pair.
    #[error("the key {key} does not fit the certificate {cert}")]
    NoPair {
        /// File of the key.
        key: PathBuf,
        /// File of the certificate.
        cert: PathBuf,
    },
    /// The certificate is of the past.
    #[error("{path}: the certificate expired on {on}: get a new one")]
    Expired {
        /// The file.
        path: PathBuf,
        /// The last moment it was valid.
        on: String,
    },
    /// The certificate is of the future.
    #[error("{path}: the certificate is not valid before {from}: is this machine's clock right?")]
    NotYetValid {
        /// The file.
        path: PathBuf,
        /// The first moment it is valid.
        from: String,
    },
}

/// One configuration for each kind of conversation.
pub(crate) struct PerSpeech<T>([Arc<T>; 4]);

impl<T> PerSpeech<T> {
    fn new(make: impl Fn(Speaks) -> T) -> Self {
        Self(Speaks::ALL.map(|speaks| Arc::new(make(speaks))))
    }

    pub(crate) fn of(&self, speaks: Speaks) -> Arc<T> {
        self.0[speaks as usize].clone()
    }
}

/// A set of files, loaded.
pub(crate) struct Material {
    /// For those who connect to us; none for a client.
    pub(crate) server: Option<PerSpeech<ServerConfig>>,
    /// For those we connect to.
    pub(crate) client: PerSpeech<ClientConfig>,
    /// When our certificate ends, if we have one.
    pub(crate) valid_until: Option<SystemTime>,
}

impl Material {
    /// Loads what a server needs, for both directions.
    pub(crate) fn of_server(settings: &Settings) -> Result<Self, LoadError> {
        if let Some(field) = settings.missing() {
            return Err(LoadError::NotSet(field));
        }
        let roots = Arc::new(roots(&settings.ca)?);
        let (pair, valid_until) = pair(settings)?;
        Ok(Self {
            server: Some(server(settings, &roots, &pair)?),
            client: client(settings, &roots, Some(&pair))?,
            valid_until: Some(valid_until),
        })
    }

    /// Loads what a client needs.
    pub(crate) fn of_client(settings: &Settings) -> Result<Self, LoadError> {
        if let Some(field) = settings.missing_to_connect() {
            return Err(LoadError::NotSet(field));
        }
        let roots = Arc::new(roots(&settings.ca)?);
        let own = match settings.cert.as_os_str().is_empty() {
            true => None,
            false => Some(pair(settings)?),
        };
        Ok(Self {
            server: None,
            client: client(settings, &roots, own.as_ref().map(|(pair, _)| pair))?,
            valid_until: own.map(|(_, valid_until)| valid_until),
        })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, LoadError> {
    let unreadable = |source| LoadError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    let read = file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes);
    read.map_err(unreadable)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(malformed(path, "it is far too large for certificates"));
    }
    Ok(bytes)
}

fn malformed(path: &Path, reason: impl ToString) -> LoadError {
    LoadError::Malformed {
        path: path.to_owned(),
        reason: reason.to_string(),
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, LoadError> {
    let bytes = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let found = found.map_err(|error| malformed(path, error))?;
    match found.is_empty() {
        true => Err(LoadError::Nothing {
            path: path.to_owned(),
            what: "certificate",
        }),
        false => Ok(found),
    }
}

fn roots(path: &Path) -> Result<RootCertStore, LoadError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        let added = roots.add(certificate);
        added.map_err(|error| malformed(path, error))?;
    }
    Ok(roots)
}

/// Our certificate with its key, and how long it is valid.
fn pair(settings: &Settings) -> Result<(Arc<CertifiedKey>, SystemTime), LoadError> {
    let (cert, key) = (&settings.cert, &settings.key);
    let chain = certificates(cert)?;
    let private = PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|error| match error {
        rustls::pki_types::pem::Error::NoItemsFound => LoadError::Nothing {
            path: key.clone(),
            what: "private key (PKCS#8, PKCS#1 or SEC1, not encrypted)",
        },
        error => malformed(key, error),
    })?;
    let valid_until = match chain.first() {
        Some(leaf) => check_dates(cert, leaf)?,
        None => return Err(malformed(cert, "it is empty")),
    };
    let pair = CertifiedKey::from_der(chain, private, &ring::default_provider());
    let pair = pair.map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => LoadError::NoPair {
            key: key.clone(),
            cert: cert.clone(),
        },
        error => malformed(key, error),
    })?;
    Ok((Arc::new(pair), valid_until))
}

fn check_dates(path: &Path, leaf: &CertificateDer<'_>) -> Result<SystemTime, LoadError> {
    let parsed = X509Certificate::from_der(leaf).map_err(|error| malformed(path, error))?;
    let validity = parsed.1.validity();
    let now = ASN1Time::now();
    if now < validity.not_before {
        return Err(LoadError::NotYetValid {
            path: path.to_owned(),
            from: validity.not_before.to_string(),
        });
    }
    if now > validity.not_after {
        return Err(LoadError::Expired {
            path: path.to_owned(),
            on: validity.not_after.to_string(),
        });
    }
    // Not before now, so not negative.
    let seconds = u64::try_from(validity.not_after.timestamp()).unwrap_or(0);
    Ok(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// Sessions are not taken up again: connections are long, and every one is to be judged by today's files.
fn server(
    settings: &Settings,
    roots: &Arc<RootCertStore>,
    pair: &Arc<CertifiedKey>,
) -> Result<PerSpeech<ServerConfig>, LoadError> {
    let unusable = |error: &dyn std::fmt::Display| malformed(&settings.ca, error);
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(&error))?;
    let verifier = || WebPkiClientVerifier::builder_with_provider(roots.clone(), provider());
    let demanding = verifier().build().map_err(|error| unusable(&error))?;
    let lenient = verifier().allow_unauthenticated().build();
    let lenient = lenient.map_err(|error| unusable(&error))?;
    let own = Arc::new(SingleCertAndKey::from(pair.clone()));
    Ok(PerSpeech::new(|speaks| {
        let builder = builder.clone();
        let builder = match (settings.client_auth, speaks) {
            (ClientAuth::None, _) => builder.with_no_client_auth(),
            // Only ports with pages have some for probes.
            (ClientAuth::ExceptProbes, Speaks::Pages | Speaks::Both) => {
                builder.with_client_cert_verifier(lenient.clone())
            }
            (ClientAuth::Required | ClientAuth::ExceptProbes, _) => {
                builder.with_client_cert_verifier(demanding.clone())
            }
        };
        let mut config = builder.with_cert_resolver(own.clone());
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.alpn_protocols = speaks.taken();
        config
    }))
}

fn client(
    settings: &Settings,
    roots: &Arc<RootCertStore>,
    pair: Option<&Arc<CertifiedKey>>,
) -> Result<PerSpeech<ClientConfig>, LoadError> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| malformed(&settings.ca, error))?
        .with_root_certificates(roots.clone());
    let mut config = match pair {
        None => builder.with_no_client_auth(),
        Some(pair) => {
            let own = SingleCertAndKey::from(pair.clone());
            builder.with_client_cert_resolver(Arc::new(own))
        }
    };
    config.resumption = Resumption::disabled();
    Ok(PerSpeech::new(|speaks| {
        let mut config = config.clone();
        config.alpn_protocols = speaks.offered();
        config
    }))
}
