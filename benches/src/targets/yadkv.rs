//! A yadkv cluster, through its SDK: all clients are tasks on one client object.
//!
//! *Next stop*: `yadkv_client`.

use super::Target;
use crate::Error;
use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use yadkv_client::{Client, Options, RawClient};

/// A connected client.
pub struct Yadkv {
    raw: RawClient,
}

impl Yadkv {
    /// Connects to a running cluster; `pd` lists its placement drivers, comma separated.
    pub async fn connect(pd: &str) -> Result<Self, Error> {
        let connected = Client::connect(pd.split(',').map(str::trim), Options::default()).await;
        let client = connected.map_err(|error| Error::Target {
            target: "yadkv".into(),
            reason: error.to_string(),
        })?;
        Ok(Self { raw: client.raw() })
    }
}

impl Target for Yadkv {
    fn name(&self) -> &'static str {
        "yadkv"
    }

    fn put(&self, _: usize, key: Bytes, value: Bytes) -> BoxFuture<'_, Result<(), String>> {
        async move {
            self.raw
                .put(key, value)
                .await
                .map_err(|error| error.to_string())
        }
        .boxed()
    }

    fn get(&self, _: usize, key: Bytes) -> BoxFuture<'_, Result<bool, String>> {
        async move {
            let value = self.raw.get(key).await.map_err(|error| error.to_string())?;
            Ok(value.is_some())
        }
        .boxed()
    }
}
