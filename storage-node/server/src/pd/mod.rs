//! The store's side of its conversation with the placement driver.
//!
//! *Place*: [`crate::node`] starts [`register`], [`heartbeat`] and [`regions`]; the transport asks [`Pd`] for
//! addresses.
//!
//! *Life of a store*: allocate an id (new directory only) → PutStore → wait until the cluster is bootstrapped
//! → create the first regions that are assigned to it (once) → heartbeats until it stops.
//!
//! *Invariants*: nothing here is on the way of a read or write; without placement driver the data plane goes
//! on.
//!
//! *Limits and failure*: one member is asked after the other, each for at most [`CALL_TIMEOUT`]; followers
//! forward to their leader.
//!
//! *Next stop*: [`register`].

pub mod heartbeat;
pub mod regions;
pub mod register;
pub mod splits;

use crate::transport::Resolver;
use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tonic::transport::Channel;
use tonic::{Code, Response, Status};
use yadkv_proto::id::{ClusterId, StoreId};
use yadkv_proto::pdpb::pd_client::PdClient;
use yadkv_proto::pdpb::{self, GetMembersResponse, GetStoreRequest, RequestHeader};
use yadkv_tls::Tls;

/// Longest wait for one member.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(3);
/// A member that does not answer a ping this long is given up.
const KEEP_ALIVE: Duration = Duration::from_secs(2);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// All members of the placement driver that were named.
pub struct Pd {
    members: Vec<PdClient<Channel>>,
    tls: Tls,
    last_good: AtomicUsize,
}

/// Connects (lazily) to one member.
fn member(address: &str, tls: &Tls) -> Result<PdClient<Channel>, tonic::transport::Error> {
    let endpoint = tls
        .endpoint(address)?
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .keep_alive_while_idle(true)
        .tcp_nodelay(true);
    let channel = endpoint.connect_with_connector_lazy(tls.connector());
    Ok(PdClient::new(channel))
}

/// A request header.
pub fn header(cluster: ClusterId, store: StoreId) -> Option<RequestHeader> {
    Some(RequestHeader {
        cluster_id: cluster.0,
        sender_id: store.0,
        ..Default::default()
    })
}

/// The error inside a response header, as a status.
pub fn checked<T>(header: Option<&pdpb::ResponseHeader>, response: T) -> Result<T, Status> {
    match header.and_then(|header| header.error.as_ref()) {
        None => Ok(response),
        Some(error) => Err(Status::failed_precondition(error.message.clone())),
    }
}

impl Pd {
    /// A client of these members, `host:port` each.
    pub fn new(addresses: &[String], tls: Tls) -> Result<Self, tonic::transport::Error> {
        let members = addresses
            .iter()
            .map(|address| member(address, &tls))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            members,
            tls,
            last_good: AtomicUsize::new(0),
        })
    }

    /// Asks one member after the other until one answers; the last error if none does. An answer that says
    /// what is wrong with the request counts.
    pub async fn ask<T, F, Fut>(&self, call: F) -> Result<T, Status>
    where
        F: Fn(PdClient<Channel>) -> Fut,
        Fut: Future<Output = Result<Response<T>, Status>>,
    {
        let first = self.last_good.load(Ordering::Relaxed);
        let mut last = Status::unavailable("no placement driver is configured");
        for offset in 0..self.members.len() {
            let number = (first + offset) % self.members.len();
            match tokio::time::timeout(CALL_TIMEOUT, call(self.members[number].clone())).await {
                Ok(Ok(response)) => {
                    self.last_good.store(number, Ordering::Relaxed);
                    return Ok(response.into_inner());
                }
                Ok(Err(status))
                    if matches!(
                        status.code(),
                        Code::FailedPrecondition | Code::InvalidArgument
                    ) =>
                {
                    return Err(status);
                }
                Ok(Err(status)) => last = status,
                Err(_) => {
                    last = Status::deadline_exceeded("the placement driver did not answer in time")
                }
            }
        }
        Err(last)
    }

    /// Connects (lazily) to the member at `url`.
    pub fn member(&self, url: &str) -> Result<PdClient<Channel>, tonic::transport::Error> {
        member(url, &self.tls)
    }

    /// Who the members are.
    pub async fn members(&self) -> Result<GetMembersResponse, Status> {
        self.ask(|mut pd| async move { pd.get_members(pdpb::GetMembersRequest::default()).await })
            .await
    }
}

/// Addresses of stores, as the placement driver knows them.
pub struct StoreAddresses {
    /// Whom to ask.
    pub pd: std::sync::Arc<Pd>,
    /// Our cluster.
    pub cluster: ClusterId,
    /// This store.
    pub store: StoreId,
    /// Last answers: without placement driver, stores still find each other where they were.
    pub known: Mutex<BTreeMap<StoreId, String>>,
}

impl Resolver for StoreAddresses {
    fn resolve(&self, store: StoreId) -> BoxFuture<'_, Option<String>> {
        async move {
            let request = GetStoreRequest {
                header: header(self.cluster, self.store),
                store_id: store.0,
            };
            let ask = |mut pd: PdClient<Channel>| {
                let request = request.clone();
                async move { pd.get_store(request).await }
            };
            match self.pd.ask(ask).await {
                Ok(response) => {
                    let address = response.store?.address;
                    self.known.lock().insert(store, address.clone());
                    Some(address)
                }
                Err(_) => self.known.lock().get(&store).cloned(),
            }
        }
        .boxed()
    }
}
