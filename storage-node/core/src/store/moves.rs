//! Replicas that end here, and those that a snapshot makes.
//!
//! *Place*: part of [`Worker`]; the steps themselves are [`crate::snapshot::install`]'s.
//!
//! *Life of a move*: a reason (a snapshot that is newer, a removal) → the replica lets go of everybody who waits →
//! [`Move`] down behind everything handed over to apply → [`super::message::Input::Moved`] → what the engines hold is
//! opened.
//!
//! *Invariants*: while a region moves, its messages are dropped and its callers refused. A snapshot is taken only if it
//! is beyond what is committed here, and the log here does not hold its position: what was acknowledged is not given
//! up.
//!
//! *Next stop*: [`crate::snapshot::install`].

use super::{StoreError, Worker};
use crate::room::Room;
use crate::snapshot::install::{Move, Moved};
use crate::snapshot::receive::Received;
use std::sync::Arc;
use yadkv_consensus::Role;
use yadkv_proto::id::{Index, RegionId, Term};
use yadkv_proto::metapb::Region;
use yadkv_proto::time::{Moment, Now};

/// What becomes of a snapshot.
enum Verdict {
    Install,
    /// The log here leads on from its position.
    Needless,
    Refuse(String),
}

impl Worker {
    /// A snapshot was received: installs it, if it is news.
    pub(super) fn consider(&mut self, received: Box<Received>) -> Result<(), StoreError> {
        let region = RegionId(received.head.region.id);
        match self.judge(&received)? {
            Verdict::Install => {
                if let Some(peer) = self.peers.remove(&region) {
                    peer.end();
                }
                self.touched.remove(&region);
                self.moving.insert(region);
                self.effects.moves.push(Move::Install(received));
            }
            Verdict::Needless => received.done(),
            Verdict::Refuse(reason) => {
                tracing::info!(region = region.0, reason, "snapshot refused");
                received.refuse(reason);
            }
        }
        Ok(())
    }

    fn judge(&mut self, received: &Received) -> Result<Verdict, StoreError> {
        let head = &received.head;
        let region = RegionId(head.region.id);
        let refuse = |reason: &str| Ok(Verdict::Refuse(reason.into()));
        if self.room != Room::Plenty {
            return refuse("there is no room on the disk");
        }
        if self.moving.contains(&region) {
            return refuse("the replica is on the move");
        }
        let in_the_way = self.in_the_way(&head.merged);
        if !in_the_way.is_empty() {
            let replaced: Arc<[RegionId]> = in_the_way.iter().copied().chain([region]).collect();
            let yields = in_the_way.into_iter();
            let yields = yields.map(|source| (source, replaced.clone()));
            self.effects.yields.extend(yields);
            return refuse("regions that are part of it let go first");
        }
        let Some(peer) = self.peers.get(&region) else {
            // One that lives and is not open yet has made promises.
            let unopened = self.living(region)?.is_some() || self.owner(region)?.is_some();
            return match unopened {
                true => refuse("the replica is not open yet"),
                false => Ok(Verdict::Install),
            };
        };
        if peer.view().peer().id != head.to.id {
            return refuse("another replica of the region lives here");
        }
        let node = peer.node();
        let (index, term) = (Index(head.applied.index), Term(head.applied.term));
        if node.role() == Role::Leader || head.term < node.term().0 {
            return refuse("the sender does not lead any more");
        }
        if index <= node.commit() || node.term_at(index) == Some(term) {
            return Ok(Verdict::Needless);
        }
        Ok(Verdict::Install)
    }

    /// The replica on this store is no member any more.
    pub(super) fn destroy(&mut self, region: RegionId, now: Now) {
        let Some(peer) = self.peers.remove(&region) else {
            return;
        };
        tracing::info!(
            region = region.0,
            peer = peer.view().peer().id,
            moment = now.moment.0,
            "the replica was removed: it ends here"
        );
        self.touched.remove(&region);
        self.moving.insert(region);
        let descriptor = peer.view().region().clone();
        let peer = peer.end();
        self.effects.moves.push(Move::Destroy {
            region: descriptor,
            peer,
        });
    }

    /// Moves are over: opens what is there now.
    pub(super) fn moved(&mut self, moved: Vec<Moved>, now: Now) -> Result<(), StoreError> {
        for Moved { region } in moved {
            self.moving.remove(&region);
            self.effects.settled.push(region);
            self.reopen(region, now)?;
            self.touched.insert(region);
            self.take_early(region, now)?;
        }
        Ok(())
    }

    /// Somebody knew where the region is when it was asked.
    pub(super) fn located(&mut self, region: &Region, asked: Moment, now: Now) {
        let id = RegionId(region.id);
        let Some(peer) = self.peers.get(&id) else {
            return;
        };
        if peer.is_removed_by(region) {
            return self.destroy(id, now);
        }
        let version = region.region_epoch.unwrap_or_default().version;
        if version == peer.view().version() {
            peer.view().confirm(asked);
        }
    }
}
