//! Certificates of a test cluster, which a test may exchange.
//!
//! *Place*: [`crate::Setup::tls`] has them made; the servers and every command of the test use them.
//!
//! *Next stop*: `tests/tls.rs`.

use std::path::{Path, PathBuf};
use std::time::Duration;
use yadkv_client::TlsFiles;
use yadkv_tls::authority::{Authority, Pair, replace};

/// Longer than any test.
const VALID: Duration = Duration::from_secs(24 * 3600);
/// How often servers look at their files.
const RELOAD: &str = "tls.reload_interval=100ms";

/// A folder of certificates and who signs them.
#[derive(Debug)]
pub struct Certificates {
    folder: PathBuf,
    hosts: Vec<String>,
    authority: Authority,
}

impl Certificates {
    /// Those of servers that are reached at these hosts, and of their clients.
    pub(crate) fn new(folder: PathBuf, hosts: Vec<String>) -> Self {
        std::fs::create_dir_all(&folder).expect("a folder");
        let all = Self {
            folder,
            hosts,
            authority: authority("the first CA"),
        };
        all.trust(&[&all.authority]);
        all.issue("server");
        all.issue("client");
        all
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.pem"))
    }

    /// Files that are named so.
    pub fn files(&self, who: &str) -> TlsFiles {
        TlsFiles {
            ca: self.path("ca"),
            identity: Some((self.path(who), self.path(&format!("{who}-key")))),
        }
    }

    /// Flags of a command for them.
    pub fn flags(files: &TlsFiles) -> Vec<String> {
        let text = |path: &Path| path.display().to_string();
        let mut flags = vec!["--tls-ca".to_owned(), text(&files.ca)];
        if let Some((cert, key)) = &files.identity {
            flags.extend([
                "--tls-cert".into(),
                text(cert),
                "--tls-key".into(),
                text(key),
            ]);
        }
        flags
    }

    /// Settings of every server.
    pub(crate) fn settings(&self) -> Vec<String> {
        let files = self.files("server");
        let (cert, key) = files.identity.unwrap_or_default();
        let named = [("ca", files.ca), ("cert", cert), ("key", key)];
        let named = named.map(|(name, path)| format!("tls.{name}={}", path.display()));
        named.into_iter().chain([RELOAD.into()]).collect()
    }

    /// What commands find in their environment.
    pub(crate) fn environment(&self) -> Vec<(&'static str, PathBuf)> {
        let files = self.files("client");
        let (cert, key) = files.identity.unwrap_or_default();
        vec![
            ("YADKV_TLS_CA", files.ca),
            ("YADKV_TLS_CERT", cert),
            ("YADKV_TLS_KEY", key),
        ]
    }

    /// Has the file of CAs name these.
    pub fn trust(&self, authorities: &[&Authority]) {
        let pem: String = authorities.iter().map(|one| one.pem()).collect();
        replace(&self.path("ca"), &pem, 0o644).expect("a file");
    }

    /// Gives somebody a new certificate, in the place of the last one.
    pub fn issue(&self, who: &str) {
        self.write(who, &self.pair(&self.authority));
    }

    /// A certificate that somebody signs.
    pub fn pair(&self, authority: &Authority) -> Pair {
        let hosts: Vec<&str> = self.hosts.iter().map(String::as_str).collect();
        let pair = authority.issue("of a test", &hosts, VALID);
        pair.expect("a certificate")
    }

    /// Writes a certificate to the files that are named so.
    pub fn write(&self, who: &str, pair: &Pair) -> TlsFiles {
        let files = self.files(who);
        let (cert, key) = files.identity.clone().unwrap_or_default();
        pair.write(&cert, &key).expect("files");
        files
    }

    /// Who signs.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Has another one sign from now on; the one before.
    pub fn succeed(&mut self, next: Authority) -> Authority {
        std::mem::replace(&mut self.authority, next)
    }
}

/// A new CA.
pub fn authority(name: &str) -> Authority {
    Authority::new(name, VALID).expect("a CA")
}
