//! A client that learnt of a region elsewhere than from the placement driver, as readers of any replica do.
//!
//! A part of a split whose leader is ahead of the old one is not on the map yet: the placement driver waits for the
//! old leader's report. Only who asks another replica hears of it, and may use it.
//!
//! *Place*: [`crate::nemesis`] sends it to the leader that it sees; its writes are part of the history.
//!
//! *Next stop*: [`crate::check::linearizable`].

use crate::calls::{Question, call};
use crate::history::{History, Kind, Operation, Outcome};
use crate::sky::{Answer, Machine, Shared};
use bytes::Bytes;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use yadkv_proto::api::StoreResponse;
use yadkv_proto::kvrpcpb::{Context, RawPutRequest};

/// The machine that it runs on.
pub const MACHINE: Machine = Machine::Client(3);
/// Its number in the history.
const NUMBER: usize = 9;
const TIMEOUT: Duration = Duration::from_secs(3);

/// Puts a new value to a raw V1 key, at a store and under a context that somebody told.
pub async fn put(
    sky: Shared,
    history: Arc<Mutex<History>>,
    to: Machine,
    context: Context,
    key: &'static str,
) {
    let key = Bytes::from_static(key.as_bytes());
    let number = {
        let (mut sky, mut history) = (sky.lock(), history.lock());
        let value = history.value();
        crate::note!(sky, "insider {key:?} {value:?} at {to}");
        history.operations.push(Operation {
            client: NUMBER,
            key: (false, key.clone()),
            kind: Kind::Put(value, 0),
            begun: sky.now,
            ended: u64::MAX,
            outcome: Outcome::Unknown,
            copies: Vec::new(),
        });
        history.operations.len() - 1
    };
    let value = match &history.lock().operations[number].kind {
        Kind::Put(value, _) => value.clone(),
        _ => return,
    };
    let request = RawPutRequest {
        context: Some(Box::new(context)),
        key,
        value,
        ..Default::default()
    };
    let answer = call(&sky, MACHINE, to, Question::Store(request.into()), TIMEOUT).await;
    let Answer::Store(response) = answer else {
        return;
    };
    let done = matches!(&*response, StoreResponse::RawPut(put)
        if put.region_error.is_none() && put.error.is_empty());
    // Anything else leaves it open.
    if done {
        let (mut sky, mut history) = (sky.lock(), history.lock());
        crate::note!(sky, "insider is done");
        let operation = &mut history.operations[number];
        (operation.ended, operation.outcome) = (sky.now, Outcome::Done);
    }
}
