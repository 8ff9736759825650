//! The patience of one call: a deadline, pauses that grow, and what is known about its effect so far.
//!
//! *Place*: made by a call, handed down through every retry of [`super::Router`] and [`super::pd`].
//!
//! *Types to know*: [`Budget`], [`Trouble`], [`Effect`].
//!
//! *Life of a failure*: an attempt ends in a [`Trouble`] → [`Budget::pause`] notes whether the command may have
//! been executed → waits, or gives up with the error that says what the application can rely on.
//!
//! *Invariants*: [`Error::Unavailable`] is given only if no attempt can have had an effect on data. A command of
//! [`Effect::Once`] is not sent again after an attempt that may have.
//!
//! *Limits*: one deadline for everything; at most [`QUICK_RETRIES_MAX`] retries in a row without a pause.
//!
//! *Next stop*: [`super::cache`].

use crate::error::Error;
use crate::observer::{Observer, Watch};
use crate::options::Options;
use crate::runtime::Runtime;
use futures::future::{Either, select};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use yadkv_proto::time::Moment;

/// Leader hints followed without a pause. Two replicas that point at each other must not be asked in a circle.
const QUICK_RETRIES_MAX: u32 = 3;

// ANCHOR: effect
/// What sending a command twice would mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Nothing: it only reads.
    Read,
    /// The same final state: puts and deletes.
    Repeatable,
    /// Something else: compare-and-swap.
    Once,
    /// Something else, but the caller looks whether it is done before it sends again.
    Checked,
}
// ANCHOR_END: effect

/// When to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// At once: somebody said where to go.
    None,
    /// After a pause that grows.
    Grow,
    /// After at least this long.
    AtLeast(Duration),
}

/// Why an attempt did not do it, when another may.
#[derive(Clone, Debug)]
pub(crate) struct Trouble {
    pub(crate) wait: Wait,
    /// Whether the command may have been executed all the same.
    pub(crate) maybe_done: bool,
    pub(crate) text: String,
}

impl Trouble {
    /// The command was certainly not executed.
    pub(crate) fn not_done(wait: Wait, text: impl Into<String>) -> Self {
        Self {
            wait,
            maybe_done: false,
            text: text.into(),
        }
    }

    /// The command may have been executed.
    pub(crate) fn unknown(text: impl Into<String>) -> Self {
        Self {
            wait: Wait::Grow,
            maybe_done: true,
            text: text.into(),
        }
    }
}

/// How an attempt ends without an answer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Another attempt may succeed.
    Again(Trouble),
    /// None will.
    Final(Error),
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Self {
        Self::Again(trouble)
    }
}

/// What a call has left.
#[derive(Clone)]
pub(crate) struct Budget {
    runtime: Arc<dyn Runtime>,
    pub(crate) call: &'static str,
    effect: Effect,
    started: Moment,
    deadline: Moment,
    attempt_timeout: Duration,
    next_pause: Duration,
    pause_max: Duration,
    quick: u32,
    attempts: u32,
    maybe_done: bool,
    partly_done: bool,
    last: String,
    observer: Option<Arc<dyn Observer>>,
    _watch: Watch,
}

impl Budget {
    pub(crate) fn new(
        runtime: &Arc<dyn Runtime>,
        options: &Options,
        call: &'static str,
        effect: Effect,
    ) -> Self {
        let started = runtime.now();
        let effect = match effect {
            Effect::Repeatable if !options.repeat_lost_writes => Effect::Once,
            effect => effect,
        };
        Self {
            runtime: runtime.clone(),
            call,
            effect,
            started,
            deadline: started.after(options.timeout),
            attempt_timeout: options.attempt_timeout,
            next_pause: options.backoff_min,
            pause_max: options.backoff_max,
            quick: 0,
            attempts: 0,
            maybe_done: false,
            partly_done: false,
            last: String::new(),
            observer: options.observer.clone(),
            _watch: Watch::new(runtime, options.observer.as_ref(), call),
        }
    }

    fn left(&self) -> Duration {
        self.deadline.since(self.runtime.now())
    }

    /// Begins an attempt; how long it may take.
    pub(crate) fn attempt(&mut self) -> Result<Duration, Error> {
        let left = self.left();
        if left.is_zero() {
            return Err(self.give_up());
        }
        self.attempts += 1;
        Ok(left.min(self.attempt_timeout))
    }

    /// Waits for something inside the process, as long as the deadline allows.
    pub(crate) async fn wait_for<T>(&self, what: impl Future<Output = T>) -> Result<T, Error> {
        let sleep = self.runtime.sleep(self.left());
        match select(pin!(what), sleep).await {
            Either::Left((value, _)) => Ok(value),
            Either::Right(_) => Err(self.give_up()),
        }
    }

    /// Takes note of a failed attempt and waits until the next one, or gives up.
    pub(crate) async fn pause(&mut self, trouble: Trouble) -> Result<(), Error> {
        self.note(&trouble);
        if self.maybe_done && self.effect == Effect::Once {
            return Err(self.give_up());
        }
        if trouble.wait == Wait::None && self.quick < QUICK_RETRIES_MAX {
            self.quick += 1;
            return Ok(());
        }
        self.quick = 0;
        let grown = self.next_pause;
        self.next_pause = (grown * 2).min(self.pause_max);
        let pause = match trouble.wait {
            Wait::AtLeast(least) => least.max(grown),
            Wait::None | Wait::Grow => grown,
        };
        // Between half and all of it, so that tasks that failed together do not come back together.
        let half = pause / 2;
        let jitter = u64::try_from(half.as_nanos()).unwrap_or(u64::MAX).max(1);
        let pause = half + Duration::from_nanos(self.runtime.random() % jitter);
        if pause >= self.left() {
            return Err(self.give_up());
        }
        self.runtime.sleep(pause).await;
        Ok(())
    }

    /// Takes note of a failed attempt that is being retried together with another.
    pub(crate) fn note(&mut self, trouble: &Trouble) {
        if let Some(observer) = &self.observer {
            observer.attempt_failed(self.call);
        }
        self.maybe_done |= trouble.maybe_done;
        self.last.clone_from(&trouble.text);
    }

    /// Takes note that a part of the call is done: pauses start small again.
    pub(crate) fn progress(&mut self, options: &Options) {
        self.partly_done = true;
        self.next_pause = options.backoff_min;
        self.quick = 0;
    }

    /// After a part of a call of unknown length: the next part has the whole time again.
    pub(crate) fn renew(&mut self, options: &Options) {
        self.progress(options);
        self.maybe_done = false;
        self.started = self.runtime.now();
        self.deadline = self.started.after(options.timeout);
    }

    fn give_up(&self) -> Error {
        if let Some(observer) = &self.observer {
            observer.gave_up(self.call);
        }
        let last = match self.last.as_str() {
            "" => "no attempt has ended".to_owned(),
            last => last.to_owned(),
        };
        if (self.maybe_done || self.partly_done) && self.effect != Effect::Read {
            return Error::OutcomeUnknown {
                call: self.call,
                attempts: self.attempts,
                last,
            };
        }
        Error::Unavailable {
            call: self.call,
            waited: self.runtime.now().since(self.started),
            attempts: self.attempts,
            last,
        }
    }

    /// The cluster says no for good.
    pub(crate) fn refused(&self, reason: impl Into<String>) -> Error {
        Error::Refused {
            call: self.call,
            reason: reason.into(),
        }
    }
}
