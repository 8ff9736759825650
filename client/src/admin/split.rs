//! Cuts regions at keys, whoever leads meanwhile.
//!
//! *Life of a cut*: the region of the smallest key that is left → all keys inside it in one command → its parts. If the
//! answer is lost the region is looked at again: a key that has become a border is done, the others are sent again.
//!
//! *Invariants*: a command says which epoch it is meant for, so one that was lost and comes late cuts nothing twice.
//!
//! *Limits and failure*: each region has the whole of [`crate::Options::timeout`]. Once one is cut, a later one that is out
//! of reach makes the outcome unknown.
//!
//! *Next stop*: [`crate::routing`].

use super::AdminClient;
use crate::error::{Error, Result};
use crate::routing::Place;
use crate::routing::budget::{Effect, Failure};
use crate::routing::cache::Route;
use bytes::Bytes;
use std::sync::Arc;
use yadkv_proto::api::StoreResponse;
use yadkv_proto::key::KeyRange;
use yadkv_proto::kvrpcpb;
use yadkv_proto::metapb::Region;

const CALL: &str = "split regions";

impl AdminClient {
    /// Cuts regions at keys of region space, in any order; gives back all that took the place of those that were cut,
    /// in key order. With `region_id` all keys have to lie inside that region.
    ///
    /// Nothing is cut in a region where one of its keys is already a border or cannot be one: that is
    /// [`Error::Refused`], and regions of smaller keys stay cut. A key that becomes a border while the answer to its own
    /// command is lost counts as cut.
    ///
    /// ```no_run
    /// # async fn example(admin: yadkv_client::AdminClient) -> Result<(), yadkv_client::Error> {
    /// let parts = admin.split_regions(["m".into()], None).await?;
    /// println!("{} regions", parts.len());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn split_regions(
        &self,
        keys: impl IntoIterator<Item = Bytes>,
        region_id: Option<u64>,
    ) -> Result<Vec<Region>> {
        let mut keys: Vec<Bytes> = keys.into_iter().collect();
        keys.sort();
        let mut regions = Vec::new();
        let mut rest = &keys[..];
        // So many of them were in a command whose answer was lost.
        let mut lost = 0_usize;
        let mut budget = self.router.budget(CALL, Effect::Checked);
        while let Some(first) = rest.first() {
            let place = Place::At(first.clone());
            let route = self.router.route(&mut budget, &place).await?;
            if lost > 0 && route.region.start_key == *first {
                let before = Place::Below(first.clone());
                let below = self.router.route(&mut budget, &before).await?;
                add(&mut regions, [below.region.clone(), route.region.clone()]);
                (rest, lost) = (&rest[1..], lost - 1);
                budget.renew(&self.options);
                continue;
            }
            check(&route, first, region_id)?;
            let range = KeyRange::of(&route.region);
            let inside = rest.iter().take_while(|key| range.contains(key)).count();
            let request = kvrpcpb::SplitRegionRequest {
                context: Some(self.router.context(&route)),
                split_keys: rest[..inside].to_vec(),
                is_raw_kv: true,
                ..Default::default()
            };
            let answer = self.router.attempt(&mut budget, &route, request.into());
            match answer.await {
                Ok(response) => {
                    add(&mut regions, parts(response)?);
                    (rest, lost) = (&rest[inside..], lost.saturating_sub(inside));
                    budget.renew(&self.options);
                }
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Again(trouble)) => {
                    // A border that was there before is none that this has made.
                    if trouble.maybe_done && route.region.start_key != *first {
                        lost = lost.max(inside);
                        self.router.forget(&route);
                    }
                    budget.pause(trouble).await?;
                }
            }
        }
        Ok(regions)
    }
}

fn check(route: &Arc<Route>, key: &Bytes, wanted: Option<u64>) -> Result<()> {
    let holder = route.region.id;
    match wanted.filter(|id| *id != holder) {
        Some(other) => Err(refused(format!(
            "key {} is in region {holder}, not in region {other}",
            key.escape_ascii()
        ))),
        None => Ok(()),
    }
}

fn parts(response: StoreResponse) -> Result<Vec<Region>> {
    let StoreResponse::SplitRegion(response) = response else {
        return Err(refused("the store answers another call".to_owned()));
    };
    match response.errors.into_iter().next() {
        Some(error) => Err(refused(error.abort)),
        None => Ok(response.regions),
    }
}

fn refused(reason: String) -> Error {
    Error::Refused { call: CALL, reason }
}

/// Adds regions that follow each other; the last one known may come again.
fn add(regions: &mut Vec<Region>, more: impl IntoIterator<Item = Region>) {
    for region in more {
        if regions.last().is_some_and(|last| last.id == region.id) {
            regions.pop();
        }
        regions.push(region);
    }
}
