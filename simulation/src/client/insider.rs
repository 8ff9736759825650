//! Clients that learnt of regions elsewhere than from the placement driver, as readers of any replica do, and clients
//! that come with what was true before.
//!
//! A part of a split whose leader is ahead of the old one is not on the map yet: the placement driver waits for the
//! old leader's report. Only who asks another replica hears of it, and may use it, while others still go to the old
//! leader.
//!
//! *Place*: [`crate::nemesis`] sends them to the leaders that it sees; what they do is part of the history.
//!
//! *Next stop*: [`crate::check::linearizable`].

use crate::calls::{Question, call};
use crate::history::{History, Kind, Operation, Outcome};
use crate::sky::{Answer, Machine, Shared};
use bytes::Bytes;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use yadkv_proto::api::{StoreRequest, StoreResponse};
use yadkv_proto::kvrpcpb::{Context, RawCasRequest, RawGetRequest, RawPutRequest};

/// The machine that it runs on.
pub const MACHINE: Machine = Machine::Client(3);
/// Its number in the history.
const NUMBER: usize = 9;
const TIMEOUT: Duration = Duration::from_secs(3);

/// What to do with a raw V1 key.
#[derive(Clone, Copy, Debug)]
pub enum Deed {
    /// Puts a new value.
    Put,
    /// Reads.
    Get,
    /// Puts a new value if there is none.
    Swap,
}

/// Does something once, at a store and under a context that somebody told.
pub async fn act(
    sky: Shared,
    history: Arc<Mutex<History>>,
    to: Machine,
    context: Context,
    (key, deed): (&'static str, Deed),
) {
    let key = Bytes::from_static(key.as_bytes());
    let value = history.lock().value();
    let kind = match deed {
        Deed::Put => Kind::Put(value.clone(), 0),
        Deed::Get => Kind::Get,
        Deed::Swap => Kind::Swap(None, Some(value.clone())),
    };
    let number = {
        let (mut sky, mut history) = (sky.lock(), history.lock());
        crate::note!(sky, "insider {key:?} {kind:?} at {to}");
        history.operations.push(Operation {
            client: NUMBER,
            key: (false, key.clone()),
            kind,
            begun: sky.now,
            ended: u64::MAX,
            outcome: Outcome::Unknown,
            copies: Vec::new(),
        });
        history.operations.len() - 1
    };
    let question = Question::Store(request(deed, context, key, value));
    let Answer::Store(response) = call(&sky, MACHINE, to, question, TIMEOUT).await else {
        return;
    };
    // Anything else leaves it open.
    if let Some(outcome) = outcome(*response) {
        let (mut sky, mut history) = (sky.lock(), history.lock());
        crate::note!(sky, "insider: {outcome:?}");
        let operation = &mut history.operations[number];
        (operation.ended, operation.outcome) = (sky.now, outcome);
    }
}

fn request(deed: Deed, context: Context, key: Bytes, value: Bytes) -> StoreRequest {
    let context = Some(Box::new(context));
    match deed {
        Deed::Put => RawPutRequest {
            context,
            key,
            value,
            ..Default::default()
        }
        .into(),
        Deed::Get => RawGetRequest {
            context,
            key,
            ..Default::default()
        }
        .into(),
        Deed::Swap => RawCasRequest {
            context,
            key,
            value,
            previous_not_exist: true,
            ..Default::default()
        }
        .into(),
    }
}

fn outcome(response: StoreResponse) -> Option<Outcome> {
    match response {
        StoreResponse::RawPut(put) if put.region_error.is_none() && put.error.is_empty() => {
            Some(Outcome::Done)
        }
        StoreResponse::RawGet(get) if get.region_error.is_none() && get.error.is_empty() => {
            Some(Outcome::Value((!get.not_found).then_some(get.value)))
        }
        StoreResponse::RawCompareAndSwap(swap)
            if swap.region_error.is_none() && swap.error.is_empty() =>
        {
            let previous = (!swap.previous_not_exist).then_some(swap.previous_value);
            Some(Outcome::Swapped(swap.succeed, previous))
        }
        _ => None,
    }
}
