//! The steps that operators are made of, each judged by what the region's leader reports.
//!
//! *Life of a step*: asked of the region's leader in the answer to each heartbeat until the report shows that it is done.
//!
//! ```text
//! move a replica    AddLearner ─▶ Exchange (joint) ─▶ LeaveJoint ─▶ Remove
//! add a replica     AddLearner ─▶ Promote
//! take one away     Remove
//! merge             the source's replicas move to the target's stores ─▶ Merge
//! ```
//!
//! *Invariants*: a learner is not asked to vote while it lags or is not heard, and no leader to hand over to such a peer. A leader is never asked to take itself away: it is asked to
//! hand over first.
//!
//! *Source*: Raft thesis chapter 4; the shape of an answer is the protocol's.
//!
//! *Next stop*: [`super::operator`].

use crate::region_map::RegionMap;
use std::fmt;
use yadkv_proto::eraftpb::ConfChangeType;
use yadkv_proto::id::{PeerId, RegionId, StoreId};
use yadkv_proto::metapb::{Peer, PeerRole, Region};
use yadkv_proto::pdpb::ChangePeer;

/// What a region is asked to do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Step {
    /// Hand leadership over.
    TransferLeader {
        /// Store that leads now.
        from: StoreId,
        /// Peer that should lead.
        to: Peer,
    },
    /// Have a new learner.
    AddLearner(Peer),
    /// Let a learner vote.
    Promote(Peer),
    /// Let a learner vote and a voter learn, together.
    Exchange {
        /// The learner.
        add: Peer,
        /// The voter.
        remove: Peer,
    },
    /// End the joint state.
    LeaveJoint,
    /// Let a member go.
    Remove(Peer),
    /// Become part of a neighbour; done when the map says so.
    Merge(RegionId),
}

/// What a region's leader is asked.
#[derive(Clone, Debug, PartialEq)]
pub enum Ask {
    /// To hand over.
    Transfer(Peer),
    /// To change members; nothing leaves a joint state.
    Change(Vec<ChangePeer>),
    /// To let the region become part of this one.
    Merge(Box<Region>),
}

/// Where a step is.
#[derive(Clone, Debug, PartialEq)]
pub enum Progress {
    /// The region is as the step wants it.
    Done,
    /// The leader is to be asked.
    Ask(Ask),
    /// Something has to happen first.
    Wait,
    /// It cannot be done any more.
    Impossible,
}

/// A region as its leader reports it.
#[derive(Clone, Copy, Debug)]
pub struct Reported<'a> {
    /// The descriptor.
    pub region: &'a Region,
    /// The leader.
    pub leader: Peer,
    /// Peers that lag, that the leader does not hear, or whose data is damaged: nobody hands over to them, or lets them vote.
    pub unfit: &'a [PeerId],
    /// Those of them whose data is damaged: they will never be fit.
    pub damaged: &'a [PeerId],
    /// Stores that are to be without replicas, or are gone for good: none is made there.
    pub leaving: &'a [StoreId],
    /// Everything else.
    pub map: &'a RegionMap,
}

impl Reported<'_> {
    fn peer(&self, id: u64) -> Option<&Peer> {
        self.region.peers.iter().find(|peer| peer.id == id)
    }

    fn is_unfit(&self, id: u64) -> bool {
        self.unfit.contains(&PeerId(id))
    }

    /// Whether a replica will never vote.
    fn is_hopeless(&self, peer: &Peer) -> bool {
        self.damaged.contains(&PeerId(peer.id)) || self.leaving.contains(&StoreId(peer.store_id))
    }

    /// A voter that can take over.
    fn heir(&self) -> Option<Peer> {
        let stays = [PeerRole::Voter, PeerRole::IncomingVoter];
        let fits = |peer: &&Peer| {
            stays.contains(&peer.role()) && peer.id != self.leader.id && !self.is_unfit(peer.id)
        };
        self.region.peers.iter().find(fits).copied()
    }

    /// Asks for `change`, or the leader to hand over if it is the one that goes.
    fn without(&self, gone: u64, change: Vec<ChangePeer>) -> Progress {
        if self.leader.id != gone {
            return Progress::Ask(Ask::Change(change));
        }
        let heir = self.heir();
        heir.map_or(Progress::Wait, |heir| Progress::Ask(Ask::Transfer(heir)))
    }
}

