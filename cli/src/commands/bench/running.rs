//! What is measured, started for it and stopped after it.
//!
//! *Limits and failure*: what is dropped before it was stopped is killed, and its temporary folder removed.
//!
//! *Next stop*: [`crate::server::playground`].

use crate::commands::Servers;
use crate::failure::{Context, Outcome};
use crate::server::playground::{Playground, PlaygroundArgs, store_config};
use clap::ValueEnum;
use std::sync::Arc;
use std::time::{Duration, Instant};
use yadkv_benches::Keys;
use yadkv_benches::targets::Target;
use yadkv_benches::targets::echo::{Streamed, Unary};
use yadkv_benches::targets::etcd::Etcd;
use yadkv_benches::targets::floor::{Floor, Shares};
use yadkv_benches::targets::redis::Redis;
use yadkv_benches::targets::tikv::Tikv;
use yadkv_benches::targets::yadkv::Yadkv;

/// How long clients of a load that was broken off may keep its target.
const LET_GO_MAX: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(10);

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
    Floor,
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
            TargetName::Floor => Arc::new(Floor::start(shares(cluster)?).context("benchmark")?),
        };
        Ok(Self { target, playground })
    }

    /// Stops what was started.
    pub(super) async fn stop(mut self) {
        if let Some(playground) = &mut self.playground {
            playground.stop().await;
        }
    }
}

impl Drop for Running {
    /// Waits until this is the last that has the target: clients are tasks of their own, which end soon after they are told
    /// to, and whoever has it last kills its servers.
    fn drop(&mut self) {
        let deadline = Instant::now() + LET_GO_MAX;
        while Arc::strong_count(&self.target) > 1 && Instant::now() < deadline {
            std::thread::sleep(POLL);
        }
    }
}

/// What engines have in a store of the cluster, or of a playground if that is unknown.
fn shares(cluster: &Cluster<'_>) -> Outcome<Shares> {
    let config = match cluster {
        Cluster::Playground { set, .. } => store_config(set)?,
        Cluster::Running(_) => store_config(&[])?,
    };
    Ok(Shares {
        cache_bytes: config.cache_bytes(),
        memtable_bytes: config.data_memtable_bytes(),
        segment_bytes: config.log_segment_bytes(),
        kept_bytes: config.log_kept_bytes(),
        background_rate: config.store.background_rate.as_u64(),
    })
}

/// The setting that divides the keys of the load, of so many records, evenly in keyspace DEFAULT.
pub(super) fn borders(regions: u32, keys: Keys, records: u64) -> String {
    let border = |number: u32| {
        let digits = digits(number, regions, keys, records);
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

/// Where in a key's hexadecimal digits a region begins: keys that are scattered differ in the first, those that rise from
/// zero on in the last.
fn digits(number: u32, regions: u32, keys: Keys, records: u64) -> String {
    match keys {
        Keys::Sequential => {
            let before = u128::from(number) * u128::from(records) / u128::from(regions);
            format!("{before:016x}")
        }
        _ => format!("{:04x}", number * 0x1_0000 / regions),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_floor_has_what_the_stores_would_have() {
        let of = |set: &[&str]| {
            let set: Vec<_> = set.iter().map(ToString::to_string).collect();
            let cluster = Cluster::Playground {
                set: &set,
                tls: false,
            };
            shares(&cluster).map_err(|failure| failure.to_string())
        };
        let rate = "store.background_rate=32MiB";
        let small = of(&[rate]).expect("a playground's");
        assert_eq!(
            (small.cache_bytes, small.memtable_bytes),
            (48 << 20, 96 << 20)
        );
        assert_eq!(
            (small.segment_bytes, small.kept_bytes),
            (8 << 20, 256 << 20)
        );
        assert_eq!(small.background_rate, 32 << 20);
        let large = of(&["store.memory=1GiB"]).expect("a larger one's");
        assert_eq!(large.memtable_bytes, 4 * small.memtable_bytes);
        for refused in ["store.memory=much", "store.memory=1MiB"] {
            let reason = of(&[refused]).expect_err("no store starts with it");
            assert!(reason.contains("memory"), "{reason}");
        }
    }

    fn all(keys: Keys, records: u64) -> [String; 3] {
        [1, 2, 3].map(|number| digits(number, 4, keys, records))
    }

    #[test]
    fn regions_get_the_same_share_of_the_keys() {
        assert_eq!(all(Keys::Uniform, 10), ["4000", "8000", "c000"]);
        assert_eq!(
            all(Keys::Sequential, 100),
            ["0000000000000019", "0000000000000032", "000000000000004b"]
        );
        assert_eq!(
            all(Keys::Sequential, u64::MAX),
            ["3fffffffffffffff", "7fffffffffffffff", "bfffffffffffffff"]
        );
    }

    #[test]
    fn regions_have_one_border_less() {
        assert_eq!(borders(1, Keys::Uniform, 1), "bootstrap.borders=[]");
        let two = borders(2, Keys::Uniform, 1);
        let expected = "7200000075736572ff3830303000000000fb";
        assert_eq!(two, format!("bootstrap.borders=[\"hex:{expected}\"]"));
    }
}
