//! Which settings may change while the member runs.
//!
//! *Place*: [`crate::node`] makes [`Settings`]; [`crate::http`] shows and changes them.
//!
//! *Life of a change*: validated as at the start → an input of the member, like anything else that happens to it → in force,
//! and shown.
//!
//! *Limits and failure*: a member whose inbox is full takes no settings: 503, and nothing has changed.
//!
//! *Next stop*: `yadkv_placement_core`'s `member::configure`.

use crate::config::Config;
use crate::driver::Handle;
use futures::future::BoxFuture;
use std::sync::Arc;
use yadkv_placement_core::Refusal as MemberRefusal;
use yadkv_settings::changeable;
use yadkv_settings::live::{Changeable, Live, Refusal};
use yadkv_settings::near::Near;

/// The settings in force.
pub type Settings = Arc<Live<Config>>;

/// All that may: whatever only this member's own decisions go by. The others are for the next start:
///
/// - `pd.addr`, `pd.advertise_addr`, `pd.data_dir`: others know the member by them, and the old ones are in use;
/// - `pd.members`: the same on every member, and what the cluster was formed by;
/// - `pd.memory`: the engine is opened with it;
/// - `pd.open_pages`: who may change settings is not for him to say;
/// - `bootstrap.*`: the first regions are written once.
pub static CHANGEABLE: &[Changeable<Config>] = changeable![
    log.chunk_bytes,
    log.keep_bytes,
    log.keep_entries,
    schedule.balance_leaders,
    schedule.check_replicas,
    schedule.interval,
    schedule.operator_timeout,
    schedule.operators_per_store_max,
    schedule.replicas,
    schedule.snapshots_per_store_max,
    schedule.store_dead_time,
    schedule.store_disconnect_time,
];

/// What the page of a member that starts goes by.
pub fn page(config: &Config, member: &Handle) -> (Settings, Near) {
    (settings(config, member.clone()), near(config))
}

/// The settings of a member that starts.
fn settings(config: &Config, member: Handle) -> Settings {
    let validate = |config: &Config| config.validate().map_err(|error| error.to_string());
    let tell = move |config: Config| -> BoxFuture<'static, Result<(), Refusal>> {
        let member = member.clone();
        Box::pin(async move {
            let taken = member.configure(config.changeable()).await;
            taken.map_err(|refusal| match refusal {
                MemberRefusal::Invalid(reason) => Refusal::Range(reason),
                refusal => Refusal::Busy(refusal.to_string()),
            })
        })
    };
    let tell = Box::new(tell);
    Arc::new(Live::new(config.clone(), CHANGEABLE, validate, tell))
}

/// Who may change them.
pub fn near(config: &Config) -> Near {
    Near {
        open: config.pd.open_pages,
        setting: "pd.open_pages",
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use yadkv_settings::live;
    use yadkv_settings::written::Written;

    /// The core takes each of them: else it would be shown as in force and change nothing.
    #[test]
    fn nobody_forgets_a_setting() {
        let rows = live::named(&Config::default()).unwrap();
        for setting in CHANGEABLE {
            let (_, value) = rows.iter().find(|(name, _)| name == setting.name).unwrap();
            let wanted = match (value.as_str(), value.as_bool()) {
                (Some(text), _) if text.ends_with("iB") => "48KiB",
                (Some(_), _) => "11m",
                (_, Some(true)) => "false",
                _ => "5",
            };
            let mut table = toml::Table::new();
            let written = Written::parse(&format!("{}={wanted}", setting.name)).unwrap();
            written.put(&mut table).unwrap();
            let mut other = Config::default();
            (setting.take)(&mut other, &table.try_into().unwrap());
            let unchanged = Config::default().changeable();
            assert_ne!(other.changeable(), unchanged, "{}", setting.name);
        }
    }
}
