//! Answers from state: pure functions from a request and what the leader knows to a response.
//!
//! *Place*: [`crate::member`] calls [`read`] when the leader may serve, and holds the answer back until its
//! lease covers a later clock reading. The calls that need no leader are in [`members`].
//!
//! *Types to know*: [`Known`].
//!
//! *Invariants*: every response has a header with the cluster id; `error` is absent on success; a leader is
//! absent when unknown, never an empty peer (except in ScanRegions' parallel lists, where the protocol wants
//! one).
//!
//! *Source*: `proto/README.md`, Headers and Start-up probes.
//!
//! *Next stop*: [`regions`], then [`stores`].

pub mod members;
pub mod overview;
pub mod regions;
pub mod stores;

use crate::cluster::Cluster;
use crate::reports::Reports;
use yadkv_proto::api::PdResponse;
use yadkv_proto::id::{ClusterId, PeerId, RegionId};
use yadkv_proto::metapb::{Peer, Region};
use yadkv_proto::pdpb::{self, ErrorType, PeerStats, ResponseHeader};
use yadkv_proto::time::Moment;
use yadkv_proto::{api::PdRequest, keyspacepb};

/// What the leader answers from.
#[derive(Clone, Copy)]
pub struct Known<'a> {
    /// The replicated state.
    pub cluster: &'a Cluster,
    /// What was reported in this term of office.
    pub reports: &'a Reports,
    /// When it answers.
    pub now: Moment,
}

impl Known<'_> {
    /// The cluster's id on the wire; 0 before it has one.
    pub fn cluster_id(&self) -> u64 {
        self.cluster.id().unwrap_or(ClusterId::NONE).0
    }

    /// The header of a success.
    pub fn header(&self) -> Option<ResponseHeader> {
        header(self.cluster_id())
    }

    /// The header of a refusal that clients tell from a failure.
    pub fn error(&self, kind: ErrorType, message: impl Into<String>) -> Option<ResponseHeader> {
        error(self.cluster_id(), kind, message)
    }

    /// Who leads a region, as reported or last noted; none if unknown or no longer a peer.
    pub fn leader(&self, region: &Region) -> Option<Peer> {
        let id = RegionId(region.id);
        let reported = self.reports.lead(id).map(|lead| lead.peer);
        let noted = self.cluster.leader_hint(id).and_then(|hint| hint.peer);
        let is_peer = |leader: &Peer| {
            let same = |peer: &Peer| (peer.id, peer.store_id) == (leader.id, leader.store_id);
            leader.id != 0 && region.peers.iter().any(same)
        };
        reported.filter(is_peer).or(noted.filter(is_peer))
    }

    /// Peers of a region that lag, as its leader says.
    pub fn pending(&self, region: &Region) -> Vec<Peer> {
        let Some(lead) = self.reports.lead(RegionId(region.id)) else {
            return Vec::new();
        };
        let lags = |peer: &&Peer| lead.pending.contains(&PeerId(peer.id));
        region.peers.iter().filter(lags).copied().collect()
    }

    /// Peers of a region that its leader does not hear, and for how long.
    pub fn down(&self, region: &Region) -> Vec<PeerStats> {
        let Some(lead) = self.reports.lead(RegionId(region.id)) else {
            return Vec::new();
        };
        let silent = region.peers.iter().filter_map(|peer| {
            let silence = lead.silence_of(PeerId(peer.id), self.now)?;
            Some(PeerStats {
                peer: Some(*peer),
                down_seconds: silence.as_secs(),
            })
        });
        silent.collect()
    }
}

/// The header of a success.
pub fn header(cluster_id: u64) -> Option<ResponseHeader> {
    Some(ResponseHeader {
        cluster_id,
        error: None,
    })
}

/// The header of a refusal.
pub fn error(
    cluster_id: u64,
    kind: ErrorType,
    message: impl Into<String>,
) -> Option<ResponseHeader> {
    let error = Some(pdpb::Error {
        r#type: kind as i32,
        message: message.into(),
    });
    Some(ResponseHeader { cluster_id, error })
}

