//! The storage floor: what a replicated store has to write, and nothing else.
//!
//! *Life of a batch*: asked → whatever waits becomes one entry → each of three replicas, a thread each: one synced write to
//! its log, then one to its data, whose batches are no more durable than a store's → written by all three → all that waited
//! are answered. A replica may write its log while the others still write what was before.
//!
//! *Invariants*: engines are those of a store, with a store's [`Shares`]. No network, no agreement, no messages: a
//! store of three replicas on one machine has to do all of this as well.
//!
//! *Limits*: [`QUEUE`] requests may wait; beyond, clients wait. Its processor time is the load generator's, whose process it
//! lives in; its threads are usual ones, those of stores the kernel's batch kind.
//!
//! *Next stop*: [`super::etcd`].

use super::process::failed;
use super::{Answer, Found, Target};
use crate::Error;
use crate::workload::{Request, Workload};
use bytes::{BufMut, Bytes, BytesMut};
use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use tempfile::TempDir;
use tokio::sync::{mpsc, oneshot};
use yadkv_engine::journal::{self, Journal, Keys, QUIET};
use yadkv_engine::rocks::{BlockCache, FamilyOptions, Options, Rocks};
use yadkv_engine::{Durability, Family, LogEngine, WriteBatch};

const NAME: &str = "floor";
const REPLICAS: usize = 3;
const FAMILY: Family = Family(0);
/// RocksDB's threads are the process's: a quarter of them, one for each replica as in a store of its own, flush.
const BACKGROUND_JOBS: u16 = 4 * REPLICAS as u16;
const QUEUE: usize = 4096;
/// Requests written together.
const TOGETHER_MAX: usize = 256;
/// Batches that wait for a replica.
const BEHIND_MAX: usize = 2;

/// What the engines of a store may take.
#[derive(Clone, Copy, Debug)]
pub struct Shares {
    /// The block cache.
    pub cache_bytes: usize,
    /// Memtables; the log keeps as much, until the memtables that have it are flushed.
    pub memtable_bytes: usize,
    /// One file of the log.
    pub segment_bytes: u64,
    /// Files of the log that are kept for later.
    pub kept_bytes: u64,
    /// Bytes that flushes and merges write in a second.
    pub background_rate: u64,
}

type Records = Vec<(Bytes, Bytes)>;

struct Write {
    records: Records,
    written: oneshot::Sender<Answer>,
}

/// One entry, for each replica.
#[derive(Clone)]
struct Batch {
    entry: WriteBatch,
    data: WriteBatch,
    /// Answers whoever waits when the last replica lets go of it.
    waiting: Arc<Waiting>,
}

struct Waiting {
    writes: Mutex<Vec<Write>>,
    failed: Mutex<Option<String>>,
}

struct Replica {
    log: Journal,
    data: Rocks,
}

/// Three replicas and the threads that write them.
pub struct Floor {
    /// Taken when it is dropped: then the threads end.
    writes: Option<mpsc::Sender<Write>>,
    threads: Vec<JoinHandle<()>>,
    _folder: TempDir,
}

impl Floor {
    /// Opens them in a temporary folder, each with the shares of a store.
    pub fn start(shares: Shares) -> Result<Self, Error> {
        let folder = TempDir::new().map_err(|error| failed(NAME, error))?;
        let (mut replicas, mut threads) = (Vec::new(), Vec::new());
        for number in 0..REPLICAS {
            let replica = Replica::open(&folder.path().join(number.to_string()), shares);
            let replica = replica.map_err(|error| failed(NAME, error))?;
            let (batches, waiting) = mpsc::channel(BEHIND_MAX);
            // Ends when the gatherer does.
            threads.push(std::thread::spawn(move || replica.serve(waiting)));
            replicas.push(batches);
        }
        let (writes, waiting) = mpsc::channel(QUEUE);
        let log = Log::new(shares.memtable_bytes);
        threads.push(std::thread::spawn(move || gather(log, &replicas, waiting)));
        Ok(Self {
            writes: Some(writes),
            threads,
            _folder: folder,
        })
    }

    async fn write(&self, records: Records) -> Answer {
        let (written, answer) = oneshot::channel();
        let gone = "the writer has ended";
        let writes = self.writes.as_ref().ok_or(gone)?;
        let sent = writes.send(Write { records, written }).await;
        sent.map_err(|_| gone.to_owned())?;
        answer.await.map_err(|_| gone.to_owned())?
    }
}

impl Drop for Floor {
    /// Nobody writes any more when the folder goes.
    fn drop(&mut self) {
        self.writes = None;
        for thread in self.threads.drain(..) {
            // One that has panicked has ended as well.
            let _ = thread.join();
        }
    }
}

impl Replica {
    fn open(folder: &Path, shares: Shares) -> yadkv_engine::Result<Self> {
        let log = journal::Options {
            families: vec![Keys::Numbered],
            segment_bytes: shares.segment_bytes,
            kept_bytes: shares.kept_bytes,
            quiet: QUIET,
        };
        let families = vec![FamilyOptions::new("data")];
        let mut data = Options::new(families, BlockCache::new(shares.cache_bytes)).unlogged();
        data.write_buffer_bytes = shares.memtable_bytes;
        data.background_rate = shares.background_rate;
        data.background_jobs = BACKGROUND_JOBS;
        std::fs::create_dir_all(folder)
            .map_err(|error| yadkv_engine::Error::Read(error.to_string()))?;
        Ok(Self {
            log: Journal::open(folder.join("log"), log)?,
            data: Rocks::open(folder.join("data"), &data)?,
        })
    }

