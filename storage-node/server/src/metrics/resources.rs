//! Memory, disk, queues and RocksDB: what somebody else holds, looked at when it is shown.
//!
//! *Place*: [`crate::node`] hands over who knows; each scrape asks them.
//!
//! *Types to know*: [`Gauges`] (the meters), [`Sources`] (who knows).
//!
//! *Limits*: a scrape walks over all replicas of the store and asks RocksDB for a dozen numbers: milliseconds with thousands
//! of regions, without a lock that requests take.
//!
//! *Next stop*: [`crate::status`].

use crate::config::Config;
use crate::router::Router;
use crate::service::Door;
use crate::transport::Outgoing;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use yadkv_consensus::LogStore;
use yadkv_engine::LogEngine;
use yadkv_engine::rocks::{Activity, Rocks};
use yadkv_engine::rows::{RowCache, RowCounts};
use yadkv_metrics::{
    Counter, Error, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Meters, about, catch_up,
    catch_up_micros, level,
};

/// Who knows.
pub struct Sources {
    /// Settings: what budgets may be.
    pub config: Config,
    /// Replicas, requests and answers under way, reads that wait.
    pub door: Door,
    /// Inboxes of the workers.
    pub router: Router,
    /// Messages on their way out.
    pub outgoing: Outgoing,
    /// The logs.
    pub log: LogStore,
    /// The data.
    pub rocks: Arc<Rocks>,
    /// Rows in front of it.
    pub rows: Arc<RowCache<Rocks>>,
}

/// Meters that are set when they are shown.
pub struct Gauges {
    peers: IntGaugeVec,
    queues: IntGaugeVec,
    refusing: IntGauge,
    memory: IntGaugeVec,
    memory_max: IntGaugeVec,
    disk: IntGaugeVec,
    disk_free: IntGauge,
    disk_size: IntGauge,
    engine: Engine,
}

/// The part of RocksDB and the rows in front of it.
struct Engine {
    rows: IntCounterVec,
    blocks: IntCounterVec,
    filtered: IntCounter,
    memtable_hits: IntCounter,
    written: IntCounterVec,
    compaction_read: IntCounter,
    stalled: Counter,
    stopped: IntGauge,
    level0_files: IntGauge,
    pending: IntGauge,
    jobs: IntGaugeVec,
}

impl Gauges {
    /// Makes the meters.
    pub fn new(meters: &Meters) -> Result<Self, Error> {
        let gauges =
            |name, what, question, label| meters.gauges(about(name, what, question), label);
        Ok(Self {
            peers: gauges(
                "peers",
                "Replicas on this store, by role; halted ones apply nothing because their data is damaged.",
                "How much does this store carry, and how much of it does it lead?",
                "role",
            )?,
            queues: gauges(
                "queue_length",
                "What waits: inputs of the workers, reads for a thread that may touch the disk.",
                "Which threads are too few?",
                "queue",
            )?,
            refusing: meters.gauge(about(
                "writes_refused",
                "1 while writes are refused: logs over their limit, or no room on the disk.",
                "Does the disk have to be cleaned up?",
            ))?,
            memory: gauges(
                "memory_bytes",
                "Memory in use, by budget of store.memory.",
                "What takes the memory?",
                "budget",
            )?,
            memory_max: gauges(
                "memory_limit_bytes",
                "What each budget may use.",
                "Which budget is used up?",
                "budget",
            )?,
            disk: gauges(
                "disk_bytes",
                "Bytes on disk, of data and of Raft logs.",
                "What takes the disk?",
                "engine",
            )?,
            disk_free: meters.gauge(about(
                "disk_free_bytes",
                "Bytes that are free on the disk of the data directory.",
                "When will the disk be full?",
            ))?,
            disk_size: meters.gauge(about(
                "disk_size_bytes",
                "Bytes that the disk of the data directory has in all.",
                "What part of the disk is free?",
            ))?,
            engine: Engine::new(meters)?,
        })
    }

    /// Has all of them set whenever they are shown, as long as the sources live: pages may outlive the node.
    pub fn show(self, meters: &Meters, sources: &Arc<Sources>) {
        let sources = Arc::downgrade(sources);
        meters.before_text(move || {
            let Some(sources) = sources.upgrade() else {
                return;
            };
            self.show_peers(&sources);
            self.show_queues(&sources);
            let (activity, rows) = (sources.rocks.activity(), sources.rows.counts());
            self.show_memory(&sources, &activity, rows);
            self.show_disk(&sources);
            self.engine.show(&activity, rows);
        });
    }

    fn show_peers(&self, sources: &Sources) {
        let (mut leaders, mut followers, mut halted) = (0, 0, 0);
        for view in sources.door.front.directory.all() {
            match (view.is_halted(), view.delegate().is_some()) {
                (true, _) => halted += 1,
                (false, true) => leaders += 1,
                (false, false) => followers += 1,
            }
        }
        let roles = [
            ("leader", leaders),
            ("follower", followers),
            ("halted", halted),
        ];
        for (role, count) in roles {
            self.peers.with_label_values(&[role]).set(count);
        }
    }

    fn show_queues(&self, sources: &Sources) {
        let show = |name, length: usize| {
            let gauge = self.queues.with_label_values(&[name]);
            gauge.set(level(length));
        };
        show("worker", sources.router.waiting());
        show("read", sources.door.reads.len());
        let refuses = sources.door.front.log_full.load(Ordering::Relaxed);
        self.refusing.set(refuses.into());
    }

