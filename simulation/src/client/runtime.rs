//! The SDK's world on the event queue.
//!
//! *Place*: `yadkv_client` calls it; it calls [`crate::calls`] and [`crate::tasks`].
//!
//! *Invariants*: a call that found no process is NotSent; one that lost its connection or time is Lost.
//!
//! *Next stop*: [`crate::check::linearizable`].

use super::session::{Copies, Fate};
use crate::calls::{Question, call};
use crate::sky::{Answer, Machine, Shared};
use crate::tasks::sleep;
use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use std::time::Duration;
use yadkv_client::runtime::{CallError, Runtime};
use yadkv_proto::api::{PdRequest, PdResponse, StoreRequest, StoreResponse};
use yadkv_proto::time::Moment;

/// The runtime of one client machine.
pub struct SimulatedRuntime {
    /// Where everything happens.
    pub sky: Shared,
    /// Whose clock and links it uses.
    pub machine: Machine,
    /// Whoever wants to know which writes may have been executed.
    pub copies: Option<Copies>,
}

impl Runtime for SimulatedRuntime {
    fn now(&self) -> Moment {
        self.sky.lock().moment(self.machine)
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        sleep(&self.sky, self.machine, duration).boxed()
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        self.sky.lock().spawned.push((self.machine, task));
    }

    fn random(&self) -> u64 {
        self.sky.lock().places.machine(self.machine).draw()
    }

    fn pd(
        &self,
        address: &str,
        request: PdRequest,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<PdResponse, CallError>> {
        let Some(to @ Machine::Pd(_)) = Machine::at(address) else {
            return futures::future::ready(Err(unknown(address))).boxed();
        };
        let asked = call(&self.sky, self.machine, to, Question::Pd(request), timeout);
        async move {
            match asked.await {
                Answer::Pd(response) => Ok(*response),
                Answer::Failed(error) => Err(error),
                Answer::Store(_) => Err(CallError::Lost("a store answered".into())),
            }
        }
        .boxed()
    }

    fn store(
        &self,
        address: &str,
        request: StoreRequest,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<StoreResponse, CallError>> {
        let Some(to @ Machine::Store(_)) = Machine::at(address) else {
            return futures::future::ready(Err(unknown(address))).boxed();
        };
        let keys = written(&request);
        let (copies, sky) = (self.copies.clone(), self.sky.clone());
        let sent = sky.lock().now;
        let question = Question::Store(request);
        let asked = call(&self.sky, self.machine, to, question, timeout);
        async move {
            let answer = match asked.await {
                Answer::Store(response) => Ok(*response),
                Answer::Failed(error) => Err(error),
                Answer::Pd(_) => Err(CallError::Lost("a placement driver answered".into())),
            };
            if let Some(copies) = copies {
                let (fate, times) = (fate(&answer), (sent, sky.lock().now));
                keys.iter()
                    .for_each(|key| copies.answered(key, times, fate));
            }
            answer
        }
        .boxed()
    }
}

/// The keys that a request writes, if sending it twice is thinkable.
fn written(request: &StoreRequest) -> Vec<Bytes> {
    match request {
        StoreRequest::RawPut(put) => vec![put.key.clone()],
        StoreRequest::RawBatchPut(put) => put.pairs.iter().map(|pair| pair.key.clone()).collect(),
        StoreRequest::RawDelete(delete) => vec![delete.key.clone()],
        StoreRequest::RawBatchDelete(delete) => delete.keys.clone(),
        _ => Vec::new(),
    }
}

/// What became of a copy of a write.
fn fate(answer: &Result<StoreResponse, CallError>) -> Fate {
    let error = match answer {
        Err(CallError::Lost(_)) => return Fate::Unknown,
        Err(_) => return Fate::NotDone,
        Ok(StoreResponse::RawPut(response)) => &response.region_error,
        Ok(StoreResponse::RawBatchPut(response)) => &response.region_error,
        Ok(StoreResponse::RawDelete(response)) => &response.region_error,
        Ok(StoreResponse::RawBatchDelete(response)) => &response.region_error,
        Ok(_) => return Fate::NotDone,
    };
    match error {
        None => Fate::Done,
        Some(error) if error.stale_command.is_some() => Fate::Unknown,
        Some(error) if error.undetermined_result.is_some() => Fate::Unknown,
        Some(_) => Fate::NotDone,
    }
}

fn unknown(address: &str) -> CallError {
    CallError::NotSent(format!("nobody listens at {address}"))
}
