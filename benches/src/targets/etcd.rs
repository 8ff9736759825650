//! Three etcd members on this machine, started and stopped here.
//!
//! *Place*: needs Debian's `etcd-server`; data goes into a temporary folder.
//!
//! *Invariants*: fsync stays on, reads are linearizable: the same promises as yadkv's. Batches are transactions without
//! a condition.
//!
//! *Limits and failure*: etcd counts the keys up to the end of a scan, whatever the limit. All clients go to the leader,
//! over one connection: on one machine that is quicker than to spread over members which forward (2 to 7 % more puts and 6
//! to 12 % more gets with 256 clients). Members are killed when this is dropped.
//!
//! *Source*: etcd API reference v3.4, KV and Maintenance services.
//!
//! *Next stop*: [`super::redis`].

use super::process::{Process, failed, free_ports};
use super::{Answer, Found, Target};
use crate::Error;
use crate::workload::Request;
use bytes::Bytes;
use etcd::kv_client::KvClient;
use etcd::maintenance_client::MaintenanceClient;
use etcd::request_op::Request as Operation;
use etcd::response_op::Response as Outcome;
use etcd::{
    PutRequest, RangeRequest, RangeResponse, RequestOp, StatusRequest, TxnRequest, TxnResponse,
};
use futures::FutureExt;
use futures::future::BoxFuture;
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tonic::transport::{Channel, Endpoint};

#[allow(missing_docs, unreachable_pub, clippy::all)]
mod etcd {
    tonic::include_proto!("etcdserverpb");
}

const NAME: &str = "etcd";
const MEMBERS: usize = 3;
const READY_TIMEOUT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(100);
/// Not the default of 2 GiB: a long run must not end in its space quota.
const QUOTA_BYTES: &str = "34359738368";
/// Operations of a transaction; the default is 128.
const BATCH_MAX: &str = "4096";

/// A running cluster and its client.
pub struct Etcd {
    leader: KvClient<Channel>,
    members: Vec<Process>,
    _data: TempDir,
}

impl Etcd {
    /// Starts three members and waits until they answer.
    pub async fn start() -> Result<Self, Error> {
        let data = TempDir::new().map_err(|error| failed(NAME, error))?;
        let ports = free_ports(2 * MEMBERS).map_err(|error| failed(NAME, error))?;
        let (client_ports, peer_ports) = ports.split_at(MEMBERS);
        let peers = peer_ports.iter().enumerate();
        let cluster: Vec<String> = peers
            .map(|(number, port)| format!("m{number}={}", url(*port)))
            .collect();
        let mut members = Vec::new();
        for (number, (client, peer)) in client_ports.iter().zip(peer_ports).enumerate() {
            let mut command = Command::new(NAME);
            let directory = data.path().join(format!("m{number}"));
            command.arg("--data-dir").arg(directory);
            command.args(["--name", &format!("m{number}")]);
            for (flag, port) in [
                ("--listen-client-urls", client),
                ("--advertise-client-urls", client),
                ("--listen-peer-urls", peer),
                ("--initial-advertise-peer-urls", peer),
            ] {
                command.args([flag, &url(*port)]);
            }
            command.args(["--initial-cluster", &cluster.join(",")]);
            command.args(["--initial-cluster-state", "new", "--log-level", "error"]);
            command.args(["--quota-backend-bytes", QUOTA_BYTES]);
            command.args(["--max-txn-ops", BATCH_MAX]);
            members.push(Process::start(&mut command, "etcd-server")?);
        }
        let deadline = Instant::now() + READY_TIMEOUT;
        let mut leader = None;
        for port in client_ports {
            let (client, leads) = connect(*port, deadline).await?;
            leader = leader.or(leads.then_some(client));
        }
        let leader = leader.ok_or_else(|| failed(NAME, "no member leads: try again"))?;
        Ok(Self {
            leader,
            members,
            _data: data,
        })
    }
}