/// The cluster id that a request carries; none for calls that need not name one.
pub fn named_cluster(request: &PdRequest) -> Option<u64> {
    macro_rules! headers {
        ($($name:ident),*) => {
            match request {
                PdRequest::GetMembers(_) | PdRequest::GetClusterInfo(_) => return None,
                PdRequest::GetPrevRegion(request) => &request.0.header,
                $(PdRequest::$name(request) => &request.header,)*
            }
        };
    }
    let header = headers!(
        Tso,
        Bootstrap,
        IsBootstrapped,
        AllocId,
        GetStore,
        PutStore,
        GetAllStores,
        StoreHeartbeat,
        RegionHeartbeat,
        AskBatchSplit,
        ReportBatchSplit,
        GetRegion,
        GetRegionById,
        ScanRegions,
        BatchScanRegions,
        QueryRegion,
        LoadKeyspace,
        GetGcSafePoint,
        UpdateGcSafePoint,
        GetMinTs
    );
    Some(header.as_ref().map_or(0, |header| header.cluster_id))
}

/// Answers a request that only reads; none for every other.
pub fn read(known: &Known<'_>, request: &PdRequest) -> Option<PdResponse> {
    Some(match request {
        PdRequest::GetRegion(request) => PdResponse::GetRegion(regions::by_key(known, request)),
        PdRequest::GetPrevRegion(request) => {
            PdResponse::GetPrevRegion(regions::previous(known, request))
        }
        PdRequest::GetRegionById(request) => {
            PdResponse::GetRegionById(regions::by_id(known, request))
        }
        PdRequest::ScanRegions(request) => PdResponse::ScanRegions(regions::scan(known, request)),
        PdRequest::BatchScanRegions(request) => {
            PdResponse::BatchScanRegions(regions::batch_scan(known, request))
        }
        PdRequest::QueryRegion(request) => PdResponse::QueryRegion(regions::query(known, request)),
        PdRequest::GetStore(request) => PdResponse::GetStore(stores::get(known, request)),
        PdRequest::GetAllStores(request) => PdResponse::GetAllStores(stores::all(known, request)),
        PdRequest::LoadKeyspace(request) => PdResponse::LoadKeyspace(keyspace(known, request)),
        PdRequest::IsBootstrapped(_) => PdResponse::IsBootstrapped(pdpb::IsBootstrappedResponse {
            header: known.header(),
            bootstrapped: known.cluster.is_bootstrapped(),
        }),
        PdRequest::GetGcSafePoint(_) => PdResponse::GetGcSafePoint(pdpb::GetGcSafePointResponse {
            header: known.header(),
            safe_point: known.cluster.gc_safe_point(),
        }),
        _ => return None,
    })
}

/// LoadKeyspace: unknown until the first regions, with the keyspace's borders, are in the map.
fn keyspace(
    known: &Known<'_>,
    request: &keyspacepb::LoadKeyspaceRequest,
) -> keyspacepb::LoadKeyspaceResponse {
    let Some(record) = known.cluster.keyspace(&request.name) else {
        let message = format!("keyspace {} not found", request.name);
        let header = known.error(ErrorType::EntryNotFound, message);
        return keyspacepb::LoadKeyspaceResponse {
            header,
            keyspace: None,
        };
    };
    let created_s = (record.created_ms / 1000) as i64;
    let meta = keyspacepb::KeyspaceMeta {
        name: record.name.clone(),
        state: keyspacepb::KeyspaceState::Enabled as i32,
        created_at: created_s,
        state_changed_at: created_s,
        // The oneof writes id 0 on the wire, where a plain field would be left out.
        keyspace: Some(keyspacepb::keyspace_meta::Keyspace::Id(record.id)),
        ..keyspacepb::KeyspaceMeta::default()
    };
    keyspacepb::LoadKeyspaceResponse {
        header: known.header(),
        keyspace: Some(meta),
    }
}