    fn serve(self, mut waiting: mpsc::Receiver<Batch>) {
        while let Some(batch) = waiting.blocking_recv() {
            let written = self
                .log
                .write(batch.entry, Durability::Synced)
                .and_then(|()| self.data.write(batch.data, Durability::Buffered));
            if let Err(error) = written {
                *batch.waiting.failed.lock() = Some(error.to_string());
            }
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let answer = match self.failed.get_mut().take() {
            Some(reason) => Err(reason),
            None => Ok(Found::NOTHING),
        };
        for write in self.writes.get_mut().drain(..) {
            // The client may have given up.
            let _ = write.written.send(answer.clone());
        }
    }
}

/// Makes batches of what waits, for all replicas.
fn gather(mut log: Log, replicas: &[mpsc::Sender<Batch>], mut waiting: mpsc::Receiver<Write>) {
    let mut together = Vec::new();
    while waiting.blocking_recv_many(&mut together, TOGETHER_MAX) > 0 {
        let (entry, data) = log.batches(&together);
        let waiting = Waiting {
            writes: Mutex::new(std::mem::take(&mut together)),
            failed: Mutex::new(None),
        };
        let batch = Batch {
            entry,
            data,
            waiting: Arc::new(waiting),
        };
        for replica in replicas {
            if replica.blocking_send(batch.clone()).is_err() {
                *batch.waiting.failed.lock() = Some("a replica has ended".into());
            }
        }
    }
}

/// What the logs hold.
struct Log {
    /// What is older than so many bytes is taken out.
    bytes_max: usize,
    index: u64,
    /// Index and bytes of each entry.
    entries: VecDeque<(u64, usize)>,
    bytes: usize,
}

impl Log {
    fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            index: 0,
            entries: VecDeque::new(),
            bytes: 0,
        }
    }

    /// What a log gets, one entry, and what the data does.
    fn batches(&mut self, together: &[Write]) -> (WriteBatch, WriteBatch) {
        let (mut entries, mut data) = (WriteBatch::new(), WriteBatch::new());
        let mut entry = BytesMut::new();
        for (key, value) in together.iter().flat_map(|write| &write.records) {
            entry.put_slice(key);
            entry.put_slice(value);
            data.put(FAMILY, key.clone(), value.clone());
        }
        self.index += 1;
        self.bytes += entry.len();
        self.entries.push_back((self.index, entry.len()));
        entries.put(FAMILY, place(self.index), entry.freeze());
        let mut forgotten = None;
        while self.bytes > self.bytes_max
            && let Some((index, bytes)) = self.entries.pop_front()
        {
            self.bytes -= bytes;
            forgotten = Some(index);
        }
        if let Some(index) = forgotten {
            entries.delete_range(FAMILY, place(0), place(index + 1));
        }
        (entries, data)
    }
}

/// The key of an entry: as a store has it, with the number of a region before.
fn place(index: u64) -> Bytes {
    Bytes::from([1_u64.to_be_bytes(), index.to_be_bytes()].concat())
}

impl Target for Floor {
    fn name(&self) -> &'static str {
        NAME
    }

    /// Reads of a library in the load generator's process say nothing.
    fn serves(&self, workload: Workload) -> bool {
        matches!(workload, Workload::Put | Workload::BatchPut)
    }

    fn call(&self, _: usize, request: Request) -> BoxFuture<'_, Answer> {
        async move {
            match request {
                Request::Put(key, value) => self.write(vec![(key, value)]).await,
                Request::BatchPut(records) => self.write(records).await,
                _ => Err("no reads".into()),
            }
        }
        .boxed()
    }

    /// It lives in the load generator's process.
    fn processes(&self) -> Vec<u32> {
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::future::join_all;
    use yadkv_engine::Operation;

    const SHARES: Shares = Shares {
        cache_bytes: 1 << 20,
        memtable_bytes: 1 << 20,
        segment_bytes: 1 << 20,
        kept_bytes: 1 << 20,
        background_rate: 64 << 20,
    };

    fn record(number: u8) -> Records {
        vec![(vec![number].into(), vec![number; 1000].into())]
    }

    #[tokio::test]
    async fn whoever_is_answered_is_in_all_three_logs() {
        let mut floor = Floor::start(SHARES).expect("three replicas");
        let one = |number: u8| floor.call(0, Request::BatchPut(record(number)));
        for answer in join_all((0..100).map(one)).await {
            assert_eq!(answer, Ok(Found::NOTHING));
        }
        let other = TempDir::new().expect("a folder");
        let folder = std::mem::replace(&mut floor._folder, other);
        drop(floor);
        for replica in 0..REPLICAS {
            let replica = folder.path().join(replica.to_string());
            let replica = Replica::open(&replica, SHARES).expect("closed before");
            let (mut index, mut found) = (0, Vec::new());
            loop {
                index += 1;
                match replica.log.get(FAMILY, &place(index)).expect("readable") {
                    Some(entry) => found.extend(entry.chunks(1001).map(|one| one[0])),
                    None => break,
                }
            }
            found.sort_unstable();
            assert_eq!(found, (0..100).collect::<Vec<u8>>());
        }
    }

    #[test]
    fn a_log_keeps_its_newest_entries_only() {
        let mut log = Log::new(3 * 1001);
        for number in 1..=10 {
            let (written, _) = oneshot::channel();
            let records = record(number);
            let (entries, data) = log.batches(&[Write { records, written }]);
            assert_eq!(data.operations().len(), 1);
            let forgotten = entries.operations().iter().find_map(|one| match one {
                Operation::DeleteRange(_, _, end) => Some(end.clone()),
                _ => None,
            });
            let expected = u64::from(number)
                .checked_sub(3)
                .filter(|oldest| *oldest > 0);
            assert_eq!(forgotten, expected.map(|oldest| place(oldest + 1)));
        }
    }
}
