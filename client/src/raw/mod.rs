//! Raw key-value access: one key, many keys, ranges.
//!
//! *Place*: the application calls [`RawClient`]; it calls `routing`.
//!
//! *Types to know*: [`RawClient`], [`ScanOptions`], [`Swap`].
//!
//! *Life of a put*: key and value → command key (`keyspace`) → route → frame on the store's stream → log entry on
//! a majority → applied → answer. Silence or a region error starts over, within [`crate::Options::timeout`].
//!
//! *Invariants*: a single-key call is linearizable. A batch or range is not one point in time: each region's part
//! is.
//!
//! *Limits and failure*: see [`crate::Error`]; keys have at most 8 KiB, values must fit a log entry of 8 MiB.
//!
//! *Next stop*: `routing`.

mod batch;
mod range;
mod scan;

pub use range::Checksum;
pub use scan::ScanOptions;

use crate::error::{Error, Result};
use crate::routing::budget::{Budget, Effect};
use crate::routing::{Place, Router};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use yadkv_proto::api::{StoreRequest, StoreResponse};
use yadkv_proto::key::KeyRange;
use yadkv_proto::kvrpcpb;

/// Raw key-value access. Cheap to clone; clones share everything.
///
/// ```no_run
/// # async fn example() -> Result<(), yadkv_client::Error> {
/// use yadkv_client::{Client, Options};
///
/// let raw = Client::connect(["127.0.0.1:2379"], Options::default()).await?.raw();
/// let writer = raw.clone();
/// tokio::spawn(async move { writer.put("greeting", "hello").await });
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct RawClient {
    router: Arc<Router>,
}

/// A key with its value.
///
/// ```no_run
/// # async fn example(raw: yadkv_client::RawClient) -> Result<(), yadkv_client::Error> {
/// for pair in raw.scan_all("user/", "user0", Default::default()).await? {
///     println!("{:?} has {} bytes", pair.key, pair.value.len());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The key.
    pub key: Bytes,
    /// The value; empty in a scan of keys only.
    pub value: Bytes,
}

/// How a compare-and-swap ended.
///
/// ```no_run
/// # async fn example(raw: yadkv_client::RawClient) -> Result<(), yadkv_client::Error> {
/// let swap = raw.compare_and_swap("leader", Some("ada".into()), "bob").await?;
/// match swap.previous {
///     _ if swap.swapped => println!("bob follows ada"),
///     Some(other) => println!("{other:?} leads"),
///     None => println!("nobody leads"),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Swap {
    /// Whether the value was as expected, and was replaced.
    pub swapped: bool,
    /// The value before, in either case.
    pub previous: Option<Bytes>,
}

/// How long a key has left.
///
/// ```no_run
/// # async fn example(raw: yadkv_client::RawClient) -> Result<(), yadkv_client::Error> {
/// use yadkv_client::Ttl;
///
/// match raw.ttl("session/42").await? {
///     Some(Ttl::Left(time)) => println!("{} s are left", time.as_secs()),
///     Some(Ttl::Forever) => println!("it never expires"),
///     None => println!("it is gone"),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ttl {
    /// It never expires.
    Forever,
    /// It is gone after this time (whole seconds).
    Left(Duration),
}

impl RawClient {
    pub(crate) fn new(router: Arc<Router>) -> Self {
        Self { router }
    }

