//! A CA that makes certificates: for the playground and for tests, which have nobody else to sign them.
//!
//! *Limits*: keys are of the curve P-256. The CA's own key is never written anywhere: when it is gone, so is the CA.
//!
//! *Next stop*: [`crate::settings`].

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, Error,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;
use time::OffsetDateTime;

/// How far clocks may lie apart: certificates begin so much before they were made.
const CLOCKS_APART_MAX: time::Duration = time::Duration::hours(1);

/// Signs certificates.
#[derive(Debug)]
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate with its key, both as PEM.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The certificate.
    pub cert: String,
    /// The private key.
    pub key: String,
}

/// Something is wrong with a name, or the operating system gives no random numbers.
#[derive(Debug, thiserror::Error)]
#[error("cannot make a certificate: {0}")]
pub struct AuthorityError(#[from] Error);

impl Authority {
    /// A new CA, valid for `time` from now on.
    pub fn new(name: &str, time: Duration) -> Result<Self, AuthorityError> {
        let mut params = params(name, &[])?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.not_after = OffsetDateTime::now_utc() + time;
        let key = KeyPair::generate()?;
        Ok(Self(CertifiedIssuer::self_signed(params, key)?))
    }

    /// Its certificate, as PEM: what others trust.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for who is reached at `hosts` (names or addresses), as server and as client, valid for `time` from now
    /// on.
    pub fn issue(
        &self,
        name: &str,
        hosts: &[&str],
        time: Duration,
    ) -> Result<Pair, AuthorityError> {
        let end = OffsetDateTime::now_utc() + time;
        self.issue_until(name, hosts, end)
    }

    /// Likewise one that has expired so long ago.
    pub fn issue_expired(
        &self,
        name: &str,
        hosts: &[&str],
        ago: Duration,
    ) -> Result<Pair, AuthorityError> {
        let end = OffsetDateTime::now_utc() - ago;
        self.issue_until(name, hosts, end)
    }

    fn issue_until(
        &self,
        name: &str,
        hosts: &[&str],
        end: OffsetDateTime,
    ) -> Result<Pair, AuthorityError> {
        let mut params = params(name, hosts)?;
        params.not_before = params.not_before.min(end - CLOCKS_APART_MAX);
        params.not_after = end;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let key = KeyPair::generate()?;
        let cert = params.signed_by(&key, &self.0)?;
        Ok(Pair {
            cert: cert.pem(),
            key: key.serialize_pem(),
        })
    }
}

fn params(name: &str, hosts: &[&str]) -> Result<CertificateParams, AuthorityError> {
    let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
    let mut params = CertificateParams::new(hosts)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = OffsetDateTime::now_utc() - CLOCKS_APART_MAX;
    Ok(params)
}

impl Pair {
    /// Puts certificate and key into the place of what was there; only the owner reads the key.
    pub fn write(&self, cert: &Path, key: &Path) -> io::Result<()> {
        replace(key, &self.key, 0o600)?;
        replace(cert, &self.cert, 0o644)
    }
}

/// Puts a file into the place of another one, at once.
pub fn replace(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let beside = path.with_extension("new");
    // One of an attempt that was interrupted may have another mode.
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = File::options()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&beside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&beside, path)
}
