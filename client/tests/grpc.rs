//! The production transport against real servers in this process: frames, failures, timestamps.
#![cfg(feature = "grpc")]
#![allow(
    clippy::unwrap_used,
    missing_docs,
    clippy::disallowed_types,
    clippy::disallowed_methods
)]

use futures::future::join_all;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::codegen::BoxStream;
use tonic::{Request, Response, Status, Streaming};
use yadkv_client::{Api, Client, Error, Options};
use yadkv_proto::pdpb::pd_server::{Pd, PdServer};
use yadkv_proto::tikvpb::batch_commands_request::request::Cmd as Command;
use yadkv_proto::tikvpb::batch_commands_response::{
    Response as Answer, response::Cmd as AnswerCmd,
};
use yadkv_proto::tikvpb::tikv_server::{Tikv, TikvServer};
use yadkv_proto::tikvpb::{BatchCommandsRequest, BatchCommandsResponse};
use yadkv_proto::{kvrpcpb, metapb, pdpb};

type Data = Arc<Mutex<BTreeMap<Vec<u8>, Vec<u8>>>>;

/// A store that every region's every command is fine for.
#[derive(Clone, Default)]
struct Store {
    data: Data,
    frames: Arc<AtomicUsize>,
    commands: Arc<AtomicUsize>,
}

#[tonic::async_trait]
impl Tikv for Store {
    async fn batch_commands(
        &self,
        request: Request<Streaming<BatchCommandsRequest>>,
    ) -> Result<Response<BoxStream<BatchCommandsResponse>>, Status> {
        let this = self.clone();
        let answers = request.into_inner().map(move |frame| {
            let frame = frame?;
            this.frames.fetch_add(1, Ordering::Relaxed);
            this.commands
                .fetch_add(frame.requests.len(), Ordering::Relaxed);
            let answer = |request: yadkv_proto::tikvpb::batch_commands_request::Request| Answer {
                cmd: request.cmd.map(|command| this.answer(command)),
            };
            // Answers in another order than asked: ids say what belongs together.
            let mut both: Vec<_> = frame
                .request_ids
                .into_iter()
                .zip(frame.requests.into_iter().map(answer))
                .collect();
            both.reverse();
            let (request_ids, responses) = both.into_iter().unzip();
            Ok(BatchCommandsResponse {
                request_ids,
                responses,
                ..Default::default()
            })
        });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn raw_compare_and_swap(
        &self,
        request: Request<kvrpcpb::RawCasRequest>,
    ) -> Result<Response<kvrpcpb::RawCasResponse>, Status> {
        let request = request.into_inner();
        let mut data = self.data.lock().unwrap();
        let before = data.get(&request.key[..]).cloned();
        let expected = (!request.previous_not_exist).then(|| request.previous_value.to_vec());
        let succeed = before == expected;
        if succeed {
            data.insert(request.key.to_vec(), request.value.to_vec());
        }
        Ok(Response::new(kvrpcpb::RawCasResponse {
            succeed,
            previous_not_exist: before.is_none(),
            previous_value: before.unwrap_or_default().into(),
            ..Default::default()
        }))
    }
}

impl Store {
    fn answer(&self, command: Command) -> AnswerCmd {
        let mut data = self.data.lock().unwrap();
        match command {
            Command::RawGet(request) => {
                let value = data.get(&request.key[..]).cloned();
                AnswerCmd::RawGet(kvrpcpb::RawGetResponse {
                    not_found: value.is_none(),
                    value: value.unwrap_or_default().into(),
                    ..Default::default()
                })
            }
            Command::RawPut(request) => {
                data.insert(request.key.to_vec(), request.value.to_vec());
                AnswerCmd::RawPut(kvrpcpb::RawPutResponse::default())
            }
            other => panic!("{other:?}"),
        }
    }
}

#[derive(Clone)]
struct PlacementDriver {
    address: String,
    store: Arc<Mutex<String>>,
    last: Arc<AtomicU64>,
}

impl PlacementDriver {
    fn header() -> Option<pdpb::ResponseHeader> {
        Some(pdpb::ResponseHeader {
            cluster_id: 9,
            error: None,
        })
    }
}

#[tonic::async_trait]
impl Pd for PlacementDriver {
    async fn get_members(
        &self,
        _: Request<pdpb::GetMembersRequest>,
    ) -> Result<Response<pdpb::GetMembersResponse>, Status> {
        let member = pdpb::Member {
            client_urls: vec![format!("http://{}", self.address)],
            ..Default::default()
        };
        Ok(Response::new(pdpb::GetMembersResponse {
            header: Self::header(),
            members: vec![member.clone()],
            leader: Some(member),
            ..Default::default()
        }))
    }

    async fn get_region(
        &self,
        _: Request<pdpb::GetRegionRequest>,
    ) -> Result<Response<pdpb::GetRegionResponse>, Status> {
        let peer = metapb::Peer {
            id: 2,
            store_id: 1,
            ..Default::default()
        };
        Ok(Response::new(pdpb::GetRegionResponse {
            header: Self::header(),
            region: Some(metapb::Region {
                id: 3,
                region_epoch: Some(yadkv_proto::epoch::FIRST),
                peers: vec![peer],
                ..Default::default()
            }),
            leader: Some(peer),
            ..Default::default()
        }))
    }

