//! A cluster that does nothing: what a client of this wire protocol reaches at best.
//!
//! *Place*: [`super::tikv`] measures against it; [`crate::serve`] runs it.
//!
//! *Life of a request*: routing says that one region on one store has everything → the store answers at once; every
//! record is there, with the value that was put last by anybody.
//!
//! *Next stop*: [`super::floor`].

use super::process::Process;
use crate::Error;
use bytes::Bytes;
use parking_lot::Mutex;
use std::sync::Arc;
use tonic::transport::server::Router;
use tonic::{Request, Response, Status};
use yadkv_proto::keyspacepb::keyspace_server::{Keyspace, KeyspaceServer};
use yadkv_proto::keyspacepb::{KeyspaceMeta, LoadKeyspaceRequest, LoadKeyspaceResponse};
use yadkv_proto::kvrpcpb::{
    KvPair, RawBatchGetRequest, RawBatchGetResponse, RawBatchPutRequest, RawBatchPutResponse,
    RawGetRequest, RawGetResponse, RawPutRequest, RawPutResponse, RawScanRequest, RawScanResponse,
};
use yadkv_proto::metapb::{Peer, Region, RegionEpoch, Store};
use yadkv_proto::pdpb::pd_server::{Pd, PdServer};
use yadkv_proto::pdpb::{
    GetMembersRequest, GetMembersResponse, GetRegionRequest, GetRegionResponse, GetStoreRequest,
    GetStoreResponse, Member, ResponseHeader,
};
use yadkv_proto::tikvpb::tikv_server::{Tikv, TikvServer};

/// Its name in [`crate::serve`].
pub(crate) const NAME: &str = "null";
const CLUSTER: u64 = 1;
const PEER: Peer = Peer {
    id: 3,
    store_id: 1,
    role: 0,
    is_witness: false,
};
const PAGE: Bytes = Bytes::from_static(b"a record");

/// A running one.
pub(super) struct Null {
    process: Process,
    /// Where its placement driver listens.
    pub(super) address: String,
}

impl Null {
    pub(super) fn start() -> Result<Self, Error> {
        let (process, address) = Process::serve(NAME)?;
        Ok(Self { process, address })
    }

    pub(super) fn id(&self) -> u32 {
        self.process.id()
    }
}

/// Placement driver and store in one.
#[derive(Clone)]
struct Everything {
    address: String,
    value: Arc<Mutex<Bytes>>,
}

/// Its services; `address` is where they will listen.
pub(crate) fn services(address: &str) -> Router {
    let all = Everything {
        address: address.to_owned(),
        value: Arc::default(),
    };
    tonic::transport::Server::builder()
        .add_service(PdServer::new(all.clone()))
        .add_service(KeyspaceServer::new(all.clone()))
        .add_service(TikvServer::new(all).max_decoding_message_size(usize::MAX))
}

type Answer<T> = Result<Response<T>, Status>;

fn answer<T>(message: T) -> Answer<T> {
    Ok(Response::new(message))
}

fn header() -> Option<ResponseHeader> {
    Some(ResponseHeader {
        cluster_id: CLUSTER,
        ..ResponseHeader::default()
    })
}

#[tonic::async_trait]
impl Pd for Everything {
    async fn get_members(&self, _: Request<GetMembersRequest>) -> Answer<GetMembersResponse> {
        let member = Member {
            name: NAME.into(),
            member_id: 1,
            client_urls: vec![format!("http://{}", self.address)],
            ..Member::default()
        };
        answer(GetMembersResponse {
            header: header(),
            members: vec![member.clone()],
            leader: Some(member),
            ..GetMembersResponse::default()
        })
    }

    async fn get_region(&self, _: Request<GetRegionRequest>) -> Answer<GetRegionResponse> {
        let region = Region {
            id: 2,
            region_epoch: Some(RegionEpoch {
                conf_ver: 1,
                version: 1,
            }),
            peers: vec![PEER],
            ..Region::default()
        };
        answer(GetRegionResponse {
            header: header(),
            region: Some(region),
            leader: Some(PEER),
            ..GetRegionResponse::default()
        })
    }

    async fn get_store(&self, _: Request<GetStoreRequest>) -> Answer<GetStoreResponse> {
        let store = Store {
            id: PEER.store_id,
            address: self.address.clone(),
            ..Store::default()
        };
        answer(GetStoreResponse {
            header: header(),
            store: Some(store),
            ..GetStoreResponse::default()
        })
    }
}

#[tonic::async_trait]
impl Keyspace for Everything {
    async fn load_keyspace(
        &self,
        request: Request<LoadKeyspaceRequest>,
    ) -> Answer<LoadKeyspaceResponse> {
        let keyspace = KeyspaceMeta {
            name: request.into_inner().name,
            ..KeyspaceMeta::default()
        };
        answer(LoadKeyspaceResponse {
            header: header(),
            keyspace: Some(keyspace),
        })
    }
}

#[tonic::async_trait]
impl Tikv for Everything {
    async fn raw_get(&self, _: Request<RawGetRequest>) -> Answer<RawGetResponse> {
        answer(RawGetResponse {
            value: self.value.lock().clone(),
            ..RawGetResponse::default()
        })
    }

    async fn raw_put(&self, request: Request<RawPutRequest>) -> Answer<RawPutResponse> {
        *self.value.lock() = request.into_inner().value;
        answer(RawPutResponse::default())
    }

    async fn raw_batch_put(
        &self,
        request: Request<RawBatchPutRequest>,
    ) -> Answer<RawBatchPutResponse> {
        if let Some(pair) = request.into_inner().pairs.pop() {
            *self.value.lock() = pair.value;
        }
        answer(RawBatchPutResponse::default())
    }

    async fn raw_batch_get(
        &self,
        request: Request<RawBatchGetRequest>,
    ) -> Answer<RawBatchGetResponse> {
        let value = self.value.lock().clone();
        let pair = |key| KvPair {
            key,
            value: value.clone(),
            ..KvPair::default()
        };
        answer(RawBatchGetResponse {
            pairs: request.into_inner().keys.into_iter().map(pair).collect(),
            ..RawBatchGetResponse::default()
        })
    }

    async fn raw_scan(&self, request: Request<RawScanRequest>) -> Answer<RawScanResponse> {
        let pair = KvPair {
            key: PAGE,
            value: self.value.lock().clone(),
            ..KvPair::default()
        };
        let count = request.into_inner().limit as usize;
        answer(RawScanResponse {
            kvs: vec![pair; count],
            ..RawScanResponse::default()
        })
    }
}
