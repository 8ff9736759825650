//! A replica that hears of no leader for long: it may have been removed while it could not be reached. And whom a leader
//! does not hear.
//!
//! *Life*: nothing of a leader for [`ALONE_MAX`] → the placement driver is asked where the region is →
//! a newer descriptor without this replica means that it is over, and so does none at all when its keys are in a later
//! region ([`crate::store`], merges).
//!
//! *Invariants*: only a descriptor that a leader applied, with a newer membership, ends a replica; its id never comes
//! back, so that is final.
//!
//! *Next stop*: [`crate::store::strangers`].

use super::Peer;
use crate::store::message::{Effects, Lookup};
use std::collections::BTreeMap;
use std::time::Duration;
use yadkv_proto::id::PeerId;
use yadkv_proto::metapb::{self, Region};
use yadkv_proto::time::Moment;

/// How long nothing may be heard before somebody is asked, and then again.
const ALONE_MAX: Duration = Duration::from_secs(10);
/// Silence after which a member does not count as heard of: some heartbeats, and a stall of its disk.
const SILENT_MAX: Duration = Duration::from_secs(2);
/// Peers that are answered without being members as far as is known here.
const STRANGERS_MAX: usize = 4;

/// When this replica heard of others.
pub(super) struct Heard {
    /// Of a leader, or asked where there is one.
    leader: Moment,
    /// Since when the placement driver says that the region is over, if nothing was heard of a leader since.
    vanished: Option<Moment>,
    /// Members of a newer region than the one known here.
    strangers: Vec<metapb::Peer>,
    /// Of each member, whatever it said.
    members: BTreeMap<PeerId, Moment>,
    /// Since when this leader expects to hear of each member: it took office, or the member came. Empty on others.
    expected: BTreeMap<PeerId, Moment>,
}

impl Heard {
    pub(super) fn new(now: Moment) -> Self {
        Self {
            leader: now,
            vanished: None,
            strangers: Vec::new(),
            members: BTreeMap::new(),
            expected: BTreeMap::new(),
        }
    }
}

impl Peer {
    /// A message was taken in.
    pub(super) fn heard(&mut self, from: PeerId, leads: bool, now: Moment) {
        if leads {
            self.heard.leader = now;
            self.heard.vanished = None;
        }
        if let Some(since) = self.heard.members.get_mut(&from) {
            *since = now;
        } else if self.address(from.0).is_some() {
            let members = &self.view.region().peers;
            let member = |peer: &PeerId| members.iter().any(|member| member.id == peer.0);
            self.heard.members.retain(|peer, _| member(peer));
            self.heard.members.insert(from, now);
        }
    }

    /// Whether a member was heard of lately. This replica hears itself.
    pub(super) fn hears(&self, peer: PeerId, now: Moment) -> bool {
        let since = self.heard.members.get(&peer);
        peer.0 == self.view.peer().id || since.is_some_and(|since| now.since(*since) < SILENT_MAX)
    }

    /// How long this leader has not heard of a member; zero on others, and for strangers.
    pub(super) fn silence(&self, peer: PeerId, now: Moment) -> Duration {
        let Some(expected) = self.heard.expected.get(&peer) else {
            return Duration::ZERO;
        };
        let heard = self.heard.members.get(&peer).unwrap_or(expected);
        now.since(*heard.max(expected))
    }

    /// A member could not speak for itself, and is expected to from now on.
    pub(super) fn expect(&mut self, peer: PeerId, now: Moment) {
        if let Some(since) = self.heard.expected.get_mut(&peer) {
            *since = now;
        }
    }

    fn expect_members(&mut self, now: Moment) {
        let expected = &mut self.heard.expected;
        let members = &self.view.region().peers;
        expected.retain(|peer, _| members.iter().any(|member| member.id == peer.0));
        for member in members {
            expected.entry(PeerId(member.id)).or_insert(now);
        }
    }

    /// Somebody with a newer descriptor, who is no member of the one here, wants an answer.
    pub fn meet(&mut self, stranger: metapb::Peer) {
        let known = &mut self.heard.strangers;
        known.retain(|peer| peer.id != stranger.id);
        if known.len() >= STRANGERS_MAX {
            known.remove(0);
        }
        known.push(stranger);
    }

    /// A member, or a stranger that was met.
    pub(super) fn address(&self, id: u64) -> Option<metapb::Peer> {
        let members = self.view.region().peers.iter();
        let all = members.chain(&self.heard.strangers);
        all.into_iter().find(|peer| peer.id == id).copied()
    }

    pub(super) fn ask_if_alone(&mut self, now: Moment, effects: &mut Effects) {
        if self.is_leader() {
            self.heard.leader = now;
            return self.expect_members(now);
        }
        self.heard.expected.clear();
        if now.since(self.heard.leader) >= ALONE_MAX {
            self.heard.leader = now;
            effects.lookups.push(Lookup::of(&self.view, now));
        }
    }

    /// Since when the placement driver says that the region is over.
    pub fn vanished(&self) -> Option<Moment> {
        self.heard.vanished
    }

    /// The placement driver says that the region is over: since when it has.
    pub fn vanished_since(&mut self, now: Moment) -> Moment {
        *self.heard.vanished.get_or_insert(now)
    }

    /// Whether a descriptor that was applied elsewhere says that this replica was removed.
    pub fn is_removed_by(&self, region: &Region) -> bool {
        let conf_ver = |region: &Region| region.region_epoch.map_or(0, |epoch| epoch.conf_ver);
        let own = self.view.peer().id;
        region.id == self.view.region().id
            && conf_ver(region) > conf_ver(self.view.region())
            && region.peers.iter().all(|peer| peer.id != own)
    }
}
