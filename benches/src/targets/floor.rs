//! The storage floor: what a replicated store has to write, and nothing else.
//!
//! *Life of a batch*: asked → whatever waits is gathered → for each of three replicas: one synced write to its log, then
//! one to its data, whose batches are no more durable than a store's → all that waited are answered.
//!
//! *Invariants*: the engines are opened as a store opens them. All on one machine, without network or agreement, so no
//! store with three replicas on one machine can be faster with the same engines.
//!
//! *Limits*: [`QUEUE`] requests may wait; beyond, clients wait. A log keeps its newest [`LOG_ENTRIES`] entries.
//!
//! *Next stop*: [`super::etcd`].

use super::process::failed;
use super::{Answer, Target};
use crate::Error;
use crate::workload::{Request, Workload};
use bytes::{BufMut, Bytes, BytesMut};
use futures::FutureExt;
use futures::future::BoxFuture;
use std::path::Path;
use tempfile::TempDir;
use tokio::sync::{mpsc, oneshot};
use yadkv_engine::rocks::{BlockCache, FamilyOptions, Options, Rocks};
use yadkv_engine::{Durability, Family, LogEngine, WriteBatch};

const NAME: &str = "rocksdb";
const REPLICAS: usize = 3;
const FAMILY: Family = Family(0);
/// As a playground's store has them, of its 256 MiB.
const CACHE_BYTES: usize = 80 << 20;
const DATA_MEMTABLE_BYTES: usize = 64 << 20;
const LOG_MEMTABLE_BYTES: usize = 48 << 20;
const QUEUE: usize = 4096;
/// Requests written together.
const TOGETHER_MAX: usize = 256;
const LOG_ENTRIES: u64 = 8192;

type Records = Vec<(Bytes, Bytes)>;

struct Write {
    records: Records,
    written: oneshot::Sender<Answer>,
}

struct Replica {
    log: Rocks,
    data: Rocks,
}

/// Three replicas and the thread that writes them.
pub struct Floor {
    writes: mpsc::Sender<Write>,
    _folder: TempDir,
}

impl Floor {
    /// Opens them in a temporary folder.
    pub fn start() -> Result<Self, Error> {
        let folder = TempDir::new().map_err(|error| failed(NAME, error))?;
        let replicas =
            (0..REPLICAS).map(|number| Replica::open(&folder.path().join(number.to_string())));
        let replicas: Result<Vec<_>, _> = replicas.collect();
        let replicas = replicas.map_err(|error| failed(NAME, error))?;
        let (writes, waiting) = mpsc::channel(QUEUE);
        // Ends when this is dropped.
        std::thread::spawn(move || serve(&replicas, waiting));
        Ok(Self {
            writes,
            _folder: folder,
        })
    }

    async fn write(&self, records: Records) -> Answer {
        let (written, answer) = oneshot::channel();
        let gone = "the writer has ended";
        let sent = self.writes.send(Write { records, written }).await;
        sent.map_err(|_| gone.to_owned())?;
        answer.await.map_err(|_| gone.to_owned())?
    }
}

impl Replica {
    fn open(folder: &Path) -> yadkv_engine::Result<Self> {
        let cache = BlockCache::new(CACHE_BYTES);
        let mut log = Options::new(vec![FamilyOptions::log("log")], cache.clone());
        log.write_buffer_bytes = LOG_MEMTABLE_BYTES;
        let mut data = Options::new(vec![FamilyOptions::new("data")], cache).unlogged();
        data.write_buffer_bytes = DATA_MEMTABLE_BYTES;
        Ok(Self {
            log: Rocks::open(folder.join("log"), &log)?,
            data: Rocks::open(folder.join("data"), &data)?,
        })
    }
}

fn serve(replicas: &[Replica], mut waiting: mpsc::Receiver<Write>) {
    let (mut index, mut together) = (0, Vec::new());
    while waiting.blocking_recv_many(&mut together, TOGETHER_MAX) > 0 {
        let (entries, data) = batches(&together, &mut index);
        let answer = replicas
            .iter()
            .try_for_each(|replica| {
                replica.log.write(entries.clone(), Durability::Synced)?;
                replica.data.write(data.clone(), Durability::Buffered)
            })
            .map_err(kind);
        for write in together.drain(..) {
            // The client may have given up.
            let _ = write.written.send(answer.clone());
        }
    }
}

/// What the log gets, one entry a request, and what the data does.
fn batches(together: &[Write], index: &mut u64) -> (WriteBatch, WriteBatch) {
    let (mut entries, mut data) = (WriteBatch::new(), WriteBatch::new());
    let place = |index: u64| Bytes::copy_from_slice(&index.to_be_bytes());
    for write in together {
        let mut entry = BytesMut::new();
        for (key, value) in &write.records {
            entry.put_slice(key);
            entry.put_slice(value);
            data.put(FAMILY, key.clone(), value.clone());
        }
        *index += 1;
        entries.put(FAMILY, place(*index), entry.freeze());
        if let Some(old) = index.checked_sub(LOG_ENTRIES) {
            entries.delete(FAMILY, place(old));
        }
    }
    (entries, data)
}

fn kind(error: yadkv_engine::Error) -> String {
    error.to_string()
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
