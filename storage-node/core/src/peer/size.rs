//! How large a region is, about, and when somebody has to look.
//!
//! *Life of a look*: enough was written since the last one, and the region may be over its limit → a
//! [`SizeTask`] for the background → what was found → the placement driver hears of it, and the region is cut if it
//! is too large.
//!
//! *Invariants*: the estimate is never below the truth by more than an eighth of the limit: overwritten values count
//! twice until the next look, deleted ones until then.
//!
//! *Limits*: one look at a time; one that brings no answer within [`LOOK_MAX`] is forgotten.
//!
//! *Next stop*: [`crate::split::check`].

use super::Peer;
use crate::config::Config;
use crate::split::check::{Amount, Checked, Limits};
use crate::store::message::{Effects, SizeTask};
use std::time::Duration;
use yadkv_proto::time::Moment;

/// How long a look may take.
const LOOK_MAX: Duration = Duration::from_secs(300);
/// A region is looked at again when this part of its limit was written.
const STEPS: u64 = 8;

/// What is known of a region's size.
#[derive(Default)]
pub(super) struct Size {
    /// The last look, or nothing at all for a region that began without data.
    measured: Option<Amount>,
    /// Written since.
    written: Amount,
    /// When a look began, and what had been written by then.
    looking: Option<(Moment, Amount)>,
    /// The limits have changed since the last look began: the next one comes however little was written.
    limits_changed: bool,
}

impl Size {
    /// That of a region without data.
    pub(super) fn nothing() -> Self {
        Self {
            measured: Some(Amount::default()),
            ..Self::default()
        }
    }

    pub(super) fn wrote(&mut self, amount: Amount) {
        self.written += amount;
    }

    /// The estimate.
    pub(super) fn estimate(&self) -> Amount {
        let mut amount = self.measured.unwrap_or_default();
        amount += self.written;
        amount
    }

    fn is_due(&self, limits: &Limits) -> bool {
        let estimate = self.estimate();
        let worth = limits.step(STEPS).are_reached(self.written) || self.limits_changed;
        worth && (limits.is_over(estimate) || self.measured.is_none())
    }
}

impl Peer {
    /// Has the region looked at, if that is due.
    pub(super) fn look_if_due(&mut self, now: Moment, config: &Config, effects: &mut Effects) {
        let late = |(since, _): (Moment, Amount)| now.since(since) >= LOOK_MAX;
        if self.size.looking.is_some_and(late) {
            self.size.looking = None;
            // It may have been the one with the new limits.
            self.size.limits_changed = true;
        }
        if self.size.looking.is_none() && self.is_leader() && self.size.is_due(&config.limits()) {
            self.size.looking = Some((now, self.size.written));
            self.size.limits_changed = false;
            effects.looks.push(SizeTask {
                region: self.view.region().clone(),
                limits: config.limits(),
            });
        }
    }

    /// The region has just been created, without data: there is nothing to measure.
    pub fn begins_empty(&mut self) {
        self.size = Size::nothing();
    }

    /// Another size is too large from now on.
    pub fn limits_changed(&mut self) {
        self.size.limits_changed = true;
    }

    /// The look at the region as it was at `version` is over.
    pub fn looked(&mut self, version: u64, found: Checked, now: Moment, effects: &mut Effects) {
        let Some((_, before)) = self.size.looking.take() else {
            return;
        };
        if version != self.view.version() {
            return;
        }
        self.size.written = self.size.written - before;
        self.size.measured = Some(found.size);
        if found.uncuttable {
            tracing::warn!(
                region = self.id().0,
                bytes = found.size.bytes,
                keys = found.size.keys,
                "the region is too large and stays whole: all its keys begin with one encoded key"
            );
        }
        if !found.borders.is_empty() {
            self.cut_by_size(found.borders, now, effects);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        bytes: 800,
        keys: 80,
    };

    #[test]
    fn a_region_is_measured_once_an_eighth_was_written_unless_it_began_empty() {
        let written = |bytes| Amount { bytes, keys: 0 };
        let (mut unknown, mut empty) = (Size::default(), Size::nothing());
        for size in [&mut unknown, &mut empty] {
            size.wrote(written(99));
            assert!(!size.is_due(&LIMITS));
            size.wrote(written(1));
        }
        assert!(unknown.is_due(&LIMITS));
        assert!(!empty.is_due(&LIMITS));
        empty.wrote(written(1100));
        assert!(!empty.is_due(&LIMITS));
        empty.wrote(written(1));
        assert!(empty.is_due(&LIMITS));
        assert_eq!(empty.estimate(), written(1201));
    }
}
