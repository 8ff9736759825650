//! The published `tikv-client`, one object for all clients: against a yadkv cluster, or the store that does nothing.
//!
//! *Invariants*: it uses the same keyspace as the SDK, so both meet the same regions.
//!
//! *Next stop*: [`super::yadkv`].

use super::null::Null;
use super::process::failed;
use super::{Answer, Found, Target};
use crate::Error;
use crate::workload::Request;
use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use tikv_client::{Config, KvPair, RawClient};
use yadkv_client::TlsFiles;

const TIKV_CLIENT: &str = "tikv-client";

/// A connected client.
pub struct Tikv {
    name: &'static str,
    raw: RawClient,
    servers: Vec<u32>,
    _null: Option<Null>,
}

impl Tikv {
    /// Connects to a running cluster, as [`super::yadkv::Yadkv::connect`] does. With TLS it has to have a certificate.
    pub async fn connect(
        pd: &str,
        servers: Vec<u32>,
        tls: Option<TlsFiles>,
    ) -> Result<Self, Error> {
        let config = Config::default().with_default_keyspace();
        let config = match tls {
            None => config,
            Some(files) => {
                let none = || {
                    failed(
                        TIKV_CLIENT,
                        "it connects only with a certificate of its own",
                    )
                };
                let (cert, key) = files.identity.ok_or_else(none)?;
                config.with_security(files.ca, cert, key)
            }
        };
        Self::open((TIKV_CLIENT, config), pd, servers, None).await
    }

    /// Starts a store that does nothing, and connects to it.
    pub async fn null() -> Result<Self, Error> {
        let null = Null::start()?;
        let (pd, servers) = (null.address.clone(), vec![null.id()]);
        let config = Config::default().with_default_keyspace();
        Self::open(("tikv-client-null", config), &pd, servers, Some(null)).await
    }

    async fn open(
        (name, config): (&'static str, Config),
        pd: &str,
        servers: Vec<u32>,
        null: Option<Null>,
    ) -> Result<Self, Error> {
        let endpoints: Vec<&str> = pd.split(',').map(str::trim).collect();
        let connected = RawClient::new_with_config(endpoints, config).await;
        let raw = connected.map_err(|error| failed(name, error))?;
        Ok(Self {
            name,
            raw,
            servers,
            _null: null,
        })
    }

    async fn ask(&self, request: Request) -> tikv_client::Result<Found> {
        let owned = |bytes: Bytes| Vec::from(bytes);
        match request {
            Request::Put(key, value) => self.raw.put(owned(key), owned(value)).await?,
            Request::Get(key) => return Ok(Found::values(self.raw.get(owned(key)).await?)),
            Request::BatchPut(records) => {
                let records = records.into_iter();
                let records = records.map(|(key, value)| (owned(key), owned(value)));
                self.raw.batch_put(records).await?;
            }
            Request::BatchGet(keys) => {
                let pairs = self.raw.batch_get(keys.into_iter().map(owned)).await?;
                return Ok(values(pairs));
            }
            Request::Scan { start, end, count } => {
                let pairs = self.raw.scan(owned(start)..owned(end), count).await?;
                return Ok(values(pairs));
            }
            Request::Modify(key, value) => {
                let found = Found::values(self.raw.get(owned(key.clone())).await?);
                self.raw.put(owned(key), owned(value)).await?;
                return Ok(found);
            }
        }
        Ok(Found::NOTHING)
    }
}

fn values(pairs: Vec<KvPair>) -> Found {
    Found::values(pairs.into_iter().map(KvPair::into_value))
}

impl Target for Tikv {
    fn name(&self) -> &'static str {
        self.name
    }

    fn call(&self, _: usize, request: Request) -> BoxFuture<'_, Answer> {
        async move {
            let answer = self.ask(request).await;
            answer.map_err(|error| kind(&error))
        }
        .boxed()
    }

    fn processes(&self) -> Vec<u32> {
        self.servers.clone()
    }
}

/// The name of the variant: the rest differs from call to call.
fn kind(error: &tikv_client::Error) -> String {
    let shown = format!("{error:?}");
    let name = shown.split(|letter: char| !letter.is_alphanumeric()).next();
    name.unwrap_or_default().to_owned()
}
