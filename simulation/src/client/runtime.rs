//! The SDK's world on the event queue.
//!
//! *Place*: `yadkv_client` calls it; it calls [`crate::calls`] and [`crate::tasks`].
//!
//! *Invariants*: a call that found no process is NotSent; one that lost its connection or time is Lost.
//!
//! *Next stop*: [`super::work`].

use crate::calls::{Question, call};
use crate::sky::{Answer, Machine, Shared};
use crate::tasks::sleep;
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
        self.sky.lock().random.draw()
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
        let asked = call(
            &self.sky,
            self.machine,
            to,
            Question::Store(request),
            timeout,
        );
        async move {
            match asked.await {
                Answer::Store(response) => Ok(*response),
                Answer::Failed(error) => Err(error),
                Answer::Pd(_) => Err(CallError::Lost("a placement driver answered".into())),
            }
        }
        .boxed()
    }
}

fn unknown(address: &str) -> CallError {
    CallError::NotSent(format!("nobody listens at {address}"))
}