fn url(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

/// A client of a member, and whether that leads.
async fn connect(port: u16, deadline: Instant) -> Result<(KvClient<Channel>, bool), Error> {
    loop {
        let tried = async {
            let endpoint = Endpoint::from_shared(url(port)).map_err(|error| error.to_string())?;
            let channel = endpoint.tcp_nodelay(true).connect().await;
            let channel = channel.map_err(|error| error.to_string())?;
            let mut kv = KvClient::new(channel.clone()).max_decoding_message_size(usize::MAX);
            // Answered only if there is a leader.
            kv.range(get(Bytes::from_static(b"ready")))
                .await
                .map_err(kind)?;
            let status = MaintenanceClient::new(channel)
                .status(StatusRequest {})
                .await;
            let status = status.map_err(kind)?.into_inner();
            let member = status.header.unwrap_or_default().member_id;
            Ok::<_, String>((kv, status.leader == member))
        };
        match tried.await {
            Ok(client) => return Ok(client),
            Err(error) if Instant::now() >= deadline => return Err(failed(NAME, error)),
            Err(_) => tokio::time::sleep(POLL).await,
        }
    }
}

fn get(key: Bytes) -> RangeRequest {
    RangeRequest {
        key,
        ..RangeRequest::default()
    }
}

fn scan(start: Bytes, end: Bytes, count: u32) -> RangeRequest {
    RangeRequest {
        key: start,
        range_end: end,
        limit: i64::from(count),
        serializable: false,
    }
}

fn kind(status: tonic::Status) -> String {
    status.code().to_string()
}

async fn all(kv: &mut KvClient<Channel>, all: Vec<Operation>) -> Answer<TxnResponse> {
    let success = all.into_iter().map(|request| RequestOp {
        request: Some(request),
    });
    let request = TxnRequest {
        success: success.collect(),
    };
    kv.txn(request)
        .await
        .map(tonic::Response::into_inner)
        .map_err(kind)
}

async fn call(mut kv: KvClient<Channel>, request: Request) -> Answer {
    match request {
        Request::Put(key, value) => {
            kv.put(PutRequest { key, value }).await.map_err(kind)?;
        }
        Request::Get(key) => {
            let range = kv.range(get(key)).await.map_err(kind)?;
            return Ok(values(range.into_inner()));
        }
        Request::Scan { start, end, count } => {
            let range = kv.range(scan(start, end, count)).await.map_err(kind)?;
            return Ok(values(range.into_inner()));
        }
        Request::BatchPut(records) => {
            let puts = records.into_iter();
            let puts = puts.map(|(key, value)| Operation::RequestPut(PutRequest { key, value }));
            all(&mut kv, puts.collect()).await?;
        }
        Request::BatchGet(keys) => {
            let gets = keys
                .into_iter()
                .map(|key| Operation::RequestRange(get(key)));
            let answers = all(&mut kv, gets.collect()).await?.responses;
            let pairs = answers
                .into_iter()
                .flat_map(|answer| match answer.response {
                    Some(Outcome::ResponseRange(range)) => range.kvs,
                    _ => Vec::new(),
                });
            return Ok(Found::values(pairs.map(|pair| pair.value)));
        }
        Request::Modify(key, value) => {
            let range = kv.range(get(key.clone())).await.map_err(kind)?;
            kv.put(PutRequest { key, value }).await.map_err(kind)?;
            return Ok(values(range.into_inner()));
        }
    }
    Ok(Found::NOTHING)
}

fn values(range: RangeResponse) -> Found {
    Found::values(range.kvs.into_iter().map(|pair| pair.value))
}

impl Target for Etcd {
    fn name(&self) -> &'static str {
        NAME
    }

    fn call(&self, _: usize, request: Request) -> BoxFuture<'_, Answer> {
        call(self.leader.clone(), request).boxed()
    }

    fn processes(&self) -> Vec<u32> {
        self.members.iter().map(Process::id).collect()
    }
}
