//! The door of a store: what a request needs, decided without the worker.
//!
//! *Place*: gRPC services (one call or one command of a frame) → [`Front::submit`] → answered at once, read
//! here under the lease, or sent to the worker of its region.
//!
//! *Life of a request*: known kind? → sizes and names → a write becomes a command, a read gets a policy.
//!
//! *Invariants*: whatever comes in is answered exactly once, by whoever holds its [`Responder`] last.
//!
//! *Limits*: a write is at most one entry; larger ones get RaftEntryTooLarge.
//!
//! *Next stop*: [`crate::raw::write`], then [`crate::store`].

use crate::config::Config;
use crate::raw::write;
use crate::read::{LeaseRead, Policy, policy};
use crate::refusal;
use crate::respond::{Borders, Kind, Outcome, Reply, Responder};
use crate::store::message::{CheckTask, CutTask, Input, ReadTask, WriteTask};
use crate::stuck::Writes;
use crate::view::Directory;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use yadkv_proto::api::{StoreRequest, StoreResponse};
use yadkv_proto::codec;
use yadkv_proto::errorpb;
use yadkv_proto::id::{RegionId, StoreId};
use yadkv_proto::kvrpcpb::{
    ApiVersion, Context, GetHealthFeedbackResponse, HealthFeedback, SplitRegionRequest,
    StoreSafeTsResponse, UnsafeDestroyRangeResponse,
};
use yadkv_proto::time::{Moment, Now};

/// Lowest slow score: healthy.
const SLOW_SCORE_HEALTHY: i32 = 1;

/// What every service thread shares.
#[derive(Debug)]
pub struct Front {
    /// This store.
    pub store: StoreId,
    /// Its replicas.
    pub directory: Arc<Directory>,
    /// Limits, as they were at the start: of those that may change while the store runs none is read here.
    pub config: Config,
    /// Set by the server while the Raft logs are over [`Config::log_bytes_max`] or the disk is nearly full.
    pub log_full: AtomicBool,
    /// Workers that wait for their disk.
    pub writes: Writes,
}

// ANCHOR: next
/// What the caller of [`Front::submit`] does next.
#[derive(Debug)]
pub enum Next {
    /// Nothing: it is answered.
    Answered,
    /// Evaluate, confirm and answer; if it cannot be confirmed, [`ReadTask`] goes to the worker.
    Read(LeaseRead, ReadTask),
    /// Hand to the worker that owns the region; if its inbox is full, [`Input::refuse_busy`].
    Send(RegionId, Input),
}
// ANCHOR_END: next

impl Front {
    /// Takes a request in.
    pub fn submit(&self, request: StoreRequest, reply: Reply, now: Now) -> Next {
        let Some((kind, context)) = describe(&request) else {
            reply(self.answer(&request));
            return Next::Answered;
        };
        let responder = Responder::new(kind, borders(&request, context), reply);
        let mut request = match request {
            StoreRequest::SplitRegion(split) => return submit_split(split, responder),
            StoreRequest::CheckRegion(check) => {
                let context = check.context.unwrap_or_default();
                let region = RegionId(context.region_id);
                let task = CheckTask { context, responder };
                return Next::Send(region, Input::Check(task));
            }
            request => request,
        };
        match write_context(&mut request) {
            Some(context) => self.submit_write(request, context, responder, now),
            None => self.submit_read(request, responder, now),
        }
    }

    /// Refuses a request that there is no room for; those without a region need none.
    pub fn refuse(&self, request: &StoreRequest, reply: Reply, error: errorpb::Error) {
        reply(match describe(request) {
            Some((kind, _)) => kind.refused(error),
            None => self.answer(request),
        });
    }

    fn submit_read(&self, request: StoreRequest, responder: Responder, now: Now) -> Next {
        let context = describe(&request).map_or(&*NO_CONTEXT, |(_, context)| context);
        let region = RegionId(context.region_id);
        let decided = policy(self.directory.get(region), self.store, context);
        let task = ReadTask {
            request,
            responder,
            arrived: now.moment,
        };
        match decided {
            Ok(Policy::Lease(read)) => Next::Read(read, task),
            Ok(Policy::ReadIndex) => self.read_index(task, now.moment),
            Err(error) => {
                task.responder.refuse(error);
                Next::Answered
            }
        }
    }

    /// Takes a read in that no lease confirms: the worker has to.
    pub fn read_index(&self, task: ReadTask, now: Moment) -> Next {
        let context = describe(&task.request).map_or(&*NO_CONTEXT, |(_, context)| context);
        let region = RegionId(context.region_id);
        if self.writes.hang(now) {
            // Another one leads by now, or soon.
            task.responder.refuse(refusal::not_leader(region, None));
            return Next::Answered;
        }
        Next::Send(region, Input::Read(task))
    }

