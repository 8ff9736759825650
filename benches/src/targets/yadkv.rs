//! A yadkv cluster, through its SDK: all clients are tasks on one client object.
//!
//! *Next stop*: `yadkv_client`.

use super::process::failed;
use super::{Answer, Found, Target};
use crate::Error;
use crate::workload::Request;
use futures::FutureExt;
use futures::future::BoxFuture;
use yadkv_client::{Client, Options, RawClient, ScanOptions, TlsFiles};

const NAME: &str = "yadkv";

/// A connected client.
pub struct Yadkv {
    raw: RawClient,
    servers: Vec<u32>,
}

impl Yadkv {
    /// Connects to a running cluster; `pd` lists its placement drivers, comma separated, `servers` its processes as far
    /// as they are on this machine, `tls` certificates if it is to be encrypted.
    pub async fn connect(
        pd: &str,
        servers: Vec<u32>,
        tls: Option<TlsFiles>,
    ) -> Result<Self, Error> {
        let options = Options {
            tls,
            ..Options::default()
        };
        let connected = Client::connect(pd.split(',').map(str::trim), options).await;
        let client = connected.map_err(|error| failed(NAME, error))?;
        Ok(Self {
            raw: client.raw(),
            servers,
        })
    }

    async fn ask(&self, request: Request) -> yadkv_client::Result<Found> {
        match request {
            Request::Put(key, value) => self.raw.put(key, value).await?,
            Request::Get(key) => return Ok(Found::values(self.raw.get(key).await?)),
            Request::BatchPut(records) => self.raw.batch_put(records).await?,
            Request::BatchGet(keys) => {
                let values = self.raw.batch_get(keys).await?;
                return Ok(Found::values(values.into_iter().flatten()));
            }
            Request::Scan { start, end, count } => {
                let options = ScanOptions {
                    limit: Some(count as usize),
                    ..ScanOptions::default()
                };
                let pairs = self.raw.scan_all(start, end, options).await?;
                return Ok(Found::values(pairs.into_iter().map(|pair| pair.value)));
            }
            Request::Modify(key, value) => {
                let found = Found::values(self.raw.get(key.clone()).await?);
                self.raw.put(key, value).await?;
                return Ok(found);
            }
        }
        Ok(Found::NOTHING)
    }
}

impl Target for Yadkv {
    fn name(&self) -> &'static str {
        NAME
    }

    fn call(&self, _: usize, request: Request) -> BoxFuture<'_, Answer> {
        async move {
            let answer = self.ask(request).await;
            answer.map_err(|error| kind(&error).to_owned())
        }
        .boxed()
    }

    fn processes(&self) -> Vec<u32> {
        self.servers.clone()
    }
}

fn kind(error: &yadkv_client::Error) -> &'static str {
    use yadkv_client::Error;
    match error {
        Error::Unavailable { .. } => "unavailable",
        Error::OutcomeUnknown { .. } => "outcome unknown",
        Error::TooLarge { .. } => "too large",
        Error::Refused { .. } => "refused",
        _ => "other",
    }
}
