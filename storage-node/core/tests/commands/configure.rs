//! Other settings for stores that run.

use crate::{Failure, Script, take};
use goldenscript::ArgumentConsumer;
use std::time::Duration;
use yadkv_storage_core::store::message::Input;

impl Script {
    /// Tells every store, as if somebody had set them online; all others are as at the start. A store that is started anew
    /// has those of the start.
    pub(crate) fn configure(&mut self, args: &mut ArgumentConsumer<'_>) -> Result<(), Failure> {
        let mut wanted = self.config.clone();
        let seconds = |time: Option<u64>| time.map(Duration::from_secs);
        macro_rules! set {
            ($($name:ident),*) => { $(
                if let Some(value) = take(args, stringify!($name))? {
                    wanted.$name = value;
                }
            )* };
        }
        set!(
            split_keys,
            log_entries,
            lag_entries,
            parked_max,
            entry_bytes_max
        );
        if let Some(interval) = seconds(take(args, "region_heartbeat")?) {
            wanted.region_heartbeat = interval;
        }
        if let Some(interval) = seconds(take(args, "check_interval")?) {
            wanted.check_interval = interval;
        }
        if let Some(time) = seconds(take(args, "park")?) {
            wanted.park = time;
        }
        wanted.validate()?;
        let ids: Vec<u64> = self.cluster.stores.keys().copied().collect();
        for id in ids {
            self.cluster
                .input(id, Input::Configure(Box::new(wanted.clone())));
        }
        Ok(())
    }
}
