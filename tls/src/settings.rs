//! Settings under `tls.*`, the same for placement drivers, stores and clients.
//!
//! *Place*: part of each server's configuration; the SDK and the tools fill them from their options and flags.
//!
//! *Invariants*: either none of the files is named, then all is plain text, or enough of them: [`Settings::missing`].
//!
//! *Next stop*: `reload`, which makes a [`crate::Tls`] of them.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;

/// `tls.*`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// PEM file of the CAs that others' certificates have to be signed by; several while one takes the place of another.
    /// Empty: no TLS.
    pub ca: PathBuf,
    /// PEM file of our certificate, with those between it and the CA, if any.
    pub cert: PathBuf,
    /// PEM file of its private key, not encrypted.
    pub key: PathBuf,
    /// Whether who connects has to have a certificate as well.
    pub client_auth: ClientAuth,
    /// How often files are looked at again, when connections are made; default 5 s, 10 ms to 1 h. Too short: every connection
    /// reads them; too long: a new certificate is taken late.
    #[serde(with = "humantime_serde")]
    pub reload_interval: Duration,
}

/// Who may connect to a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClientAuth {
    /// Only who has a certificate that our CA signed.
    #[default]
    Required,
    /// Likewise, but pages for probes and Prometheus (`admit::PROBES`) may be seen without.
    ExceptProbes,
    /// Anybody; what they send is encrypted, who they are is not known.
    None,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            ca: PathBuf::new(),
            cert: PathBuf::new(),
            key: PathBuf::new(),
            client_auth: ClientAuth::default(),
            reload_interval: Duration::from_secs(5),
        }
    }
}

impl Settings {
    /// Bounds of `reload_interval`.
    pub const RELOAD_INTERVAL_MIN: Duration = Duration::from_millis(10);
    /// The upper one.
    pub const RELOAD_INTERVAL_MAX: Duration = Duration::from_secs(3600);

    /// Whether any file is named.
    pub fn is_on(&self) -> bool {
        self.files().iter().any(|(_, named)| *named)
    }

    /// The first file that is not named although others are: a server needs all three.
    pub fn missing(&self) -> Option<&'static str> {
        let files = self.files();
        let missing = files.iter().find(|(_, named)| !named);
        missing.filter(|_| self.is_on()).map(|(field, _)| *field)
    }

    /// Likewise for who only connects: it may do without a certificate of its own.
    pub fn missing_to_connect(&self) -> Option<&'static str> {
        let [ca, cert, key] = self.files().map(|(_, named)| named);
        match (cert, key) {
            (true, false) => Some("tls.key"),
            (false, true) => Some("tls.cert"),
            (true, true) if !ca => Some("tls.ca"),
            _ => None,
        }
    }

    /// Whether the interval is one of those that make sense.
    pub fn interval_is_fine(&self) -> bool {
        (Self::RELOAD_INTERVAL_MIN..=Self::RELOAD_INTERVAL_MAX).contains(&self.reload_interval)
    }

    fn files(&self) -> [(&'static str, bool); 3] {
        [
            ("tls.ca", &self.ca),
            ("tls.cert", &self.cert),
            ("tls.key", &self.key),
        ]
        .map(|(field, path)| (field, !path.as_os_str().is_empty()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named() {
        let named = |ca: &str, cert: &str, key: &str| Settings {
            ca: ca.into(),
            cert: cert.into(),
            key: key.into(),
            ..Settings::default()
        };
        let cases = [
            (named("", "", ""), None, None),
            (named("a", "b", "c"), None, None),
            (named("a", "", ""), Some("tls.cert"), None),
            (named("a", "b", ""), Some("tls.key"), Some("tls.key")),
            (named("", "b", "c"), Some("tls.ca"), Some("tls.ca")),
            (named("", "", "c"), Some("tls.ca"), Some("tls.cert")),
        ];
        for (settings, server, client) in cases {
            assert_eq!(settings.missing(), server, "{settings:?}");
            assert_eq!(settings.missing_to_connect(), client, "{settings:?}");
        }
    }
}
