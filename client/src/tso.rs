//! Timestamps for many tasks with few questions.
//!
//! *Place*: [`crate::Client::timestamp`] calls it; it calls [`PdClient`].
//!
//! *Life of a timestamp*: a task joins the queue → if nobody is asking, a drain task starts → it asks for one block
//! for all that wait by now → hands the block out in order of arrival → asks again if more came, or ends.
//!
//! *Invariants*: one question is in flight, so blocks cannot overtake each other; every block lies above the last
//! (asserted here: a fallback is an error, never handed out).
//!
//! *Limits*: [`WAITING_MAX`] tasks wait, the next is refused at once; a block has at most [`BLOCK_MAX`].
//!
//! *Source*: `proto/README.md`, Timestamps.
//!
//! *Next stop*: [`crate::routing::pd`].

use crate::error::{Error, Result};
use crate::options::Options;
use crate::routing::budget::{Budget, Effect};
use crate::routing::pd::PdClient;
use crate::runtime::Runtime;
use futures::FutureExt;
use futures::channel::oneshot;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use yadkv_proto::pdpb;

/// Tasks that may wait for a timestamp.
const WAITING_MAX: usize = 65_536;

/// Timestamps of one question: far below the 2^18 of a millisecond, so that it cannot starve others.
const BLOCK_MAX: usize = 10_000;

const CALL: &str = "timestamp";
const LOGICAL_BITS: u32 = 18;

/// A point in the cluster's order of events.
///
/// ```no_run
/// # async fn example(client: yadkv_client::Client) -> Result<(), yadkv_client::Error> {
/// let before = client.timestamp().await?;
/// let after = client.timestamp().await?;
/// assert!(before < after);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    /// Milliseconds since 1970, as the placement driver sees it.
    pub physical_ms: u64,
    /// Position within the millisecond, below 2^18.
    pub logical: u64,
}

impl Timestamp {
    /// As one number, in the same order.
    ///
    /// ```
    /// use yadkv_client::Timestamp;
    ///
    /// let one = Timestamp { physical_ms: 1_700_000_000_000, logical: 5 };
    /// assert_eq!(Timestamp::from_version(one.version()), one);
    /// ```
    pub fn version(self) -> u64 {
        self.physical_ms << LOGICAL_BITS | self.logical
    }

    /// From [`Timestamp::version`].
    ///
    /// ```
    /// assert_eq!(yadkv_client::Timestamp::from_version((7 << 18) + 3).logical, 3);
    /// ```
    pub fn from_version(version: u64) -> Self {
        Self {
            physical_ms: version >> LOGICAL_BITS,
            logical: version & ((1 << LOGICAL_BITS) - 1),
        }
    }
}

type Reply = oneshot::Sender<Result<Timestamp>>;

/// The queue for timestamps.
pub(crate) struct Tso {
    runtime: Arc<dyn Runtime>,
    pd: Arc<PdClient>,
    options: Options,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Reply>,
    asking: bool,
    /// Largest version handed out.
    last: u64,
}

impl Tso {
    pub(crate) fn new(runtime: Arc<dyn Runtime>, pd: Arc<PdClient>, options: Options) -> Arc<Self> {
        Arc::new(Self {
            runtime,
            pd,
            options,
            state: Mutex::new(State::default()),
        })
    }

    /// A timestamp above all that this cluster gave before the call.
    pub(crate) async fn timestamp(self: &Arc<Self>) -> Result<Timestamp> {
        let (reply, answer) = oneshot::channel();
        let start = {
            let mut state = self.state.lock();
            if state.waiting.len() >= WAITING_MAX {
                return Err(self.unavailable("too many tasks wait for timestamps"));
            }
            state.waiting.push_back(reply);
            !std::mem::replace(&mut state.asking, true)
        };
        if start {
            let this = self.clone();
            self.runtime
                .spawn(async move { this.drain().await }.boxed());
        }
        // Bounded by the drain task's own deadline; it answers everyone it takes.
        match answer.await {
            Ok(result) => result,
            Err(oneshot::Canceled) => Err(self.unavailable("the client is shutting down")),
        }
    }

    fn unavailable(&self, last: &str) -> Error {
        Error::Unavailable {
            call: CALL,
            waited: std::time::Duration::ZERO,
            attempts: 0,
            last: last.to_owned(),
        }
    }

    async fn drain(&self) {
        loop {
            let waiting: Vec<Reply> = {
                let mut state = self.state.lock();
                state.waiting.retain(|reply| !reply.is_canceled());
                if state.waiting.is_empty() {
                    state.asking = false;
                    return;
                }
                let count = state.waiting.len().min(BLOCK_MAX);
                state.waiting.drain(..count).collect()
            };
            match self.ask(waiting.len()).await {
                Ok(first) => {
                    for (offset, reply) in waiting.into_iter().enumerate() {
                        let timestamp = Timestamp::from_version(first + offset as u64);
                        // A task that gave up does not want its timestamp any more.
                        let _ = reply.send(Ok(timestamp));
                    }
                }
                Err(error) => {
                    for reply in waiting {
                        let _ = reply.send(Err(error.clone()));
                    }
                }
            }
        }
    }

    /// Asks for a block; the version of its first timestamp.
    async fn ask(&self, count: usize) -> Result<u64> {
        let mut budget = Budget::new(&self.runtime, &self.options, CALL, Effect::Read);
        let request = |header| pdpb::TsoRequest {
            header,
            count: count as u32,
            ..Default::default()
        };
        let response: pdpb::TsoResponse = self
            .pd
            .call(&mut budget, |header| request(header).into())
            .await?
            .map_err(|error| budget.refused(error.message))?;
        let last = response.timestamp.unwrap_or_default();
        let (Ok(physical_ms), Ok(logical)) =
            (u64::try_from(last.physical), u64::try_from(last.logical))
        else {
            return Err(budget.refused("the timestamp is negative"));
        };
        if logical + 1 < count as u64 || response.count as usize != count {
            return Err(budget.refused("the block of timestamps has the wrong size"));
        }
        let last = Timestamp {
            physical_ms,
            logical,
        }
        .version();
        let first = last - (count as u64 - 1);
        let mut state = self.state.lock();
        if first <= state.last {
            return Err(Error::TimestampFallback {
                before: state.last,
                now: first,
            });
        }
        state.last = last;
        Ok(first)
    }
}
