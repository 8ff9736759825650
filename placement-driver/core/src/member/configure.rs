//! Other settings while the member runs.
//!
//! *Life of a change*: checked together with what stays → in force: they are read when they are needed → who leads looks at
//! the cluster with them at its next tick, however long it was to wait by the old ones.
//!
//! *Invariants*: all of it, or nothing; no entry depends on it.
//!
//! *Limits*: the log is counted in stretches that were chosen by the old settings; while those are in it, one more of them
//! may stay than the new ones ask for.
//!
//! *Scenario*: `tests/scenarios/configure`.
//!
//! *Next stop*: [`crate::config`].

use super::Member;
use crate::config::{Changeable, Config, ConfigError};
use yadkv_proto::time::Now;

impl Member {
    /// Goes on with other settings, or says what is wrong with them.
    pub(super) fn configure(&mut self, wanted: Changeable, now: Now) -> Result<(), ConfigError> {
        let config = Config {
            schedule: wanted.schedule,
            log: wanted.log,
            ..self.config.clone()
        };
        config.validate()?;
        self.config = config;
        self.schedule_soon(now);
        Ok(())
    }
}
