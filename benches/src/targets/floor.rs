//! The storage floor: what a replicated store has to write, and nothing else.
//!
//! *Life of a batch*: asked → whatever waits becomes one entry → each of three replicas, a thread each: one synced write to
//! its log, then one to its data, whose batches are no more durable than a store's → written by all three → all that waited
//! are answered. A replica may write its log while the others still write what was before.
//!
//! *Invariants*: engines are those of a store, opened as a playground's opens them. No network, no agreement, no messages: a
//! store of three replicas on one machine has to do all of this as well.
//!
//! *Limits*: [`QUEUE`] requests may wait; beyond, clients wait. A log keeps its newest [`LOG_BYTES`]. Its processor time is
//! the load generator's, whose process it lives in.
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
/// As a playground's store has them, of its 256 MiB.
const CACHE_BYTES: usize = 48 << 20;
const MEMTABLE_BYTES: usize = 96 << 20;
const SEGMENT_BYTES: u64 = 8 << 20;
const KEPT_BYTES: u64 = 256 << 20;
/// What flushes and merges write in a second, for each core.
const BACKGROUND_RATE: u64 = 64 << 20;
/// RocksDB's threads are the process's: a quarter of them, one for each replica as in a store of its own, flush.
const BACKGROUND_JOBS: u16 = 4 * REPLICAS as u16;
/// What the log of a store keeps until the memtables that have it are flushed.
const LOG_BYTES: usize = MEMTABLE_BYTES;
const QUEUE: usize = 4096;
/// Requests written together.
const TOGETHER_MAX: usize = 256;
/// Batches that wait for a replica.
const BEHIND_MAX: usize = 2;

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
    /// Opens them in a temporary folder.
    pub fn start() -> Result<Self, Error> {
        let folder = TempDir::new().map_err(|error| failed(NAME, error))?;
        let (mut replicas, mut threads) = (Vec::new(), Vec::new());
        for number in 0..REPLICAS {
            let replica = Replica::open(&folder.path().join(number.to_string()));
            let replica = replica.map_err(|error| failed(NAME, error))?;
            let (batches, waiting) = mpsc::channel(BEHIND_MAX);
            // Ends when the gatherer does.
            threads.push(std::thread::spawn(move || replica.serve(waiting)));
            replicas.push(batches);
        }
        let (writes, waiting) = mpsc::channel(QUEUE);
        threads.push(std::thread::spawn(move || gather(&replicas, waiting)));
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
    fn open(folder: &Path) -> yadkv_engine::Result<Self> {
        let log = journal::Options {
            families: vec![Keys::Numbered],
            segment_bytes: SEGMENT_BYTES,
            kept_bytes: KEPT_BYTES,
            quiet: QUIET,
        };
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let families = vec![FamilyOptions::new("data")];
        let mut data = Options::new(families, BlockCache::new(CACHE_BYTES)).unlogged();
        data.write_buffer_bytes = MEMTABLE_BYTES;
        data.background_rate = BACKGROUND_RATE * cores as u64;
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
fn gather(replicas: &[mpsc::Sender<Batch>], mut waiting: mpsc::Receiver<Write>) {
    let (mut log, mut together) = (Log::default(), Vec::new());
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
#[derive(Default)]
struct Log {
    index: u64,
    /// Index and bytes of each entry.
    entries: VecDeque<(u64, usize)>,
    bytes: usize,
}

impl Log {
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
        while self.bytes > LOG_BYTES
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
