//! Messages from other stores, also those of peers that know more, or less, of a region than this store does.
//!
//! *Life of a message*:
//!
//! | here | message | what happens |
//! |---|---|---|
//! | a replica, and the sender is a member | any | to its node |
//! | a replica, and the sender has a newer membership | of a leader or candidate | to its node: it may catch up by it |
//! | a replica, and the sender has an older membership | any | the sender is told that it is gone |
//! | an older replica than the one addressed | of a leader | it was removed: destroyed |
//! | none, or only a destroyed older one | of a leader that has not heard of the receiver | "nothing is here" ([`super::unborn`]) |
//! | none, and nobody has keys of it | a vote | [`super::unborn`] may answer it |
//! | none | a vote | kept a moment: a split may make the replica |
//!
//! *Invariants*: a replica is destroyed only by a newer membership without it. One that does not exist promises nothing but a vote.
//!
//! *Limits and failure*: what fits nowhere is dropped with a reason that is counted.
//!
//! *Source*: Raft thesis 4.2.2 and 4.2.3; `ARCHITECTURE.md`, How data would be lost.
//!
//! *Next stop*: [`crate::peer`].

use super::{StoreError, Worker};
use crate::room::Room;
use yadkv_consensus::{acts_as_leader, is_vote_request};
use yadkv_proto::id::{PeerId, RegionId};
use yadkv_proto::metapb::{Peer, RegionEpoch};
use yadkv_proto::time::Now;
use yadkv_proto::yadkvpb::Envelope;

/// Why a message was dropped; names a counter.
pub(super) type Reason = &'static str;

impl Worker {
    pub(super) fn receive(&mut self, envelope: Envelope, now: Now) -> Result<(), StoreError> {
        let region = RegionId(envelope.region_id);
        let dropped = if self.moving.contains(&region) {
            Err("the replica moves")
        } else if self.peers.contains_key(&region) {
            self.give(envelope, now)
        } else {
            match self.answer_unborn(&envelope)? {
                Ok(()) => Ok(()),
                Err(reason) => match self.early.keep(envelope, now.moment) {
                    Some(_) => Err(reason),
                    None => Ok(()),
                },
            }
        };
        if let Err(reason) = dropped {
            *self.dropped.entry(reason).or_default() += 1;
        }
        Ok(())
    }

    /// Gives a message to the replica of its region.
    fn give(&mut self, envelope: Envelope, now: Now) -> Result<(), Reason> {
        let region = RegionId(envelope.region_id);
        let (Some(from), Some(to), Some(peer)) =
            (envelope.from, envelope.to, self.peers.get_mut(&region))
        else {
            return Err("incomplete envelope");
        };
        let own = *peer.view().peer();
        let known = conf_ver(peer.view().region().region_epoch);
        let told = conf_ver(envelope.epoch);
        if to.store_id != self.shared.store.0 {
            return Err("not addressed to this store");
        }
        if to.id != own.id {
            let leads = envelope.message.as_ref().is_some_and(acts_as_leader);
            if to.id > own.id && told > known && leads {
                self.destroy(region, now);
            }
            return Err("not addressed to this peer");
        }
        if envelope.gone {
            if told > known {
                self.destroy(region, now);
            }
            return Ok(());
        }
        if envelope.merge_failed != 0 {
            peer.merge_failed(envelope.merge_failed, now);
            self.touched.insert(region);
            return Ok(());
        }
        if let Some(message) = envelope.check {
            self.touched.insert(region);
            peer.check_message(PeerId(from.id), *message, now.moment, &mut self.effects);
            return Ok(());
        }
        let Some(message) = envelope.message else {
            return Err("incomplete envelope");
        };
        if message.from != from.id || message.to != to.id {
            return Err("the envelope is another one's");
        }
        let members = &peer.view().region().peers;
        let member = |peer: &Peer| (peer.id, peer.store_id) == (from.id, from.store_id);
        if !members.iter().any(member) {
            if told < known {
                let told = gone(region, own, from, peer.view().region().region_epoch);
                self.effects.send.push(told);
                return Err("sender is no member any more");
            }
            if told == known || !(acts_as_leader(&message) || is_vote_request(&message)) {
                return Err("sender is no member");
            }
            peer.meet(from);
        }
        if self.room == Room::None && !message.entries.is_empty() {
            return Err("there is no room on the disk");
        }
        self.touched.insert(region);
        peer.step(message, now.moment).map_err(|error| {
            tracing::debug!(region = region.0, %error, "message dropped");
            error.reason()
        })
    }
}

fn conf_ver(epoch: Option<RegionEpoch>) -> u64 {
    epoch.map_or(0, |epoch| epoch.conf_ver)
}

fn gone(region: RegionId, own: Peer, to: Peer, epoch: Option<RegionEpoch>) -> Envelope {
    Envelope {
        region_id: region.0,
        from: Some(own),
        to: Some(to),
        epoch,
        gone: true,
        ..Envelope::default()
    }
}
