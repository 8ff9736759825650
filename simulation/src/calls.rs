//! Calls between machines: asked, answered, reset or timed out, each ending exactly once for its caller.
//!
//! *Place*: the clients' runtime and the stores' companions call through [`call`].
//!
//! *Life of a call*: registered → sent → arrives at a process (or finds none: NotSent) → answered → the answer
//! arrives; or the process dies (connection reset: Lost), or time is up (Lost).
//!
//! *Next stop*: [`crate::tasks`].

use crate::sky::{Answer, Event, Machine, Message, Shared};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use yadkv_client::runtime::CallError;
use yadkv_proto::api::{PdRequest, StoreRequest};

/// A call under way.
#[derive(Debug)]
struct Pending {
    from: Machine,
    to: Machine,
    answer: Option<Answer>,
    waker: Option<Waker>,
}

/// Calls under way.
#[derive(Debug, Default)]
pub struct Calls(BTreeMap<u64, Pending>);

impl Calls {
    /// Who waits for a call's answer; nobody if it has ended.
    pub fn caller(&self, call: u64) -> Option<Machine> {
        self.0
            .get(&call)
            .filter(|call| call.answer.is_none())
            .map(|call| call.from)
    }

    /// Ends a call, unless it has ended.
    pub fn end(&mut self, call: u64, answer: Answer) {
        if let Some(pending) = self.0.get_mut(&call)
            && pending.answer.is_none()
        {
            pending.answer = Some(answer);
            if let Some(waker) = pending.waker.take() {
                waker.wake();
            }
        }
    }

    /// The calls that a machine has not answered yet, with their callers.
    pub fn at(&self, machine: Machine) -> Vec<u64> {
        let open = self
            .0
            .iter()
            .filter(|(_, call)| call.to == machine && call.answer.is_none());
        open.map(|(id, _)| *id).collect()
    }
}

/// What is asked.
#[allow(clippy::large_enum_variant, reason = "few at a time")]
pub enum Question {
    /// A store.
    Store(StoreRequest),
    /// A placement driver.
    Pd(PdRequest),
}

/// Asks a machine; ends within `timeout`.
pub fn call(
    sky: &Shared,
    from: Machine,
    to: Machine,
    question: Question,
    timeout: Duration,
) -> impl Future<Output = Answer> + Send + 'static {
    let id = {
        let mut sky = sky.lock();
        let id = sky.id();
        let pending = Pending {
            from,
            to,
            answer: None,
            waker: None,
        };
        sky.calls.0.insert(id, pending);
        let message = match question {
            Question::Store(request) => Message::StoreCall(id, Box::new(request)),
            Question::Pd(request) => Message::PdCall(id, Box::new(request), false),
        };
        sky.send(from, to, message);
        sky.after(timeout, Event::TimedOut(id));
        id
    };
    Call {
        sky: sky.clone(),
        id,
    }
}

struct Call {
    sky: Shared,
    id: u64,
}

impl Future for Call {
    type Output = Answer;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Answer> {
        let mut sky = self.sky.lock();
        let Some(pending) = sky.calls.0.get_mut(&self.id) else {
            return Poll::Ready(Answer::Failed(CallError::Lost(
                "polled after its end".into(),
            )));
        };
        match pending.answer.take() {
            Some(answer) => {
                sky.calls.0.remove(&self.id);
                Poll::Ready(answer)
            }
            None => {
                pending.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.sky.lock().calls.0.remove(&self.id);
    }
}
