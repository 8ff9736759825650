//! Which settings may change while the store runs.
//!
//! *Place*: [`crate::node`] keeps [`Settings`]; the status port shows and changes them; workers, disk watch, heartbeats and
//! snapshots watch them.
//!
//! *Life of a change*: validated as at the start → what watches sees it: workers at their next tick, as an input
//! (`yadkv_storage_core`'s `Input::Configure`), the others when they look next.
//!
//! *Next stop*: `yadkv_storage_core::store`.

use crate::config::Config;
use futures::future::BoxFuture;
use std::sync::Arc;
use yadkv_settings::changeable;
use yadkv_settings::live::{Changeable, Live, Refusal};
use yadkv_settings::near::Near;

/// The settings in force.
pub type Settings = Arc<Live<Config>>;

/// All that may. The others are for the next start:
///
/// - addresses, `store.data_dir`, `store.pd`: others know the store by them, and the old ones are in use;
/// - `store.memory`: cache, memtables, entry cache and queues are made with their shares of it at the start, and only some of
///   them could be made anew; half a change would no longer be the sum that was asked for;
/// - `store.workers`, `store.read_threads`, `store.inbox`: regions belong to workers by their number, inboxes are made once;
/// - `store.batch_threads`: threads are put under the policy once;
/// - `region.entry_size`: replicas drop larger entries, so all must have taken a larger one before any leader uses it;
/// - `region.tick`: leases and elections of all stores are in proportion to it;
/// - `store.open_pages`: who may change settings is not for him to say.
pub static CHANGEABLE: &[Changeable<Config>] = changeable![
    region.check_interval,
    region.heartbeat_interval,
    region.lag_entries,
    region.lag_size,
    region.log_entries,
    region.log_size,
    region.pack_size,
    region.park_time,
    region.parked_max,
    region.queue_size,
    region.split_keys,
    region.split_size,
    store.heartbeat_interval,
    store.log_size,
    store.snapshot_rate,
    store.snapshots,
];

/// The settings of a store that starts.
pub fn settings(config: &Config) -> Settings {
    let validate = |config: &Config| config.validate().map_err(|error| error.to_string());
    let tell = Box::new(|_: Config| -> BoxFuture<'static, Result<(), Refusal>> {
        // Whoever goes by them watches.
        Box::pin(async { Ok(()) })
    });
    Arc::new(Live::new(config.clone(), CHANGEABLE, validate, tell))
}

/// Who may change them.
pub fn near(config: &Config) -> Near {
    Near {
        open: config.store.open_pages,
        setting: "store.open_pages",
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use yadkv_settings::written::Written;

    async fn change(settings: &Settings, wanted: &[&str]) -> Result<(), String> {
        let written = wanted.iter().map(|text| Written::parse(text).unwrap());
        let written: Vec<_> = written.collect();
        let changed = settings.change(&written).await;
        changed.map_err(|refusal| refusal.to_string())
    }

    #[tokio::test]
    async fn a_change_is_judged_as_the_start_would() {
        let settings = settings(&Config::default());
        let watch = settings.watch();
        let before = watch.borrow().core();
        for (wanted, reason) in [
            (
                &["region.split_size=1KiB"][..],
                "region.split_size = 1024 is not allowed: use 16KiB to 64GiB",
            ),
            (
                &["region.split_size=1MiB", "region.lag_size=1MiB"],
                "region.lag_size = 1048576 is not allowed: use at least region.log_size",
            ),
            (
                &["region.tick=90ms"],
                "region.tick = 90ms cannot be set while the server runs",
            ),
            (
                &["store.memory=2GiB"],
                "store.memory = 2GiB cannot be set while the server runs",
            ),
            (&["store.snapshots=0"], "store.snapshots = 0 is not allowed"),
            (
                &["region.park_time=long"],
                "region.park_time = long is not allowed",
            ),
        ] {
            let refusal = change(&settings, wanted).await.unwrap_err();
            assert!(refusal.starts_with(reason), "{refusal}");
            assert_eq!(watch.borrow().core(), before, "{wanted:?}");
        }
        change(
            &settings,
            &["region.split_size=1MiB", "region.split_keys=16"],
        )
        .await
        .unwrap();
        assert_eq!(watch.borrow().core().split_bytes, 1 << 20);
    }

    /// The core takes each of them, or somebody here watches it: else it would be shown as in force and change nothing.
    #[tokio::test]
    async fn nobody_forgets_a_setting() {
        let watched = [
            "store.heartbeat_interval",
            "store.snapshot_rate",
            "store.snapshots",
        ];
        for setting in CHANGEABLE.iter().filter(|one| !watched.contains(&one.name)) {
            let mut core = Config::default().core();
            let mut other = Config::default();
            let rows = yadkv_settings::live::named(&other).unwrap();
            let (_, value) = rows.iter().find(|(name, _)| name == setting.name).unwrap();
            let wanted = match value.as_str() {
                Some(text) if text.ends_with("iB") => "48MiB".to_owned(),
                Some(_) => "11s".into(),
                None => "1234".into(),
            };
            let mut table = toml::Table::new();
            let written = Written::parse(&format!("{}={wanted}", setting.name)).unwrap();
            written.put(&mut table).unwrap();
            (setting.take)(&mut other, &table.try_into().unwrap());
            assert!(core.take_changeable(&other.core()), "{}", setting.name);
        }
    }
}
