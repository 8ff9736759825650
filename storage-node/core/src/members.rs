//! Members of a region: what its descriptor means to Raft, and what a change makes of it.
//!
//! *Place*: a peer judges a change with [`next`] before it proposes it, apply judges it again; [`of`] is what a
//! replica's node is opened with.
//!
//! *Life of a change of several members*:
//! ```text
//! enter   learner → IncomingVoter, voter → DemotingVoter     conf_ver + number of changes
//! leave   IncomingVoter → voter, DemotingVoter → learner     conf_ver + number of those
//! ```
//! One change at once goes without: a new learner, a learner that votes from now on, a learner or voter that leaves.
//!
//! *Invariants*: a change makes the same of the same descriptor on every replica. A store has one peer of a region. In
//! a joint state nobody leaves and nobody joins; a voter is demoted before it leaves in one step with others.
//!
//! *Source*: Raft paper section 6; Raft thesis chapter 4; the roles are the protocol's, `proto/README.md`.
//!
//! *Next stop*: `consensus::members`.

use crate::planted::{self, Planted};
use yadkv_consensus::{MemberChange, Members, MembersChange};
use yadkv_proto::eraftpb::ConfChangeType;
use yadkv_proto::id::PeerId;
use yadkv_proto::metapb::{Peer, PeerRole, Region};
use yadkv_proto::pdpb::ChangePeer;

/// The change does not fit the region; nothing is changed. The text says why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unfit(pub String);

/// The members of a region as Raft sees them.
pub fn of(region: &Region) -> Members {
    let of_roles = |roles: &[PeerRole]| {
        let peers = region.peers.iter();
        let fits = peers.filter(|peer| roles.contains(&peer.role()));
        fits.map(|peer| PeerId(peer.id)).collect()
    };
    let joint = is_joint(region);
    Members {
        voters: of_roles(&[PeerRole::Voter, PeerRole::IncomingVoter]),
        learners: of_roles(&[PeerRole::Learner]),
        outgoing: match joint {
            true => of_roles(&[PeerRole::Voter, PeerRole::DemotingVoter]),
            false => Vec::new(),
        },
        demoted: of_roles(&[PeerRole::DemotingVoter]),
    }
}

/// Whether a region is between two sets of voters.
pub fn is_joint(region: &Region) -> bool {
    region.peers.iter().any(|peer| is_transient(peer.role()))
}

fn is_transient(role: PeerRole) -> bool {
    matches!(role, PeerRole::IncomingVoter | PeerRole::DemotingVoter)
}

/// What a region becomes: by no change it leaves its joint state, by one that is made at once, by several (or a
/// demotion) it enters one.
pub fn next(region: &Region, changes: &[ChangePeer]) -> Result<(Region, MembersChange), Unfit> {
    let mut next = region.clone();
    let joint = is_joint(region);
    let (count, change) = match (changes, joint) {
        ([], true) => (leave(&mut next), MembersChange::Leave),
        ([], false) => return Err(unfit("there is no joint state to leave")),
        (_, true) => return Err(unfit("the region is in a joint state: it is left first")),
        ([change], false) if !demotes(region, change) => {
            let change = simple(&mut next, change)?;
            (1, MembersChange::Simple(change))
        }
        (changes, false) => {
            let entered: Result<Vec<_>, _> = (changes.iter())
                .map(|change| enter(&mut next, change))
                .collect();
            (changes.len() as u64, MembersChange::Enter(entered?))
        }
    };
    if of(&next).voters.is_empty() {
        return Err(unfit("the last voter cannot be taken away"));
    }
    let epoch = next.region_epoch.get_or_insert_default();
    if !planted::is(Planted::MembersUnderOldEpoch) {
        epoch.conf_ver += count;
    }
    Ok((next, change))
}

fn leave(region: &mut Region) -> u64 {
    let mut count = 0;
    for peer in &mut region.peers {
        match peer.role() {
            PeerRole::IncomingVoter => peer.set_role(PeerRole::Voter),
            PeerRole::DemotingVoter => peer.set_role(PeerRole::Learner),
            _ => continue,
        }
        count += 1;
    }
    count
}

