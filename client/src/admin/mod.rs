//! The cluster itself: members, stores, regions, safe point.
//!
//! *Place*: `yadkv ctl` and whoever watches a cluster. Answers are the protocol's own messages.
//!
//! *Invariants*: borders are shown as they are, not as an encoded caller would see them.
//!
//! *Next stop*: [`crate::routing::pd`].

mod split;

use crate::error::Result;
use crate::keyspace::{Keyspace, unmistakable};
use crate::options::Options;
use crate::routing::budget::{Budget, Effect};
use crate::routing::cache::Route;
use crate::routing::pd::{Answer, Headed, PdClient};
use crate::routing::{Place, Router};
use crate::runtime::Runtime;
use bytes::Bytes;
use std::sync::Arc;
use yadkv_proto::api::{GetRegionById, PdRequest, StoreResponse};
use yadkv_proto::yadkvpb::{CheckRegionRequest, CheckRegionResponse};
use yadkv_proto::{metapb, pdpb};

/// Look-ups about the cluster, and what an operator does to it. Cheap to clone.
///
/// ```no_run
/// # async fn example(client: yadkv_client::Client) -> Result<(), yadkv_client::Error> {
/// let admin = client.admin();
/// println!("{} regions", admin.regions("", 0).await?.len());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct AdminClient {
    runtime: Arc<dyn Runtime>,
    pd: Arc<PdClient>,
    options: Options,
    /// For commands to stores; sees borders as they are.
    router: Arc<Router>,
}

/// The placement drivers.
///
/// ```no_run
/// # async fn example(admin: yadkv_client::AdminClient) -> Result<(), yadkv_client::Error> {
/// let members = admin.members().await?;
/// println!("{} of {}", members.leader.map_or("nobody".into(), |one| one.name), members.members.len());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Members {
    /// Id of the cluster.
    pub cluster_id: u64,
    /// All of them.
    pub members: Vec<pdpb::Member>,
    /// The one that leads, if the answering one knows.
    pub leader: Option<pdpb::Member>,
}

impl AdminClient {
    pub(crate) fn new(runtime: Arc<dyn Runtime>, pd: Arc<PdClient>, options: Options) -> Self {
        let router = Router::new(runtime.clone(), pd.clone(), Keyspace::V1, options.clone());
        Self {
            runtime,
            pd,
            options,
            router: Arc::new(router),
        }
    }

