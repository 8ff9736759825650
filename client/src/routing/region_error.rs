//! What each region error means for the route and for the next attempt.
//!
//! *Place*: [`super::Router::attempt`] passes every region error through [`judge`].
//!
//! *Invariants*: only errors that a store gives before it proposes count as "not done"; where it cannot know, or
//! says nothing we know, the command may have been executed.
//!
//! *Source*: `proto/README.md`, Region errors.
//!
//! *Next stop*: [`super::cache`].

use super::Router;
use super::budget::{Budget, Failure, Trouble, Wait};
use super::cache::Route;
use crate::error::Error;
use std::cmp::Ordering;
use std::time::Duration;
use yadkv_proto::epoch;
use yadkv_proto::errorpb;

/// Corrects the route and says what to do next.
pub(crate) fn judge(
    router: &Router,
    budget: &Budget,
    route: &Route,
    error: errorpb::Error,
) -> Failure {
    let text = format!("store {}: {}", route.leader().store_id, error.message);
    if error.raft_entry_too_large.is_some() {
        return Failure::Final(Error::TooLarge {
            call: budget.call,
            reason: text,
        });
    }
    if error.stale_command.is_some() || error.undetermined_result.is_some() {
        router.regions.lock().next_peer(route);
        return Trouble::unknown(text).into();
    }
    if let Some(error) = error.epoch_not_match {
        let wait = epoch_not_match(router, route, error);
        return Trouble::not_done(wait, text).into();
    }
    if let Some(error) = error.server_is_busy {
        let pause = Duration::from_millis(error.backoff_ms);
        return Trouble::not_done(Wait::AtLeast(pause), text).into();
    }
    if error.store_not_match.is_some() {
        router.stores.lock().remove(&route.leader().store_id);
    }
    let mut regions = router.regions.lock();
    if let Some(error) = error.not_leader {
        return match error.leader {
            Some(leader) => {
                regions.follow(route, &leader);
                Trouble::not_done(Wait::None, text).into()
            }
            None => {
                regions.next_peer(route);
                Trouble::not_done(Wait::Grow, text).into()
            }
        };
    }
    let wrong_route = error.region_not_found.is_some()
        || error.key_not_in_region.is_some()
        || error.store_not_match.is_some()
        || error.mismatch_peer_id.is_some();
    if wrong_route {
        regions.forget(route);
        return Trouble::not_done(Wait::Grow, text).into();
    }
    let not_yet = error.max_timestamp_not_synced.is_some()
        || error.read_index_not_ready.is_some()
        || error.proposal_in_merging_mode.is_some()
        || error.data_is_not_ready.is_some()
        || error.region_not_initialized.is_some()
        || error.disk_full.is_some();
    if not_yet {
        return Trouble::not_done(Wait::Grow, text).into();
    }
    regions.next_peer(route);
    Trouble::unknown(text).into()
}

// ANCHOR: epoch-not-match
/// Takes in the regions that the store sent along.
fn epoch_not_match(router: &Router, route: &Route, error: errorpb::EpochNotMatch) -> Wait {
    let mut regions = router.regions.lock();
    let behind = error.current_regions.iter().any(|region| {
        region.id == route.region.id
            && region
                .region_epoch
                .is_some_and(|epoch| epoch::compare(&epoch, &route.epoch()) == Ordering::Less)
    });
    if behind {
        // This replica has not applied what others have: the leader may be another one.
        regions.next_peer(route);
        return Wait::Grow;
    }
    regions.forget(route);
    let mut learnt = false;
    for region in error.current_regions {
        // Who leads all parts after a split is, at first, the store that led the whole.
        let leader = region
            .peers
            .iter()
            .find(|peer| peer.store_id == route.leader().store_id)
            .copied();
        learnt |= regions.insert(router.keyspace.shown(region), leader.as_ref());
    }
    if learnt { Wait::None } else { Wait::Grow }
}
// ANCHOR_END: epoch-not-match