    fn submit_write(
        &self,
        request: StoreRequest,
        context: Box<Context>,
        responder: Responder,
        now: Now,
    ) -> Next {
        let kind = responder.kind();
        let operation = match write::operation(request, &context) {
            Ok(Some(operation)) => operation,
            Ok(None) => {
                responder.done(Outcome::Done);
                return Next::Answered;
            }
            Err(invalid) => {
                responder.answer(kind.invalid(invalid.to_string()));
                return Next::Answered;
            }
        };
        let bytes = write::bytes(&operation);
        if bytes > self.config.entry_bytes_max {
            let (bytes, bytes_max) = (bytes as u64, self.config.entry_bytes_max as u64);
            responder.refuse(refusal::entry_too_large(
                context.region_id,
                bytes,
                bytes_max,
            ));
            return Next::Answered;
        }
        let region = RegionId(context.region_id);
        if self.writes.hang(now.moment) {
            // Another one leads by now, or soon.
            responder.refuse(refusal::not_leader(region, None));
            return Next::Answered;
        }
        if self.log_full.load(Ordering::Relaxed) {
            responder.refuse(self.full(region));
            return Next::Answered;
        }
        Next::Send(
            region,
            Input::Write(WriteTask {
                context,
                operation,
                bytes,
                responder,
                arrived: now.moment,
            }),
        )
    }

    /// What a write is told while there is no room: callers stay with a store that is full, so only the leader is.
    fn full(&self, region: RegionId) -> errorpb::Error {
        let Some(view) = self.directory.get(region) else {
            return refusal::region_not_found(region.0);
        };
        match view.leader() {
            Some(leader) if leader.id == view.peer().id => {
                refusal::disk_full(self.store, "the disk or store.log_size is used up")
            }
            leader => refusal::not_leader(region, leader),
        }
    }

    /// Requests without a region.
    fn answer(&self, request: &StoreRequest) -> StoreResponse {
        match request {
            // Transactional data cannot exist yet, so every range of it is already gone on every replica.
            StoreRequest::UnsafeDestroyRange(_) => {
                StoreResponse::UnsafeDestroyRange(UnsafeDestroyRangeResponse::default())
            }
            StoreRequest::GetHealthFeedback(_) => {
                StoreResponse::GetHealthFeedback(GetHealthFeedbackResponse {
                    region_error: None,
                    health_feedback: Some(HealthFeedback {
                        store_id: self.store.0,
                        feedback_seq_no: 1,
                        slow_score: SLOW_SCORE_HEALTHY,
                    }),
                })
            }
            // No resolved timestamp is kept: 0 tells the caller to read from the leader.
            _ => StoreResponse::GetStoreSafeTs(StoreSafeTsResponse { safe_ts: 0 }),
        }
    }
}

/// What a request without context is checked as: every check then says what is missing.
static NO_CONTEXT: LazyLock<Context> = LazyLock::new(Context::default);

/// The kind and context of a request that is routed to a region; `None` for the others.
pub fn describe(request: &StoreRequest) -> Option<(Kind, &Context)> {
    macro_rules! routed {
        ($($name:ident),*) => {
            match request {
                $(StoreRequest::$name(request) => (Kind::$name, request.context.as_deref()),)*
                StoreRequest::UnsafeDestroyRange(_)
                | StoreRequest::GetStoreSafeTs(_)
                | StoreRequest::GetHealthFeedback(_) => return None,
            }
        };
    }
    let (kind, context) = routed!(
        RawGet,
        RawBatchGet,
        RawPut,
        RawBatchPut,
        RawDelete,
        RawBatchDelete,
        RawDeleteRange,
        RawScan,
        RawBatchScan,
        RawGetKeyTtl,
        RawCompareAndSwap,
        RawChecksum,
        KvScanLock,
        SplitRegion,
        CheckRegion
    );
    Some((kind, context.unwrap_or(&NO_CONTEXT)))
}

/// How the sender of a request sees borders: raw V1 keys are stored as they are, all others encoded.
pub fn borders(request: &StoreRequest, context: &Context) -> Borders {
    let plain = matches!(context.api_version(), ApiVersion::V1 | ApiVersion::V1ttl);
    match request {
        StoreRequest::KvScanLock(_) => Borders::Encoded,
        StoreRequest::SplitRegion(split) if !split.is_raw_kv => Borders::Encoded,
        _ if plain => Borders::True,
        _ => Borders::Encoded,
    }
}

/// Keys become borders; the rest is for the worker.
#[allow(deprecated, reason = "old clients name one key")]
fn submit_split(mut split: SplitRegionRequest, responder: Responder) -> Next {
    let keys = match split.split_keys.is_empty() {
        false => split.split_keys,
        true => vec![split.split_key],
    };
    let keys = match responder.borders() {
        Borders::True => keys,
        Borders::Encoded => keys.iter().map(|key| codec::encode(key)).collect(),
    };
    let context = split.context.take().unwrap_or_default();
    let region = RegionId(context.region_id);
    Next::Send(
        region,
        Input::Cut(CutTask {
            context,
            keys,
            responder,
        }),
    )
}

/// Takes the context out of a write; `None` for everything else.
fn write_context(request: &mut StoreRequest) -> Option<Box<Context>> {
    macro_rules! take {
        ($($name:ident),*) => {
            match request {
                $(StoreRequest::$name(request) => request.context.take(),)*
                _ => return None,
            }
        };
    }
    let context = take!(
        RawPut,
        RawBatchPut,
        RawDelete,
        RawBatchDelete,
        RawDeleteRange,
        RawCompareAndSwap
    );
    Some(context.unwrap_or_default())
}
