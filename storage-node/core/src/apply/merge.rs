//! Committed merges become descriptors: what the source does, and what the target does.
//!
//! *Place*: [`super::command`] calls [`prepare`] and [`rollback`]; [`super::Applier`], which has both replicas, calls
//! [`take_in`]. The records go into the batch of the data before them, which is synced before anybody hears of them.
//!
//! ```text
//! source, log     … writes … PrepareMerge (at C)                       nothing after it changes data
//! target, log     … writes … CommitMerge { source, C } … writes in both ranges
//! each store      target's apply first applies the source's log up to C
//!
//! before   source 2, version 7   [a ... f)    target 9, version 5   [f ... p)
//! prepared source 2, version 8   [a ... f)    waits
//! after    target 9, version 9   [a ........................ p)     the larger version plus one
//! ```
//!
//! *Invariants*: a CommitMerge counts only if the target has the epoch that the PrepareMerge named. So once the target
//! has any other, without the source in [`Replica::merged`], it will never take the source in, and a rollback is safe.
//! The target's region clock is the later one of both, so that no value revives.
//!
//! *Limits*: a region remembers the last [`MERGED_MAX`] that became part of it: a replica of a source that was away
//! longer than that many merges is collected by the placement driver's word alone.
//!
//! *Source*: `ARCHITECTURE.md`, How data would be lost; `proto/README.md`, Epochs.
//!
//! *Next stop*: [`crate::peer`], its merge.

use super::ApplyError;
use super::command::Rejection;
use super::replica::{Change, MergedDone, Replica};
use super::staged::Staged;
use crate::layout;
use crate::planted::{self, Planted};
use yadkv_proto::id::RegionId;
use yadkv_proto::metapb::{PeerRole, Region};
use yadkv_proto::storagepb::{Merging, PeerState};
use yadkv_proto::yadkvpb::{PrepareMerge, RollbackMerge};

/// Sources that a region remembers.
const MERGED_MAX: usize = 64;

/// Why two regions cannot be merged as they are; `None` if they can.
pub(crate) fn misfit(source: &Region, target: &Region) -> Option<&'static str> {
    let neighbours =
        |left: &Region, right: &Region| !left.end_key.is_empty() && left.end_key == right.start_key;
    if source.id == target.id {
        return Some("a region is not merged with itself");
    }
    if !neighbours(source, target) && !neighbours(target, source) {
        return Some("the regions are no neighbours");
    }
    let voters = |region: &Region| {
        let peers = region.peers.iter();
        let all = peers.map(|peer| (peer.role() == PeerRole::Voter).then_some(peer.store_id));
        let mut stores = all.collect::<Option<Vec<_>>>();
        stores.iter_mut().for_each(|stores| stores.sort_unstable());
        stores
    };
    match (voters(source), voters(target)) {
        (Some(here), Some(there)) if here == there => None,
        _ => Some("they do not have voters, and nothing else, on the same stores"),
    }
}

/// The source waits from here on.
pub(super) fn prepare(
    staged: &mut Staged,
    replica: &mut Replica,
    merge: PrepareMerge,
) -> Result<Result<(), Rejection>, ApplyError> {
    let mut epoch = replica.region.region_epoch.unwrap_or_default();
    if epoch.conf_ver != merge.conf_ver {
        return Ok(Err(Rejection::EpochChanged(replica.region.clone())));
    }
    let target = merge.target.unwrap_or_default();
    if let Some(reason) = misfit(&replica.region, &target) {
        return Ok(Err(Rejection::Invalid(reason.into())));
    }
    epoch.version += 1;
    epoch.conf_ver += 1;
    replica.region.region_epoch = Some(epoch);
    let merging = Merging {
        target: Some(target),
        commit: replica.applied.index.next().0,
    };
    replica.merging = Some(merging.clone());
    let change = Change::MergePrepared(replica.region.clone(), merging);
    changed(staged, replica, change);
    Ok(Ok(()))
}

/// The source goes on.
pub(super) fn rollback(
    staged: &mut Staged,
    replica: &mut Replica,
    rollback: &RollbackMerge,
) -> Result<Result<(), Rejection>, ApplyError> {
    let prepared = replica.merging.as_ref().map(|merging| merging.commit);
    if prepared != Some(rollback.commit) {
        return Ok(Err(Rejection::Invalid("it waits for no such merge".into())));
    }
    replica.merging = None;
    let epoch = replica.region.region_epoch.get_or_insert_default();
    epoch.version += 1;
    let change = Change::MergeRolledBack(replica.region.clone());
    changed(staged, replica, change);
    Ok(Ok(()))
}

fn changed(staged: &mut Staged, replica: &mut Replica, change: Change) {
    let key = layout::region_key(replica.applied.region);
    staged.put_meta(key, replica.record());
    staged.must_sync();
    replica.changes.push(change);
}

/// The target takes in the source, which has applied its log up to the PrepareMerge.
pub(super) fn take_in(
    staged: &mut Staged,
    replica: &mut Replica,
    source: &mut Replica,
) -> Result<(), Rejection> {
    let merging = source.merging.clone().unwrap_or_default();
    let expected = merging.target.unwrap_or_default();
    if (expected.id, expected.region_epoch) != (replica.region.id, replica.region.region_epoch) {
        return Err(Rejection::EpochChanged(replica.region.clone()));
    }
    let joined = join(&replica.region, &source.region);
    replica.region = joined.clone();
    replica.merged.extend(source.merged.iter());
    replica.merged.push(source.region.id);
    let forgotten = replica.merged.len().saturating_sub(MERGED_MAX);
    replica.merged.drain(..forgotten);
    let clock_ms = &mut replica.applied.clock_ms;
    *clock_ms = source.applied.clock_ms.max(*clock_ms);
    let expiry_ms = &mut replica.applied.latest_expiry_ms;
    *expiry_ms = source.applied.latest_expiry_ms.max(*expiry_ms);
    source.taken_in = true;
    source.changes.push(Change::TakenIn(source.region.clone()));
    let record = layout::region_record(&source.region, source.peer, PeerState::Tombstone);
    staged.put_meta(layout::region_key(source.applied.region), record);
    let key = layout::applied_key(source.applied.region);
    staged.delete(layout::META, key);
    staged.put_meta(layout::region_key(RegionId(joined.id)), replica.record());
    if !planted::is(Planted::MergeNotSynced) {
        staged.must_sync();
    }
    replica.changes.push(Change::Merged(MergedDone {
        region: joined,
        source: source.applied.region,
        merged: replica.merged.clone(),
    }));
    Ok(())
}

/// The target with the source's range.
fn join(target: &Region, source: &Region) -> Region {
    let mut joined = target.clone();
    if source.start_key < target.start_key {
        joined.start_key = source.start_key.clone();
    } else {
        joined.end_key = source.end_key.clone();
    }
    let version = |region: &Region| region.region_epoch.map_or(0, |epoch| epoch.version);
    let epoch = joined.region_epoch.get_or_insert_default();
    epoch.version = version(target).max(version(source)) + 1;
    joined
}
