//! Three etcd members on this machine, started and stopped here.
//!
//! *Place*: needs Debian's `etcd-server`; data goes into a temporary folder.
//!
//! *Invariants*: fsync stays on, reads are linearizable: the same promises as yadkv's.
//!
//! *Limits and failure*: one client object a member, clients spread over them; members are killed when this is
//! dropped.
//!
//! *Next stop*: [`super::yadkv`].

use super::Target;
use crate::Error;
use bytes::Bytes;
use etcd::kv_client::KvClient;
use etcd::{PutRequest, RangeRequest};
use futures::FutureExt;
use futures::future::BoxFuture;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tonic::transport::{Channel, Endpoint};

#[allow(missing_docs, unreachable_pub, clippy::all)]
mod etcd {
    tonic::include_proto!("etcdserverpb");
}

const MEMBERS: usize = 3;
const READY_TIMEOUT: Duration = Duration::from_secs(30);

/// A running cluster and its clients.
pub struct Etcd {
    clients: Vec<KvClient<Channel>>,
    members: Vec<Child>,
    _data: TempDir,
}

fn failed(reason: impl std::fmt::Display) -> Error {
    Error::Target {
        target: "etcd".into(),
        reason: reason.to_string(),
    }
}

impl Etcd {
    /// Starts three members and waits until they answer.
    pub async fn start() -> Result<Self, Error> {
        let data = TempDir::new().map_err(failed)?;
        let ports = free_ports(2 * MEMBERS)?;
        let (client_ports, peer_ports) = ports.split_at(MEMBERS);
        let cluster: Vec<String> = peer_ports
            .iter()
            .enumerate()
            .map(|(number, port)| format!("m{number}=http://127.0.0.1:{port}"))
            .collect();
        let mut etcd = Self {
            clients: Vec::new(),
            members: Vec::new(),
            _data: data,
        };
        for number in 0..MEMBERS {
            let child = etcd.member(
                number,
                client_ports[number],
                peer_ports[number],
                &cluster.join(","),
            )?;
            etcd.members.push(child);
        }
        let deadline = Instant::now() + READY_TIMEOUT;
        for port in client_ports {
            let client = connect(*port, deadline).await?;
            etcd.clients.push(client);
        }
        Ok(etcd)
    }

    fn member(&self, number: usize, client: u16, peer: u16, cluster: &str) -> Result<Child, Error> {
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        Command::new("etcd")
            .arg("--name")
            .arg(format!("m{number}"))
            .arg("--data-dir")
            .arg(self._data.path().join(format!("m{number}")))
            .args([
                "--listen-client-urls",
                &url(client),
                "--advertise-client-urls",
                &url(client),
            ])
            .args([
                "--listen-peer-urls",
                &url(peer),
                "--initial-advertise-peer-urls",
                &url(peer),
            ])
            .args([
                "--initial-cluster",
                cluster,
                "--initial-cluster-state",
                "new",
            ])
            // Not the default of 2 GiB: a long run must not end in its space quota.
            .args([
                "--quota-backend-bytes",
                "8589934592",
                "--log-level",
                "error",
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| {
                failed(format!(
                    "cannot start etcd ({error}): install Debian's etcd-server"
                ))
            })
    }
}

async fn connect(port: u16, deadline: Instant) -> Result<KvClient<Channel>, Error> {
    loop {
        let tried = async {
            let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{port}"))
                .map_err(|error| error.to_string())?;
            let channel = endpoint
                .tcp_nodelay(true)
                .connect()
                .await
                .map_err(|error| error.to_string())?;
            let mut kv = KvClient::new(channel);
            let request = RangeRequest {
                key: Bytes::from_static(b"ready"),
                serializable: false,
            };
            kv.range(request)
                .await
                .map_err(|status| status.to_string())?;
            Ok::<_, String>(kv)
        };
        match tried.await {
            Ok(kv) => return Ok(kv),
            Err(error) if Instant::now() >= deadline => return Err(failed(error)),
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// Ports that were free a moment ago.
fn free_ports(count: usize) -> Result<Vec<u16>, Error> {
    let listeners: Vec<_> = (0..count)
        .map(|_| TcpListener::bind("127.0.0.1:0"))
        .collect::<Result<_, _>>()
        .map_err(failed)?;
    listeners
        .iter()
        .map(|listener| Ok(listener.local_addr().map_err(failed)?.port()))
        .collect()
}

impl Drop for Etcd {
    fn drop(&mut self) {
        for member in &mut self.members {
            // It may have ended by itself.
            let _ = member.kill();
            let _ = member.wait();
        }
    }
}

impl Target for Etcd {
    fn name(&self) -> &'static str {
        "etcd"
    }

    fn put(&self, session: usize, key: Bytes, value: Bytes) -> BoxFuture<'_, Result<(), String>> {
        let mut client = self.clients[session % MEMBERS].clone();
        async move {
            client
                .put(PutRequest { key, value })
                .await
                .map(drop)
                .map_err(|status| status.to_string())
        }
        .boxed()
    }

    fn get(&self, session: usize, key: Bytes) -> BoxFuture<'_, Result<bool, String>> {
        let mut client = self.clients[session % MEMBERS].clone();
        async move {
            let request = RangeRequest {
                key,
                serializable: false,
            };
            let response = client
                .range(request)
                .await
                .map_err(|status| status.to_string())?;
            Ok(response.into_inner().count > 0)
        }
        .boxed()
    }
}
