//! From a key to an answer: finds the region and its leader, sends, and corrects itself by what comes back.
//!
//! *Place*: `raw` calls [`Router`]; it calls [`pd`] for routes and [`Runtime::store`] for everything else.
//!
//! *Types to know*: [`Router`], [`cache::Route`], [`budget::Budget`].
//!
//! *Life of a request*:
//!
//! ```text
//!   key -> cache -(miss)-> placement driver            one look-up for all tasks that miss the same key
//!       -> Context {region, epoch, peer} -> store
//!       -> answer
//!       -> region error -> cache corrected, pause -> again from the top
//!       -> silence      -> next peer,       pause -> again from the top
//! ```
//!
//! *Invariants*: nothing here reads a clock, a socket or chance except through [`Runtime`].
//!
//! *Limits and failure*: every wait ends at the call's deadline. Look-ups in flight: one a [`GATES`] stripe.
//!
//! *Next stop*: [`budget`].

pub(crate) mod budget;
pub(crate) mod cache;
pub(crate) mod pd;
mod region_error;
mod shard;

use crate::error::{Error, Result};
use crate::keyspace::Keyspace;
use crate::options::Options;
use crate::runtime::{CallError, Runtime};
use budget::{Budget, Effect, Failure, Trouble, Wait};
use bytes::Bytes;
use cache::{RegionCache, Route};
use parking_lot::Mutex;
use pd::PdClient;
use std::collections::BTreeMap;
use std::sync::Arc;
use yadkv_proto::api::{GetPrevRegion, GetPrevRegionResponse, StoreRequest, StoreResponse};
use yadkv_proto::key::KeyRange;
use yadkv_proto::metapb::{Peer, Region};
use yadkv_proto::{kvrpcpb, pdpb};

/// Look-ups that can be in flight at once; tasks that miss the same key share one.
const GATES: usize = 16;

/// Above every raw key: a key of the last region.
const LAST_KEY: [u8; 16 * 1024] = [0xFF; 16 * 1024];

/// Where to look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The region that contains this key of region space.
    At(Bytes),
    /// The region right below this border of region space; empty is plus infinity.
    Below(Bytes),
}

impl Place {
    fn is_in(&self, range: &KeyRange) -> bool {
        match self {
            Self::At(key) => range.contains(key),
            Self::Below(border) if border.is_empty() => range.end.is_empty(),
            Self::Below(border) => {
                range.start < *border && (range.end.is_empty() || *border <= range.end)
            }
        }
    }
}

/// Sends commands to the leaders of regions.
pub(crate) struct Router {
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) pd: Arc<PdClient>,
    pub(crate) keyspace: Keyspace,
    pub(crate) options: Options,
    regions: Mutex<RegionCache>,
    /// Addresses of stores by id.
    stores: Mutex<BTreeMap<u64, Arc<str>>>,
    gates: Vec<futures::lock::Mutex<()>>,
}

impl Router {
    pub(crate) fn new(
        runtime: Arc<dyn Runtime>,
        pd: Arc<PdClient>,
        keyspace: Keyspace,
        options: Options,
    ) -> Self {
        Self {
            runtime,
            pd,
            keyspace,
            regions: Mutex::new(RegionCache::new(options.regions_max)),
            options,
            stores: Mutex::new(BTreeMap::new()),
            gates: (0..GATES).map(|_| futures::lock::Mutex::new(())).collect(),
        }
    }

    pub(crate) fn budget(&self, call: &'static str, effect: Effect) -> Budget {
        Budget::new(&self.runtime, &self.options, call, effect)
    }