    fn show_memory(&self, sources: &Sources, activity: &Activity, rows: RowCounts) {
        let (config, door) = (&sources.config, &sources.door);
        let bytes = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        let index = sources.log.engine().statistics().memory_bytes;
        let waiting = usize::try_from(door.metrics.apply.queue_bytes.get()).unwrap_or(0);
        let budgets = [
            (
                "block_cache",
                bytes(activity.cache_bytes),
                config.cache_bytes(),
            ),
            ("row_cache", bytes(rows.bytes), config.row_bytes()),
            (
                "memtables",
                bytes(activity.memtable_bytes),
                config.data_memtable_bytes(),
            ),
            ("log_index", bytes(index), config.log_index_bytes()),
            (
                "log_entries",
                sources.log.cached_bytes(),
                config.entry_bytes(),
            ),
            ("requests", door.admission.held(), config.request_bytes()),
            ("answers", door.answers.held(), config.answer_bytes()),
            (
                "arriving_messages",
                sources.router.arriving_bytes(),
                config.arriving_bytes(),
            ),
            (
                "leaving_messages",
                sources.outgoing.held(),
                config.message_bytes(),
            ),
            ("apply_queue", waiting, config.core().apply_queue_bytes),
        ];
        for (name, used, most) in budgets {
            self.memory.with_label_values(&[name]).set(level(used));
            self.memory_max.with_label_values(&[name]).set(level(most));
        }
    }

    fn show_disk(&self, sources: &Sources) {
        let data = sources.rocks.statistics().disk_bytes;
        let log = sources.log.engine().statistics().disk_bytes;
        for (name, bytes) in [("data", data), ("log", log)] {
            self.disk.with_label_values(&[name]).set(level(bytes));
        }
        let folder: &PathBuf = &sources.config.store.data_dir;
        // A disk that cannot be asked has no room as far as anybody knows.
        let free = fs4::available_space(folder).unwrap_or(0);
        self.disk_free.set(level(free));
        let size = fs4::total_space(folder).unwrap_or(0);
        self.disk_size.set(level(size));
    }
}

fn row_lookups(meters: &Meters) -> Result<IntCounterVec, Error> {
    let lookups = about(
        "engine_row_lookups_total",
        "Gets that looked for their row in the row cache: hits found it, misses asked RocksDB.",
        "Do gets come back to the same rows, and is there room for those?",
    );
    meters.counters(lookups, "result")
}

impl Engine {
    fn new(meters: &Meters) -> Result<Self, Error> {
        let counter = |name, what, question| meters.counter(about(name, what, question));
        let gauge = |name, what, question| meters.gauge(about(name, what, question));
        Ok(Self {
            rows: row_lookups(meters)?,
            blocks: meters.counters(
                about(
                    "engine_block_reads_total",
                    "Blocks of table files that reads needed: hits were in the cache, misses were read from the file.",
                    "Is the block cache too small?",
                ),
                "from",
            )?,
            filtered: counter(
                "engine_filtered_lookups_total",
                "Look-ups that a Bloom filter spared a table.",
                "Do the filters work?",
            )?,
            memtable_hits: counter(
                "engine_memtable_hits_total",
                "Look-ups that were answered out of a memtable.",
                "Is it the newest data that is read?",
            )?,
            written: meters.counters(
                about(
                    "engine_written_bytes_total",
                    "Bytes that RocksDB wrote, by flushes and by compactions.",
                    "How many times is a byte of a client written?",
                ),
                "by",
            )?,
            compaction_read: counter(
                "engine_compaction_read_bytes_total",
                "Bytes that compactions read.",
                "How much of the disk do compactions take?",
            )?,
            stalled: meters.seconds(about(
                "engine_stall_seconds_total",
                "Time that RocksDB held writes up for, because it could not flush or compact quickly enough.",
                "Is the disk too slow for the writes?",
            ))?,
            stopped: gauge(
                "engine_writes_stopped",
                "1 while RocksDB takes no writes.",
                "Does apply wait for compactions?",
            )?,
            level0_files: gauge(
                "engine_level0_files",
                "Files of level 0, which every look-up has to search.",
                "Are reads slow because compactions are behind?",
            )?,
            pending: gauge(
                "engine_pending_compaction_bytes",
                "Bytes that compactions have before them, about.",
                "How far are compactions behind?",
            )?,
            jobs: meters.gauges(
                about(
                    "engine_jobs",
                    "Flushes and compactions that run now.",
                    "What does the disk work at?",
                ),
                "kind",
            )?,
        })
    }

    fn show(&self, now: &Activity, rows: RowCounts) {
        for (result, total) in [("hit", rows.hits), ("miss", rows.misses)] {
            catch_up(&self.rows.with_label_values(&[result]), total);
        }
        for (from, total) in [("cache", now.cache_hits), ("file", now.cache_misses)] {
            catch_up(&self.blocks.with_label_values(&[from]), total);
        }
        let written = [
            ("flush", now.flush_bytes),
            ("compaction", now.compaction_write_bytes),
        ];
        for (by, total) in written {
            catch_up(&self.written.with_label_values(&[by]), total);
        }
        catch_up(&self.filtered, now.filtered);
        catch_up(&self.memtable_hits, now.memtable_hits);
        catch_up(&self.compaction_read, now.compaction_read_bytes);
        catch_up_micros(&self.stalled, now.stall_micros);
        self.stopped.set(now.stopped.into());
        self.level0_files.set(level(now.level0_files));
        self.pending.set(level(now.pending_compaction_bytes));
        for (kind, count) in [("flush", now.flushes), ("compaction", now.compactions)] {
            self.jobs.with_label_values(&[kind]).set(level(count));
        }
    }
}
