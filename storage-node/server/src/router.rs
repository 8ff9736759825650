//! From whoever learns of something to the worker that owns the region.
//!
//! *Place*: services, transport, apply and the placement driver's tasks call it; worker threads own the other
//! ends.
//!
//! *Types to know*: [`Router`]; [`Mailbox`] carries apply results and replicas that came or went, which must never be
//! dropped or block.
//!
//! *Limits and failure*: an inbox holds `store.inbox` inputs; when it is full, requests get ServerIsBusy and
//! Raft messages are dropped, as those with entries are when the bytes of such messages before a worker are used up (a
//! worker that waits for its disk must not collect them). Apply results merge by region in the mailbox, so it is bounded by the regions, as
//! replicas that came or went are.
//!
//! *Next stop*: [`crate::threads::worker`].

use crate::transport::size;
use crossbeam::channel::{Sender, TrySendError};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use yadkv_proto::id::RegionId;
use yadkv_proto::yadkvpb::Envelope;
use yadkv_storage_core::apply::Progress;
use yadkv_storage_core::snapshot::install::Moved;
use yadkv_storage_core::store::Shard;
use yadkv_storage_core::store::message::{Adopted, Input};

/// What a worker thread receives.
#[derive(Debug)]
pub enum Message {
    /// For the core. Behind a pointer: an inbox of whole inputs is megabytes, and each one goes where no cache has been.
    Input(Box<Input>),
    /// The mailbox has something, or the thread shall look whether to stop.
    Wake,
}

impl Message {
    fn of(input: Input) -> Self {
        Self::Input(Box::new(input))
    }
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
    /// Bytes of the entries in the Raft messages that wait in its inbox.
    entry_bytes: AtomicUsize,
    /// What those may be.
    entry_bytes_max: usize,
    /// Raft messages that found no room.
    dropped: AtomicU64,
}

impl Mailbox {
    /// A mailbox beside an inbox that holds so many bytes of entries in Raft messages.
    pub fn new(entry_bytes_max: usize) -> Self {
        Self {
            entry_bytes_max,
            ..Self::default()
        }
    }

    /// Whether a message finds room: one may be of any size.
    fn admit(&self, bytes: usize) -> bool {
        let before = self.entry_bytes.fetch_add(bytes, Ordering::Relaxed);
        let fits =
            bytes == 0 || before == 0 || before.saturating_add(bytes) <= self.entry_bytes_max;
        if !fits {
            self.give_back(bytes);
        }
        fits
    }

    fn give_back(&self, bytes: usize) {
        self.entry_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// An input was taken out of the inbox.
    pub fn taken(&self, input: &Input) {
        if let Input::Raft(envelope) = input {
            self.give_back(size(envelope));
        }
    }

    /// Raft messages that found no room since the last call.
    pub fn dropped(&self) -> u64 {
        self.dropped.swap(0, Ordering::Relaxed)
    }

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

    /// Inputs that wait for workers.
    pub fn waiting(&self) -> usize {
        self.workers.iter().map(|(inbox, _)| inbox.len()).sum()
    }

    /// Bytes of entries in Raft messages that wait for workers.
    pub fn arriving_bytes(&self) -> usize {
        let mailboxes = self.workers.iter().map(|(_, mailbox)| mailbox);
        mailboxes
            .map(|mailbox| mailbox.entry_bytes.load(Ordering::Relaxed))
            .sum()
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
        match self.worker(region).0.try_send(Message::of(input)) {
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

    /// Sends a Raft message to the owner of its region; it is dropped if there is no room.
    pub fn receive(&self, envelope: Envelope) {
        let (sender, mailbox) = self.worker(RegionId(envelope.region_id));
        let bytes = size(&envelope);
        if !mailbox.admit(bytes) {
            mailbox.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let sent = sender.try_send(Message::of(Input::Raft(envelope)));
        if sent.is_err() {
            mailbox.give_back(bytes);
            mailbox.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Sends an input to every worker; blocks while an inbox is full.
    pub fn broadcast(&self, mut input: impl FnMut() -> Input) {
        for (sender, _) in self.workers.iter() {
            // An error means that the node is stopping.
            let _ = sender.send(Message::of(input()));
        }
    }

    /// Tells every worker something that may get lost.
    pub fn offer(&self, mut input: impl FnMut() -> Input) {
        for (sender, _) in self.workers.iter() {
            let _ = sender.try_send(Message::of(input()));
        }
    }

    /// Tells the owner of a region something that may get lost.
    pub fn offer_to(&self, region: RegionId, input: Input) {
        let _ = self.worker(region).0.try_send(Message::of(input));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crossbeam::channel;
    use yadkv_proto::yadkvpb::{LogEntry, RaftMessage};

    fn message(bytes: usize) -> Envelope {
        let entry = LogEntry {
            data: vec![0; bytes].into(),
            ..LogEntry::default()
        };
        let message = RaftMessage {
            entries: vec![entry],
            ..RaftMessage::default()
        };
        Envelope {
            region_id: 1,
            message: Some(message),
            ..Envelope::default()
        }
    }

    #[test]
    fn entries_before_a_worker_that_stands_still_are_bounded() {
        let (sender, inbox) = channel::bounded(100);
        let mailbox = Arc::new(Mailbox::new(1000));
        let router = Router::new(vec![(sender, mailbox.clone())]);
        for bytes in [800, 300, 200, 0, 1] {
            router.receive(message(bytes));
        }
        assert_eq!((inbox.len(), mailbox.dropped()), (3, 2), "800, 200 and 0");
        while let Ok(Message::Input(input)) = inbox.try_recv() {
            mailbox.taken(&input);
        }
        router.receive(message(5000));
        assert_eq!((inbox.len(), mailbox.dropped()), (1, 0), "alone");
    }
}