    /// The placement drivers and who leads them.
    ///
    /// ```no_run
    /// # async fn example(admin: yadkv_client::AdminClient) -> Result<(), yadkv_client::Error> {
    /// for member in admin.members().await?.members {
    ///     println!("{} at {:?}", member.name, member.client_urls);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn members(&self) -> Result<Members> {
        let response: pdpb::GetMembersResponse = self
            .ask("members", |header| {
                pdpb::GetMembersRequest { header }.into()
            })
            .await?;
        Ok(Members {
            cluster_id: response.header.map_or(0, |header| header.cluster_id),
            members: response.members,
            leader: response.leader,
        })
    }

    /// All stores, those that are gone for ever included if asked for.
    ///
    /// ```no_run
    /// # async fn example(admin: yadkv_client::AdminClient) -> Result<(), yadkv_client::Error> {
    /// for store in admin.stores(false).await? {
    ///     println!("store {} at {}", store.id, store.address);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn stores(&self, with_tombstones: bool) -> Result<Vec<metapb::Store>> {
        let response: pdpb::GetAllStoresResponse = self
            .ask("stores", |header| {
                pdpb::GetAllStoresRequest {
                    header,
                    exclude_tombstone_stores: !with_tombstones,
                }
                .into()
            })
            .await?;
        Ok(response.stores)
    }

    /// A store with its last statistics; `None` if there never was one of this id.
    ///
    /// ```no_run
    /// # async fn example(admin: yadkv_client::AdminClient) -> Result<(), yadkv_client::Error> {
    /// if let Some((store, Some(stats))) = admin.store(1).await? {
    ///     println!("{} has {} bytes free", store.address, stats.available);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn store(
        &self,
        store_id: u64,
    ) -> Result<Option<(metapb::Store, Option<pdpb::StoreStats>)>> {
        let answer: Answer<pdpb::GetStoreResponse> = self
            .call("store", |header| {
                pdpb::GetStoreRequest { header, store_id }.into()
            })
            .await?;
        Ok(answer
            .ok()
            .and_then(|response| Some((response.store?, response.stats))))
    }

    /// The region that contains a key of region space; `None` while the cluster has none.
    ///
    /// ```no_run
    /// # async fn example(admin: yadkv_client::AdminClient) -> Result<(), yadkv_client::Error> {
    /// let region = admin.region_by_key("m").await?;
    /// println!("its leader is {:?}", region.and_then(|region| region.leader));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn region_by_key(&self, key: impl Into<Bytes>) -> Result<Option<pdpb::Region>> {
        let region_key = unmistakable(&key.into());
        let response: pdpb::GetRegionResponse = self
            .ask("region by key", |header| {
                pdpb::GetRegionRequest {
                    header,
                    region_key: region_key.clone(),
                    ..Default::default()
                }
                .into()
            })
            .await?;
        Ok(region_of(response))
    }

    /// The region of an id; `None` if there is none.
    ///
    /// ```no_run
    /// # async fn example(admin: yadkv_client::AdminClient) -> Result<(), yadkv_client::Error> {
    /// assert_eq!(admin.region_by_id(u64::MAX).await?, None);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn region_by_id(&self, region_id: u64) -> Result<Option<pdpb::Region>> {
        let response: GetRegionById = self
            .ask("region by id", |header| {
                pdpb::GetRegionByIdRequest {
                    header,
                    region_id,
                    ..Default::default()
                }
                .into()
            })
            .await?;
        let Some(shown) = region_of(response.0) else {
            return Ok(None);
        };
        // By id borders come as encoded callers see them; by key they come as they are.
        let start = shown.region.as_ref().map(|region| region.start_key.clone());
        let found = self.region_by_key(start.unwrap_or_default()).await?;
        let same =
            found.filter(|found| found.region.as_ref().map(|region| region.id) == Some(region_id));
        Ok(Some(same.unwrap_or(shown)))
    }

    /// Up to `limit` regions in key order, from the one that contains `start`; 0 for all.
    ///
    /// ```no_run
    /// # async fn example(admin: yadkv_client::AdminClient) -> Result<(), yadkv_client::Error> {
    /// for region in admin.regions("", 10).await? {
    ///     println!("{:?}", region.region);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn regions(&self, start: impl Into<Bytes>, limit: u32) -> Result<Vec<pdpb::Region>> {
        let start_key = unmistakable(&start.into());
        let response: pdpb::ScanRegionsResponse = self
            .ask("regions", |header| {
                pdpb::ScanRegionsRequest {
                    header,
                    start_key: start_key.clone(),
                    limit: i32::try_from(limit).unwrap_or(i32::MAX),
                    ..Default::default()
                }
                .into()
            })
            .await?;
        Ok(response.regions)
    }

    /// Compares the replicas of the region that holds a key of region space, at one position of its log. The store reads
    /// all of the region before it answers: give [`crate::Options::attempt_timeout`] a minute.
    ///
    /// ```no_run
    /// # async fn example(admin: yadkv_client::AdminClient) -> Result<(), yadkv_client::Error> {
    /// let report = admin.check_region("m").await?;
    /// println!("{report:?}");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn check_region(&self, key: impl Into<Bytes>) -> Result<CheckRegionResponse> {
        const CALL: &str = "check region";
        let mut budget = self.router.budget(CALL, Effect::Read);
        let request = |context, _: &Route| {
            CheckRegionRequest {
                context: Some(context),
            }
            .into()
        };
        let place = Place::At(key.into());
        let (_, response) = self.router.send(&mut budget, &place, request).await?;
        let reason = match response {
            StoreResponse::CheckRegion(response) if response.error.is_empty() => {
                return Ok(response);
            }
            StoreResponse::CheckRegion(response) => response.error,
            _ => "the store answers another call".to_owned(),
        };
        Err(crate::Error::Refused { call: CALL, reason })
    }

    /// The timestamp below which old versions may be gone.
    ///
    /// ```no_run
    /// # async fn example(admin: yadkv_client::AdminClient) -> Result<(), yadkv_client::Error> {
    /// println!("versions below {} may be gone", admin.gc_safe_point().await?);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn gc_safe_point(&self) -> Result<u64> {
        let response: pdpb::GetGcSafePointResponse = self
            .ask("gc safe point", |header| {
                pdpb::GetGcSafePointRequest { header }.into()
            })
            .await?;
        Ok(response.safe_point)
    }

    /// Raises the safe point; what holds afterwards, which may be more.
    ///
    /// ```no_run
    /// # async fn example(admin: yadkv_client::AdminClient) -> Result<(), yadkv_client::Error> {
    /// let now = admin.gc_safe_point().await?;
    /// assert!(admin.update_gc_safe_point(now).await? >= now);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn update_gc_safe_point(&self, safe_point: u64) -> Result<u64> {
        let response: pdpb::UpdateGcSafePointResponse = self
            .ask("update gc safe point", |header| {
                pdpb::UpdateGcSafePointRequest { header, safe_point }.into()
            })
            .await?;
        Ok(response.new_safe_point)
    }

    async fn ask<T: Headed>(
        &self,
        call: &'static str,
        make: impl Fn(Option<pdpb::RequestHeader>) -> PdRequest,
    ) -> Result<T> {
        self.call(call, make)
            .await?
            .map_err(|error| crate::Error::Refused {
                call,
                reason: error.message,
            })
    }

    async fn call<T: Headed>(
        &self,
        call: &'static str,
        make: impl Fn(Option<pdpb::RequestHeader>) -> PdRequest,
    ) -> Result<Answer<T>> {
        let mut budget = Budget::new(&self.runtime, &self.options, call, Effect::Read);
        self.pd.call(&mut budget, make).await
    }
}

fn region_of(response: pdpb::GetRegionResponse) -> Option<pdpb::Region> {
    Some(pdpb::Region {
        region: Some(response.region?),
        leader: response.leader,
        down_peers: response.down_peers,
        pending_peers: response.pending_peers,
        buckets: response.buckets,
    })
}
