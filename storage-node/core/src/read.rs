//! Reads: under the leader's lease without its worker, or confirmed by ReadIndex.
//!
//! *Place*: [`crate::front`] begins a [`LeaseRead`]; the worker emits a [`ConfirmedRead`] once its index is
//! applied; service threads, the read pool or the simulation evaluate both.
//!
//! *Life of a lease read*, in this order and no other:
//! ```text
//! 1 begin    load the delegate (its term is applied) and the region clock
//! 2 evaluate read the engine
//! 3 confirm  read the monotonic clock, then: same delegate still published, lease covers that clock
//! ```
//! If 3 fails the answer is thrown away and the worker is asked. With the clock read before the engine, a
//! leader could be deposed in between and the read be stale.
//!
//! *Invariants*: an answer leaves only after `confirm` said yes.
//!
//! *Limits and failure*: a damaged value is refused with its key, never served.
//!
//! *Source*: Raft thesis 6.4.
//!
//! *Next stop*: [`crate::raw::read`].

use crate::front;
use crate::raw::read::{self, ReadError};
use crate::refusal;
use crate::respond::{Borders, Kind, Responder};
use crate::view::{Delegate, RegionView, check_store};
use std::sync::Arc;
use yadkv_engine::Engine;
use yadkv_proto::api::{StoreRequest, StoreResponse};
use yadkv_proto::id::{StoreId, Term};
use yadkv_proto::kvrpcpb::{Context, ScanLockResponse};
use yadkv_proto::time::Moment;

/// A read under the lease, begun.
#[derive(Debug)]
pub struct LeaseRead {
    view: Arc<RegionView>,
    delegate: Arc<Delegate>,
    clock_ms: u64,
}

impl LeaseRead {
    // ANCHOR: begin
    /// Step 1; `None` if there is no delegate: ask the worker.
    pub fn begin(view: Arc<RegionView>) -> Option<Self> {
        let delegate = view.delegate()?;
        let clock_ms = view.clock_ms();
        Some(Self {
            view,
            delegate,
            clock_ms,
        })
    }
    // ANCHOR_END: begin

    /// Step 2 without touching the disk; `None` if the disk must be asked.
    pub fn evaluate_cached(
        &self,
        engine: &dyn Engine,
        request: &StoreRequest,
    ) -> Option<StoreResponse> {
        let StoreRequest::RawGet(get) = request else {
            return None;
        };
        match read::get_cached(engine, &self.view, get, self.clock_ms) {
            Ok(response) => response.map(StoreResponse::RawGet),
            Err(error) => Some(failed(Kind::RawGet, request, error)),
        }
    }

    /// Step 2.
    pub fn evaluate(
        &self,
        engine: &dyn Engine,
        kind: Kind,
        request: &StoreRequest,
    ) -> StoreResponse {
        evaluate(engine, &self.view, self.clock_ms, kind, request)
    }

    // ANCHOR: confirm
    /// Step 3; `now` must have been read after step 2.
    pub fn confirm(&self, now: Moment) -> bool {
        let same = self
            .view
            .delegate()
            .is_some_and(|delegate| Arc::ptr_eq(&delegate, &self.delegate));
        same && self.delegate.covers(now) && !self.view.is_over()
    }
    // ANCHOR_END: confirm
}

/// A read whose index was confirmed by a majority and is applied here.
#[derive(Debug)]
pub struct ConfirmedRead {
    /// The replica that serves it.
    pub view: Arc<RegionView>,
    /// Term in which this replica has to lead still when it was read; `None` for a read of any replica.
    pub office: Option<Term>,
    /// What to read.
    pub request: StoreRequest,
    /// Who waits.
    pub responder: Responder,
}

impl ConfirmedRead {
    /// Reads and answers, or refuses if another replica may lead by now.
    ///
    /// A deposed leader may apply what the next one has committed but not applied. Shown here, it would be missing
    /// from a lease read there, later. So it is with a part of the region that was cut off meanwhile: others may
    /// lead it.
    pub fn serve(self, engine: &dyn Engine) {
        let clock_ms = self.view.clock_ms();
        let response = evaluate(
            engine,
            &self.view,
            clock_ms,
            self.responder.kind(),
            &self.request,
        );
        if self.view.is_over() {
            let refused = refusal::region_not_found(self.view.id().0);
            return self.responder.refuse(refused);
        }
        if let Some(successors) = self.view.successors() {
            let refused = refusal::epoch_not_match(successors.clone());
            return self.responder.refuse(refused);
        }
        if self.office.is_some_and(|term| !self.view.leads(term)) {
            let refused = refusal::not_leader(self.view.id(), self.view.leader());
            return self.responder.refuse(refused);
        }
        self.responder.answer(response);
    }
}

