//! A cluster that does nothing: what is left of a call is the client's work and the wire protocol's.
//!
//! *Place*: [`super::tikv`] measures against it; [`crate::serve`] runs it.
//!
//! *Life of a request*: routing says which of three stores has the region, as in a cluster of three → the store answers at
//! once; every record is there, with the value that was put last by anybody.
//!
//! *Limits*: the stores are one process, each with an address and a connection of its own; their HTTP/2 has the windows
//! and pieces of yadkv's.
//!
//! *Next stop*: [`super::floor`].

use super::process::Process;
use crate::Error;
use bytes::Bytes;
use parking_lot::Mutex;
use std::sync::Arc;
use tonic::transport::server::Router;
use tonic::{Request, Response, Status};
use yadkv_proto::codec;
use yadkv_proto::grpc::{CONNECTION_WINDOW, PIECE, STREAM_WINDOW};
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
/// Where regions begin, by the first digit behind `user` that divides the keys in as many parts as there are stores.
const BORDERS: [&[u8]; STORES - 1] = [b"r\0\0\0user5", b"r\0\0\0usera"];
/// How many stores there are.
pub(crate) const STORES: usize = 3;
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

/// Placement driver and stores in one.
#[derive(Clone)]
pub(crate) struct Everything {
    /// Of the stores; the first one's is the placement driver's as well.
    addresses: Arc<[String]>,
    value: Arc<Mutex<Bytes>>,
}

impl Everything {
    /// One whose stores will listen there: as many as [`STORES`].
    pub(crate) fn new(addresses: Vec<String>) -> Self {
        Self {
            addresses: addresses.into(),
            value: Arc::default(),
        }
    }

    /// The region that a key, as it is sorted, is in.
    fn region(&self, key: &[u8]) -> (Region, Peer) {
        let number = BORDERS
            .iter()
            .filter(|border| key >= &codec::encode(border)[..])
            .count();
        let border = |number: Option<usize>| {
            let border = number.and_then(|number| BORDERS.get(number));
            border
                .map(|border| codec::encode(border))
                .unwrap_or_default()
        };
        let peer = Peer {
            id: 10 + number as u64,
            store_id: 1 + number as u64,
            ..Peer::default()
        };
        let region = Region {
            id: 20 + number as u64,
            start_key: border(number.checked_sub(1)),
            end_key: border(Some(number)),
            region_epoch: Some(RegionEpoch {
                conf_ver: 1,
                version: 1,
            }),
            peers: vec![peer],
            ..Region::default()
        };
        (region, peer)
    }
}

/// Services of one address.
pub(crate) fn services(all: Everything) -> Router {
    tonic::transport::Server::builder()
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(PIECE)
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
            client_urls: vec![format!("http://{}", self.addresses[0])],
            ..Member::default()
        };
        answer(GetMembersResponse {
            header: header(),
            members: vec![member.clone()],
            leader: Some(member),
            ..GetMembersResponse::default()
        })
    }

    async fn get_region(&self, request: Request<GetRegionRequest>) -> Answer<GetRegionResponse> {
        let (region, leader) = self.region(&request.into_inner().region_key);
        answer(GetRegionResponse {
            header: header(),
            region: Some(region),
            leader: Some(leader),
            ..GetRegionResponse::default()
        })
    }

    async fn get_store(&self, request: Request<GetStoreRequest>) -> Answer<GetStoreResponse> {
        let id = request.into_inner().store_id;
        let number = usize::try_from(id).ok().and_then(|id| id.checked_sub(1));
        let address = number.and_then(|number| self.addresses.get(number));
        let address = address.ok_or_else(|| Status::not_found("there is no such store"))?;
        let store = Store {
            id,
            address: address.clone(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_regions_are_all_there_is_and_share_the_keys() {
        let all = Everything::new(vec![String::new(); STORES]);
        let mut found = [0; STORES];
        for digit in "0123456789abcdef".chars() {
            let key = format!("r\0\0\0user{digit}0123456789abcde");
            let (region, leader) = all.region(&codec::encode(key.as_bytes()));
            found[leader.store_id as usize - 1] += 1;
            assert_eq!(region.peers, [leader]);
            let key = codec::encode(key.as_bytes());
            assert!(region.start_key <= key, "{digit}");
            assert!(region.end_key.is_empty() || key < region.end_key, "{digit}");
        }
        assert_eq!(found, [5, 5, 6]);
        let mut start = Vec::new();
        for number in 0..STORES as u64 {
            let (region, _) = all.region(&start);
            assert_eq!(
                (region.id, &region.start_key[..]),
                (20 + number, &start[..])
            );
            start = region.end_key.to_vec();
        }
        assert!(start.is_empty());
    }
}
