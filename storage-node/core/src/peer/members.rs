//! Changes of a region's members, on the side of its worker.
//!
//! *Life of a change*:
//! ```text
//! the placement driver's order → judged: epoch, members, health → proposed → committed → applied:
//!   descriptor written, the next view published, Raft told → joint? then the leader leaves that state by itself
//! ```
//!
//! *Invariants*: a leader never removes or demotes itself; nobody votes from now on who does not keep up; a change
//! that would leave too few voters that are heard of, and exist, is not begun.
//!
//! *Limits and failure*: one change at a time. What is refused is logged, and nothing is half done: the placement driver
//! sees the descriptor in the next report and decides again.
//!
//! *Source*: Raft thesis chapter 4.
//!
//! *Next stop*: [`crate::members`].

use super::Peer;
use crate::apply::MembersDone;
use crate::layout::FORMAT;
use crate::members::{self, Unfit};
use crate::store::message::{ChangeTask, Effects};
use prost::Message;
use std::sync::Arc;
use yadkv_consensus::{MemberChange, MembersChange};
use yadkv_proto::id::PeerId;
use yadkv_proto::metapb::{PeerRole, Region};
use yadkv_proto::pdpb::ChangePeer;
use yadkv_proto::time::{Moment, Now};
use yadkv_proto::yadkvpb::command::Operation;
use yadkv_proto::yadkvpb::{ChangePeers, Command, RegionEntry};

impl Peer {
    /// The placement driver wants other members.
    pub fn change_peers(&mut self, task: &ChangeTask, now: Now) {
        if self.view.region().region_epoch != Some(task.epoch) || !self.is_leader() {
            return;
        }
        if let Err(reason) = self.propose_members(&task.changes, now) {
            tracing::info!(region = self.id().0, %reason, "change of members refused");
        }
    }

    fn propose_members(&mut self, changes: &[ChangePeer], now: Now) -> Result<(), Unfit> {
        if self.merge.holds_writes() {
            return Err(Unfit("the region is being merged".into()));
        }
        let epoch = self.view.region().region_epoch.unwrap_or_default();
        let (next, change) = members::next(self.view.region(), changes)?;
        self.judge(&next, &change, now.moment)?;
        let command = Command {
            version: epoch.version,
            operation: Some(Operation::ChangePeers(ChangePeers {
                conf_ver: epoch.conf_ver,
                changes: changes.to_vec(),
            })),
        };
        let entry = RegionEntry {
            format: FORMAT,
            now_ms: now.wall_ms,
            commands: vec![command],
        };
        let context = entry.encode_to_vec().into();
        let proposed = self.node.propose_change(&change, context, now.moment);
        match proposed {
            Ok(proposal) => {
                tracing::info!(
                    region = self.id().0,
                    index = proposal.index.0,
                    ?change,
                    "members change"
                );
                Ok(())
            }
            Err(error) => Err(Unfit(error.to_string())),
        }
    }

    /// Whether this leader may begin a change.
    fn judge(&self, next: &Region, change: &MembersChange, now: Moment) -> Result<(), Unfit> {
        let own = PeerId(self.view.peer().id);
        let each = match change {
            MembersChange::Simple(change) => std::slice::from_ref(change),
            MembersChange::Enter(changes) => changes,
            MembersChange::Leave => &[],
        };
        for change in each {
            match change {
                MemberChange::Voter(peer) if !self.node.follows(*peer) => {
                    let reason = format!("peer {} lags: it must not vote yet", peer.0);
                    return Err(Unfit(reason));
                }
                MemberChange::Learner(peer) | MemberChange::Remove(peer) if *peer == own => {
                    return Err(Unfit("the leader is not taken away: transfer first".into()));
                }
                _ => {}
            }
        }
        let voters = members::of(next).voters;
        // One that does not exist yet answers heartbeats, and can confirm nothing.
        let serves = |peer: &&PeerId| {
            self.hears(**peer, now) && (**peer == own || !self.node.knows_nothing_of(**peer))
        };
        let serving = voters.iter().filter(serves).count();
        if serving * 2 <= voters.len() && *change != MembersChange::Leave {
            return Err(Unfit("too few of the voters would be there".into()));
        }
        Ok(())
    }

    /// Leaves a joint state, which nobody else may have an interest in.
    pub(super) fn leave_joint(&mut self, now: Now) {
        let joint = self.is_leader() && members::is_joint(self.view.region());
        if !joint || self.node.is_changing() {
            return;
        }
        if self.view.peer().role() == PeerRole::DemotingVoter {
            return self.hand_over(now.moment);
        }
        if let Err(reason) = self.propose_members(&[], now) {
            tracing::debug!(region = self.id().0, %reason, "the joint state stays for now");
        }
    }

    /// Gives leadership to a voter that stays one.
    fn hand_over(&mut self, now: Moment) {
        let stays = [PeerRole::Voter, PeerRole::IncomingVoter];
        let peers = self.view.region().peers.iter();
        let heir = peers
            .filter(|peer| stays.contains(&peer.role()))
            .find(|peer| self.node.follows(PeerId(peer.id)))
            .copied();
        if let Some(heir) = heir {
            self.transfer_leader(&heir, now);
        }
    }

    /// A change was applied.
    pub(super) fn members_done(&mut self, done: MembersDone, now: Moment, effects: &mut Effects) {
        let epoch = done.region.region_epoch.unwrap_or_default();
        tracing::info!(
            region = self.id().0,
            peer = self.view.peer().id,
            conf_ver = epoch.conf_ver,
            change = ?done.change,
            "members changed"
        );
        let members = members::of(&done.region);
        let next = self.view.with_members(done.region);
        self.view.withdraw();
        self.view = Arc::new(next);
        if self.is_over() {
            // The others may lead on only if they know that it is committed.
            return self.node.announce_commit();
        }
        self.node.change_members(&done.change, &members, now);
        if self.is_leader() {
            self.node.announce_commit();
            self.report(effects);
        }
    }

    /// Whether the replica on this store is no member any more, or the region is no more.
    pub fn is_over(&self) -> bool {
        let own = self.view.peer().id;
        self.merge.is_over() || self.view.region().peers.iter().all(|peer| peer.id != own)
    }
}
