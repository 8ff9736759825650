//! Scans across borders, page by page, both ways.
//!
//! *Life of a scan*: the cursor says where to go on → the region there gives a page → a full page moves the cursor
//! to its last key, a short one says "no more in this region" and moves it to the region's border → until the
//! range, the limit or the cluster ends.
//!
//! *Invariants*: every key of the range that is there throughout is shown once, in order. Borders may move
//! between pages: the cursor is a key, never a region.
//!
//! *Limits*: a page starts with [`PAGE_FIRST`] pairs and follows the size of the values, about [`PAGE_BYTES`]; one
//! that the store refuses as too large is asked for again in half.
//!
//! *Source*: `proto/README.md`, Raw calls.
//!
//! *Next stop*: `routing`.

use super::{Pair, RawClient, expect, range};
use crate::error::{Error, Result};
use crate::routing::budget::Effect;
use crate::routing::cache::Route;
use crate::routing::{Place, Router};
use bytes::{BufMut, Bytes, BytesMut};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt, stream};
use std::sync::Arc;
use yadkv_proto::key::KeyRange;
use yadkv_proto::kvrpcpb;

/// Pairs of the first page, and the least of any.
const PAGE_FIRST: u32 = 128;
/// Pairs of the largest page, what other clients cap at too.
const PAGE_MAX: u32 = 10_240;
/// Bytes a page should have.
const PAGE_BYTES: usize = 1024 * 1024;

const CALL: &str = "raw scan";

/// What a scan shows.
///
/// ```no_run
/// # async fn example(raw: yadkv_client::RawClient) -> Result<(), yadkv_client::Error> {
/// use yadkv_client::ScanOptions;
///
/// let last = ScanOptions { limit: Some(1), reverse: true, keys_only: true };
/// let found = raw.scan_all("log/", "log0", last).await?;
/// println!("the newest is {:?}", found.first().map(|pair| &pair.key));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScanOptions {
    /// At most this many pairs; `None` for all.
    pub limit: Option<usize>,
    /// From the end to the start.
    pub reverse: bool,
    /// Keys without their values.
    pub keys_only: bool,
}

struct Scan {
    router: Arc<Router>,
    options: ScanOptions,
    /// What is left, as commands carry it: a page shrinks it from the side it walks from.
    left: KeyRange,
    page: u32,
    remaining: usize,
    done: bool,
}

impl RawClient {
    /// The pairs with `start <= key < end` (empty `end`: to the last key) as a stream, across regions.
    ///
    /// Not one point in time: each page is.
    ///
    /// ```no_run
    /// # async fn example(raw: yadkv_client::RawClient) -> Result<(), yadkv_client::Error> {
    /// use futures::TryStreamExt;
    /// use yadkv_client::ScanOptions;
    ///
    /// let newest = ScanOptions { reverse: true, limit: Some(10), ..Default::default() };
    /// let mut pairs = raw.scan("log/", "log0", newest);
    /// while let Some(pair) = pairs.try_next().await? {
    ///     println!("{:?} = {:?}", pair.key, pair.value);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn scan(
        &self,
        start: impl Into<Bytes>,
        end: impl Into<Bytes>,
        options: ScanOptions,
    ) -> BoxStream<'static, Result<Pair>> {
        let scan = match self.begin(start, end, options) {
            Ok(scan) => scan,
            Err(error) => return stream::iter([Err(error)]).boxed(),
        };
        stream::try_unfold(scan, |mut scan| async move {
            let page = scan.next_page().await?;
            Ok::<_, crate::Error>(page.map(|page| (stream::iter(page.into_iter().map(Ok)), scan)))
        })
        .try_flatten()
        .boxed()
    }

    /// [`RawClient::scan`] into a list.
    ///
    /// ```no_run
    /// # async fn example(raw: yadkv_client::RawClient) -> Result<(), yadkv_client::Error> {
    /// let all = raw.scan_all("user/", "user0", Default::default()).await?;
    /// println!("{} users", all.len());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn scan_all(
        &self,
        start: impl Into<Bytes>,
        end: impl Into<Bytes>,
        options: ScanOptions,
    ) -> Result<Vec<Pair>> {
        let mut scan = self.begin(start, end, options)?;
        let mut pairs = Vec::new();
        while let Some(page) = scan.next_page().await? {
            if pairs.is_empty() {
                pairs = page;
            } else {
                pairs.extend(page);
            }
        }
        Ok(pairs)
    }

    /// A scan before its first page.
    fn begin(
        &self,
        start: impl Into<Bytes>,
        end: impl Into<Bytes>,
        options: ScanOptions,
    ) -> Result<Scan> {
        let range = range(CALL, start, end)?;
        Ok(Scan {
            left: self.router.keyspace.command_range(&range),
            router: self.router.clone(),
            page: PAGE_FIRST,
            remaining: options.limit.unwrap_or(usize::MAX),
            done: range.is_empty(),
            options,
        })
    }

    /// The first pairs of several ranges, up to `each_limit` of each, in the order of the ranges.
    ///
    /// ```no_run
    /// # async fn example(raw: yadkv_client::RawClient) -> Result<(), yadkv_client::Error> {
    /// let ranges = [("user/a", "user/b"), ("user/x", "user/y")];
    /// let found = raw.batch_scan(ranges, 10, Default::default()).await?;
    /// println!("{} and {} pairs", found[0].len(), found[1].len());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn batch_scan(
        &self,
        ranges: impl IntoIterator<Item = (impl Into<Bytes>, impl Into<Bytes>)>,
        each_limit: usize,
        options: ScanOptions,
    ) -> Result<Vec<Vec<Pair>>> {
        let options = ScanOptions {
            limit: Some(each_limit),
            ..options
        };
        let scans: Vec<_> = ranges
            .into_iter()
            .map(|(start, end)| (start.into(), end.into()))
            .collect();
        let scans = scans
            .into_iter()
            .map(|(start, end): (Bytes, Bytes)| Ok(self.scan_all(start, end, options)));
        stream::iter(scans)
            .try_buffered(self.router.options.concurrency.max(1))
            .try_collect()
            .await
    }
}

