//! Commands of many keys.
//!
//! *Invariants*: each region's part is atomic, the whole is not.
//!
//! *Next stop*: `routing::shard`.

use super::{RawClient, no_error};
use crate::error::{Error, Result};
use crate::routing::budget::Effect;
use bytes::Bytes;
use std::collections::BTreeMap;
use yadkv_proto::api::StoreResponse;
use yadkv_proto::kvrpcpb;

impl RawClient {
    /// The values of many keys, in the order of the keys; `None` for those that are absent.
    ///
    /// ```no_run
    /// # async fn example(raw: yadkv_client::RawClient) -> Result<(), yadkv_client::Error> {
    /// let values = raw.batch_get(["a", "nothing", "c"]).await?;
    /// assert_eq!(values.len(), 3);
    /// assert_eq!(values[1], None);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn batch_get(
        &self,
        keys: impl IntoIterator<Item = impl Into<Bytes>>,
    ) -> Result<Vec<Option<Bytes>>> {
        let call = "raw batch get";
        let keyspace = &self.router.keyspace;
        let keys: Vec<Bytes> = keys
            .into_iter()
            .map(|key| keyspace.command(&key.into()))
            .collect();
        let mut wanted = keys.clone();
        wanted.sort();
        wanted.dedup();
        let answers = self
            .router
            .send_sharded(call, Effect::Read, wanted, |context, keys| {
                kvrpcpb::RawBatchGetRequest {
                    context: Some(context),
                    keys,
                    ..Default::default()
                }
                .into()
            })
            .await?;
        let mut found = BTreeMap::new();
        for answer in answers {
            let StoreResponse::RawBatchGet(response) = answer else {
                return Err(unexpected(call, &answer));
            };
            for pair in response.pairs {
                if let Some(error) = pair.error {
                    let reason = format!("{error:?}");
                    return Err(Error::Refused { call, reason });
                }
                found.insert(pair.key, pair.value);
            }
        }
        Ok(keys.iter().map(|key| found.get(key).cloned()).collect())
    }

    /// Sets many keys. Of a key given twice the last value wins.
    ///
    /// ```no_run
    /// # async fn example(raw: yadkv_client::RawClient) -> Result<(), yadkv_client::Error> {
    /// raw.batch_put([("a", "1"), ("c", "3")]).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn batch_put(
        &self,
        pairs: impl IntoIterator<Item = (impl Into<Bytes>, impl Into<Bytes>)>,
    ) -> Result<()> {
        let call = "raw batch put";
        let keyspace = &self.router.keyspace;
        let pairs: BTreeMap<Bytes, Bytes> = pairs
            .into_iter()
            .map(|(key, value)| (keyspace.command(&key.into()), value.into()))
            .collect();
        let pairs = pairs
            .into_iter()
            .map(|(key, value)| kvrpcpb::KvPair {
                key,
                value,
                ..Default::default()
            })
            .collect();
        let answers = self
            .router
            .send_sharded(call, Effect::Repeatable, pairs, |context, pairs| {
                kvrpcpb::RawBatchPutRequest {
                    context: Some(context),
                    pairs,
                    ..Default::default()
                }
                .into()
            })
            .await?;
        for answer in answers {
            match answer {
                StoreResponse::RawBatchPut(response) => no_error(call, &response.error)?,
                other => return Err(unexpected(call, &other)),
            }
        }
        Ok(())
    }

    /// Removes many keys; missing ones are fine.
    ///
    /// ```no_run
    /// # async fn example(raw: yadkv_client::RawClient) -> Result<(), yadkv_client::Error> {
    /// raw.batch_delete(["a", "c"]).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn batch_delete(
        &self,
        keys: impl IntoIterator<Item = impl Into<Bytes>>,
    ) -> Result<()> {
        let call = "raw batch delete";
        let keyspace = &self.router.keyspace;
        let keys: Vec<Bytes> = keys
            .into_iter()
            .map(|key| keyspace.command(&key.into()))
            .collect();
        let answers = self
            .router
            .send_sharded(call, Effect::Repeatable, keys, |context, keys| {
                kvrpcpb::RawBatchDeleteRequest {
                    context: Some(context),
                    keys,
                    ..Default::default()
                }
                .into()
            })
            .await?;
        for answer in answers {
            match answer {
                StoreResponse::RawBatchDelete(response) => no_error(call, &response.error)?,
                other => return Err(unexpected(call, &other)),
            }
        }
        Ok(())
    }
}

fn unexpected(call: &'static str, response: &StoreResponse) -> Error {
    Error::Refused {
        call,
        reason: format!("the store answered with {}", response.name()),
    }
}
