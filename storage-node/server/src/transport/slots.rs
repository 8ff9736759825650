//! Room for so many snapshots at once, by the settings in force.
//!
//! *Place*: those that are sent have one of these, those that arrive another.
//!
//! *Limits*: `store.snapshots`. With fewer from now on, those under way go on, and none begins until they are fewer.
//!
//! *Next stop*: [`super::snapshots`].

use crate::config::Config;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::watch;

/// The room. Cheap to clone.
#[derive(Clone)]
pub struct Slots {
    settings: watch::Receiver<Config>,
    taken: Arc<AtomicUsize>,
}

/// A snapshot's place in it, until it is dropped.
pub struct Slot(Arc<AtomicUsize>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Slots {
    /// All free.
    pub fn new(settings: watch::Receiver<Config>) -> Self {
        Self {
            settings,
            taken: Arc::default(),
        }
    }

    /// A place, if one is free.
    pub fn take(&self) -> Option<Slot> {
        let count_max = self.settings.borrow().store.snapshots;
        let one_more = |taken| (taken < count_max).then_some(taken + 1);
        let taken = self
            .taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        taken.ok().map(|_| Slot(self.taken.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_as_the_settings_say_now() {
        let (settings, watch) = watch::channel(Config::default());
        let say = |count| settings.send_modify(|config| config.store.snapshots = count);
        let slots = Slots::new(watch);
        say(2);
        let (one, two) = (slots.take(), slots.take());
        assert!(one.is_some() && two.is_some() && slots.take().is_none());
        say(3);
        let three = slots.take();
        assert!(three.is_some());
        say(1);
        drop((one, two));
        assert!(slots.take().is_none(), "the third is under way");
        drop(three);
        assert!(slots.take().is_some());
    }
}
