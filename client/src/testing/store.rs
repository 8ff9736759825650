//! How the stores of the test cluster answer: checks in the order of `proto/README.md`, Region errors, then the data.

use super::{Cluster, FakeRegion};
use bytes::Bytes;
use yadkv_proto::api::{StoreRequest, StoreResponse};
use yadkv_proto::key::{KeyRange, min_end};
use yadkv_proto::kvrpcpb::{self, ApiVersion, Context};
use yadkv_proto::metapb::Peer;
use yadkv_proto::{codec, errorpb};

/// Values in one answer; far below the real limit, so that tests stay small.
pub(super) const ANSWER_BYTES_MAX: usize = 64 << 10;

/// The error response of any command.
fn refuse(request: &StoreRequest, error: errorpb::Error) -> StoreResponse {
    let region_error = Some(Box::new(error));
    macro_rules! each {
        ($($name:ident: $response:ident),*) => {
            match request {
                $(StoreRequest::$name(_) => kvrpcpb::$response {
                    region_error,
                    ..Default::default()
                }.into_response(),)*
                other => panic!("the test store does not know {}", other.name()),
            }
        };
    }
    each!(
        RawGet: RawGetResponse, RawPut: RawPutResponse, RawDelete: RawDeleteResponse,
        RawBatchGet: RawBatchGetResponse, RawBatchPut: RawBatchPutResponse,
        RawBatchDelete: RawBatchDeleteResponse, RawScan: RawScanResponse,
        RawDeleteRange: RawDeleteRangeResponse, RawCompareAndSwap: RawCasResponse,
        RawChecksum: RawChecksumResponse, RawGetKeyTtl: RawGetKeyTtlResponse,
        SplitRegion: SplitRegionResponse
    )
}

trait IntoResponse {
    fn into_response(self) -> StoreResponse;
}

macro_rules! into_response {
    ($($name:ident: $response:ident),*) => {$(
        impl IntoResponse for kvrpcpb::$response {
            fn into_response(self) -> StoreResponse {
                StoreResponse::$name(self)
            }
        }
    )*};
}

into_response!(
    RawGet: RawGetResponse, RawPut: RawPutResponse, RawDelete: RawDeleteResponse,
    RawBatchGet: RawBatchGetResponse, RawBatchPut: RawBatchPutResponse,
    RawBatchDelete: RawBatchDeleteResponse, RawScan: RawScanResponse,
    RawDeleteRange: RawDeleteRangeResponse, RawCompareAndSwap: RawCasResponse,
    RawChecksum: RawChecksumResponse, RawGetKeyTtl: RawGetKeyTtlResponse,
    SplitRegion: SplitRegionResponse
);

pub(super) fn busy(request: StoreRequest) -> StoreResponse {
    let error = errorpb::Error {
        message: "busy".into(),
        server_is_busy: Some(errorpb::ServerIsBusy {
            backoff_ms: 100,
            ..Default::default()
        }),
        ..Default::default()
    };
    refuse(&request, error)
}

fn context(request: &StoreRequest) -> Context {
    macro_rules! each {
        ($($name:ident),*) => {
            match request {
                $(StoreRequest::$name(request) => request.context.as_deref().cloned(),)*
                other => panic!("the test store does not know {}", other.name()),
            }
        };
    }
    each!(
        RawGet,
        RawPut,
        RawDelete,
        RawBatchGet,
        RawBatchPut,
        RawBatchDelete,
        RawScan,
        RawDeleteRange,
        RawCompareAndSwap,
        RawChecksum,
        RawGetKeyTtl,
        SplitRegion
    )
    .expect("every command has a context")
}

/// Keys that must lie in the region; ranges are clamped instead.
fn keys(request: &StoreRequest) -> Vec<Bytes> {
    match request {
        StoreRequest::RawGet(request) => vec![request.key.clone()],
        StoreRequest::RawPut(request) => vec![request.key.clone()],
        StoreRequest::RawDelete(request) => vec![request.key.clone()],
        StoreRequest::RawGetKeyTtl(request) => vec![request.key.clone()],
        StoreRequest::RawCompareAndSwap(request) => vec![request.key.clone()],
        StoreRequest::RawBatchGet(request) => request.keys.clone(),
        StoreRequest::RawBatchDelete(request) => request.keys.clone(),
        StoreRequest::RawBatchPut(request) => {
            request.pairs.iter().map(|pair| pair.key.clone()).collect()
        }
        _ => vec![],
    }
}

fn place(context: &Context, key: &Bytes) -> Bytes {
    match context.api_version() {
        ApiVersion::V2 => codec::encode(key),
        _ => key.clone(),
    }
}

