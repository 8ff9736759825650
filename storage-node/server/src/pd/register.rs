//! Becoming part of the cluster, and creating the first regions.
//!
//! *Invariants*: the identity is on disk before anybody hears of it; first regions are created once in the
//! life of a store (`StoreRecord.regions_created`).
//!
//! *Limits and failure*: what can pass (no placement driver, no leader) is tried again every [`RETRY`]; what
//! cannot (another cluster, a refused address) ends the node with the placement driver's words.
//!
//! *Next stop*: [`super::heartbeat`].

use super::{Pd, checked, header};
use crate::router::Router;
use std::time::Duration;
use tonic::{Code, Status};
use yadkv_engine::Engine;
use yadkv_proto::id::{ClusterId, StoreId};
use yadkv_proto::metapb::{Region, Store};
use yadkv_proto::pdpb;
use yadkv_proto::storagepb::StoreRecord;
use yadkv_storage_core::layout::FORMAT;
use yadkv_storage_core::store::message::Input;
use yadkv_storage_core::store::{StoreError, recover};
use yadkv_tls::words;

/// Time between two tries.
const RETRY: Duration = Duration::from_millis(200);

/// Why a store cannot be part of this cluster.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// The data directory belongs elsewhere.
    #[error(
        "the data directory belongs to cluster {ours}, the placement driver's is {theirs}: use the other placement driver, or another --data-dir"
    )]
    OtherCluster {
        /// Cluster of the directory.
        ours: u64,
        /// Cluster of the placement driver.
        theirs: u64,
    },
    /// The placement driver refuses this store.
    #[error("the placement driver refuses this store: {0}")]
    Refused(String),
    /// The store gave all replicas away and is a tombstone.
    #[error(
        "store {0} was removed from the cluster: its directory is of no more use; a new one makes a new store"
    )]
    Removed(u64),
    /// The identity could not be written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn is_final(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::FailedPrecondition | Code::InvalidArgument
    )
}

async fn insist<T, F, Fut>(what: &str, mut call: F) -> Result<T, RegisterError>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, Status>>,
{
    let mut told = None;
    loop {
        match call().await {
            Ok(answer) => return Ok(answer),
            Err(status) if is_final(&status) => {
                return Err(RegisterError::Refused(status.message().into()));
            }
            Err(status) => {
                let reason = words::of_status(&status);
                if told.as_ref() != Some(&reason) {
                    tracing::info!(reason, "waiting for the placement driver to {what}");
                    told = Some(reason);
                }
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

/// The identity of this store: what the directory says, or a new one.
pub async fn identity(
    pd: &Pd,
    kv: &dyn Engine,
    record: Option<StoreRecord>,
) -> Result<StoreRecord, RegisterError> {
    if let Some(record) = record {
        return Ok(record);
    }
    let members = insist("answer", || async {
        let members = pd.members().await?;
        match members
            .header
            .as_ref()
            .map_or(0, |header| header.cluster_id)
        {
            0 => Err(Status::unavailable("the cluster has no id yet")),
            id => Ok(ClusterId(id)),
        }
    });
    let cluster = members.await?;
    let allocated = insist("allocate a store id", || async {
        let request = pdpb::AllocIdRequest {
            header: header(cluster, StoreId::NONE),
            count: 1,
        };
        let response = pd.ask(|mut pd| {
            let request = request.clone();
            async move { pd.alloc_id(request).await }
        });
        let response = response.await?;
        checked(response.header.clone().as_ref(), response)
    });
    let store_id = allocated.await?.id;
    let record = StoreRecord {
        format: FORMAT,
        cluster_id: cluster.0,
        store_id,
        regions_created: false,
    };
    recover::write_store_record(kv, &record)?;
    Ok(record)
}

/// Tells the placement driver of this store; checks that the cluster is the directory's.
pub async fn put_store(pd: &Pd, record: &StoreRecord, store: Store) -> Result<(), RegisterError> {
    let members = insist("answer", || async {
        let members = pd.members().await?;
        match members
            .header
            .as_ref()
            .map_or(0, |header| header.cluster_id)
        {
            0 => Err(Status::unavailable("the cluster has no id yet")),
            id => Ok(id),
        }
    });
    let theirs = members.await?;
    if theirs != record.cluster_id {
        return Err(RegisterError::OtherCluster {
            ours: record.cluster_id,
            theirs,
        });
    }
    let request = pdpb::PutStoreRequest {
        header: header(ClusterId(record.cluster_id), StoreId(record.store_id)),
        store: Some(store),
    };
    insist("take this store", || async {
        let response = pd.ask(|mut pd| {
            let request = request.clone();
            async move { pd.put_store(request).await }
        });
        let response = response.await?;
        checked(response.header.clone().as_ref(), response)
    })
    .await
    .map(|_| ())
}

/// Waits until the cluster is bootstrapped and creates the regions assigned to this store.
pub async fn create_first_regions(
    pd: &Pd,
    kv: &dyn Engine,
    record: &StoreRecord,
    router: &Router,
) -> Result<(), RegisterError> {
    if record.regions_created {
        return Ok(());
    }
    let header = header(ClusterId(record.cluster_id), StoreId(record.store_id));
    let regions = insist("bootstrap the cluster", || async {
        let request = pdpb::IsBootstrappedRequest {
            header: header.clone(),
        };
        let ask = pd.ask(|mut pd| {
            let request = request.clone();
            async move { pd.is_bootstrapped(request).await }
        });
        if !ask.await?.bootstrapped {
            return Err(Status::unavailable("not enough stores have registered yet"));
        }
        scan_regions(pd, header.clone()).await
    });
    let regions = regions.await?;
    router.broadcast(|| Input::Create(regions.clone()));
    wait_until_created(kv, record.store_id, &regions).await?;
    recover::write_store_record(
        kv,
        &StoreRecord {
            regions_created: true,
            ..*record
        },
    )?;
    Ok(())
}

/// The workers create their regions on their own threads; the mark follows when all are on disk.
async fn wait_until_created(
    kv: &dyn Engine,
    store: u64,
    regions: &[Region],
) -> Result<(), StoreError> {
    let ours = regions
        .iter()
        .filter(|region| region.peers.iter().any(|peer| peer.store_id == store))
        .count();
    while recover::load_regions(kv)?.len() < ours {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

async fn scan_regions(pd: &Pd, header: Option<pdpb::RequestHeader>) -> Result<Vec<Region>, Status> {
    // Without bounds the true borders are answered.
    let request = pdpb::ScanRegionsRequest {
        header,
        limit: 0,
        ..Default::default()
    };
    let response = pd.ask(|mut pd| {
        let request = request.clone();
        async move { pd.scan_regions(request).await }
    });
    let response = response.await?;
    let response = checked(response.header.clone().as_ref(), response)?;
    Ok(response
        .regions
        .into_iter()
        .filter_map(|region| region.region)
        .collect())
}
