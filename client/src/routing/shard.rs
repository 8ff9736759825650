//! Commands of many keys: cut by region, sent together, the failed parts cut anew.
//!
//! *Place*: the batch calls of `raw`.
//!
//! *Life of a batch*: sorted by place → grouped by route, each group cut by size → groups sent, some at a time →
//! groups that failed are grouped again by what the failures taught → until all are answered.
//!
//! *Limits*: [`SHARD_ITEMS_MAX`] and [`SHARD_BYTES_MAX`] a request, `Options::concurrency` requests in flight.
//!
//! *Next stop*: [`super::cache`].

use super::budget::{Budget, Effect, Failure, Trouble, Wait};
use super::cache::Route;
use super::{Place, Router};
use crate::error::{Error, Result};
use bytes::Bytes;
use futures::{StreamExt, stream};
use std::sync::Arc;
use yadkv_proto::api::{StoreRequest, StoreResponse};
use yadkv_proto::kvrpcpb;

/// Items of one request. Too few and a large batch is many log entries; too many and it blocks others.
const SHARD_ITEMS_MAX: usize = 1024;

/// Bytes of one request, well below the 8 MiB of a log entry.
const SHARD_BYTES_MAX: usize = 512 * 1024;

/// One item of a batch.
pub(crate) trait Item: Clone + Send + Sync {
    /// Its key as commands carry it.
    fn key(&self) -> &Bytes;
    /// Bytes it adds to a request.
    fn bytes(&self) -> usize;
}

impl Item for Bytes {
    fn key(&self) -> &Bytes {
        self
    }

    fn bytes(&self) -> usize {
        self.len()
    }
}

impl Item for kvrpcpb::KvPair {
    fn key(&self) -> &Bytes {
        &self.key
    }

    fn bytes(&self) -> usize {
        self.key.len() + self.value.len()
    }
}

struct Shard<T> {
    route: Arc<Route>,
    items: Vec<T>,
}

impl Router {
    /// Sends all items, each to its region; the answers come in no particular order.
    ///
    /// Items of one key stay in the order given.
    pub(crate) async fn send_sharded<T: Item>(
        &self,
        call: &'static str,
        effect: Effect,
        items: Vec<T>,
        make: impl Fn(Box<kvrpcpb::Context>, Vec<T>) -> StoreRequest + Sync,
    ) -> Result<Vec<StoreResponse>> {
        let mut budget = self.budget(call, effect);
        let mut placed: Vec<_> = items
            .into_iter()
            .map(|item| (self.keyspace.place(item.key()), item))
            .collect();
        placed.sort_by(|(left, _), (right, _)| left.cmp(right));
        let mut pending: Vec<T> = placed.into_iter().map(|(_, item)| item).collect();
        let mut answers = Vec::new();
        while !pending.is_empty() {
            let shards = self
                .shards(&mut budget, std::mem::take(&mut pending))
                .await?;
            let mut sent = stream::iter(shards)
                .map(|shard| self.send_shard(budget.clone(), shard, &make))
                .buffered(self.options.concurrency.max(1));
            let mut trouble = None;
            let mut progress = false;
            let mut failures = Vec::new();
            while let Some((items, result)) = sent.next().await {
                match result {
                    Ok(answer) => {
                        answers.push(answer);
                        progress = true;
                    }
                    Err(Failure::Final(error)) => return Err(error),
                    Err(Failure::Again(again)) => {
                        pending.extend(items);
                        failures.push(again.clone());
                        trouble = Some(again);
                    }
                }
            }
            drop(sent);
            failures.iter().for_each(|failure| budget.note(failure));
            if progress {
                budget.progress(&self.options);
            }
            if let Some(trouble) = trouble {
                budget.pause(trouble).await?;
            }
        }
        Ok(answers)
    }

    async fn send_shard<T: Item>(
        &self,
        mut budget: Budget,
        shard: Shard<T>,
        make: &(impl Fn(Box<kvrpcpb::Context>, Vec<T>) -> StoreRequest + Sync),
    ) -> (Vec<T>, std::result::Result<StoreResponse, Failure>) {
        let request = make(self.context(&shard.route), shard.items.clone());
        let result = self.attempt(&mut budget, &shard.route, request).await;
        let result = result.map_err(|failure| match failure {
            // Time is up for this shard; what is true of the whole call is for the loop above to say.
            Failure::Final(Error::Unavailable { last, .. }) => {
                Trouble::not_done(Wait::Grow, last).into()
            }
            Failure::Final(Error::OutcomeUnknown { last, .. }) => Trouble::unknown(last).into(),
            failure => failure,
        });
        (shard.items, result)
    }

    async fn shards<T: Item>(&self, budget: &mut Budget, items: Vec<T>) -> Result<Vec<Shard<T>>> {
        let mut shards: Vec<Shard<T>> = Vec::new();
        let mut bytes = 0;
        for item in items {
            let place = self.keyspace.place(item.key());
            let fits = shards.last().is_some_and(|shard| {
                shard.route.range().contains(&place)
                    && shard.items.len() < SHARD_ITEMS_MAX
                    && bytes + item.bytes() <= SHARD_BYTES_MAX
            });
            bytes = if fits {
                bytes + item.bytes()
            } else {
                item.bytes()
            };
            match shards.last_mut() {
                Some(shard) if fits => shard.items.push(item),
                _ => {
                    let route = self.route(budget, &Place::At(place)).await?;
                    shards.push(Shard {
                        route,
                        items: vec![item],
                    });
                }
            }
        }
        Ok(shards)
    }
}
