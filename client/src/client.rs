//! The client of a cluster.
//!
//! *Next stop*: [`crate::raw`].

use crate::admin::AdminClient;
use crate::error::{Error, Result};
use crate::keyspace::Keyspace;
use crate::observer::Observed;
use crate::options::{Api, DEFAULT_KEYSPACE, Options};
use crate::raw::RawClient;
use crate::routing::Router;
use crate::routing::budget::{Budget, Effect};
use crate::routing::pd::{Answer, PdClient};
use crate::runtime::Runtime;
use crate::tso::{Timestamp, Tso};
use std::sync::Arc;
use yadkv_proto::{keyspacepb, pdpb};

/// A client of a cluster. Cheap to clone; all tasks of a process should share one.
///
/// ```no_run
/// # async fn example() -> Result<(), yadkv_client::Error> {
/// use yadkv_client::{Client, Options};
///
/// let client = Client::connect(["127.0.0.1:2379", "127.0.0.1:2381"], Options::default()).await?;
/// println!("cluster {}", client.cluster_id());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Client {
    raw: RawClient,
    admin: AdminClient,
    tso: Arc<Tso>,
    cluster_id: u64,
}

impl Client {
    /// Connects to the cluster that the placement drivers at `endpoints` (`host:port`) belong to, over gRPC.
    ///
    /// Must be called within a tokio runtime, which then carries the client's tasks. With [`Options::tls`] all connections are
    /// encrypted, and made only to servers that prove who they are.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), yadkv_client::Error> {
    /// use yadkv_client::{Client, Options};
    ///
    /// let client = Client::connect(["127.0.0.1:2379"], Options::default()).await?;
    /// let raw = client.raw();
    /// raw.put("greeting", "hello").await?;
    /// assert_eq!(raw.get("greeting").await?.as_deref(), Some(&b"hello"[..]));
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "grpc")]
    pub async fn connect(
        endpoints: impl IntoIterator<Item = impl Into<String>>,
        options: Options,
    ) -> Result<Self> {
        let tls = crate::grpc::tls(options.tls.as_ref()).map_err(Error::Options)?;
        let runtime = Arc::new(crate::grpc::GrpcRuntime::new(tls));
        Self::connect_with(runtime, endpoints, options).await
    }

    /// Connects over any [`Runtime`].
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), yadkv_client::Error> {
    /// use std::sync::Arc;
    /// use yadkv_client::grpc::{GrpcRuntime, Tls};
    /// use yadkv_client::{Client, Options};
    ///
    /// // What `Client::connect` does.
    /// let runtime = Arc::new(GrpcRuntime::new(Tls::off()));
    /// let client = Client::connect_with(runtime, ["127.0.0.1:2379"], Options::default()).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn connect_with(
        runtime: Arc<dyn Runtime>,
        endpoints: impl IntoIterator<Item = impl Into<String>>,
        options: Options,
    ) -> Result<Self> {
        let runtime = match &options.observer {
            Some(observer) => Arc::new(Observed::new(runtime, observer.clone())),
            None => runtime,
        };
        let endpoints: Vec<String> = endpoints.into_iter().map(Into::into).collect();
        let pd = Arc::new(PdClient::new(runtime.clone(), &endpoints));
        let mut budget = Budget::new(&runtime, &options, "connect", Effect::Read);
        pd.connect(&mut budget).await?;
        let keyspace = match &options.api {
            Api::V1 => Keyspace::V1,
            Api::V2 { keyspace } if keyspace == DEFAULT_KEYSPACE => Keyspace::v2(0),
            Api::V2 { keyspace } => load_keyspace(&pd, &mut budget, keyspace).await?,
        };
        let router = Router::new(runtime.clone(), pd.clone(), keyspace, options.clone());
        Ok(Self {
            raw: RawClient::new(Arc::new(router)),
            admin: AdminClient::new(runtime.clone(), pd.clone(), options.clone()),
            cluster_id: pd.cluster_id(),
            tso: Tso::new(runtime, pd, options),
        })
    }

    /// Raw key-value access in the key space of [`Options::api`].
    ///
    /// ```no_run
    /// # async fn example(client: yadkv_client::Client) -> Result<(), yadkv_client::Error> {
    /// client.raw().put("greeting", "hello").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn raw(&self) -> RawClient {
        self.raw.clone()
    }

    /// Look-ups about the cluster.
    ///
    /// ```no_run
    /// # async fn example(client: yadkv_client::Client) -> Result<(), yadkv_client::Error> {
    /// println!("{} stores", client.admin().stores(false).await?.len());
    /// # Ok(())
    /// # }
    /// ```
    pub fn admin(&self) -> AdminClient {
        self.admin.clone()
    }

    /// A timestamp above all that this cluster gave before the call. Many tasks share one question.
    ///
    /// ```no_run
    /// # async fn example(client: yadkv_client::Client) -> Result<(), yadkv_client::Error> {
    /// let (first, second) = (client.timestamp().await?, client.timestamp().await?);
    /// assert!(first < second);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn timestamp(&self) -> Result<Timestamp> {
        self.tso.timestamp().await
    }

    /// The id of the cluster; never 0.
    ///
    /// ```no_run
    /// # fn example(client: yadkv_client::Client) -> Result<(), yadkv_client::Error> {
    /// println!("cluster {}", client.cluster_id());
    /// # Ok(())
    /// # }
    /// ```
    pub fn cluster_id(&self) -> u64 {
        self.cluster_id
    }
}

async fn load_keyspace(pd: &PdClient, budget: &mut Budget, name: &str) -> Result<Keyspace> {
    let answer: Answer<keyspacepb::LoadKeyspaceResponse> = pd
        .call(budget, |header| {
            keyspacepb::LoadKeyspaceRequest {
                header,
                name: name.to_owned(),
                ..Default::default()
            }
            .into()
        })
        .await?;
    match answer {
        Ok(response) => {
            let id = response.keyspace.and_then(|meta| meta.keyspace);
            match id {
                Some(keyspacepb::keyspace_meta::Keyspace::Id(id)) if id < 1 << 24 => {
                    Ok(Keyspace::v2(id))
                }
                _ => Err(budget.refused(format!("keyspace {name:?} has no usable id"))),
            }
        }
        Err(error) if error.r#type() == pdpb::ErrorType::EntryNotFound => {
            Err(Error::UnknownKeyspace(name.to_owned()))
        }
        Err(error) => Err(budget.refused(error.message)),
    }
}
