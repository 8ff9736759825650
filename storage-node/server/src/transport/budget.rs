//! How many bytes of Raft messages wait on their way out, and who may have them.
//!
//! *Place*: [`super::Outgoing`] asks before it queues a bundle for a store; the sending end gives the bytes back when it
//! packs them into a frame.
//!
//! *Who may have them*: a store may have as many bytes waiting as are left for all. So one store that is slow, or gone, gets
//! about half of them, two get a third each, and there is always room for those that keep up. A store of which nothing
//! waits gets one bundle of any size, and messages without entries are free.
//!
//! *Source*: Choudhury and Hahne, Dynamic Queue Length Thresholds for Shared-Memory Packet Switches, 1998, with α = 1.
//!
//! *Next stop*: [`super`].

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes for all stores. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Budget {
    used: Arc<AtomicUsize>,
    bytes_max: usize,
}

/// Bytes of one store.
#[derive(Clone, Debug)]
pub(super) struct Share {
    budget: Budget,
    used: Arc<AtomicUsize>,
}

impl Budget {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            used: Arc::default(),
            bytes_max,
        }
    }

    /// Bytes that wait.
    pub(super) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// The share of one more store.
    pub(super) fn share(&self) -> Share {
        Share {
            budget: self.clone(),
            used: Arc::default(),
        }
    }
}

impl Share {
    /// Bytes that wait for this store.
    pub(super) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Takes bytes, if it may have them. For one caller at a time.
    pub(super) fn take(&self, bytes: usize) -> bool {
        let used = self.used.load(Ordering::Relaxed);
        let all = self.budget.used.load(Ordering::Relaxed);
        let left = self.budget.bytes_max.saturating_sub(all);
        let fits = bytes == 0 || used == 0 || used.saturating_add(bytes) <= left;
        if fits {
            self.used.fetch_add(bytes, Ordering::Relaxed);
            self.budget.used.fetch_add(bytes, Ordering::Relaxed);
        }
        fits
    }

    /// Gives bytes back.
    pub(super) fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
        self.budget.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(share: &Share) -> usize {
        let mut taken = 0;
        while share.take(1) {
            taken += 1;
        }
        taken
    }

    #[test]
    fn a_slow_store_leaves_room_for_the_others() {
        let budget = Budget::new(900);
        let (slow, slower, quick) = (budget.share(), budget.share(), budget.share());
        assert_eq!(fill(&slow), 450, "half");
        assert_eq!(fill(&slower), 225, "half of the rest");
        assert!(quick.take(100), "room for those that keep up");
        quick.give_back(100);
        slow.give_back(450);
        assert_eq!(fill(&slow) + 225, 225 + 338, "what is left is shared again");
    }

    #[test]
    fn a_bundle_of_any_size_leaves_alone() {
        let budget = Budget::new(10);
        let share = budget.share();
        assert!(share.take(1000));
        assert!(!share.take(1));
        assert!(share.take(0));
        share.give_back(1000);
        assert!(share.take(1));
    }
}
