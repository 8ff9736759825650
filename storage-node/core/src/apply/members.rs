//! A committed change of members becomes a descriptor.
//!
//! *Place*: [`super::command`] calls it. The record goes into the batch of the data before it. Nobody waits until that is
//! durable: the log says durably that the change is committed, and a crash applies it again before anything else.
//!
//! *Life of a removed replica*: tombstone and the end of its data here, in one batch → the worker lets go of it →
//! durable → its log is wiped ([`crate::snapshot::install`]).
//!
//! *Invariants*: the replica that removes itself has nothing left that another replica of the same range could meet;
//! the tombstone keeps its id, which never comes back.
//!
//! *Source*: Raft thesis chapter 4; `ARCHITECTURE.md`, How data would be lost.
//!
//! *Next stop*: [`crate::members`].

use super::ApplyError;
use super::command::Rejection;
use super::replica::{Change, MembersDone, Replica};
use super::staged::Staged;
use crate::layout;
use crate::members;
use yadkv_proto::id::RegionId;
use yadkv_proto::key::KeyRange;
use yadkv_proto::storagepb::PeerState;
use yadkv_proto::yadkvpb::ChangePeers;

/// Carries a change of members out.
pub(super) fn apply(
    staged: &mut Staged,
    replica: &mut Replica,
    change: &ChangePeers,
) -> Result<Result<(), Rejection>, ApplyError> {
    let epoch = replica.region.region_epoch.unwrap_or_default();
    if epoch.conf_ver != change.conf_ver {
        return Ok(Err(Rejection::EpochChanged(replica.region.clone())));
    }
    let (region, change) = match members::next(&replica.region, &change.changes) {
        Ok(next) => next,
        Err(unfit) => return Ok(Err(Rejection::Invalid(unfit.to_string()))),
    };
    let id = RegionId(region.id);
    replica.region = region.clone();
    if let Some(own) = region.peers.iter().find(|peer| peer.id == replica.peer.id) {
        replica.peer = *own;
        staged.put_meta(layout::region_key(id), replica.record());
    } else {
        bury(staged, replica);
    }
    let done = MembersDone { region, change };
    replica.changes.push(Change::Members(done));
    Ok(Ok(()))
}

fn bury(staged: &mut Staged, replica: &Replica) {
    let id = RegionId(replica.region.id);
    let KeyRange { start, end } = replica.range();
    for family in layout::DATA {
        staged.delete_range(family, start.clone(), end.clone());
    }
    let record = layout::region_record(&replica.region, replica.peer, PeerState::Tombstone);
    staged.put_meta(layout::region_key(id), record);
    staged.delete(layout::META, layout::applied_key(id));
}
