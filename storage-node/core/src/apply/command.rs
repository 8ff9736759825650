//! One command of an entry, judged against the applied state.
//!
//! *Place*: [`super::Applier`] calls [`apply`] for each command in the order of the log.
//!
//! *Invariants*: the same command on the same state does the same on every replica; a command checked under
//! another version changes nothing.
//!
//! *Next stop*: [`super::staged`].

use super::replica::Replica;
use super::staged::Staged;
use super::{ApplyError, members, merge, split};
use crate::layout::{self, RawValue};
use crate::planted::{self, Planted};
use crate::respond::Outcome;
use crate::split::check::Amount;
use bytes::Bytes;
use yadkv_engine::Family;
use yadkv_proto::id::{Index, PeerId};
use yadkv_proto::key::KeyRange;
use yadkv_proto::metapb::Region;
use yadkv_proto::yadkvpb::command::Operation;
use yadkv_proto::yadkvpb::{Command, CompareAndSwap, Space};

/// Why a command was not carried out. Every replica decides the same.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Rejection {
    /// The region's version is another than the one the command was checked under.
    EpochChanged(Region),
    /// What was proposed makes no sense; the text says why.
    Invalid(String),
}

/// Carries one command out.
pub(super) fn apply(
    staged: &mut Staged,
    replica: &mut Replica,
    command: Command,
) -> Result<Result<Outcome, Rejection>, ApplyError> {
    // ANCHOR: version
    let checked = !planted::is(Planted::EpochUncheckedAtApply);
    if checked && command.version != replica.version() {
        return Ok(Err(Rejection::EpochChanged(replica.region.clone())));
    }
    // ANCHOR_END: version
    let ends_wait = matches!(command.operation, Some(Operation::RollbackMerge(_)));
    if replica.merging.is_some() && !ends_wait {
        return Ok(Err(Rejection::EpochChanged(replica.region.clone())));
    }
    let (region, index) = (replica.applied.region, replica.applied.index.next());
    let unknown = |what: &str| ApplyError::Entry {
        region,
        index,
        reason: format!("{what} is not known to this release"),
    };
    let space = |number: i32| Space::try_from(number).map_err(|_| unknown("the key space"));
    match command.operation {
        None => Err(unknown("the operation")),
        Some(Operation::Write(write)) => {
            let family = layout::family(space(write.space)?);
            for mutation in write.mutations {
                match mutation.value {
                    Some(value) => put(
                        staged,
                        replica,
                        family,
                        mutation.key,
                        &value,
                        mutation.ttl_s,
                    ),
                    None => staged.delete(family, mutation.key),
                }
            }
            Ok(Ok(Outcome::Done))
        }
        Some(Operation::CompareAndSwap(cas)) => {
            let family = layout::family(space(cas.space)?);
            compare_and_swap(staged, replica, family, cas).map(Ok)
        }
        Some(Operation::DeleteRange(delete)) => {
            let family = layout::family(space(delete.space)?);
            let KeyRange { start, end } =
                KeyRange::new(delete.start, delete.end).intersect(&replica.range());
            if end.is_empty() || start < end {
                staged.delete_range(family, start, end);
            }
            Ok(Ok(Outcome::Done))
        }
        Some(Operation::TruncateLog(truncate)) => {
            let index = Index(truncate.index).min(replica.applied.index);
            replica.truncate = replica.truncate.max(Some(index));
            Ok(Ok(Outcome::Done))
        }
        Some(Operation::Check(check)) => {
            replica.check = Some((index, PeerId(check.asked_by)));
            Ok(Ok(Outcome::Done))
        }
        Some(change) => change_region(staged, replica, change),
    }
}

/// Carries a command out that changes the region itself.
fn change_region(
    staged: &mut Staged,
    replica: &mut Replica,
    change: Operation,
) -> Result<Result<Outcome, Rejection>, ApplyError> {
    Ok(match change {
        Operation::ChangePeers(change) => {
            let done = members::apply(staged, replica, &change)?;
            done.map(|()| Outcome::Done)
        }
        Operation::Split(split) => {
            let done = split::apply(staged, replica, &split)?;
            done.map(Outcome::Split)
        }
        Operation::PrepareMerge(merge) => {
            let done = merge::prepare(staged, replica, merge)?;
            done.map(|()| Outcome::Done)
        }
        Operation::RollbackMerge(rollback) => {
            let done = merge::rollback(staged, replica, &rollback)?;
            done.map(|()| Outcome::Done)
        }
        _ => {
            return Err(ApplyError::Entry {
                region: replica.applied.region,
                index: replica.applied.index.next(),
                reason: "a merge shares its entry with other commands".into(),
            });
        }
    })
}

fn put(
    staged: &mut Staged,
    replica: &mut Replica,
    family: Family,
    key: Bytes,
    value: &[u8],
    ttl_s: u64,
) {
    replica.written += Amount {
        bytes: (key.len() + value.len()) as u64,
        keys: 1,
    };
    let state = &mut replica.applied;
    let expires_ms =
        (ttl_s != 0).then(|| state.clock_ms.saturating_add(ttl_s.saturating_mul(1000)));
    state.latest_expiry_ms = state.latest_expiry_ms.max(expires_ms.unwrap_or(0));
    staged.put(family, key, RawValue::encode(value, expires_ms));
}

// ANCHOR: compare-and-swap
fn compare_and_swap(
    staged: &mut Staged,
    replica: &mut Replica,
    family: Family,
    cas: CompareAndSwap,
) -> Result<Outcome, ApplyError> {
    let present = staged
        .get(family, &cas.key)?
        .map(RawValue::decode)
        .transpose()?;
    let previous = present
        .filter(|value| value.is_live(replica.applied.clock_ms))
        .map(|value| value.value);
    let succeeded = previous == cas.previous;
    if succeeded {
        match cas.value {
            Some(value) => put(staged, replica, family, cas.key, &value, cas.ttl_s),
            None => staged.delete(family, cas.key),
        }
    }
    Ok(Outcome::Swapped {
        succeeded,
        previous,
    })
}
// ANCHOR_END: compare-and-swap
