//! One command of an entry, judged against the applied state.
//!
//! *Place*: [`super::Applier`] calls [`apply`] for each command in the order of the log.
//!
//! *Invariants*: the same command on the same state does the same on every replica; a command checked under
//! another version changes nothing.
//!
//! *Next stop*: [`super::staged`].

use super::staged::Staged;
use super::{Applied, ApplyError};
use crate::layout::{self, RawValue};
use crate::respond::Outcome;
use crate::view::RegionView;
use bytes::Bytes;
use yadkv_engine::Family;
use yadkv_proto::id::Index;
use yadkv_proto::key::KeyRange;
use yadkv_proto::metapb::Region;
use yadkv_proto::yadkvpb::command::Operation;
use yadkv_proto::yadkvpb::{Command, CompareAndSwap, Space};

/// Why a command was not carried out. Every replica decides the same.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Rejection {
    /// The region's version is another than the one the command was checked under.
    EpochChanged(Region),
}

/// Carries one command out.
pub(super) fn apply(
    staged: &mut Staged,
    view: &RegionView,
    state: &mut Applied,
    command: Command,
) -> Result<Result<Outcome, Rejection>, ApplyError> {
    if command.version != view.version() {
        return Ok(Err(Rejection::EpochChanged(view.region().clone())));
    }
    let unknown = |what: &str| ApplyError::Entry {
        region: state.region,
        index: Index(state.index.0 + 1),
        reason: format!("{what} is not known to this release"),
    };
    let space = |number: i32| Space::try_from(number).map_err(|_| unknown("the key space"));
    match command.operation {
        None => Err(unknown("the operation")),
        Some(Operation::Write(write)) => {
            let family = layout::family(space(write.space)?);
            for mutation in write.mutations {
                match mutation.value {
                    Some(value) => put(staged, state, family, mutation.key, &value, mutation.ttl_s),
                    None => staged.delete(family, mutation.key),
                }
            }
            Ok(Ok(Outcome::Done))
        }
        Some(Operation::CompareAndSwap(cas)) => {
            let family = layout::family(space(cas.space)?);
            compare_and_swap(staged, state, family, cas).map(Ok)
        }
        Some(Operation::DeleteRange(delete)) => {
            let family = layout::family(space(delete.space)?);
            let KeyRange { start, end } =
                KeyRange::new(delete.start, delete.end).intersect(view.range());
            if end.is_empty() || start < end {
                staged.delete_range(family, start, end);
            }
            Ok(Ok(Outcome::Done))
        }
    }
}

fn put(
    staged: &mut Staged,
    state: &mut Applied,
    family: Family,
    key: Bytes,
    value: &[u8],
    ttl_s: u64,
) {
    let expires_ms =
        (ttl_s != 0).then(|| state.clock_ms.saturating_add(ttl_s.saturating_mul(1000)));
    state.latest_expiry_ms = state.latest_expiry_ms.max(expires_ms.unwrap_or(0));
    staged.put(family, key, RawValue::encode(value, expires_ms));
}

fn compare_and_swap(
    staged: &mut Staged,
    state: &mut Applied,
    family: Family,
    cas: CompareAndSwap,
) -> Result<Outcome, ApplyError> {
    let present = staged
        .get(family, &cas.key)?
        .map(RawValue::decode)
        .transpose()?;
    let previous = present
        .filter(|value| value.is_live(state.clock_ms))
        .map(|value| value.value);
    let succeeded = previous == cas.previous;
    if succeeded {
        match cas.value {
            Some(value) => put(staged, state, family, cas.key, &value, cas.ttl_s),
            None => staged.delete(family, cas.key),
        }
    }
    Ok(Outcome::Swapped {
        succeeded,
        previous,
    })
}
