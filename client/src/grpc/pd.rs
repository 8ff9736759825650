//! Calls to one placement driver: unary, and timestamps over one stream.
//!
//! *Invariants*: timestamps are asked for one block at a time, so answers cannot be mixed up; a stream that failed
//! or was given up on is never used again.
//!
//! *Next stop*: the placement driver's `service`.

use super::call_error;
use super::link::Link;
use crate::runtime::CallError;
use std::sync::Arc;
use tokio::sync::{Mutex, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};
use yadkv_proto::api::{GetPrevRegionResponse, GetRegionById, PdRequest, PdResponse};
use yadkv_proto::keyspacepb::keyspace_client::KeyspaceClient;
use yadkv_proto::pdpb::pd_client::PdClient;
use yadkv_proto::pdpb::{TsoRequest, TsoResponse};

/// One placement driver.
pub(super) struct PdLink {
    link: Arc<Link>,
    tso: Mutex<Option<TsoStream>>,
}

struct TsoStream {
    requests: mpsc::Sender<TsoRequest>,
    answers: Streaming<TsoResponse>,
}

impl PdLink {
    pub(super) fn new(link: Arc<Link>) -> Self {
        Self {
            link,
            tso: Mutex::new(None),
        }
    }

    pub(super) async fn call(&self, request: PdRequest) -> Result<PdResponse, CallError> {
        let (channel, generation) = self.link.channel().await?;
        let result = match request {
            PdRequest::Tso(request) => self.timestamps(channel, request).await,
            request => unary(channel, request).await,
        };
        result.map_err(|failure| match failure {
            Failure::Status(status) => {
                if status.code() == Code::Unavailable {
                    self.link.broken(generation);
                }
                call_error(&self.link, &status)
            }
            Failure::Stream(error) => error,
        })
    }

    async fn timestamps(
        &self,
        channel: Channel,
        request: TsoRequest,
    ) -> Result<PdResponse, Failure> {
        let mut slot = self.tso.lock().await;
        // Taken out: if this call is given up on, the stream goes with it.
        let mut stream = match slot.take() {
            Some(stream) if stream.requests.send(request.clone()).await.is_ok() => stream,
            _ => TsoStream::open(channel, request).await?,
        };
        let Some(response) = stream.answers.message().await? else {
            let error = CallError::Lost("the timestamp stream ended".into());
            return Err(Failure::Stream(error));
        };
        *slot = Some(stream);
        Ok(PdResponse::Tso(response))
    }
}

/// Why a call failed.
enum Failure {
    Status(Box<Status>),
    Stream(CallError),
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        Self::Status(Box::new(status))
    }
}

impl TsoStream {
    /// Opens a stream with its first request: some servers send their headers with the first answer only.
    async fn open(channel: Channel, first: TsoRequest) -> Result<Self, Failure> {
        let (requests, outgoing) = mpsc::channel(1);
        // There is room for one: this cannot fail or wait.
        let _ = requests.try_send(first);
        let answers = PdClient::new(channel)
            .tso(ReceiverStream::new(outgoing))
            .await?
            .into_inner();
        Ok(Self { requests, answers })
    }
}

async fn unary(channel: Channel, request: PdRequest) -> Result<PdResponse, Failure> {
    let mut keyspaces = KeyspaceClient::new(channel.clone());
    let mut client = PdClient::new(channel)
        .max_decoding_message_size(usize::MAX)
        .max_encoding_message_size(usize::MAX);
    macro_rules! send {
        ($($name:ident by $method:ident),* $(,)?) => {
            match request {
                $(PdRequest::$name(request) => {
                    PdResponse::$name(client.$method(request).await?.into_inner())
                })*
                PdRequest::GetRegionById(request) => PdResponse::GetRegionById(GetRegionById(
                    client.get_region_by_id(request).await?.into_inner(),
                )),
                PdRequest::GetPrevRegion(request) => PdResponse::GetPrevRegion(GetPrevRegionResponse(
                    client.get_prev_region(request.0).await?.into_inner(),
                )),
                PdRequest::LoadKeyspace(request) => PdResponse::LoadKeyspace(
                    keyspaces.load_keyspace(request).await?.into_inner(),
                ),
                other => {
                    let error = CallError::NotServed(format!("{} is a stream", other.name()));
                    return Err(Failure::Stream(error));
                }
            }
        };
    }
    Ok(send!(
        GetMembers by get_members,
        GetClusterInfo by get_cluster_info,
        Bootstrap by bootstrap,
        IsBootstrapped by is_bootstrapped,
        AllocId by alloc_id,
        GetStore by get_store,
        PutStore by put_store,
        GetAllStores by get_all_stores,
        StoreHeartbeat by store_heartbeat,
        AskBatchSplit by ask_batch_split,
        ReportBatchSplit by report_batch_split,
        GetRegion by get_region,
        ScanRegions by scan_regions,
        BatchScanRegions by batch_scan_regions,
        GetGcSafePoint by get_gc_safe_point,
        UpdateGcSafePoint by update_gc_safe_point,
        GetMinTs by get_min_ts,
    ))
}