/// Whether a change makes a learner of a voter: never at once, since the voter might be the leader.
fn demotes(region: &Region, change: &ChangePeer) -> bool {
    let Some(wanted) = change.peer else {
        return false;
    };
    change.change_type() == ConfChangeType::AddLearnerNode
        && (region.peers.iter()).any(|peer| peer.id == wanted.id && peer.role() == PeerRole::Voter)
}

fn simple(region: &mut Region, change: &ChangePeer) -> Result<MemberChange, Unfit> {
    let wanted = wanted(change)?;
    let id = wanted.id;
    let known = known(region, wanted)?;
    match (change.change_type(), known) {
        (ConfChangeType::AddNode, Some(at)) if is(region, at, PeerRole::Learner) => {
            region.peers[at].set_role(PeerRole::Voter);
            Ok(MemberChange::Voter(PeerId(id)))
        }
        (ConfChangeType::AddNode, None) => {
            Err(unfit("a new member learns first: add it as a learner"))
        }
        (ConfChangeType::AddNode, Some(_)) => Err(Unfit(format!("peer {id} votes already"))),
        (ConfChangeType::AddLearnerNode, None) => {
            let mut peer = wanted;
            peer.set_role(PeerRole::Learner);
            region.peers.push(peer);
            Ok(MemberChange::Learner(PeerId(id)))
        }
        (ConfChangeType::AddLearnerNode, Some(_)) => {
            Err(Unfit(format!("peer {id} is a member already")))
        }
        (ConfChangeType::RemoveNode, Some(at)) => {
            region.peers.remove(at);
            Ok(MemberChange::Remove(PeerId(id)))
        }
        (ConfChangeType::RemoveNode, None) => Err(Unfit(format!("peer {id} is no member"))),
    }
}

fn enter(region: &mut Region, change: &ChangePeer) -> Result<MemberChange, Unfit> {
    let wanted = wanted(change)?;
    let id = wanted.id;
    let known = known(region, wanted)?;
    match (change.change_type(), known) {
        (ConfChangeType::AddNode, Some(at)) if is(region, at, PeerRole::Learner) => {
            region.peers[at].set_role(PeerRole::IncomingVoter);
            Ok(MemberChange::Voter(PeerId(id)))
        }
        (ConfChangeType::AddLearnerNode, Some(at)) if is(region, at, PeerRole::Voter) => {
            region.peers[at].set_role(PeerRole::DemotingVoter);
            Ok(MemberChange::Learner(PeerId(id)))
        }
        (_, Some(_)) => Err(Unfit(format!(
            "peer {id}: in one step with others, learners become voters and voters learners"
        ))),
        (_, None) => Err(Unfit(format!("peer {id} is no member"))),
    }
}

fn wanted(change: &ChangePeer) -> Result<Peer, Unfit> {
    match change.peer {
        Some(peer) if peer.id != 0 && peer.store_id != 0 => Ok(peer),
        _ => Err(unfit("a change names no peer and store")),
    }
}

/// Where a peer stands in the descriptor.
fn known(region: &Region, wanted: Peer) -> Result<Option<usize>, Unfit> {
    for (at, peer) in region.peers.iter().enumerate() {
        match (peer.id == wanted.id, peer.store_id == wanted.store_id) {
            (true, true) => return Ok(Some(at)),
            (true, false) => {
                let reason = format!("peer {} lives on store {}", peer.id, peer.store_id);
                return Err(Unfit(reason));
            }
            (false, true) => {
                let reason = format!("store {} has peer {} already", peer.store_id, peer.id);
                return Err(Unfit(reason));
            }
            (false, false) => {}
        }
    }
    Ok(None)
}

fn is(region: &Region, at: usize, role: PeerRole) -> bool {
    region.peers[at].role() == role
}