fn border(context: &Context, key: &Bytes) -> Bytes {
    if key.is_empty() {
        Bytes::new()
    } else {
        place(context, key)
    }
}

impl Cluster {
    pub(super) fn answer_store(&mut self, store: u64, request: StoreRequest) -> StoreResponse {
        let context = context(&request);
        match self.check(store, &context, &request) {
            Ok(region) => self.execute(&context, &KeyRange::of(&region.region), request),
            Err(mut error) => {
                error.message = format!("{error:?}");
                refuse(&request, *error)
            }
        }
    }

    fn check(
        &self,
        store: u64,
        context: &Context,
        request: &StoreRequest,
    ) -> Result<FakeRegion, Box<errorpb::Error>> {
        let mut error = Box::<errorpb::Error>::default();
        let region_id = context.region_id;
        let peer = context.peer.expect("a peer is addressed");
        assert_eq!(peer.store_id, store, "sent to the store of another peer");
        let Some(region) = self
            .regions
            .iter()
            .find(|region| region.region.id == region_id)
        else {
            error.region_not_found = Some(errorpb::RegionNotFound { region_id });
            return Err(error);
        };
        if region.leader != Some(store) {
            let known = |peer: &&Peer| {
                Some(peer.store_id) == region.leader && !self.dead_stores.contains(&peer.store_id)
            };
            let leader = region.region.peers.iter().find(known).copied();
            error.not_leader = Some(errorpb::NotLeader { region_id, leader });
            return Err(error);
        }
        let version = context.region_epoch.map(|epoch| epoch.version);
        if version != region.region.region_epoch.map(|epoch| epoch.version) {
            let mut current_regions = vec![region.region.clone()];
            let siblings = self.regions.iter().map(|region| &region.region);
            let left = |sibling: &&yadkv_proto::metapb::Region| {
                !sibling.end_key.is_empty() && sibling.end_key == region.region.start_key
            };
            current_regions.extend(siblings.filter(left).cloned());
            error.epoch_not_match = Some(errorpb::EpochNotMatch { current_regions });
            return Err(error);
        }
        let range = KeyRange::of(&region.region);
        for key in keys(request) {
            if !range.contains(&place(context, &key)) {
                error.key_not_in_region = Some(errorpb::KeyNotInRegion::default());
                return Err(error);
            }
        }
        Ok(region.clone())
    }

    /// Places in the part of a command's range that lies in the region.
    fn places(
        &self,
        context: &Context,
        region: &KeyRange,
        start: &Bytes,
        end: &Bytes,
    ) -> Vec<Bytes> {
        let start = border(context, start).max(region.start.clone());
        let end = min_end(&border(context, end), &region.end).clone();
        let range = KeyRange::new(start, end);
        let inside = self.data.keys().filter(|place| range.contains(place));
        inside.cloned().collect()
    }

    fn execute(
        &mut self,
        context: &Context,
        region: &KeyRange,
        request: StoreRequest,
    ) -> StoreResponse {
        let at = |key: &Bytes| place(context, key);
        match request {
            StoreRequest::RawGet(request) => {
                let value = self.data.get(&at(&request.key)).cloned();
                StoreResponse::RawGet(kvrpcpb::RawGetResponse {
                    not_found: value.is_none(),
                    value: value.unwrap_or_default().1,
                    ..Default::default()
                })
            }
            StoreRequest::RawPut(request) => {
                self.data
                    .insert(at(&request.key), (request.key, request.value));
                StoreResponse::RawPut(kvrpcpb::RawPutResponse::default())
            }
            StoreRequest::RawDelete(request) => {
                self.data.remove(&at(&request.key));
                StoreResponse::RawDelete(kvrpcpb::RawDeleteResponse::default())
            }
            StoreRequest::RawGetKeyTtl(request) => {
                StoreResponse::RawGetKeyTtl(kvrpcpb::RawGetKeyTtlResponse {
                    not_found: !self.data.contains_key(&at(&request.key)),
                    ..Default::default()
                })
            }
            StoreRequest::RawCompareAndSwap(request) => self.swap(at(&request.key), request),
            StoreRequest::RawBatchGet(request) => {
                let found = request
                    .keys
                    .iter()
                    .filter_map(|key| self.data.get(&at(key)));
                StoreResponse::RawBatchGet(kvrpcpb::RawBatchGetResponse {
                    pairs: found.map(pair).collect(),
                    ..Default::default()
                })
            }
            StoreRequest::RawBatchPut(request) => {
                for pair in request.pairs {
                    self.data.insert(at(&pair.key), (pair.key, pair.value));
                }
                StoreResponse::RawBatchPut(kvrpcpb::RawBatchPutResponse::default())
            }
            StoreRequest::RawBatchDelete(request) => {
                for key in request.keys {
                    self.data.remove(&at(&key));
                }
                StoreResponse::RawBatchDelete(kvrpcpb::RawBatchDeleteResponse::default())
            }
            StoreRequest::RawDeleteRange(request) => {
                for place in self.places(context, region, &request.start_key, &request.end_key) {
                    self.data.remove(&place);
                }
                StoreResponse::RawDeleteRange(kvrpcpb::RawDeleteRangeResponse::default())
            }
            StoreRequest::SplitRegion(request) => self.cut(region, &request.split_keys),
            StoreRequest::RawScan(request) => self.scan(context, region, &request),
            StoreRequest::RawChecksum(request) => {
                self.checksum(context, region, &request.ranges[0])
            }
            other => panic!("the test store does not know {}", other.name()),
        }
    }

