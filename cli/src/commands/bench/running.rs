//! What is measured, started for it and stopped after it.
//!
//! *Next stop*: [`crate::server::playground`].

use crate::commands::Servers;
use crate::failure::{Context, Outcome};
use crate::server::playground::{Playground, PlaygroundArgs};
use clap::ValueEnum;
use std::sync::Arc;
use yadkv_benches::Keys;
use yadkv_benches::targets::Target;
use yadkv_benches::targets::echo::{Streamed, Unary};
use yadkv_benches::targets::etcd::Etcd;
use yadkv_benches::targets::floor::Floor;
use yadkv_benches::targets::redis::Redis;
use yadkv_benches::targets::tikv::Tikv;
use yadkv_benches::targets::yadkv::Yadkv;

/// Targets by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum TargetName {
    /// A cluster, through the SDK.
    Yadkv,
    /// A cluster, through the published client.
    TikvClient,
    /// The published client against a store that does nothing.
    TikvClientNull,
    /// Three members of etcd.
    Etcd,
    /// One Redis whose log is synced; not replicated.
    Redis,
    /// An echo service, one call a message.
    Echo,
    /// An echo service, frames over one stream.
    EchoStream,
    /// What three replicas have to write, without anything else.
    Rocksdb,
}

/// The cluster that is measured.
pub(super) enum Cluster<'a> {
    /// One that is there.
    Running(Servers),
    /// A playground with settings, encrypted or not.
    Playground { set: &'a [String], tls: bool },
}

/// A target and what keeps it running.
pub(super) struct Running {
    pub(super) target: Arc<dyn Target>,
    playground: Option<Playground>,
}

impl Running {
    /// Starts a target; `value_bytes` is what an echo of a read carries back.
    pub(super) async fn start(
        name: TargetName,
        cluster: &Cluster<'_>,
        value_bytes: usize,
    ) -> Outcome<Self> {
        let wanted = matches!(name, TargetName::Yadkv | TargetName::TikvClient);
        let playground = match cluster {
            Cluster::Playground { set, tls } if wanted => Some(start_playground(set, *tls).await?),
            _ => None,
        };
        let servers = playground.as_ref().map(Playground::processes);
        let servers = servers.unwrap_or_default();
        let pd = match (&playground, cluster) {
            (Some(playground), _) => Some(playground.pd.clone()),
            (None, Cluster::Running(servers)) => Some(servers.clone()),
            (None, Cluster::Playground { .. }) => None,
        };
        let (pd, tls) = pd.map_or_else(Default::default, |pd| (pd.addresses, pd.files));
        let target: Arc<dyn Target> = match name {
            TargetName::Yadkv => Arc::new(
                Yadkv::connect(&pd, servers, tls)
                    .await
                    .context("benchmark")?,
            ),
            TargetName::TikvClient => Arc::new(
                Tikv::connect(&pd, servers, tls)
                    .await
                    .context("benchmark")?,
            ),
            TargetName::TikvClientNull => Arc::new(Tikv::null().await.context("benchmark")?),
            TargetName::Etcd => Arc::new(Etcd::start().await.context("benchmark")?),
            TargetName::Redis => Arc::new(Redis::start().await.context("benchmark")?),
            TargetName::Echo => Arc::new(Unary::start(value_bytes).await.context("benchmark")?),
            TargetName::EchoStream => {
                Arc::new(Streamed::start(value_bytes).await.context("benchmark")?)
            }
            TargetName::Rocksdb => Arc::new(Floor::start().context("benchmark")?),
        };
        Ok(Self { target, playground })
    }

    /// Stops what was started.
    pub(super) async fn stop(self) {
        if let Some(mut playground) = self.playground {
            playground.stop().await;
        }
    }
}

/// The setting that divides the keys of the load, in keyspace DEFAULT, evenly by their first hexadecimal digits: those
/// that differ are the first, unless keys rise from zero on.
pub(super) fn borders(regions: u32, keys: Keys) -> String {
    let border = |number: u32| {
        let digits = match keys {
            Keys::Sequential => format!("{:016x}", u64::from(number) << 12),
            _ => format!("{:04x}", number * 0x1_0000 / regions),
        };
        let key = [&b"r\0\0\0user"[..], digits.as_bytes()].concat();
        let hex: String = yadkv_proto::codec::encode(&key)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        format!("\"hex:{hex}\"")
    };
    let borders: Vec<_> = (1..regions).map(border).collect();
    format!("bootstrap.borders=[{}]", borders.join(","))
}

async fn start_playground(set: &[String], tls: bool) -> Outcome<Playground> {
    let args = PlaygroundArgs {
        pd: 3,
        stores: 3,
        data_dir: None,
        port_base: Some(0),
        tls,
        set: set.to_vec(),
    };
    let mut playground = Playground::start(&args)?;
    playground.wait_until_ready().await?;
    Ok(playground)
}
