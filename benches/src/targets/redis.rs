//! One Redis server with its log synced before every answer (`appendfsync always`): durable, not replicated.
//!
//! *Place*: needs Debian's `redis-server`; data goes into a temporary folder.
//!
//! *Invariants*: batches are MSET and MGET; there are no scans in the order of keys.
//!
//! *Source*: redis.io, "Redis persistence".
//!
//! *Next stop*: [`super::tikv`].

use super::process::{Process, failed, free_ports};
use super::{Answer, Found, Target};
use crate::Error;
use crate::workload::{Request, Workload};
use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use redis::aio::MultiplexedConnection;
use redis::{AsyncCommands, Client, RedisResult};
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const NAME: &str = "redis";
const PROGRAM: &str = "redis-server";
/// Clients share these connections, and their pipelines.
const CONNECTIONS: usize = 4;
const READY_TIMEOUT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(50);

/// A running server and its connections.
pub struct Redis {
    connections: Vec<MultiplexedConnection>,
    server: Process,
    _data: TempDir,
}

impl Redis {
    /// Starts it and waits until it answers.
    pub async fn start() -> Result<Self, Error> {
        let data = TempDir::new().map_err(|error| failed(NAME, error))?;
        let ports = free_ports(1).map_err(|error| failed(NAME, error))?;
        let port = ports[0].to_string();
        let mut command = Command::new(PROGRAM);
        command.args(["--port", &port, "--bind", "127.0.0.1", "--save", ""]);
        command.args(["--appendonly", "yes", "--appendfsync", "always"]);
        command.arg("--dir").arg(data.path());
        let server = Process::start(&mut command, PROGRAM)?;
        let client = Client::open(format!("redis://127.0.0.1:{port}/"));
        let client = client.map_err(|error| failed(NAME, error))?;
        let deadline = Instant::now() + READY_TIMEOUT;
        let mut connections = Vec::new();
        while connections.len() < CONNECTIONS {
            match client.get_multiplexed_async_connection().await {
                Ok(connection) => connections.push(connection),
                Err(error) if Instant::now() >= deadline => return Err(failed(NAME, error)),
                Err(_) => tokio::time::sleep(POLL).await,
            }
        }
        Ok(Self {
            connections,
            server,
            _data: data,
        })
    }
}

async fn ask(mut redis: MultiplexedConnection, request: Request) -> RedisResult<Found> {
    let set = |(key, value): (Bytes, Bytes)| (Vec::from(key), Vec::from(value));
    match request {
        Request::Put(key, value) => redis.set::<_, _, ()>(&key[..], &value[..]).await?,
        Request::Get(key) => {
            let value: Option<Vec<u8>> = redis.get(&key[..]).await?;
            return Ok(Found::values(value));
        }
        Request::BatchPut(records) => {
            let records: Vec<_> = records.into_iter().map(set).collect();
            redis.mset::<_, _, ()>(&records).await?;
        }
        Request::BatchGet(keys) => {
            let keys: Vec<&[u8]> = keys.iter().map(|key| &key[..]).collect();
            let values: Vec<Option<Vec<u8>>> = redis.mget(keys).await?;
            return Ok(Found::values(values.into_iter().flatten()));
        }
        Request::Modify(key, value) => {
            let old: Option<Vec<u8>> = redis.get(&key[..]).await?;
            redis.set::<_, _, ()>(&key[..], &value[..]).await?;
            return Ok(Found::values(old));
        }
        Request::Scan { .. } => {}
    }
    Ok(Found::NOTHING)
}

impl Target for Redis {
    fn name(&self) -> &'static str {
        NAME
    }

    fn serves(&self, workload: Workload) -> bool {
        !workload.scans()
    }

    fn call(&self, session: usize, request: Request) -> BoxFuture<'_, Answer> {
        let redis = self.connections[session % CONNECTIONS].clone();
        async move {
            let answer = ask(redis, request).await;
            answer.map_err(|error| error.category().to_owned())
        }
        .boxed()
    }

    fn processes(&self) -> Vec<u32> {
        vec![self.server.id()]
    }
}
