//! Other settings while the store runs.
//!
//! *Place*: the server checks a change of settings as a whole; every worker gets all of them as an input, like anything else
//! that happens to it.
//!
//! *Life of a change*: what may change is taken ([`Config::take_changeable`]) → most of it is read when it is needed, from
//! then on → what replicas have worked out from it is worked out anew: when the next comparison is due, whether a region
//! is too large.
//!
//! *Invariants*: nothing that replicas have to agree on changes.
//!
//! *Limits*: with other limits of size every region led here may be looked at once, one after the other in the
//! background; that reads its data.
//!
//! *Next stop*: [`crate::peer`].

use super::Worker;
use crate::config::Config;

impl Worker {
    /// Goes on with other settings.
    pub(super) fn configure(&mut self, wanted: &Config) {
        let config = &mut self.shared.config;
        let (limits, interval) = (config.limits(), config.check_interval);
        if !config.take_changeable(wanted) {
            return;
        }
        let sizes = limits != config.limits();
        let checks = interval != config.check_interval;
        for peer in self.peers.values_mut() {
            if sizes {
                peer.limits_changed();
            }
            if checks {
                peer.check_interval_changed();
            }
        }
    }
}