    /// Borders that are there already are refused, as real stores do.
    fn cut(&mut self, region: &KeyRange, keys: &[Bytes]) -> StoreResponse {
        if keys.contains(&region.start) {
            let error = kvrpcpb::KeyError {
                abort: "is the region's border already".into(),
                ..Default::default()
            };
            return StoreResponse::SplitRegion(kvrpcpb::SplitRegionResponse {
                errors: vec![error],
                ..Default::default()
            });
        }
        keys.iter().for_each(|key| self.split(key));
        let parts = self.regions.iter().map(|part| &part.region);
        let inside = |part: &&yadkv_proto::metapb::Region| KeyRange::of(part).overlaps(region);
        let mut regions: Vec<_> = parts.filter(inside).cloned().collect();
        regions.sort_by(|one, other| one.start_key.cmp(&other.start_key));
        StoreResponse::SplitRegion(kvrpcpb::SplitRegionResponse {
            regions,
            ..Default::default()
        })
    }

    fn checksum(
        &self,
        context: &Context,
        region: &KeyRange,
        range: &kvrpcpb::KeyRange,
    ) -> StoreResponse {
        let places = self.places(context, region, &range.start_key, &range.end_key);
        let checksum = places.iter().fold(0, |sum, place| {
            sum ^ place
                .iter()
                .fold(1_u64, |sum, byte| (sum ^ u64::from(*byte)).rotate_left(7))
        });
        StoreResponse::RawChecksum(kvrpcpb::RawChecksumResponse {
            checksum,
            total_kvs: places.len() as u64,
            ..Default::default()
        })
    }

    fn scan(
        &self,
        context: &Context,
        region: &KeyRange,
        request: &kvrpcpb::RawScanRequest,
    ) -> StoreResponse {
        let (start, end) = if request.reverse {
            (&request.end_key, &request.start_key)
        } else {
            (&request.start_key, &request.end_key)
        };
        let mut places = self.places(context, region, start, end);
        if request.reverse {
            places.reverse();
        }
        places.truncate(request.limit as usize);
        let kvs = places
            .iter()
            .map(|place| pair(&self.data[place]))
            .map(|pair| {
                let value = if request.key_only {
                    Bytes::new()
                } else {
                    pair.value
                };
                kvrpcpb::KvPair { value, ..pair }
            });
        let kvs: Vec<_> = kvs.collect();
        if kvs.iter().map(|pair| pair.value.len()).sum::<usize>() > ANSWER_BYTES_MAX {
            return StoreResponse::RawScan(kvrpcpb::RawScanResponse {
                region_error: Some(Box::new(errorpb::Error {
                    raft_entry_too_large: Some(Default::default()),
                    ..Default::default()
                })),
                ..Default::default()
            });
        }
        StoreResponse::RawScan(kvrpcpb::RawScanResponse {
            kvs,
            ..Default::default()
        })
    }

    fn swap(&mut self, place: Bytes, request: kvrpcpb::RawCasRequest) -> StoreResponse {
        let before = self.data.get(&place).map(|(_, value)| value.clone());
        let expected = (!request.previous_not_exist).then_some(request.previous_value);
        let succeed = before == expected;
        if succeed && request.delete {
            self.data.remove(&place);
        } else if succeed {
            self.data.insert(place, (request.key, request.value));
        }
        StoreResponse::RawCompareAndSwap(kvrpcpb::RawCasResponse {
            succeed,
            previous_not_exist: before.is_none(),
            previous_value: before.unwrap_or_default(),
            ..Default::default()
        })
    }
}

fn pair((key, value): &(Bytes, Bytes)) -> kvrpcpb::KvPair {
    kvrpcpb::KvPair {
        key: key.clone(),
        value: value.clone(),
        ..Default::default()
    }
}
