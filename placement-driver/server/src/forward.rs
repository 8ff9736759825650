//! Followers pass calls on to the leader.
//!
//! *Place*: [`crate::service`] when the member refuses with the leader's url; [`crate::http`] likewise.
//!
//! *Life of a forwarded call*: refused here → asked at the leader, marked as forwarded → its answer is the
//! answer. If the leader cannot be reached or leads no more, again after [`RETRY`], for at most
//! [`HOLD_MAX`] in all.
//!
//! *Invariants*: a call that is marked as forwarded is never forwarded again, so two members that take each
//! other for the leader do not play ball.
//!
//! *Limits and failure*: the calls that change something may reach two leaders; each is harmless twice
//! (ids are wasted, the rest is the same the second time).
//!
//! *Next stop*: [`crate::service`].

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::time::Duration;
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};
use yadkv_placement_core::config::HOLD_MAX;
use yadkv_proto::api::{GetPrevRegionResponse, GetRegionById, PdRequest, PdResponse};
use yadkv_proto::keyspacepb::keyspace_client::KeyspaceClient;
use yadkv_proto::pdpb::pd_client::PdClient;
use yadkv_tls::Tls;

/// Metadata and HTTP header of a forwarded call.
pub const MARK: &str = "yadkv-forwarded";
/// Time between two tries.
pub const RETRY: Duration = Duration::from_millis(50);
/// Largest answer that is passed on.
const ANSWER_BYTES_MAX: usize = 256 << 20;
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
const KEEP_ALIVE: Duration = Duration::from_secs(2);

/// Connections to the other members, made when first needed.
pub struct Forwarder {
    tls: Tls,
    /// By url; at most one a member.
    channels: Mutex<BTreeMap<String, Channel>>,
}

/// Whether an error may pass when the leader is asked again, or another one.
pub fn may_pass(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unknown
    )
}

impl Forwarder {
    /// One without connections yet.
    pub fn new(tls: Tls) -> Self {
        let channels = Mutex::default();
        Self { tls, channels }
    }

    /// How members are dialled.
    pub fn tls(&self) -> &Tls {
        &self.tls
    }

    /// Asks the member at `url`.
    pub async fn ask(&self, url: &str, request: PdRequest) -> Result<PdResponse, Status> {
        let channel = self.channel(url)?;
        let asked = tokio::time::timeout(HOLD_MAX, call(channel, request));
        match asked.await {
            Ok(answer) => answer,
            Err(_) => {
                // A half-dead connection would swallow the next call too.
                self.channels.lock().remove(url);
                Err(Status::deadline_exceeded(format!(
                    "the leader at {url} did not answer in time"
                )))
            }
        }
    }

    fn channel(&self, url: &str) -> Result<Channel, Status> {
        let mut channels = self.channels.lock();
        if let Some(channel) = channels.get(url) {
            return Ok(channel.clone());
        }
        let endpoint = self
            .tls
            .endpoint(url)
            .map_err(|error| Status::internal(format!("member url {url}: {error}")))?
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .tcp_nodelay(true);
        let channel = endpoint.connect_with_connector_lazy(self.tls.connector());
        channels.insert(url.to_owned(), channel.clone());
        Ok(channel)
    }
}

fn marked<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request
        .metadata_mut()
        .insert(MARK, tonic::metadata::MetadataValue::from_static("1"));
    request
}

async fn call(channel: Channel, request: PdRequest) -> Result<PdResponse, Status> {
    let mut pd = PdClient::new(channel.clone())
        .max_decoding_message_size(ANSWER_BYTES_MAX)
        .max_encoding_message_size(ANSWER_BYTES_MAX);
    macro_rules! calls {
        ($request:ident { $($name:ident => $method:ident),* $(,)? }) => {
            match $request {
                $(PdRequest::$name(message) => {
                    pd.$method(marked(message)).await.map(Response::into_inner).map(PdResponse::$name)
                })*
                PdRequest::GetRegionById(message) => {
                    let answer = pd.get_region_by_id(marked(message)).await?.into_inner();
                    Ok(PdResponse::GetRegionById(GetRegionById(answer)))
                }
                PdRequest::GetPrevRegion(message) => {
                    let answer = pd.get_prev_region(marked(message.0)).await?.into_inner();
                    Ok(PdResponse::GetPrevRegion(GetPrevRegionResponse(answer)))
                }
                PdRequest::LoadKeyspace(message) => {
                    let answer = KeyspaceClient::new(channel).load_keyspace(marked(message)).await?;
                    Ok(PdResponse::LoadKeyspace(answer.into_inner()))
                }
                PdRequest::Tso(_) | PdRequest::RegionHeartbeat(_) | PdRequest::QueryRegion(_) => {
                    Err(Status::unavailable("not leader: streams are not passed on"))
                }
            }
        };
    }
    calls!(request {
        GetMembers => get_members,
        GetClusterInfo => get_cluster_info,
        Bootstrap => bootstrap,
        IsBootstrapped => is_bootstrapped,
        AllocId => alloc_id,
        GetStore => get_store,
        PutStore => put_store,
        GetAllStores => get_all_stores,
        StoreHeartbeat => store_heartbeat,
        AskBatchSplit => ask_batch_split,
        ReportBatchSplit => report_batch_split,
        GetRegion => get_region,
        ScanRegions => scan_regions,
        BatchScanRegions => batch_scan_regions,
        GetGcSafePoint => get_gc_safe_point,
        UpdateGcSafePoint => update_gc_safe_point,
        GetMinTs => get_min_ts,
    })
}
