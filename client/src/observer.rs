//! Somebody who watches a client: how long calls take, and what goes wrong on the way.
//!
//! *Place*: an application puts one into [`crate::Options::observer`]; routing tells it of calls, [`Observed`] of every
//! request. `metrics` (a cargo feature) is one that counts for Prometheus.
//!
//! *Invariants*: an observer changes nothing, and a client without one pays nothing.
//!
//! *Next stop*: [`crate::runtime`].

use crate::runtime::{CallError, Runtime};
use futures::FutureExt;
use futures::future::BoxFuture;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;
use yadkv_proto::api::{PdRequest, PdResponse, StoreRequest, StoreResponse};
use yadkv_proto::region_error;
use yadkv_proto::time::Moment;

/// What it is told. It must not block: it is called on the tasks of the calls.
///
/// ```
/// use std::time::Duration;
/// use yadkv_client::observer::Observer;
///
/// #[derive(Debug)]
/// struct Slow;
///
/// impl Observer for Slow {
///     fn called(&self, call: &'static str, took: Duration) {
///         if took > Duration::from_millis(100) {
///             println!("{call} took {took:?}");
///         }
///     }
///     fn attempt_failed(&self, _: &'static str) {}
///     fn gave_up(&self, call: &'static str) {
///         println!("{call} failed");
///     }
///     fn requested(&self, _: &'static str, _: Duration, _: Option<&'static str>) {}
/// }
/// # let _: std::sync::Arc<dyn Observer> = std::sync::Arc::new(Slow);
/// ```
pub trait Observer: Debug + Send + Sync + 'static {
    /// A call of the application has ended, with all its attempts.
    fn called(&self, call: &'static str, took: Duration);

    /// An attempt has failed; mostly another one follows.
    fn attempt_failed(&self, call: &'static str);

    /// A call ends in an error because its time is over, or because trying again could do harm.
    fn gave_up(&self, call: &'static str);

    /// A request to a store or placement driver has ended; `problem` says in a word why it has no answer.
    fn requested(&self, request: &'static str, took: Duration, problem: Option<&'static str>);
}

/// A runtime whose requests are observed.
pub(crate) struct Observed {
    runtime: Arc<dyn Runtime>,
    observer: Arc<dyn Observer>,
}

impl Observed {
    pub(crate) fn new(runtime: Arc<dyn Runtime>, observer: Arc<dyn Observer>) -> Self {
        Self { runtime, observer }
    }

    fn watch<T: Send + 'static>(
        &self,
        request: &'static str,
        answer: BoxFuture<'static, Result<T, CallError>>,
        problem: fn(&T) -> Option<&'static str>,
    ) -> BoxFuture<'static, Result<T, CallError>> {
        let (runtime, observer) = (self.runtime.clone(), self.observer.clone());
        let began = runtime.now();
        async move {
            let answer = answer.await;
            let problem = match &answer {
                Ok(response) => problem(response),
                Err(CallError::NotSent(_)) => Some("not_sent"),
                Err(CallError::Lost(_)) => Some("lost"),
                Err(CallError::Refused(_)) => Some("refused"),
                Err(CallError::NotServed(_)) => Some("not_served"),
            };
            observer.requested(request, runtime.now().since(began), problem);
            answer
        }
        .boxed()
    }
}

impl Runtime for Observed {
    fn now(&self) -> Moment {
        self.runtime.now()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        self.runtime.sleep(duration)
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        self.runtime.spawn(task);
    }

    fn random(&self) -> u64 {
        self.runtime.random()
    }

    fn pd(
        &self,
        address: &str,
        request: PdRequest,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<PdResponse, CallError>> {
        let name = request.name();
        self.watch(name, self.runtime.pd(address, request, timeout), |_| None)
    }

    fn store(
        &self,
        address: &str,
        request: StoreRequest,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<StoreResponse, CallError>> {
        let name = request.name();
        let answer = self.runtime.store(address, request, timeout);
        self.watch(name, answer, |response| {
            response.region_error().map(region_error::kind)
        })
    }
}

/// The clock of one call, read when it is dropped. A copy does not count: it is for a part of the call.
#[derive(Default)]
pub(crate) struct Watch(Option<Watched>);

struct Watched {
    runtime: Arc<dyn Runtime>,
    observer: Arc<dyn Observer>,
    call: &'static str,
    began: Moment,
}

impl Watch {
    pub(crate) fn new(
        runtime: &Arc<dyn Runtime>,
        observer: Option<&Arc<dyn Observer>>,
        call: &'static str,
    ) -> Self {
        Self(observer.map(|observer| Watched {
            runtime: runtime.clone(),
            observer: observer.clone(),
            call,
            began: runtime.now(),
        }))
    }
}

impl Clone for Watch {
    fn clone(&self) -> Self {
        Self(None)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(watched) = &self.0 {
            let took = watched.runtime.now().since(watched.began);
            watched.observer.called(watched.call, took);
        }
    }
}