impl Step {
    /// Judges the step by a report.
    pub fn judge(&self, reported: &Reported<'_>) -> Progress {
        match self {
            Self::TransferLeader { from, to } => {
                if reported.leader.id == to.id {
                    return Progress::Done;
                }
                let there = reported.peer(to.id).is_some() && !reported.is_unfit(to.id);
                match there && reported.leader.store_id == from.0 {
                    true => Progress::Ask(Ask::Transfer(*to)),
                    false => Progress::Impossible,
                }
            }
            Self::AddLearner(peer) => {
                let peers = &reported.region.peers;
                match peers.iter().find(|known| known.store_id == peer.store_id) {
                    Some(known) if known.id == peer.id => Progress::Done,
                    Some(_) => Progress::Impossible,
                    None if reported.is_hopeless(peer) => Progress::Impossible,
                    None => change(ConfChangeType::AddLearnerNode, *peer),
                }
            }
            Self::Promote(peer) => match reported.peer(peer.id).map(Peer::role) {
                None | Some(PeerRole::DemotingVoter) => Progress::Impossible,
                Some(PeerRole::Voter) => Progress::Done,
                Some(PeerRole::IncomingVoter) => Progress::Wait,
                Some(PeerRole::Learner) if reported.is_hopeless(peer) => Progress::Impossible,
                Some(PeerRole::Learner) if reported.is_unfit(peer.id) => Progress::Wait,
                Some(PeerRole::Learner) => change(ConfChangeType::AddNode, *peer),
            },
            Self::Exchange { add, remove } => exchange(reported, *add, *remove),
            Self::LeaveJoint => {
                let peers = reported.region.peers.iter();
                let joint = |peer: &Peer| {
                    matches!(
                        peer.role(),
                        PeerRole::IncomingVoter | PeerRole::DemotingVoter
                    )
                };
                let goes = peers
                    .clone()
                    .find(|peer| peer.role() == PeerRole::DemotingVoter);
                match peers.clone().any(joint) {
                    true => reported.without(goes.map_or(0, |peer| peer.id), Vec::new()),
                    false => Progress::Done,
                }
            }
            Self::Remove(peer) => match reported.peer(peer.id) {
                None => Progress::Done,
                Some(known) => {
                    let removal = one(ConfChangeType::RemoveNode, *known);
                    reported.without(peer.id, vec![removal])
                }
            },
            Self::Merge(target) => match reported.map.by_id(*target) {
                Some(target) if stores_of(target) == stores_of(reported.region) => {
                    Progress::Ask(Ask::Merge(Box::new(Region::clone(target))))
                }
                _ => Progress::Impossible,
            },
        }
    }

    /// Whether it begins to make a peer that has no id yet.
    pub(crate) fn is_first_of_new(&self) -> bool {
        matches!(self, Self::AddLearner(Peer { id: 0, .. }))
    }

    /// Gives the new peer of an order its id.
    pub(crate) fn name(&mut self, id: u64) {
        let peers: &mut [&mut Peer] = match self {
            Self::TransferLeader { to, .. } => &mut [to],
            Self::AddLearner(peer) | Self::Promote(peer) | Self::Remove(peer) => &mut [peer],
            Self::Exchange { add, remove } => &mut [add, remove],
            Self::LeaveJoint | Self::Merge(_) => &mut [],
        };
        for peer in peers.iter_mut().filter(|peer| peer.id == 0) {
            peer.id = id;
        }
    }

