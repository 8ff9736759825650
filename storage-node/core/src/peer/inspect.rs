//! What a replica tells people of itself.
//!
//! *Place*: [`crate::store`] asks for it when somebody wants to know; nothing else depends on it.
//!
//! *Types to know*: [`Replica`]; a leader also tells of its [`Follower`]s.
//!
//! *Next stop*: the server's status port.

use super::Peer;
use crate::split::check::Amount;
use std::ops::Add;
use std::time::Duration;
use yadkv_consensus::{Replication, Role};
use yadkv_proto::id::{Index, PeerId, RegionId, Term};
use yadkv_proto::metapb;
use yadkv_proto::time::Moment;

/// One replica at one moment.
#[derive(Clone, Debug)]
pub struct Replica {
    /// The descriptor that it has applied.
    pub region: metapb::Region,
    /// Itself.
    pub peer: metapb::Peer,
    /// What it is.
    pub role: Role,
    /// Its term.
    pub term: Term,
    /// Whom it takes for the leader; itself if it leads.
    pub leader: Option<PeerId>,
    /// Known to be committed.
    pub commit: Index,
    /// Applied.
    pub applied: Index,
    /// First position of its log.
    pub first: Index,
    /// Last position of its log.
    pub last: Index,
    /// The region that it waits to become part of.
    pub waits_for: Option<RegionId>,
    /// Who waits for it.
    pub waiting: Waiting,
    /// How large the region is, about; known to the leader.
    pub size: Option<Amount>,
    /// The other members; known to the leader.
    pub followers: Vec<Follower>,
}

/// Callers that wait for a replica.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Writes to be proposed.
    pub queued: usize,
    /// Their bytes.
    pub queued_bytes: usize,
    /// Entries proposed and not committed.
    pub proposed: usize,
    /// Reads to be confirmed or served.
    pub reads: usize,
    /// Requests for a leader, or for the end of a merge.
    pub parked: usize,
}

impl Add for Waiting {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            queued: self.queued + other.queued,
            queued_bytes: self.queued_bytes + other.queued_bytes,
            proposed: self.proposed + other.proposed,
            reads: self.reads + other.reads,
            parked: self.parked + other.parked,
        }
    }
}

/// Another member, as its leader sees it.
#[derive(Clone, Copy, Debug)]
pub struct Follower {
    /// The member.
    pub peer: metapb::Peer,
    /// What it has on its disk.
    pub matched: Index,
    /// How it is sent entries.
    pub replication: Replication,
    /// Since when nothing was heard of it.
    pub silence: Duration,
    /// Since when a snapshot is on its way to it.
    pub snapshot: Option<Duration>,
}

impl Peer {
    /// Everything that people may want to know of this replica.
    pub fn inspect(&self, now: Moment) -> Replica {
        let leads = self.is_leader();
        Replica {
            region: self.view.region().clone(),
            peer: *self.view.peer(),
            role: self.node.role(),
            term: self.node.term(),
            leader: self.node.leader(),
            commit: self.node.commit(),
            applied: self.applied.index,
            first: self.node.truncated_index().next(),
            last: self.node.last_index(),
            waits_for: self.waits_for().map(|merging| {
                let target = merging.target.as_ref();
                RegionId(target.map_or(0, |target| target.id))
            }),
            waiting: self.waiting(),
            size: leads.then(|| self.size.estimate()),
            followers: self.followers(now),
        }
    }

    /// Who waits for this replica.
    pub fn waiting(&self) -> Waiting {
        Waiting {
            queued: self.queue.len(),
            queued_bytes: self.queue.bytes(),
            proposed: self.proposals.len(),
            reads: self.reads.len(),
            parked: self.parked.len(),
        }
    }

    fn followers(&self, now: Moment) -> Vec<Follower> {
        let own = self.view.peer().id;
        let peers = self.view.region().peers.iter();
        let others = peers.filter(|peer| peer.id != own).filter_map(|peer| {
            let id = PeerId(peer.id);
            let known = self.node.follower(id)?;
            Some(Follower {
                peer: *peer,
                matched: known.matched,
                replication: known.replication,
                silence: self.silence(id, now),
                snapshot: self.sending.get(&id).map(|since| now.since(*since)),
            })
        });
        others.collect()
    }
}
