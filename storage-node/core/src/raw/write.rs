//! From a raw write request to the command that goes into the log.
//!
//! *Place*: [`crate::front`] calls [`operation`]; the worker checks the keys against its region and packs the
//! command into an entry.
//!
//! *Invariants*: what is refused here never reaches the log; the command alone determines what apply does.
//!
//! *Limits*: time to live up to [`TTL_S_MAX`]; the size of the whole command is checked by the caller.
//!
//! *Next stop*: [`crate::peer`].

use super::keys::{Invalid, KeySpace};
use crate::config::TTL_S_MAX;
use bytes::Bytes;
use prost::Message;
use yadkv_proto::api::StoreRequest;
use yadkv_proto::kvrpcpb::{Context, RawBatchPutRequest, RawCasRequest};
use yadkv_proto::yadkvpb::command::Operation;
use yadkv_proto::yadkvpb::{CompareAndSwap, DeleteRange, Mutation, Write};

/// The log operation of a raw write under its context; `Ok(None)` if the request writes nothing and may be
/// answered at once.
pub fn operation(request: StoreRequest, context: &Context) -> Result<Option<Operation>, Invalid> {
    match request {
        StoreRequest::RawPut(put) => {
            let keys = KeySpace::of(context, &put.cf)?;
            let mutation = put_mutation(keys, &put.key, put.value, put.ttl)?;
            Ok(Some(write(keys, vec![mutation])))
        }
        StoreRequest::RawBatchPut(batch) => batch_put(batch, context),
        StoreRequest::RawDelete(delete) => {
            let keys = KeySpace::of(context, &delete.cf)?;
            Ok(Some(write(keys, vec![delete_mutation(keys, &delete.key)?])))
        }
        StoreRequest::RawBatchDelete(batch) => {
            let keys = KeySpace::of(context, &batch.cf)?;
            let mutations = batch
                .keys
                .iter()
                .map(|key| delete_mutation(keys, key))
                .collect::<Result<Vec<_>, _>>()?;
            Ok((!mutations.is_empty()).then(|| write(keys, mutations)))
        }
        StoreRequest::RawDeleteRange(delete) => {
            let keys = KeySpace::of(context, &delete.cf)?;
            let range = keys.stored_range(&delete.start_key, &delete.end_key);
            if range.is_empty() {
                return Err(Invalid(
                    "the range is empty or reversed: start must be below end".into(),
                ));
            }
            let space = keys.space().into();
            Ok(Some(Operation::DeleteRange(DeleteRange {
                space,
                start: range.start,
                end: range.end,
            })))
        }
        StoreRequest::RawCompareAndSwap(cas) => compare_and_swap(cas, context).map(Some),
        other => Err(Invalid(format!("{} is no raw write", other.name()))),
    }
}

fn batch_put(batch: RawBatchPutRequest, context: &Context) -> Result<Option<Operation>, Invalid> {
    let keys = KeySpace::of(context, &batch.cf)?;
    let (pairs, ttls) = (batch.pairs.len(), batch.ttls.len());
    if ttls > 1 && ttls != pairs {
        return Err(Invalid(format!(
            "{ttls} times to live for {pairs} pairs: give none, one or one each"
        )));
    }
    let ttl_of = |position: usize| {
        batch
            .ttls
            .get(if ttls == 1 { 0 } else { position })
            .copied()
            .unwrap_or(0)
    };
    let mutations = batch
        .pairs
        .into_iter()
        .enumerate()
        .map(|(position, pair)| put_mutation(keys, &pair.key, pair.value, ttl_of(position)))
        .collect::<Result<Vec<_>, _>>()?;
    Ok((!mutations.is_empty()).then(|| write(keys, mutations)))
}

fn compare_and_swap(cas: RawCasRequest, context: &Context) -> Result<Operation, Invalid> {
    let keys = KeySpace::of(context, &cas.cf)?;
    Ok(Operation::CompareAndSwap(CompareAndSwap {
        space: keys.space().into(),
        key: keys.stored(&cas.key)?,
        previous: (!cas.previous_not_exist).then_some(cas.previous_value),
        value: (!cas.delete).then_some(cas.value),
        ttl_s: checked_ttl(cas.ttl)?,
    }))
}

fn write(keys: KeySpace, mutations: Vec<Mutation>) -> Operation {
    Operation::Write(Write {
        space: keys.space().into(),
        mutations,
    })
}

fn put_mutation(
    keys: KeySpace,
    key: &Bytes,
    value: Bytes,
    ttl_s: u64,
) -> Result<Mutation, Invalid> {
    Ok(Mutation {
        key: keys.stored(key)?,
        value: Some(value),
        ttl_s: checked_ttl(ttl_s)?,
    })
}

fn delete_mutation(keys: KeySpace, key: &Bytes) -> Result<Mutation, Invalid> {
    Ok(Mutation {
        key: keys.stored(key)?,
        value: None,
        ttl_s: 0,
    })
}

fn checked_ttl(ttl_s: u64) -> Result<u64, Invalid> {
    if ttl_s <= TTL_S_MAX {
        return Ok(ttl_s);
    }
    Err(Invalid(format!(
        "a time to live of {ttl_s} s overflows: at most {TTL_S_MAX} s are allowed"
    )))
}

/// The point keys of an operation, in stored form: each must lie inside the region.
pub fn point_keys(operation: &Operation) -> impl Iterator<Item = &Bytes> {
    let (mutations, key): (&[Mutation], Option<&Bytes>) = match operation {
        Operation::Write(write) => (&write.mutations, None),
        Operation::CompareAndSwap(cas) => (&[], Some(&cas.key)),
        Operation::DeleteRange(_)
        | Operation::Split(_)
        | Operation::ChangePeers(_)
        | Operation::PrepareMerge(_)
        | Operation::CommitMerge(_)
        | Operation::RollbackMerge(_)
        | Operation::TruncateLog(_)
        | Operation::Check(_) => (&[], None),
    };
    mutations.iter().map(|mutation| &mutation.key).chain(key)
}

/// Bytes that an operation adds to an entry, about.
pub fn bytes(operation: &Operation) -> usize {
    const OVERHEAD: usize = 16;
    match operation {
        Operation::Write(write) => write
            .mutations
            .iter()
            .map(|mutation| {
                mutation.key.len() + mutation.value.as_ref().map_or(0, Bytes::len) + OVERHEAD
            })
            .sum(),
        Operation::CompareAndSwap(cas) => {
            let (old, new) = (cas.previous.as_ref(), cas.value.as_ref());
            cas.key.len() + old.map_or(0, Bytes::len) + new.map_or(0, Bytes::len) + OVERHEAD
        }
        Operation::DeleteRange(delete) => delete.start.len() + delete.end.len() + OVERHEAD,
        // Its entry has nothing else in it.
        Operation::Split(split) => split.encoded_len(),
        Operation::TruncateLog(truncate) => truncate.encoded_len(),
        Operation::Check(check) => check.encoded_len(),
        Operation::ChangePeers(change) => change.encoded_len(),
        Operation::PrepareMerge(merge) => merge.encoded_len(),
        Operation::CommitMerge(merge) => merge.encoded_len(),
        Operation::RollbackMerge(rollback) => rollback.encoded_len(),
    }
}
