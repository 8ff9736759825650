//! Replicas that wait to become part of a neighbour, and those that missed that they have.
//!
//! *Place*: part of [`Worker`], after every tick and every change that was applied.
//!
//! *What a replica that waits sees of the target here*:
//!
//! | the target's replica on this store | what follows |
//! |---|---|
//! | has the epoch that was named | it is called: if it leads, it proposes the merge |
//! | has a later one, or is part of another region, and has merged the source | the source's replica is over |
//! | the same, and has not | the merge has failed: rollback |
//! | has an earlier one, or there is none | nothing yet; in the end the placement driver knows ([`crate::peer`], lonely) |
//!
//! *Invariants*: what a replica has applied of the target's log is what every other will apply, so one that went on
//! without the source proves that all do.
//!
//! *Next stop*: [`crate::apply`], its merge.

use super::Worker;
use super::message::{Lookup, MergeCall};
use crate::peer::Peer;
use crate::planted::{self, Planted};
use crate::view::RegionView;
use std::sync::Arc;
use yadkv_proto::id::{Index, RegionId};
use yadkv_proto::key::KeyRange;
use yadkv_proto::metapb::{Region, RegionEpoch};
use yadkv_proto::time::{Moment, Now};

/// How the target stands to the one that was named.
enum Target {
    AsNamed,
    /// It has taken the source in.
    Merged,
    /// It went on without.
    Changed,
    Unknown,
}

impl Worker {
    /// A replica may wait: does what is to be done about it.
    pub(super) fn watch_merge(&mut self, region: RegionId, now: Now) {
        let Some(peer) = self.peers.get(&region) else {
            return;
        };
        let Some(waits) = peer.waits_for() else {
            return;
        };
        let target = waits.target.clone().unwrap_or_default();
        match self.target_of(region, &target) {
            Target::AsNamed => {
                self.effects.merges.push(MergeCall {
                    target: RegionId(target.id),
                    expected: target.region_epoch.unwrap_or_default(),
                    source: peer.view().region().clone(),
                    commit: Index(waits.commit),
                });
                if planted::is(Planted::RollbackWithoutProof) {
                    self.give_up(region, now);
                }
            }
            Target::Merged => self.destroy(region, now),
            Target::Changed => self.give_up(region, now),
            Target::Unknown => {}
        }
    }

    fn give_up(&mut self, region: RegionId, now: Now) {
        if let Some(peer) = self.peers.get_mut(&region) {
            peer.give_merge_up(now, &mut self.effects);
            self.touched.insert(region);
        }
    }

    fn target_of(&self, source: RegionId, target: &Region) -> Target {
        let id = RegionId(target.id);
        let directory = &self.shared.directory;
        let heir = || {
            let views = directory.all();
            views.into_iter().find(|view| view.has_merged(id))
        };
        let Some(view) = directory.get(id).or_else(heir) else {
            return Target::Unknown;
        };
        let same = view.id() == id;
        let known = view.region().region_epoch.unwrap_or_default();
        let named = target.region_epoch.unwrap_or_default();
        if same && known == named {
            Target::AsNamed
        } else if same && !is_later(known, named) {
            Target::Unknown
        } else if view.has_merged(source) {
            Target::Merged
        } else {
            Target::Changed
        }
    }

    /// A snapshot is coming of a region that has taken this one in, or was cut off one that has: nobody answers for the
    /// replica here any more, and its data stays until then. But a replica beside it, other than those that the snapshot
    /// replaces, may have yet to take it in: unless that is clear already, the placement driver is asked. Two that are
    /// replaced together would otherwise wait for each other: it knows neither.
    pub(super) fn give_way(&mut self, region: RegionId, replaced: &[RegionId], now: Now) {
        let Some(peer) = self.peers.get(&region) else {
            return;
        };
        let since = peer.vanished().unwrap_or(Moment(u64::MAX));
        let beside = self.may_need(peer, since);
        if beside.iter().any(|view| !replaced.contains(&view.id())) {
            return self
                .effects
                .lookups
                .push(Lookup::of(peer.view(), now.moment));
        }
        let Some(peer) = self.peers.remove(&region) else {
            return;
        };
        tracing::info!(
            region = region.0,
            peer = peer.view().peer().id,
            "the region is part of another one: its replica lets go"
        );
        self.touched.remove(&region);
        peer.end();
        self.effects.forget.push(region);
    }

    /// Regions here that are part of the one of which a snapshot is coming.
    pub(super) fn in_the_way(&self, merged: &[u64]) -> Vec<RegionId> {
        let ids = merged.iter().map(|id| RegionId(*id));
        ids.filter(|id| self.shared.directory.get(*id).is_some())
            .collect()
    }

    /// The placement driver knows no such region. If its keys are in one that came later, it has become part of another
    /// region. A replica of that one which has yet to follow here needs this one's data: it would lie beside it, in a
    /// version that the placement driver no longer knows it in. So those beside are asked about.
    pub(super) fn vanished(&mut self, region: RegionId, owner: &Region, now: Now) {
        let Some(peer) = self.peers.get_mut(&region) else {
            return;
        };
        let since = peer.vanished_since(now.moment);
        let own = peer.view().region();
        let later = owner.region_epoch.unwrap_or_default().version > peer.view().version();
        let has = KeyRange::of(owner).contains(&own.start_key) && owner.id != own.id;
        if !later || !has {
            return;
        }
        let all = self.may_need(&self.peers[&region], since);
        if all.is_empty() {
            return self.destroy(region, now);
        }
        let lookups = all.iter().map(|view| Lookup::of(view, now.moment));
        self.effects.lookups.extend(lookups);
    }

    /// Replicas beside one whose region is part of another one that may have yet to take it in: not those that have, that
    /// will never follow, or that were as the placement driver knew them at `since` or later.
    fn may_need(&self, peer: &Peer, since: Moment) -> Vec<Arc<RegionView>> {
        let own = peer.view().region();
        let target = peer.waits_for().and_then(|waits| waits.target.as_ref());
        let on_the_left = target.is_none_or(|target| target.end_key == own.start_key);
        let on_the_right = target.is_none_or(|target| target.start_key == own.end_key);
        let beside = |view: &Arc<RegionView>| {
            let other = view.region();
            let borders = |one: &[u8], next: &[u8]| one == next && !one.is_empty();
            (on_the_left && borders(&other.end_key, &own.start_key))
                || (on_the_right && borders(&own.end_key, &other.start_key))
        };
        // A halted one never does, in no later life of the store either.
        let may_follow = |view: &Arc<RegionView>| {
            !view.is_halted() && !view.has_merged(peer.id()) && view.confirmed_at() < since
        };
        let mut all = self.shared.directory.all();
        all.retain(|view| beside(view) && may_follow(view));
        all
    }
}

/// Whether an epoch comes after another one. Neither number ever goes back.
fn is_later(epoch: RegionEpoch, than: RegionEpoch) -> bool {
    epoch.version > than.version || epoch.conf_ver > than.conf_ver
}
