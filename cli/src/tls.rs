//! Flags about TLS, the same for servers and for commands.
//!
//! *Invariants*: the three of a server are short for `--set tls.ca=…` and so on, and win over the file. Those of a command
//! may stand in the environment instead, as `YADKV_TLS_CA` and so on; servers do not look there.
//!
//! *Next stop*: `yadkv_tls`.

use crate::failure::{Failure, Outcome};
use clap::Args;
use std::path::PathBuf;
use yadkv_client::TlsFiles;
use yadkv_tls::Settings;

/// Where certificates are.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct TlsArgs {
    /// PEM file of the CAs that certificates have to be signed by; plain text if not given.
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) tls_ca: Option<PathBuf>,
    /// PEM file of our own certificate.
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) tls_cert: Option<PathBuf>,
    /// PEM file of its private key.
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) tls_key: Option<PathBuf>,
}

impl TlsArgs {
    /// Puts the files that are given into the settings of a server.
    pub(crate) fn set(&self, settings: &mut Settings) {
        let fields = [
            (&mut settings.ca, &self.tls_ca),
            (&mut settings.cert, &self.tls_cert),
            (&mut settings.key, &self.tls_key),
        ];
        for (field, given) in fields {
            if let Some(path) = given {
                field.clone_from(path);
            }
        }
    }

    /// The files of a command, from flags or environment; none for plain text.
    pub(crate) fn files(&self) -> Outcome<Option<TlsFiles>> {
        let or_environment = |given: &Option<PathBuf>, name: &str| {
            let named = || std::env::var_os(name).map(PathBuf::from);
            let path = given.clone().or_else(named);
            path.filter(|path| !path.as_os_str().is_empty())
        };
        let ca = or_environment(&self.tls_ca, "YADKV_TLS_CA");
        let cert = or_environment(&self.tls_cert, "YADKV_TLS_CERT");
        let key = or_environment(&self.tls_key, "YADKV_TLS_KEY");
        match (ca, cert, key) {
            (None, None, None) => Ok(None),
            (Some(ca), None, None) => Ok(Some(TlsFiles { ca, identity: None })),
            (Some(ca), Some(cert), Some(key)) => Ok(Some(TlsFiles {
                ca,
                identity: Some((cert, key)),
            })),
            (None, ..) => Err(Failure(
                "--tls-ca is missing: a certificate is shown only to servers that can prove who they are".into(),
            )),
            _ => Err(Failure(
                "--tls-cert and --tls-key belong together: give both, or none".into(),
            )),
        }
    }
}

/// How pages are fetched with these files.
pub(crate) fn settings(files: Option<&TlsFiles>) -> Settings {
    let Some(files) = files.cloned() else {
        return Settings::default();
    };
    let (cert, key) = files.identity.unwrap_or_default();
    Settings {
        ca: files.ca,
        cert,
        key,
        ..Settings::default()
    }
}
