//! Members of a placement driver in this process, on ports chosen by the operating system.
#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used)]

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::transport::Channel;
use yadkv_placement_driver::{Config, NodeError, run};
use yadkv_proto::metapb::Store;
use yadkv_proto::pdpb::pd_client::PdClient;
use yadkv_proto::pdpb::*;

/// How long tests wait for what must come.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub struct Server {
    pub address: SocketAddr,
    pub config: Config,
    stop: CancellationToken,
    task: Option<JoinHandle<Result<(), NodeError>>>,
}

impl Server {
    /// Starts a member on a bound listener.
    pub fn start(config: Config, listener: TcpListener) -> Self {
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let task = tokio::spawn(run(
            config.clone(),
            listener,
            axum::Router::new(),
            (CancellationToken::new(), stop.clone()),
        ));
        Self {
            address,
            config,
            stop,
            task: Some(task),
        }
    }

    /// Stops the member; what its `run` returned.
    pub async fn stop(&mut self) -> Result<(), NodeError> {
        self.stop.cancel();
        self.task.take().unwrap().await.unwrap()
    }

    /// Waits until the member stops on its own.
    pub async fn stop_by_itself(mut self) -> Result<(), NodeError> {
        let task = self.task.take().unwrap();
        tokio::time::timeout(PATIENCE, task)
            .await
            .expect("it stops in time")
            .unwrap()
    }

    /// Starts it again on the same port and directory.
    pub async fn restart(&mut self) {
        let listener = bind(self.address).await;
        *self = Self::start(self.config.clone(), listener);
    }

    pub fn is_stopped(&self) -> bool {
        self.task.is_none()
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub async fn pd(&self) -> PdClient<Channel> {
        connect(&self.url()).await
    }
}

pub async fn bind(address: SocketAddr) -> TcpListener {
    let start = Instant::now();
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => return listener,
            Err(error) => assert!(start.elapsed() < PATIENCE, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

pub async fn connect(url: &str) -> PdClient<Channel> {
    let start = Instant::now();
    loop {
        match PdClient::connect(url.to_owned()).await {
            Ok(client) => return client,
            Err(error) => assert!(start.elapsed() < PATIENCE, "{url}: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Asks until the answer is there: what is asked for takes a moment to come true.
pub async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut ask: impl FnMut() -> F) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = ask().await {
            return found;
        }
        assert!(
            start.elapsed() < PATIENCE,
            "{what} did not come true in time"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub struct Cluster {
    pub servers: Vec<Server>,
    pub directory: TempDir,
}

impl Cluster {
    pub async fn start(members: usize, change: impl Fn(&mut Config)) -> Self {
        let directory = TempDir::new().unwrap();
        let mut listeners = Vec::new();
        for _ in 0..members {
            listeners.push(bind(SocketAddr::from(([127, 0, 0, 1], 0))).await);
        }
        let addresses: Vec<_> = listeners
            .iter()
            .map(|listener| listener.local_addr().unwrap().to_string())
            .collect();
        let mut servers = Vec::new();
        for (listener, address) in listeners.into_iter().zip(&addresses) {
            let mut config = config(address, &addresses, directory.path());
            change(&mut config);
            servers.push(Server::start(config, listener));
        }
        Self { servers, directory }
    }

    /// The members' common view: cluster id and the index of the leader's server.
    pub async fn leader(&self) -> (u64, usize) {
        until("a leader", || async {
            let server = self.servers.iter().find(|server| !server.is_stopped())?;
            let answer = server
                .pd()
                .await
                .get_members(GetMembersRequest::default())
                .await
                .ok()?
                .into_inner();
            let urls = answer.leader?.client_urls;
            let at = self
                .servers
                .iter()
                .position(|server| urls[0] == server.url())?;
            let id = answer.header?.cluster_id;
            (!self.servers[at].is_stopped()).then_some((id, at))
        })
        .await
    }

    /// Registers stores as storage nodes do; their ids.
    pub async fn join(
        &self,
        pd: &mut PdClient<Channel>,
        cluster_id: u64,
        count: usize,
    ) -> Vec<u64> {
        let mut ids = Vec::new();
        for at in 0..count {
            let request = AllocIdRequest {
                header: header(cluster_id),
                count: 1,
            };
            let id = pd.alloc_id(request).await.unwrap().into_inner().id;
            put_store(pd, cluster_id, id, &format!("127.0.0.1:{}", 20160 + at))
                .await
                .unwrap();
            ids.push(id);
        }
        ids
    }
}

pub fn config(address: &str, members: &[String], directory: &Path) -> Config {
    let mut config = Config::default();
    config.pd.addr = address.into();
    config.pd.members = members.to_vec();
    config.pd.data_dir = directory.join(address.replace(':', "-"));
    config
}

pub fn header(cluster_id: u64) -> Option<RequestHeader> {
    Some(RequestHeader {
        cluster_id,
        ..RequestHeader::default()
    })
}

pub async fn put_store(
    pd: &mut PdClient<Channel>,
    cluster_id: u64,
    id: u64,
    address: &str,
) -> Result<PutStoreResponse, Status> {
    let store = Some(Store {
        id,
        address: address.into(),
        ..Store::default()
    });
    let request = PutStoreRequest {
        header: header(cluster_id),
        store,
    };
    pd.put_store(request).await.map(tonic::Response::into_inner)
}

/// One GET of plain HTTP/1.1; status code and body.
pub async fn http(address: SocketAddr, path: &str) -> (u16, String) {
    http_with(address, "GET", path, b"").await
}

/// One request of plain HTTP/1.1; status code and body.
pub async fn http_with(
    address: SocketAddr,
    method: &str,
    path: &str,
    body: &[u8],
) -> (u16, String) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: pd\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    // Whoever refuses a body may close before it has come.
    let _ = stream.write_all(body).await;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let code = answer.split(' ').nth(1).unwrap().parse().unwrap();
    let body = answer.split_once("\r\n\r\n").unwrap().1.to_owned();
    (code, body)
}