    // ANCHOR: send
    /// Sends a command for one place until it is answered; also the route it was answered on.
    pub(crate) async fn send(
        &self,
        budget: &mut Budget,
        place: &Place,
        make: impl Fn(Box<kvrpcpb::Context>, &Route) -> StoreRequest,
    ) -> Result<(Arc<Route>, StoreResponse)> {
        loop {
            let route = self.route(budget, place).await?;
            let request = make(self.context(&route), &route);
            match self.attempt(budget, &route, request).await {
                Ok(response) => return Ok((route, response)),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Again(trouble)) => budget.pause(trouble).await?,
            }
        }
    }
    // ANCHOR_END: send

    /// What a command on this route says about where it believes to go.
    pub(crate) fn context(&self, route: &Route) -> Box<kvrpcpb::Context> {
        Box::new(kvrpcpb::Context {
            region_id: route.region.id,
            region_epoch: route.region.region_epoch,
            peer: Some(*route.leader()),
            api_version: self.keyspace.api_version().into(),
            ..Default::default()
        })
    }

    /// Sends one command once.
    pub(crate) async fn attempt(
        &self,
        budget: &mut Budget,
        route: &Route,
        request: StoreRequest,
    ) -> std::result::Result<StoreResponse, Failure> {
        let address = self
            .address(budget, route)
            .await
            .map_err(Failure::Final)?
            .ok_or_else(|| self.unknown_store(route))?;
        let timeout = budget.attempt().map_err(Failure::Final)?;
        match self.runtime.store(&address, request, timeout).await {
            Ok(mut response) => match response.take_region_error() {
                None => Ok(response),
                Some(error) => Err(region_error::judge(self, budget, route, *error)),
            },
            Err(error) => Err(self.no_answer(budget, route, &address, error)),
        }
    }

    /// The store did not answer: another peer may lead by now, and the store may have moved.
    fn no_answer(
        &self,
        budget: &Budget,
        route: &Route,
        address: &str,
        error: CallError,
    ) -> Failure {
        let text = format!("store {} at {address}: {error}", route.leader().store_id);
        let trouble = match error {
            CallError::Refused(_) => return Failure::Final(budget.refused(text)),
            CallError::NotServed(reason) => {
                return Failure::Final(Error::NotServed {
                    call: budget.call,
                    reason,
                });
            }
            CallError::NotSent(_) => {
                self.stores.lock().remove(&route.leader().store_id);
                Trouble::not_done(Wait::Grow, text)
            }
            CallError::Lost(_) => Trouble::unknown(text),
        };
        self.regions.lock().next_peer(route);
        trouble.into()
    }

    fn unknown_store(&self, route: &Route) -> Failure {
        self.regions.lock().next_peer(route);
        let text = format!("store {} is not known", route.leader().store_id);
        Trouble::not_done(Wait::Grow, text).into()
    }

    /// The next look at this route's range asks the placement driver.
    pub(crate) fn forget(&self, route: &Route) {
        self.regions.lock().forget(route);
    }

    /// The route of a place, from the cache or else from the placement driver.
    pub(crate) async fn route(&self, budget: &mut Budget, place: &Place) -> Result<Arc<Route>> {
        match self.cached(place) {
            Some(route) => Ok(route),
            // Boxed, so that the futures of all other calls stay small.
            None => Box::pin(self.find_route(budget, place)).await,
        }
    }

    async fn find_route(&self, budget: &mut Budget, place: &Place) -> Result<Arc<Route>> {
        loop {
            let gate = budget.wait_for(self.gate(place).lock()).await?;
            if let Some(route) = self.cached(place) {
                return Ok(route);
            }
            let response = self.look_up(budget, place).await?;
            if let Some(region) = response.region {
                self.learn(place, self.keyspace.shown(region), response.leader.as_ref());
            }
            drop(gate);
            if let Some(route) = self.cached(place) {
                return Ok(route);
            }
            let text = "the placement driver knows no region for the key yet";
            budget.pause(Trouble::not_done(Wait::Grow, text)).await?;
        }
    }

    /// Takes in what the placement driver says about a place that no route is known for.
    fn learn(&self, place: &Place, region: Region, leader: Option<&Peer>) {
        let mut regions = self.regions.lock();
        if !regions.insert(region.clone(), leader) {
            regions.insert_gap(&region, leader, |gap| place.is_in(gap));
        }
    }

    fn cached(&self, place: &Place) -> Option<Arc<Route>> {
        let regions = self.regions.lock();
        match place {
            Place::At(key) => regions.locate(key),
            Place::Below(border) => regions.locate_below(border),
        }
    }

    async fn look_up(&self, budget: &mut Budget, place: &Place) -> Result<pdpb::GetRegionResponse> {
        let request = |key: &Bytes, header| pdpb::GetRegionRequest {
            header,
            region_key: self.keyspace.asked(key),
            ..Default::default()
        };
        let answer = match place {
            Place::At(key) => {
                self.pd
                    .call(budget, |header| request(key, header).into())
                    .await?
            }
            Place::Below(border) if border.is_empty() => {
                let key = Bytes::from_static(&LAST_KEY);
                self.pd
                    .call(budget, |header| request(&key, header).into())
                    .await?
            }
            Place::Below(border) => return self.look_up_below(budget, border).await,
        };
        answer.map_err(|error| budget.refused(error.message))
    }

    /// The region of the keys right below a border: the one around it, unless that begins there.
    async fn look_up_below(
        &self,
        budget: &mut Budget,
        border: &Bytes,
    ) -> Result<pdpb::GetRegionResponse> {
        let request = |header| pdpb::GetRegionRequest {
            header,
            region_key: self.keyspace.asked(border),
            ..Default::default()
        };
        let around: pdpb::GetRegionResponse = self
            .pd
            .call(budget, |header| request(header).into())
            .await?
            .map_err(|error| budget.refused(error.message))?;
        let reaches_below = around
            .region
            .as_ref()
            .is_some_and(|region| self.keyspace.shown(region.clone()).start_key < *border);
        if reaches_below {
            return Ok(around);
        }
        let before: GetPrevRegionResponse = self
            .pd
            .call(budget, |header| GetPrevRegion(request(header)).into())
            .await?
            .map_err(|error| budget.refused(error.message))?;
        Ok(before.0)
    }

    fn gate(&self, place: &Place) -> &futures::lock::Mutex<()> {
        let (Place::At(key) | Place::Below(key)) = place;
        // FNV-1a: fixed, so that a simulation runs the same twice.
        let hash = key.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
        &self.gates[hash as usize % GATES]
    }

    /// Where the leader of a route listens; `None` if the placement driver does not know its store.
    async fn address(&self, budget: &mut Budget, route: &Route) -> Result<Option<Arc<str>>> {
        let store_id = route.leader().store_id;
        let known = self.stores.lock().get(&store_id).cloned();
        match known {
            Some(address) => Ok(Some(address)),
            // Boxed, so that the futures of all other calls stay small.
            None => Box::pin(self.find_store(budget, store_id)).await,
        }
    }

    async fn find_store(&self, budget: &mut Budget, store_id: u64) -> Result<Option<Arc<str>>> {
        let answer: pd::Answer<pdpb::GetStoreResponse> = self
            .pd
            .call(budget, |header| {
                pdpb::GetStoreRequest { header, store_id }.into()
            })
            .await?;
        let store = answer.ok().and_then(|response| response.store);
        let Some(store) = store.filter(|store| !store.address.is_empty()) else {
            return Ok(None);
        };
        let address: Arc<str> = pd::address(&store.address).into();
        self.stores.lock().insert(store_id, address.clone());
        Ok(Some(address))
    }
}