    /// The value of a key.
    ///
    /// ```no_run
    /// # async fn example(raw: yadkv_client::RawClient) -> Result<(), yadkv_client::Error> {
    /// if let Some(value) = raw.get("greeting").await? {
    ///     println!("{} bytes", value.len());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn get(&self, key: impl Into<Bytes>) -> Result<Option<Bytes>> {
        let response: kvrpcpb::RawGetResponse = self
            .point("raw get", Effect::Read, &key.into(), |context, key| {
                kvrpcpb::RawGetRequest {
                    context: Some(context),
                    key,
                    ..Default::default()
                }
                .into()
            })
            .await?;
        no_error("raw get", &response.error)?;
        Ok((!response.not_found).then_some(response.value))
    }

    /// Sets a key.
    ///
    /// ```no_run
    /// # async fn example(raw: yadkv_client::RawClient) -> Result<(), yadkv_client::Error> {
    /// raw.put("greeting", "hello").await?;
    /// raw.put(vec![0, 255], vec![1, 2, 3]).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn put(&self, key: impl Into<Bytes>, value: impl Into<Bytes>) -> Result<()> {
        self.put_for("raw put", key.into(), value.into(), 0).await
    }

    /// Sets a key that expires after `ttl`, rounded up to seconds; zero never expires.
    ///
    /// ```no_run
    /// # async fn example(raw: yadkv_client::RawClient) -> Result<(), yadkv_client::Error> {
    /// use std::time::Duration;
    ///
    /// raw.put_with_ttl("session/42", "ada", Duration::from_secs(3600)).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn put_with_ttl(
        &self,
        key: impl Into<Bytes>,
        value: impl Into<Bytes>,
        ttl: Duration,
    ) -> Result<()> {
        self.put_for("raw put", key.into(), value.into(), seconds(ttl))
            .await
    }

    async fn put_for(&self, call: &'static str, key: Bytes, value: Bytes, ttl: u64) -> Result<()> {
        let response: kvrpcpb::RawPutResponse = self
            .point(call, Effect::Repeatable, &key, |context, key| {
                kvrpcpb::RawPutRequest {
                    context: Some(context),
                    key,
                    value: value.clone(),
                    ttl,
                    ..Default::default()
                }
                .into()
            })
            .await?;
        no_error(call, &response.error)
    }

    /// Removes a key; a missing one is fine.
    ///
    /// ```no_run
    /// # async fn example(raw: yadkv_client::RawClient) -> Result<(), yadkv_client::Error> {
    /// raw.delete("greeting").await?;
    /// assert_eq!(raw.get("greeting").await?, None);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn delete(&self, key: impl Into<Bytes>) -> Result<()> {
        let response: kvrpcpb::RawDeleteResponse = self
            .point(
                "raw delete",
                Effect::Repeatable,
                &key.into(),
                |context, key| {
                    kvrpcpb::RawDeleteRequest {
                        context: Some(context),
                        key,
                        ..Default::default()
                    }
                    .into()
                },
            )
            .await?;
        no_error("raw delete", &response.error)
    }

    /// How long a key has left; `None` if there is no such key.
    ///
    /// ```no_run
    /// # async fn example(raw: yadkv_client::RawClient) -> Result<(), yadkv_client::Error> {
    /// assert_eq!(raw.ttl("nothing").await?, None);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn ttl(&self, key: impl Into<Bytes>) -> Result<Option<Ttl>> {
        let response: kvrpcpb::RawGetKeyTtlResponse = self
            .point("raw ttl", Effect::Read, &key.into(), |context, key| {
                kvrpcpb::RawGetKeyTtlRequest {
                    context: Some(context),
                    key,
                    ..Default::default()
                }
                .into()
            })
            .await?;
        no_error("raw ttl", &response.error)?;
        Ok(match (response.not_found, response.ttl) {
            (true, _) => None,
            (false, 0) => Some(Ttl::Forever),
            (false, seconds) => Some(Ttl::Left(Duration::from_secs(seconds))),
        })
    }

    /// Sets a key to `value` if its value is `expected` (`None`: if it is absent).
    ///
    /// It is never sent twice once it may have been executed: [`Error::OutcomeUnknown`] then says so, and the
    /// application reads the key to find out.
    ///
    /// ```no_run
    /// # async fn example(raw: yadkv_client::RawClient) -> Result<(), yadkv_client::Error> {
    /// use yadkv_client::Error;
    ///
    /// match raw.compare_and_swap("seat/12", None, "ada").await {
    ///     Ok(swap) if swap.swapped => println!("reserved"),
    ///     Ok(swap) => println!("taken by {:?}", swap.previous),
    ///     // Somebody's name is there now, or nobody's: look before saying anything.
    ///     Err(Error::OutcomeUnknown { .. }) => println!("{:?}", raw.get("seat/12").await?),
    ///     Err(error) => return Err(error),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn compare_and_swap(
        &self,
        key: impl Into<Bytes>,
        expected: Option<Bytes>,
        value: impl Into<Bytes>,
    ) -> Result<Swap> {
        self.swap(key.into(), expected, Some(value.into()), 0).await
    }

    /// Like [`RawClient::compare_and_swap`], with a value that expires after `ttl`.
    ///
    /// ```no_run
    /// # async fn example(raw: yadkv_client::RawClient) -> Result<(), yadkv_client::Error> {
    /// use std::time::Duration;
    ///
    /// // A lock that is free again when its holder dies.
    /// let lock = raw.compare_and_swap_with_ttl("lock", None, "me", Duration::from_secs(30)).await?;
    /// if lock.swapped {
    ///     println!("mine for half a minute");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn compare_and_swap_with_ttl(
        &self,
        key: impl Into<Bytes>,
        expected: Option<Bytes>,
        value: impl Into<Bytes>,
        ttl: Duration,
    ) -> Result<Swap> {
        let ttl = seconds(ttl);
        self.swap(key.into(), expected, Some(value.into()), ttl)
            .await
    }

    /// Removes a key if its value is `expected`.
    ///
    /// ```no_run
    /// # async fn example(raw: yadkv_client::RawClient) -> Result<(), yadkv_client::Error> {
    /// // Only whoever holds the lock lets go of it.
    /// raw.compare_and_delete("lock", "me").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn compare_and_delete(
        &self,
        key: impl Into<Bytes>,
        expected: impl Into<Bytes>,
    ) -> Result<Swap> {
        self.swap(key.into(), Some(expected.into()), None, 0).await
    }

    async fn swap(
        &self,
        key: Bytes,
        expected: Option<Bytes>,
        value: Option<Bytes>,
        ttl: u64,
    ) -> Result<Swap> {
        let call = "raw compare-and-swap";
        let response: kvrpcpb::RawCasResponse = self
            .point(call, Effect::Once, &key, |context, key| {
                kvrpcpb::RawCasRequest {
                    context: Some(context),
                    key,
                    value: value.clone().unwrap_or_default(),
                    previous_not_exist: expected.is_none(),
                    previous_value: expected.clone().unwrap_or_default(),
                    ttl,
                    delete: value.is_none(),
                    ..Default::default()
                }
                .into()
            })
            .await?;
        no_error(call, &response.error)?;
        Ok(Swap {
            swapped: response.succeed,
            previous: (!response.previous_not_exist).then_some(response.previous_value),
        })
    }

    /// Sends a command about one key.
    async fn point<T: TryFrom<StoreResponse, Error = StoreResponse>>(
        &self,
        call: &'static str,
        effect: Effect,
        key: &Bytes,
        make: impl Fn(Box<kvrpcpb::Context>, Bytes) -> StoreRequest,
    ) -> Result<T> {
        let mut budget = self.router.budget(call, effect);
        let command = self.router.keyspace.command(key);
        let place = Place::At(self.router.keyspace.place(&command));
        let (_, response) = self
            .router
            .send(&mut budget, &place, |context, _| {
                make(context, command.clone())
            })
            .await?;
        expect(&budget, response)
    }
}

/// The response of the kind that was asked for.
fn expect<T: TryFrom<StoreResponse, Error = StoreResponse>>(
    budget: &Budget,
    response: StoreResponse,
) -> Result<T> {
    T::try_from(response)
        .map_err(|other| budget.refused(format!("the store answered with {}", other.name())))
}

/// A range, refused if its end is below its start: silence would look like an empty range.
fn range(call: &'static str, start: impl Into<Bytes>, end: impl Into<Bytes>) -> Result<KeyRange> {
    let range = KeyRange::new(start, end);
    if !range.end.is_empty() && range.start > range.end {
        return Err(Error::Refused {
            call,
            reason: "the range is reversed: give the lower key first".to_owned(),
        });
    }
    Ok(range)
}

/// The string error of raw responses: empty is none.
fn no_error(call: &'static str, error: &str) -> Result<()> {
    if error.is_empty() {
        return Ok(());
    }
    Err(Error::Refused {
        call,
        reason: error.to_owned(),
    })
}

/// Whole seconds, rounded up: a short life is not an eternal one.
fn seconds(ttl: Duration) -> u64 {
    ttl.as_secs()
        .saturating_add(u64::from(ttl.subsec_nanos() > 0))
}