impl Scan {
    /// The next pairs; `None` at the end.
    async fn next_page(&mut self) -> Result<Option<Vec<Pair>>> {
        if self.done || self.remaining == 0 {
            return Ok(None);
        }
        loop {
            let limit = self.remaining.min(self.page as usize);
            match self.ask(limit).await {
                Err(Error::TooLarge { .. }) if limit > 1 => self.page = (limit / 2) as u32,
                page => return page.map(Some),
            }
        }
    }

    /// One page of at most `limit` pairs.
    async fn ask(&mut self, limit: usize) -> Result<Vec<Pair>> {
        let mut budget = self.router.budget(CALL, Effect::Read);
        let place = if self.options.reverse {
            Place::Below(self.border(&self.left.end))
        } else {
            Place::At(self.router.keyspace.place(&self.left.start))
        };
        let (route, response) = self
            .router
            .send(&mut budget, &place, |context, _| {
                let (start_key, end_key) = if self.options.reverse {
                    (self.left.end.clone(), self.left.start.clone())
                } else {
                    (self.left.start.clone(), self.left.end.clone())
                };
                kvrpcpb::RawScanRequest {
                    context: Some(context),
                    start_key,
                    end_key,
                    limit: limit as u32,
                    key_only: self.options.keys_only,
                    reverse: self.options.reverse,
                    ..Default::default()
                }
                .into()
            })
            .await?;
        let response: kvrpcpb::RawScanResponse = expect(&budget, response)?;
        self.advance(&response.kvs, limit, &route);
        Ok(self.pairs(response.kvs))
    }

    /// A command key as a border of region space; empty stays infinite.
    fn border(&self, command: &Bytes) -> Bytes {
        if command.is_empty() {
            return Bytes::new();
        }
        self.router.keyspace.place(command)
    }

    fn advance(&mut self, kvs: &[kvrpcpb::KvPair], limit: usize, route: &Route) {
        self.remaining -= kvs.len().min(self.remaining);
        let bytes: usize = kvs
            .iter()
            .map(|pair| pair.key.len() + pair.value.len())
            .sum();
        if bytes > PAGE_BYTES {
            self.page = (self.page / 2).max(1);
        } else if bytes < PAGE_BYTES / 4 && kvs.len() == limit {
            self.page = (self.page * 2).min(PAGE_MAX);
        }
        match (kvs.last(), self.options.reverse) {
            // A full page: there may be more in this region.
            (Some(last), false) if kvs.len() >= limit => self.left.start = after(&last.key),
            (Some(last), true) if kvs.len() >= limit => self.left.end = last.key.clone(),
            (_, false) => {
                let border = self.router.keyspace.at_border(&route.region.end_key);
                self.done |= border.is_empty();
                self.left.start = border;
            }
            (_, true) => {
                let border = self.router.keyspace.at_border(&route.region.start_key);
                self.done |= border.is_empty();
                self.left.end = border;
            }
        }
        self.done |= self.left.is_empty();
    }

    fn pairs(&self, kvs: Vec<kvrpcpb::KvPair>) -> Vec<Pair> {
        let keyspace = &self.router.keyspace;
        kvs.into_iter()
            .filter_map(|pair| {
                Some(Pair {
                    key: keyspace.application(pair.key)?,
                    value: pair.value,
                })
            })
            .collect()
    }
}

/// The key right after `key`.
fn after(key: &Bytes) -> Bytes {
    let mut out = BytesMut::with_capacity(key.len() + 1);
    out.put_slice(key);
    out.put_u8(0);
    out.freeze()
}
