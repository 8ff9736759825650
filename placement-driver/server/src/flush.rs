//! The thread that makes the state durable, so that the log may be shortened.
//!
//! *Place*: the driver has it begin when `Member::flush` asks; it answers through the driver's inbox.
//!
//! *Why a thread*: the state engine has no log of its own, so being durable is a flush of its tables, a few fsyncs and
//! more where the disk is slow. The driver's thread would give no timestamp meanwhile, and lose its lease.
//!
//! *Invariants*: what was applied when the flush was asked for is durable when the answer comes; writes go on meanwhile.
//!
//! *Limits and failure*: one wish waits ([`WISHES`]); the member asks again for a lost one. A failed flush ends all writes
//! of the engine: the thread stops the node, which ends with that error.
//!
//! *Next stop*: `yadkv_placement_core::member::truncate`.

use crate::driver::Handle;
use crossbeam::channel::{Receiver, Sender};
use parking_lot::Mutex;
use std::sync::Arc;
use std::thread::JoinHandle;
use tokio_util::sync::CancellationToken;
use yadkv_engine::{Engine, Error};
use yadkv_proto::id::Index;

/// Flushes that wait. The member asks for one at a time.
const WISHES: usize = 1;

/// The way to the thread. Dropped, it waits for its end.
pub struct Flusher {
    failure: Arc<Mutex<Option<Error>>>,
    wishes: Option<Sender<Index>>,
    thread: Option<JoinHandle<()>>,
}

impl Flusher {
    /// Starts the thread.
    pub fn start(
        kv: Arc<dyn Engine>,
        handle: Handle,
        stop: CancellationToken,
    ) -> std::io::Result<Self> {
        let (wishes, wished) = crossbeam::channel::bounded(WISHES);
        let failure = Arc::<Mutex<Option<Error>>>::default();
        let failed = failure.clone();
        let thread = std::thread::Builder::new()
            .name("pd-flush".to_owned())
            .spawn(move || {
                if let Err(error) = run(&*kv, &wished, &handle) {
                    tracing::error!(%error, "the placement driver's state cannot be flushed");
                    *failed.lock() = Some(error);
                    stop.cancel();
                }
            })?;
        Ok(Self {
            failure,
            wishes: Some(wishes),
            thread: Some(thread),
        })
    }

    /// Why the thread has stopped the node, if it has.
    pub fn failure(&self) -> Option<Error> {
        self.failure.lock().take()
    }

    /// Everything up to `index`, which is applied, is to be made durable.
    pub fn flush(&self, index: Index) {
        if let Some(wishes) = &self.wishes {
            // A lost one is asked for again.
            let _ = wishes.try_send(index);
        }
    }
}

fn run(kv: &dyn Engine, wished: &Receiver<Index>, handle: &Handle) -> Result<(), Error> {
    while let Ok(index) = wished.recv() {
        kv.sync()?;
        handle.durable(index);
    }
    Ok(())
}

impl Drop for Flusher {
    fn drop(&mut self) {
        drop(self.wishes.take());
        if let Some(thread) = self.thread.take() {
            // It has said what there is to say.
            let _ = thread.join();
        }
    }
}