    /// Stores that it concerns.
    pub fn touches(&self, store: StoreId) -> bool {
        let on = |peer: &Peer| peer.store_id == store.0;
        match self {
            Self::TransferLeader { from, to } => *from == store || on(to),
            Self::AddLearner(peer) | Self::Promote(peer) | Self::Remove(peer) => on(peer),
            Self::Exchange { add, remove } => on(add) || on(remove),
            Self::LeaveJoint | Self::Merge(_) => false,
        }
    }
}

/// The stores with voters of a region, in order; none if anybody else is a member.
pub fn stores_of(region: &Region) -> Option<Vec<StoreId>> {
    let peers = region.peers.iter();
    let voters = peers.map(|peer| (peer.role() == PeerRole::Voter).then_some(peer.store_id));
    let mut stores: Vec<_> = voters.map(|id| id.map(StoreId)).collect::<Option<_>>()?;
    stores.sort_unstable();
    Some(stores)
}

fn exchange(reported: &Reported<'_>, add: Peer, remove: Peer) -> Progress {
    let role = |peer: Peer| reported.peer(peer.id).map(Peer::role);
    match (role(add), role(remove)) {
        (None, _) => Progress::Impossible,
        (Some(PeerRole::Voter | PeerRole::IncomingVoter), Some(PeerRole::Voter)) => {
            Progress::Impossible
        }
        (Some(PeerRole::Voter | PeerRole::IncomingVoter), _) => Progress::Done,
        (Some(PeerRole::Learner), _) if reported.is_hopeless(&add) => Progress::Impossible,
        (Some(PeerRole::Learner), Some(PeerRole::Voter)) if reported.is_unfit(add.id) => {
            Progress::Wait
        }
        (Some(PeerRole::Learner), Some(PeerRole::Voter)) => {
            let changes = vec![
                one(ConfChangeType::AddNode, add),
                one(ConfChangeType::AddLearnerNode, remove),
            ];
            reported.without(remove.id, changes)
        }
        _ => Progress::Impossible,
    }
}

fn one(kind: ConfChangeType, peer: Peer) -> ChangePeer {
    ChangePeer {
        peer: Some(peer),
        change_type: kind as i32,
    }
}

