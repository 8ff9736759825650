//! Looks for damaged data files every second, and takes away those that nobody needs.
//!
//! *Place*: the same as `storage-node/server/src/damage.rs`, and the end of a turn of `threads/moves.rs`.
//!
//! *Limits*: damage in the store's own records would stop the node; no fault damages those.
//!
//! *Next stop*: `yadkv_storage_core::damage`.

use super::StoreHost;
use crate::sky::{Shared, Sky, StoreEvent};
use std::time::Duration;
use yadkv_engine::Engine;
use yadkv_storage_core::damage::{self, Damage};
use yadkv_storage_core::store::message::Input;

/// Time between two looks, and at most between two sweeps.
const INTERVAL: Duration = Duration::from_secs(1);

impl StoreHost {
    /// Looking and sweeping begin, at moments that have nothing to do with each other.
    pub(super) fn watch_damage(&self, sky: &mut Sky) {
        let first = sky.places.machine(self.machine()).millis(0, 1000);
        self.later(sky, first, StoreEvent::LookForDamage);
        self.later(sky, INTERVAL, StoreEvent::Sweep);
    }

    /// Tells the workers which regions may have damaged data here.
    pub(super) fn look_for_damage(&mut self, sky: &Shared) {
        self.later(&mut sky.lock(), INTERVAL, StoreEvent::LookForDamage);
        let looked = damage::look(&self.kv);
        let Some(running) = self.running() else {
            return;
        };
        let found = match looked {
            Ok(found) => found,
            Err(error) => return sky.lock().violated(format!("a look for damage: {error}")),
        };
        let last = std::mem::replace(&mut running.damage, found.clone());
        if !found.files.is_empty() || found != last {
            self.note_damage(sky, &found, &last);
            self.broadcast(sky, || Input::Damaged(found.regions.clone()));
        }
    }

    fn note_damage(&self, sky: &Shared, found: &Damage, last: &Damage) {
        if found != last {
            let (machine, files) = (self.machine(), found.files.len());
            let mut sky = sky.lock();
            crate::note!(
                sky,
                "{machine}: {files} damaged files, regions {:?}",
                found.regions
            );
        }
    }

    pub(super) fn sweep_again(&mut self, sky: &Shared) {
        self.later(&mut sky.lock(), INTERVAL, StoreEvent::Sweep);
        self.sweep(sky);
    }

    /// Takes damaged files away, between two moves.
    pub(super) fn sweep(&mut self, sky: &Shared) {
        let Some(running) = self.running() else {
            return;
        };
        let kv = running.rows.clone();
        if running.moves.is_moving() || kv.damaged().is_ok_and(|files| files.is_empty()) {
            return;
        }
        match damage::sweep(&*kv, &[]) {
            Ok(stay) if stay.is_empty() => {}
            Ok(stay) => sky.lock().violated(format!("{stay:?} cannot be swept")),
            Err(error) => sky.lock().violated(format!("a sweep fails: {error}")),
        }
    }
}