    async fn get_store(
        &self,
        _: Request<pdpb::GetStoreRequest>,
    ) -> Result<Response<pdpb::GetStoreResponse>, Status> {
        Ok(Response::new(pdpb::GetStoreResponse {
            header: Self::header(),
            store: Some(metapb::Store {
                id: 1,
                address: self.store.lock().unwrap().clone(),
                ..Default::default()
            }),
            ..Default::default()
        }))
    }

    async fn tso(
        &self,
        request: Request<Streaming<pdpb::TsoRequest>>,
    ) -> Result<Response<BoxStream<pdpb::TsoResponse>>, Status> {
        let last = self.last.clone();
        let answers = request.into_inner().map(move |request| {
            let count = request?.count;
            let logical = last.fetch_add(u64::from(count), Ordering::SeqCst) + u64::from(count);
            Ok(pdpb::TsoResponse {
                header: Self::header(),
                count,
                timestamp: Some(pdpb::Timestamp {
                    physical: 1000,
                    logical: logical as i64,
                    suffix_bits: 0,
                }),
            })
        });
        Ok(Response::new(Box::pin(answers)))
    }
}

/// A store in a tokio runtime of its own: ending that kills the connections too.
async fn serve_store(store: Store) -> (String, Runtime) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let service = TikvServer::new(store).max_decoding_message_size(usize::MAX);
    let server = tonic::transport::Server::builder().add_service(service);
    let runtime = Runtime::new().unwrap();
    runtime.spawn(async move {
        let listener = TcpListener::from_std(listener).unwrap();
        server
            .serve_with_incoming(TcpListenerStream::new(listener))
            .await
            .unwrap();
    });
    (address, runtime)
}

async fn serve_pd(store: &str) -> PlacementDriver {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let pd = PlacementDriver {
        address: listener.local_addr().unwrap().to_string(),
        store: Arc::new(Mutex::new(store.to_owned())),
        last: Arc::default(),
    };
    let server = tonic::transport::Server::builder().add_service(PdServer::new(pd.clone()));
    tokio::spawn(async move {
        server
            .serve_with_incoming(TcpListenerStream::new(listener))
            .await
            .unwrap();
    });
    pd
}

async fn connect(pd: &PlacementDriver) -> Client {
    let options = Options {
        api: Api::V1,
        timeout: Duration::from_secs(10),
        ..Options::default()
    };
    Client::connect([pd.address.clone()], options)
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_share_frames_and_find_their_callers() {
    let store = Store::default();
    let (address, server) = serve_store(store.clone()).await;
    let client = connect(&serve_pd(&address).await).await;
    let raw = client.raw();
    raw.put("first", "alone").await.unwrap();
    let tasks = (0..2000).map(|number: u32| {
        let raw = raw.clone();
        tokio::spawn(async move {
            let key = format!("{number}");
            raw.put(key.clone(), key.clone()).await.unwrap();
            assert_eq!(raw.get(key.clone()).await.unwrap().unwrap(), key);
        })
    });
    for task in join_all(tasks).await {
        task.unwrap();
    }
    let (frames, commands) = (
        store.frames.load(Ordering::Relaxed),
        store.commands.load(Ordering::Relaxed),
    );
    assert_eq!(commands, 4001);
    assert!(frames < commands / 2, "{frames} frames");
    let big = vec![7; 6 * 1024 * 1024];
    raw.put("big", big.clone()).await.unwrap();
    assert_eq!(raw.get("big").await.unwrap().unwrap(), big);
    let swap = raw
        .compare_and_swap("first", Some("alone".into()), "swapped")
        .await
        .unwrap();
    assert!(swap.swapped);
    server.shutdown_background();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_dies_and_comes_back_elsewhere_is_found() {
    let store = Store::default();
    let (address, server) = serve_store(store.clone()).await;
    let pd = serve_pd(&address).await;
    let client = connect(&pd).await;
    let raw = client.raw();
    raw.put("a", "1").await.unwrap();
    server.shutdown_background();
    let waiting = tokio::spawn({
        let raw = raw.clone();
        async move { raw.get("a").await }
    });
    let swap = tokio::spawn({
        let raw = raw.clone();
        async move { raw.compare_and_swap("a", Some("1".into()), "2").await }
    });
    let (address, server) = serve_store(store).await;
    *pd.store.lock().unwrap() = address;
    let found = waiting.await.unwrap().unwrap().unwrap();
    assert!(found == "1" || found == "2", "{found:?}");
    match swap.await.unwrap() {
        Ok(swap) => assert!(swap.swapped),
        Err(error) => assert!(matches!(error, Error::OutcomeUnknown { .. }), "{error}"),
    }
    raw.put("a", "3").await.unwrap();
    server.shutdown_background();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn timestamps_come_over_one_stream() {
    let pd = serve_pd("127.0.0.1:1").await;
    let client = connect(&pd).await;
    let mut last = client.timestamp().await.unwrap();
    for _ in 0..20 {
        let many = join_all((0..50).map(|_| client.timestamp())).await;
        for timestamp in many {
            let timestamp = timestamp.unwrap();
            assert!(timestamp > last);
            last = timestamp;
        }
    }
    assert_eq!(client.cluster_id(), 9);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_there_is_said_in_time() {
    let options = Options {
        timeout: Duration::from_millis(300),
        ..Options::default()
    };
    let error = Client::connect(["127.0.0.1:1"], options)
        .await
        .err()
        .unwrap();
    assert!(error.to_string().contains("127.0.0.1:1"), "{error}");
}
