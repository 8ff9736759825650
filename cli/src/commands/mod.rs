//! The commands that ask a running cluster.
//!
//! *Place*: each connects with the SDK, asks, prints, ends.
//!
//! *Next stop*: [`raw`].

pub(crate) mod bench;
pub(crate) mod ctl;
mod http;
pub(crate) mod raw;

use crate::failure::{Context, Outcome};
use crate::tls;
use yadkv_client::Api;
use yadkv_client::{Client, Options, TlsFiles};
use yadkv_tls::Tls;

/// Whom a command asks, and how they are dialled. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Servers {
    /// Addresses, comma separated: the placement drivers, unless it says otherwise.
    pub(crate) addresses: String,
    /// Certificates; none for plain text.
    pub(crate) files: Option<TlsFiles>,
    tls: Tls,
}

impl Servers {
    /// Those of a list; files that are of no use are named.
    pub(crate) fn new(addresses: &str, files: Option<TlsFiles>) -> Outcome<Self> {
        let tls = Tls::client(&tls::settings(files.as_ref())).context("TLS")?;
        Ok(Self {
            addresses: addresses.to_owned(),
            files,
            tls,
        })
    }

    /// Another server of the same cluster.
    pub(crate) fn at(&self, address: &str) -> Self {
        Self {
            addresses: address.to_owned(),
            ..self.clone()
        }
    }

    /// The addresses one by one.
    pub(crate) fn list(&self) -> impl Iterator<Item = &str> {
        self.addresses.split(',').map(str::trim)
    }

    /// Connects to the placement drivers with the SDK.
    pub(crate) async fn connect(&self, api: Api) -> Outcome<Client> {
        let options = Options {
            api,
            ..Options::default()
        };
        self.connect_with(options).await
    }

    /// Likewise with options of one's own.
    pub(crate) async fn connect_with(&self, options: Options) -> Outcome<Client> {
        let options = Options {
            tls: self.files.clone(),
            ..options
        };
        Client::connect(self.list(), options)
            .await
            .context(format!("placement driver {}", self.addresses))
    }
}