fn change(kind: ConfChangeType, peer: Peer) -> Progress {
    Progress::Ask(Ask::Change(vec![one(kind, peer)]))
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TransferLeader { from, to } => {
                write!(
                    f,
                    "transfer the leader from store {} to store {}",
                    from.0, to.store_id
                )
            }
            Self::AddLearner(peer) => {
                write!(f, "add learner {} on store {}", peer.id, peer.store_id)
            }
            Self::Promote(peer) => write!(f, "promote {} on store {}", peer.id, peer.store_id),
            Self::Exchange { add, remove } => write!(
                f,
                "promote {} on store {}, demote {} on store {}",
                add.id, add.store_id, remove.id, remove.store_id
            ),
            Self::LeaveJoint => write!(f, "leave the joint state"),
            Self::Remove(peer) => write!(f, "remove {} on store {}", peer.id, peer.store_id),
            Self::Merge(target) => write!(f, "become part of region {}", target.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(store: u64, role: PeerRole) -> Peer {
        Peer {
            id: store * 10,
            store_id: store,
            role: role as i32,
            ..Peer::default()
        }
    }

    fn judge(step: Step, peers: &[Peer], leader: u64, unfit: &[u64]) -> Progress {
        judge_hopeless(step, peers, leader, (unfit, &[], &[]))
    }

    /// Which are unfit, which of them damaged, and which stores leave.
    fn judge_hopeless(
        step: Step,
        peers: &[Peer],
        leader: u64,
        (unfit, damaged, leaving): (&[u64], &[u64], &[u64]),
    ) -> Progress {
        let region = Region {
            peers: peers.to_vec(),
            ..Region::default()
        };
        let ids =
            |stores: &[u64]| -> Vec<_> { stores.iter().map(|store| PeerId(store * 10)).collect() };
        let (unfit, damaged) = (ids(unfit), ids(damaged));
        let leaving: Vec<_> = leaving.iter().copied().map(StoreId).collect();
        step.judge(&Reported {
            region: &region,
            leader: peer(leader, PeerRole::Voter),
            unfit: &unfit,
            damaged: &damaged,
            leaving: &leaving,
            map: &RegionMap::default(),
        })
    }

    #[test]
    fn a_replica_moves_step_by_step() {
        use PeerRole::{DemotingVoter, IncomingVoter, Learner, Voter};
        let (one, two, three) = (peer(1, Voter), peer(2, Voter), peer(3, Voter));
        let new = peer(4, Learner);
        let add = Step::AddLearner(new);
        assert!(matches!(
            judge(add, &[one, two, three], 1, &[]),
            Progress::Ask(_)
        ));
        let learns = [one, two, three, new];
        assert_eq!(judge(add, &learns, 1, &[4]), Progress::Done);
        let exchange = Step::Exchange {
            add: new,
            remove: three,
        };
        assert_eq!(judge(exchange, &learns, 1, &[4]), Progress::Wait);
        let Progress::Ask(Ask::Change(changes)) = judge(exchange, &learns, 1, &[]) else {
            panic!("the exchange is asked for");
        };
        assert_eq!(changes.len(), 2);
        assert_eq!(
            judge(exchange, &learns, 3, &[1]),
            Progress::Ask(Ask::Transfer(two)),
            "the leader does not take itself away"
        );
        let joint = [one, two, peer(3, DemotingVoter), peer(4, IncomingVoter)];
        assert_eq!(judge(exchange, &joint, 1, &[]), Progress::Done);
        let asked = judge(Step::LeaveJoint, &joint, 1, &[]);
        assert_eq!(asked, Progress::Ask(Ask::Change(Vec::new())));
        let left = [one, two, peer(3, Learner), peer(4, Voter)];
        assert_eq!(judge(Step::LeaveJoint, &left, 1, &[]), Progress::Done);
        assert_eq!(judge(exchange, &left, 1, &[]), Progress::Done);
        let remove = Step::Remove(three);
        assert!(matches!(judge(remove, &left, 1, &[]), Progress::Ask(_)));
        assert_eq!(
            judge(remove, &[one, two, peer(4, Voter)], 1, &[]),
            Progress::Done
        );
    }

    #[test]
    fn a_learner_whose_data_rots_never_votes() {
        use PeerRole::{Learner, Voter};
        let (one, two, new) = (peer(1, Voter), peer(2, Voter), peer(4, Learner));
        let steps = [
            Step::Promote(new),
            Step::Exchange {
                add: new,
                remove: two,
            },
        ];
        for step in steps {
            let peers = [one, two, new];
            assert_eq!(judge(step, &peers, 1, &[4]), Progress::Wait);
            let add = Step::AddLearner(peer(4, Learner));
            let leaves = judge_hopeless(add, &[one, two], 1, (&[], &[], &[4]));
            assert_eq!(leaves, Progress::Impossible);
            for (damaged, leaving) in [(&[4][..], &[][..]), (&[], &[4])] {
                let hopeless = judge_hopeless(step, &peers, 1, (&[4], damaged, leaving));
                assert_eq!(hopeless, Progress::Impossible);
            }
        }
    }

    #[test]
    fn what_others_changed_makes_a_step_impossible() {
        use PeerRole::{Learner, Voter};
        let (one, two) = (peer(1, Voter), peer(2, Voter));
        let mut other = peer(4, Learner);
        other.id = 99;
        let add = Step::AddLearner(peer(4, Learner));
        assert_eq!(judge(add, &[one, two, other], 1, &[]), Progress::Impossible);
        let promote = Step::Promote(peer(4, Learner));
        assert_eq!(judge(promote, &[one, two], 1, &[]), Progress::Impossible);
        let to = Step::TransferLeader {
            from: StoreId(1),
            to: two,
        };
        assert_eq!(judge(to, &[one, two], 1, &[2]), Progress::Impossible);
        assert_eq!(judge(to, &[one], 1, &[]), Progress::Impossible);
    }
}