fn unfit(reason: &str) -> Unfit {
    Unfit(reason.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use yadkv_proto::metapb::RegionEpoch;

    fn region(roles: &[PeerRole]) -> Region {
        let peers = roles.iter().enumerate().map(|(at, role)| Peer {
            id: 10 + at as u64,
            store_id: 1 + at as u64,
            role: *role as i32,
            ..Peer::default()
        });
        Region {
            id: 2,
            peers: peers.collect(),
            region_epoch: Some(RegionEpoch {
                conf_ver: 5,
                version: 1,
            }),
            ..Region::default()
        }
    }

    fn change(kind: ConfChangeType, id: u64, store_id: u64) -> ChangePeer {
        let peer = Peer {
            id,
            store_id,
            ..Peer::default()
        };
        ChangePeer {
            peer: Some(peer),
            change_type: kind as i32,
        }
    }

    fn roles(region: &Region) -> Vec<PeerRole> {
        region.peers.iter().map(|peer| peer.role()).collect()
    }

    fn conf_ver(region: &Region) -> u64 {
        region.region_epoch.expect("set above").conf_ver
    }

    #[test]
    fn a_replica_moves_through_a_joint_state() {
        use ConfChangeType::{AddLearnerNode, AddNode, RemoveNode};
        use PeerRole::{DemotingVoter, IncomingVoter, Learner, Voter};
        let start = region(&[Voter, Voter, Voter]);
        let (learns, _) = next(&start, &[change(AddLearnerNode, 13, 4)]).expect("a new learner");
        assert_eq!(roles(&learns), [Voter, Voter, Voter, Learner]);
        assert_eq!(conf_ver(&learns), 6);
        let swap = [change(AddNode, 13, 4), change(AddLearnerNode, 10, 1)];
        let (joint, entered) = next(&learns, &swap).expect("enters");
        assert_eq!(roles(&joint), [DemotingVoter, Voter, Voter, IncomingVoter]);
        assert_eq!(conf_ver(&joint), 8);
        let wanted = vec![
            MemberChange::Voter(PeerId(13)),
            MemberChange::Learner(PeerId(10)),
        ];
        assert_eq!(entered, MembersChange::Enter(wanted));
        let members = of(&joint);
        assert_eq!(members.voters, [11, 12, 13].map(PeerId));
        assert_eq!(members.outgoing, [10, 11, 12].map(PeerId));
        assert_eq!(members.demoted, [PeerId(10)]);
        assert!(next(&joint, &swap).is_err(), "it must be left first");
        let (left, change_left) = next(&joint, &[]).expect("leaves");
        assert_eq!(change_left, MembersChange::Leave);
        assert_eq!(roles(&left), [Learner, Voter, Voter, Voter]);
        assert_eq!(conf_ver(&left), 10);
        let (gone, _) = next(&left, &[change(RemoveNode, 10, 1)]).expect("a learner leaves");
        assert_eq!(roles(&gone), [Voter, Voter, Voter]);
        assert!(next(&gone, &[]).is_err(), "there is nothing to leave");
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_a_reason() {
        use ConfChangeType::{AddLearnerNode, AddNode, RemoveNode};
        let reason = |region: &Region, kind, id, store| {
            let error = next(region, &[change(kind, id, store)]).expect_err("refused");
            error.to_string()
        };
        let alone = region(&[PeerRole::Voter]);
        let last = "the last voter cannot be taken away";
        assert_eq!(reason(&alone, RemoveNode, 10, 1), last);
        assert_eq!(reason(&alone, AddLearnerNode, 10, 1), last);
        assert_eq!(reason(&alone, RemoveNode, 11, 2), "peer 11 is no member");
        assert_eq!(
            reason(&alone, AddLearnerNode, 11, 1),
            "store 1 has peer 10 already"
        );
        assert_eq!(
            reason(&alone, AddLearnerNode, 10, 2),
            "peer 10 lives on store 1"
        );
        assert_eq!(reason(&alone, AddNode, 10, 1), "peer 10 votes already");
        let unknown = reason(&alone, AddNode, 11, 2);
        assert!(unknown.contains("learner"), "{unknown}");
        assert!(next(&alone, &[ChangePeer::default()]).is_err());
    }
}
