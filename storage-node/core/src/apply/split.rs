//! A committed split becomes descriptors.
//!
//! *Place*: [`super::command`] calls it. The records go into the batch of the data before them, and that batch is
//! synced before anybody hears of the split.
//!
//! *Life of a part*: descriptor and first applied state here → the worker writes its first Raft state, unless there
//! is one from an earlier life → its replica starts.
//!
//! ```text
//! before   region 2, version 7   [a ........................ z)
//! after    region 9, version 9   [a ... f)                        new ids left of each cut
//!          region 10, version 9          [f ... p)
//!          region 2, version 9                   [p ......... z)  the old id keeps the right
//! ```
//!
//! *Invariants*: the parts and the region tile what the region was; every version is the old one plus the number
//! of parts; a part starts with the region clock of the whole, so that no value of it expires or revives; a part
//! whose replica was destroyed here before the split was applied does not come back.
//!
//! *Source*: `ARCHITECTURE.md`, How data would be lost; `proto/README.md`, Epochs.
//!
//! *Next stop*: `store::adopt`.

use super::command::Rejection;
use super::replica::{Change, Replica, SplitDone};
use super::staged::Staged;
use super::{Applied, ApplyError};
use crate::layout::{self, FORMAT, META};
use crate::planted::{self, Planted};
use prost::Message;
use yadkv_consensus::{FIRST_INDEX, FIRST_TERM};
use yadkv_proto::id::RegionId;
use yadkv_proto::metapb::{Peer, Region, RegionEpoch};
use yadkv_proto::storagepb::RegionRecord;
use yadkv_proto::yadkvpb::{Split, SplitPart};

/// Carries a split out; the regions that take the place of the one, in key order.
pub(super) fn apply(
    staged: &mut Staged,
    replica: &mut Replica,
    split: &Split,
) -> Result<Result<Vec<Region>, Rejection>, ApplyError> {
    let epoch = replica.region.region_epoch.unwrap_or_default();
    if epoch.conf_ver != split.conf_ver {
        return Ok(Err(Rejection::EpochChanged(replica.region.clone())));
    }
    if let Err(reason) = fits(&replica.region, &split.parts) {
        return Ok(Err(Rejection::Invalid(reason.into())));
    }
    let epoch = RegionEpoch {
        conf_ver: epoch.conf_ver,
        version: epoch.version + split.parts.len() as u64,
    };
    let (parts, region) = cut(&replica.region, &split.parts, epoch);
    let mut created = Vec::new();
    for part in &parts {
        let id = RegionId(part.id);
        if staged.get(META, &layout::region_key(id))?.is_some() {
            continue;
        }
        let own = part
            .peers
            .iter()
            .find(|peer| peer.store_id == replica.peer.store_id);
        let record = RegionRecord {
            format: FORMAT,
            region: Some(part.clone()),
            peer: own.copied(),
            merged: replica.merged.clone(),
            ..RegionRecord::default()
        };
        staged.put_meta(layout::region_key(id), record.encode_to_vec().into());
        let first = Applied {
            region: id,
            index: FIRST_INDEX,
            term: FIRST_TERM,
            ..replica.applied
        };
        staged.put_meta(layout::applied_key(id), first.record());
        created.push(id);
    }
    replica.region = region.clone();
    staged.put_meta(layout::region_key(RegionId(region.id)), replica.record());
    if !planted::is(Planted::SplitNotSynced) {
        staged.must_sync();
    }
    let done = SplitDone {
        index: replica.applied.index.next(),
        region,
        parts,
        created,
    };
    let regions = done.regions();
    replica.changes.push(Change::Split(done));
    Ok(Ok(regions))
}

/// Whether the parts can be cut off the region. The proposer has checked it; an entry says nothing else.
fn fits(region: &Region, parts: &[SplitPart]) -> Result<(), &'static str> {
    let mut start = &region.start_key;
    for part in parts {
        if part.end_key <= *start {
            return Err("the cuts do not rise");
        }
        if part.region_id == 0 || part.peer_ids.len() != region.peers.len() {
            return Err("the ids do not fit the region's peers");
        }
        start = &part.end_key;
    }
    match parts.is_empty() {
        true => Err("there is no cut"),
        false if !region.end_key.is_empty() && *start >= region.end_key => {
            Err("a cut is outside of the region")
        }
        false => Ok(()),
    }
}

// ANCHOR: cut
fn cut(region: &Region, parts: &[SplitPart], epoch: RegionEpoch) -> (Vec<Region>, Region) {
    let mut start_key = region.start_key.clone();
    let mut cut_off = Vec::with_capacity(parts.len());
    for part in parts {
        let peers = region.peers.iter().zip(&part.peer_ids);
        let end_key = part.end_key.clone();
        cut_off.push(Region {
            id: part.region_id,
            start_key: std::mem::replace(&mut start_key, end_key.clone()),
            end_key,
            region_epoch: Some(epoch),
            peers: peers.map(|(peer, id)| Peer { id: *id, ..*peer }).collect(),
            ..Default::default()
        });
    }
    let rest = Region {
        start_key,
        region_epoch: Some(epoch),
        ..region.clone()
    };
    (cut_off, rest)
}
// ANCHOR_END: cut
