//! From whoever learns of something to the worker that owns the region.
//!
//! *Place*: services, transport, apply and the placement driver's tasks call it; worker threads own the other
//! ends.
//!
//! *Types to know*: [`Router`]; [`Mailbox`] carries apply results and replicas that came or went, which must never be
//! dropped or block.
//!
//! *Limits and failure*: an inbox holds `store.inbox` inputs; when it is full, requests get ServerIsBusy and
//! Raft messages are dropped. Apply results merge by region in the mailbox, so it is bounded by the regions, as
//! replicas that came or went are.
//!
//! *Next stop*: [`crate::threads::worker`].

use crossbeam::channel::{Sender, TrySendError};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;
use yadkv_proto::id::RegionId;
use yadkv_storage_core::apply::Progress;
use yadkv_storage_core::snapshot::install::Moved;
use yadkv_storage_core::store::Shard;
use yadkv_storage_core::store::message::{Adopted, Input};

/// What a worker thread receives. Not boxed: one allocation less for every request and message.
#[allow(clippy::large_enum_variant)]
#[derive(Debug)]
pub enum Message {
    /// For the core.
    Input(Input),
    /// The mailbox has something, or the thread shall look whether to stop.
    Wake,
}

/// What goes up to a worker and must not get lost.
#[derive(Debug, Default)]
pub struct Mail {
    /// Apply results, joined by region.
    pub applied: BTreeMap<RegionId, Progress>,
    /// New replicas.
    pub adopted: Vec<Adopted>,
    /// Replicas that were installed or destroyed.
    pub moved: Vec<Moved>,
}

/// Mail of one worker.
#[derive(Debug, Default)]
pub struct Mailbox {
    content: Mutex<Mail>,
}

impl Mailbox {
    /// Takes everything out.
    pub fn take(&self) -> Mail {
        std::mem::take(&mut *self.content.lock())
    }
}

/// Sends inputs to workers. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Router {
    workers: Arc<[(Sender<Message>, Arc<Mailbox>)]>,
}

impl Router {
    /// A router to these workers, by their number.
    pub fn new(workers: Vec<(Sender<Message>, Arc<Mailbox>)>) -> Self {
        Self {
            workers: workers.into(),
        }
    }

    fn owner(&self, region: RegionId) -> usize {
        let owner = Shard::owner(region, self.workers.len() as u64);
        usize::try_from(owner).unwrap_or(0)
    }

    fn worker(&self, region: RegionId) -> &(Sender<Message>, Arc<Mailbox>) {
        &self.workers[self.owner(region)]
    }

    /// Sends an input to the owner of a region; a request that finds the inbox full is answered with
    /// ServerIsBusy. Returns whether it was taken.
    pub fn send(&self, region: RegionId, input: Input) -> bool {
        match self.worker(region).0.try_send(Message::Input(input)) {
            Ok(()) => true,
            Err(TrySendError::Full(Message::Input(input))) => {
                input.refuse_busy();
                false
            }
            Err(TrySendError::Disconnected(Message::Input(input))) => {
                input.refuse_stopping();
                false
            }
            Err(_) => false,
        }
    }

    /// Sends an input to every worker; blocks while an inbox is full.
    pub fn broadcast(&self, mut input: impl FnMut() -> Input) {
        for (sender, _) in self.workers.iter() {
            // An error means that the node is stopping.
            let _ = sender.send(Message::Input(input()));
        }
    }

    /// Tells every worker something that may get lost.
    pub fn offer(&self, mut input: impl FnMut() -> Input) {
        for (sender, _) in self.workers.iter() {
            let _ = sender.try_send(Message::Input(input()));
        }
    }

    /// Tells the owner of a region something that may get lost.
    pub fn offer_to(&self, region: RegionId, input: Input) {
        let _ = self.worker(region).0.try_send(Message::Input(input));
    }

    /// Hands apply results up.
    pub fn applied(&self, results: Vec<Progress>) {
        let mut woken = vec![false; self.workers.len()];
        for progress in results {
            let region = progress.applied.region;
            let number = self.owner(region);
            match self.workers[number].1.content.lock().applied.entry(region) {
                Entry::Occupied(mut earlier) => earlier.get_mut().absorb(progress),
                Entry::Vacant(vacant) => drop(vacant.insert(progress)),
            }
            woken[number] = true;
        }
        self.wake(woken);
    }

    /// Hands new replicas to their workers.
    pub fn adopt(&self, adopted: Vec<Adopted>) {
        let mut woken = vec![false; self.workers.len()];
        for new in adopted {
            let number = self.owner(RegionId(new.region.id));
            self.workers[number].1.content.lock().adopted.push(new);
            woken[number] = true;
        }
        self.wake(woken);
    }

    /// Tells a worker that a replica was installed or destroyed.
    pub fn moved(&self, moved: Moved) {
        let (sender, mailbox) = self.worker(moved.region);
        mailbox.content.lock().moved.push(moved);
        // A full inbox wakes the worker as well.
        let _ = sender.try_send(Message::Wake);
    }

    fn wake(&self, woken: Vec<bool>) {
        for ((sender, _), woken) in self.workers.iter().zip(woken) {
            if woken {
                // A full inbox wakes the worker as well.
                let _ = sender.try_send(Message::Wake);
            }
        }
    }

    /// Whether a worker has more than half of the inputs before it that may wait.
    pub fn is_crowded(&self) -> bool {
        let half = |sender: &Sender<Message>| {
            let room = sender.capacity().unwrap_or(usize::MAX);
            sender.len() > room / 2
        };
        self.workers.iter().any(|(sender, _)| half(sender))
    }

    /// Wakes all workers.
    pub fn wake_all(&self) {
        for (sender, _) in self.workers.iter() {
            let _ = sender.try_send(Message::Wake);
        }
    }
}