fn evaluate(
    engine: &dyn Engine,
    region: &RegionView,
    clock_ms: u64,
    kind: Kind,
    request: &StoreRequest,
) -> StoreResponse {
    let snapshot = engine.snapshot();
    let view = read::View {
        snapshot: &*snapshot,
        region,
        clock_ms,
    };
    let result = match request {
        StoreRequest::RawGet(get) => view.get(get).map(StoreResponse::RawGet),
        StoreRequest::RawBatchGet(get) => view.batch_get(get).map(StoreResponse::RawBatchGet),
        StoreRequest::RawGetKeyTtl(get) => view.ttl(get).map(StoreResponse::RawGetKeyTtl),
        StoreRequest::RawScan(scan) => view.scan(scan).map(StoreResponse::RawScan),
        StoreRequest::RawBatchScan(scan) => view.batch_scan(scan).map(StoreResponse::RawBatchScan),
        StoreRequest::RawChecksum(sum) => view.checksum(sum).map(StoreResponse::RawChecksum),
        // No transaction can have left a lock yet: the families are empty.
        StoreRequest::KvScanLock(_) => Ok(StoreResponse::KvScanLock(ScanLockResponse::default())),
        other => Ok(kind.invalid(format!("{} is no read", other.name()))),
    };
    result.unwrap_or_else(|error| failed(kind, request, error))
}

fn failed(kind: Kind, request: &StoreRequest, error: ReadError) -> StoreResponse {
    let borders = front::describe(request).map_or(Borders::True, |(_, context)| {
        front::borders(request, context)
    });
    match error {
        ReadError::Region(error) => kind.refused(borders.in_error(error)),
        ReadError::Engine(error @ yadkv_engine::Error::Corrupt { .. }) => {
            tracing::error!(%error, "a read meets damaged data");
            kind.refused(refusal::damaged(&error.to_string()))
        }
        ReadError::TooLarge => kind.refused(refusal::answer_too_large(error.to_string())),
        other => kind.invalid(other.to_string()),
    }
}

/// How a read may be served.
#[derive(Debug)]
pub enum Policy {
    /// By this lease, if it can be confirmed afterwards.
    Lease(LeaseRead),
    /// By the worker, through ReadIndex.
    ReadIndex,
}

/// Decides how a read is served, or why not here.
pub fn policy(
    view: Option<Arc<RegionView>>,
    store: StoreId,
    context: &Context,
) -> Result<Policy, yadkv_proto::errorpb::Error> {
    check_store(store, context)?;
    let view = view.ok_or_else(|| refusal::region_not_found(context.region_id))?;
    if context.stale_read {
        return Err(refusal::data_is_not_ready(
            context.region_id,
            view.peer().id,
        ));
    }
    if context.replica_read || view.check(store, context).is_err() {
        // The worker checks leadership before the epoch, as callers expect.
        return Ok(Policy::ReadIndex);
    }
    Ok(LeaseRead::begin(view).map_or(Policy::ReadIndex, Policy::Lease))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use yadkv_engine::memory::Memory;
    use yadkv_proto::kvrpcpb::RawGetRequest;
    use yadkv_proto::metapb::{Peer, Region};

    /// What a read confirmed in term 7 answers when it is served.
    fn served(view: &Arc<RegionView>, office: Option<Term>) -> StoreResponse {
        let slot = Arc::new(Mutex::new(None));
        let fill = slot.clone();
        let read = ConfirmedRead {
            view: view.clone(),
            office,
            request: RawGetRequest::default().into(),
            responder: Responder::new(
                Kind::RawGet,
                Borders::True,
                Box::new(move |response| *fill.lock().unwrap() = Some(response)),
            ),
        };
        read.serve(&Memory::new(crate::layout::FAMILIES.len()));
        slot.lock().unwrap().take().unwrap()
    }

    fn is_not_leader(response: &StoreResponse) -> bool {
        let StoreResponse::RawGet(response) = response else {
            return false;
        };
        let error = response.region_error.as_ref();
        error.is_some_and(|error| error.not_leader.is_some())
    }

    #[test]
    fn a_confirmed_read_is_served_in_its_term_of_office_only() {
        let view = Arc::new(RegionView::new(Region::default(), Peer::default(), 0));
        view.set_office(Term(7));
        assert!(!is_not_leader(&served(&view, Some(Term(7)))));
        assert!(is_not_leader(&served(&view, Some(Term(6)))));
        view.set_office(Term(0));
        assert!(is_not_leader(&served(&view, Some(Term(7)))));
        assert!(!is_not_leader(&served(&view, None)));
    }
}
