//! Commands about whole ranges, region by region.
//!
//! *Life of a range command*: the region at the cursor does its part (it clamps the range to itself) → the cursor
//! moves to the region's end → until the range ends.
//!
//! *Invariants*: the parts are those of the routes the stores answered on, so they cover the range once.
//!
//! *Next stop*: `routing`.

use super::{RawClient, expect, no_error, range};
use crate::error::Result;
use crate::routing::Place;
use crate::routing::budget::{Budget, Effect};
use bytes::Bytes;
use yadkv_proto::api::{StoreRequest, StoreResponse};
use yadkv_proto::key::{KeyRange, min_end};
use yadkv_proto::kvrpcpb;

/// The checksum of a range: equal data gives equal values, whatever the borders and the order.
///
/// ```no_run
/// # async fn example(raw: yadkv_client::RawClient) -> Result<(), yadkv_client::Error> {
/// let sum = raw.checksum("", "").await?;
/// println!("{} pairs of {} bytes", sum.total_kvs, sum.total_bytes);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checksum {
    /// XOR of CRC-64/XZ over key and value of each pair (keys as commands carry them).
    pub checksum: u64,
    /// Pairs.
    pub total_kvs: u64,
    /// Bytes of keys and values.
    pub total_bytes: u64,
}

impl RawClient {
    /// Removes every key with `start <= key < end` (empty `end`: to the last key).
    ///
    /// Not one point in time: if it fails, some regions have lost their part and others have not.
    ///
    /// ```no_run
    /// # async fn example(raw: yadkv_client::RawClient) -> Result<(), yadkv_client::Error> {
    /// // `0` follows `/`: everything that begins with `user/`.
    /// raw.delete_range("user/", "user0").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn delete_range(&self, start: impl Into<Bytes>, end: impl Into<Bytes>) -> Result<()> {
        let call = "raw delete range";
        let make = |context, range: KeyRange| {
            kvrpcpb::RawDeleteRangeRequest {
                context: Some(context),
                start_key: range.start,
                end_key: range.end,
                ..Default::default()
            }
            .into()
        };
        let range = range(call, start, end)?;
        let mut budget = self.router.budget(call, Effect::Repeatable);
        let done = |budget: &Budget, response| {
            let response: kvrpcpb::RawDeleteRangeResponse = expect(budget, response)?;
            no_error(call, &response.error)
        };
        self.each_region(&mut budget, &range, make, done).await
    }

    /// The checksum of all pairs with `start <= key < end` (empty `end`: to the last key).
    ///
    /// ```no_run
    /// # async fn example(raw: yadkv_client::RawClient) -> Result<(), yadkv_client::Error> {
    /// let before = raw.checksum("user/", "user0").await?;
    /// assert_eq!(raw.checksum("user/", "user0").await?, before, "nobody has written meanwhile");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn checksum(
        &self,
        start: impl Into<Bytes>,
        end: impl Into<Bytes>,
    ) -> Result<Checksum> {
        let call = "raw checksum";
        let make = |context, range: KeyRange| {
            kvrpcpb::RawChecksumRequest {
                context: Some(context),
                algorithm: kvrpcpb::ChecksumAlgorithm::Crc64Xor.into(),
                ranges: vec![kvrpcpb::KeyRange {
                    start_key: range.start,
                    end_key: range.end,
                }],
            }
            .into()
        };
        let range = range(call, start, end)?;
        let mut budget = self.router.budget(call, Effect::Read);
        let mut sum = Checksum::default();
        let done = |budget: &Budget, response| {
            let response: kvrpcpb::RawChecksumResponse = expect(budget, response)?;
            no_error(call, &response.error)?;
            sum.checksum ^= response.checksum;
            sum.total_kvs += response.total_kvs;
            sum.total_bytes += response.total_bytes;
            Ok(())
        };
        self.each_region(&mut budget, &range, make, done).await?;
        Ok(sum)
    }

    /// Sends the part of `range` in each region. Each region has the whole time limit for itself.
    async fn each_region(
        &self,
        budget: &mut Budget,
        range: &KeyRange,
        make: impl Fn(Box<kvrpcpb::Context>, KeyRange) -> StoreRequest,
        mut done: impl FnMut(&Budget, StoreResponse) -> Result<()>,
    ) -> Result<()> {
        if range.is_empty() {
            return Ok(());
        }
        let keyspace = &self.router.keyspace;
        let mut left = keyspace.command_range(range);
        loop {
            let place = Place::At(keyspace.place(&left.start));
            let (route, response) = self
                .router
                .send(budget, &place, |context, route| {
                    let end = keyspace.at_border(&route.region.end_key);
                    let end = min_end(&left.end, &end).clone();
                    make(context, KeyRange::new(left.start.clone(), end))
                })
                .await?;
            done(budget, response)?;
            budget.renew(&self.router.options);
            left.start = keyspace.at_border(&route.region.end_key);
            if left.start.is_empty() || left.is_empty() {
                return Ok(());
            }
        }
    }
}
