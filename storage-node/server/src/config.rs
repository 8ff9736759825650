//! Settings of a storage node, by the names that files and `--set` use.
//!
//! *Place*: `cli` reads file and flags into it; [`crate::node`] takes it.
//!
//! *Invariants*: unknown names are refused; [`Config::validate`] holds before anything is opened.
//!
//! *Next stop*: [`crate::online`], then `yadkv_storage_core::config`.

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;
use yadkv_storage_core::config::{ConfigError, check};
use yadkv_tls::Settings as TlsSection;

/// All settings of a storage node.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The process: addresses, directories, memory.
    pub store: StoreSection,
    /// Its regions.
    pub region: RegionSection,
    /// Certificates; without them all is plain text.
    pub tls: TlsSection,
}

/// Bounds of [`Config::log_segment_bytes`].
const SEGMENT_BYTES_MIN: u64 = 1 << 20;
const SEGMENT_BYTES_MAX: u64 = 64 << 20;
/// Upper bound of [`Config::log_kept_bytes`].
const KEPT_BYTES_MAX: u64 = 256 << 20;
/// Neither takes more than such a part of `store.log_size`.
const LOG_PARTS: u64 = 8;

/// `store.*`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreSection {
    /// Address that is listened on, and told to others unless `advertise_addr` is set.
    pub addr: String,
    /// Address that others use; default `addr` with the port that was bound.
    pub advertise_addr: String,
    /// Address of the status port: `/metrics`, `/health`, `/regions` and `/config`; empty for none. One on all interfaces is told
    /// to others with the host that clients use.
    pub status_addr: String,
    /// Where data lives.
    pub data_dir: PathBuf,
    /// Placement drivers, `host:port`.
    pub pd: Vec<String>,
    /// Memory for what grows with load; default 1 GiB, at least 64 MiB. In sixteenths: block cache 3, rows 2, memtables
    /// 6, where the entries of the logs are 1, newest log entries 1, requests under way 1, answers under way 1, and entries of
    /// other stores' leaders: half a one before the workers, half a one before apply. Messages to other stores have 1 as
    /// well, but share their bytes with requests or the newest entries. The process itself adds about 60 MiB. Too small: reads go to disk; too large: the operating system's cache starves.
    #[serde(with = "yadkv_settings::size")]
    pub memory: ByteSize,
    /// Most bytes of Raft logs on disk; default 64 GiB, at least 64 MiB. Beyond, writes are refused.
    #[serde(with = "yadkv_settings::size")]
    pub log_size: ByteSize,
    /// Worker threads; default half the cores, at least 1, at most 64.
    pub workers: usize,
    /// Threads for reads that touch the disk; default 2, 1 to 64.
    pub read_threads: usize,
    /// Snapshots that are sent at once, and that are received at once; default 4, 1 to 64. Too small: replicas are made
    /// slowly; too large: they take disk and memory from requests.
    pub snapshots: usize,
    /// Bytes of snapshots sent in a second, all together; default 100 MiB, at least 1 MiB.
    #[serde(with = "yadkv_settings::size")]
    pub snapshot_rate: ByteSize,
    /// Bytes of tables that flushes and merges write in a second; default 64 MiB for each core, at least 8 MiB. Too small:
    /// writes wait for them; too large: while tables are merged every put waits for the disk.
    pub background_rate: ByteSize,
    /// Whether the kernel treats threads as batch work (`SCHED_BATCH`), which let each other finish; default true. Set it
    /// to false where programs of others keep all cores busy: there such threads come last, and requests wait longer.
    pub batch_threads: bool,
    /// Inputs that wait for one worker; default 16,384, at least 256. Too small: refusals under bursts; too
    /// large: memory and latency under overload.
    pub inbox: usize,
    /// Time between two heartbeats to the placement driver; default 3 s, 100 ms to 60 s.
    #[serde(with = "humantime_serde")]
    pub heartbeat_interval: Duration,
    /// Whether others than this machine may use the pages of the status port that change settings or take profiles;
    /// default false. Only where nobody else reaches that port.
    pub open_pages: bool,
}

/// `region.*`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RegionSection {
    /// Most bytes of one write; default 8 MiB.
    #[serde(with = "yadkv_settings::size")]
    pub entry_size: ByteSize,
    /// Bytes packed into one entry; default 1 MiB.
    #[serde(with = "yadkv_settings::size")]
    pub pack_size: ByteSize,
    /// Bytes of writes one region queues; default 32 MiB.
    #[serde(with = "yadkv_settings::size")]
    pub queue_size: ByteSize,
    /// How long requests wait for a leader; default 1 s.
    #[serde(with = "humantime_serde")]
    pub park_time: Duration,
    /// How many may wait; default 4,096.
    pub parked_max: usize,
    /// Time between two heartbeats of a region; default 60 s.
    #[serde(with = "humantime_serde")]
    pub heartbeat_interval: Duration,
    /// Bytes of keys and values that make a region; with half as many again it is cut. Default 256 MiB.
    #[serde(with = "yadkv_settings::size")]
    pub split_size: ByteSize,
    /// Pairs that make a region, likewise; default 2.5 million.
    pub split_keys: u64,
    /// Entries that every replica has and that stay in a region's log; default 2048.
    pub log_entries: u64,
    /// Bytes put to a region after which its log is shortened whatever its entries; default 32 MiB.
    #[serde(with = "yadkv_settings::size")]
    pub log_size: ByteSize,
    /// Entries after which a replica that is away is left behind: it gets a snapshot instead; default 1 million.
    pub lag_entries: u64,
    /// Bytes put to a region after which it is left behind whatever the entries; default 256 MiB.
    #[serde(with = "yadkv_settings::size")]
    pub lag_size: ByteSize,
    /// Time between two comparisons of a region's replicas; default 24 h.
    #[serde(with = "humantime_serde")]
    pub check_interval: Duration,
    /// Raft tick; default 100 ms.
    #[serde(with = "humantime_serde")]
    pub tick: Duration,
}

impl Default for StoreSection {
    fn default() -> Self {
        let core = yadkv_storage_core::config::Config::default();
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            addr: "127.0.0.1:20160".into(),
            advertise_addr: String::new(),
            status_addr: "127.0.0.1:20180".into(),
            data_dir: PathBuf::from("data/store"),
            pd: vec!["127.0.0.1:2379".into()],
            memory: ByteSize::gib(1),
            log_size: ByteSize::b(core.log_bytes_max),
            workers: (cores / 2).clamp(1, 64),
            read_threads: 2,
            snapshots: 4,
            snapshot_rate: ByteSize::mib(100),
            background_rate: ByteSize::mib(64 * cores as u64),
            batch_threads: true,
            inbox: 16_384,
            heartbeat_interval: Duration::from_secs(3),
            open_pages: false,
        }
    }
}

impl Default for RegionSection {
    fn default() -> Self {
        let core = yadkv_storage_core::config::Config::default();
        Self {
            entry_size: ByteSize::b(core.entry_bytes_max as u64),
            pack_size: ByteSize::b(core.pack_bytes as u64),
            queue_size: ByteSize::b(core.queued_bytes_max as u64),
            park_time: core.park,
            parked_max: core.parked_max,
            heartbeat_interval: core.region_heartbeat,
            split_size: ByteSize::b(core.split_bytes),
            split_keys: core.split_keys,
            log_entries: core.log_entries,
            log_size: ByteSize::b(core.log_bytes),
            lag_entries: core.lag_entries,
            lag_size: ByteSize::b(core.lag_bytes),
            check_interval: core.check_interval,
            tick: core.tick,
        }
    }
}

impl Config {
    /// Bytes of `store.memory` in so many of 32 parts.
    fn memory(&self, parts: u64) -> usize {
        usize::try_from(self.store.memory.as_u64() / 32 * parts).unwrap_or(usize::MAX)
    }

    /// The block cache.
    pub fn cache_bytes(&self) -> usize {
        self.memory(6)
    }

    /// Rows that were read lately.
    pub fn row_bytes(&self) -> usize {
        self.memory(4)
    }

    /// Memtables of the data.
    pub fn data_memtable_bytes(&self) -> usize {
        self.memory(12)
    }

    /// What says where the entries of all logs are: beyond, logs are shortened.
    pub fn log_index_bytes(&self) -> usize {
        self.memory(2)
    }

    /// One file of the logs, which is read whole when it is cleaned.
    pub fn log_segment_bytes(&self) -> u64 {
        let bytes = (self.memory(1) as u64).clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX);
        bytes.min(self.store.log_size.as_u64() / LOG_PARTS)
    }

    /// Files of the logs that are kept for later.
    pub fn log_kept_bytes(&self) -> u64 {
        KEPT_BYTES_MAX.min(self.store.log_size.as_u64() / LOG_PARTS)
    }

    /// The newest log entries.
    pub fn entry_bytes(&self) -> usize {
        self.memory(2)
    }

    /// Requests under way.
    pub fn request_bytes(&self) -> usize {
        self.memory(2)
    }

    /// Answers under way.
    pub fn answer_bytes(&self) -> usize {
        self.memory(2)
    }

    /// Entries in messages that no worker has taken yet.
    pub fn arriving_bytes(&self) -> usize {
        self.memory(1)
    }

    /// Entries in messages that have not left.
    pub fn message_bytes(&self) -> usize {
        self.memory(2)
    }

    /// The core's part.
    pub fn core(&self) -> yadkv_storage_core::config::Config {
        let bytes = |size: ByteSize| usize::try_from(size.as_u64()).unwrap_or(usize::MAX);
        yadkv_storage_core::config::Config {
            entry_bytes_max: bytes(self.region.entry_size),
            pack_bytes: bytes(self.region.pack_size),
            queued_bytes_max: bytes(self.region.queue_size),
            apply_queue_bytes: self.memory(1),
            park: self.region.park_time,
            parked_max: self.region.parked_max,
            region_heartbeat: self.region.heartbeat_interval,
            log_bytes_max: self.store.log_size.as_u64(),
            split_bytes: self.region.split_size.as_u64(),
            split_keys: self.region.split_keys,
            log_entries: self.region.log_entries,
            log_bytes: self.region.log_size.as_u64(),
            lag_entries: self.region.lag_entries,
            lag_bytes: self.region.lag_size.as_u64(),
            check_interval: self.region.check_interval,
            tick: self.region.tick,
            ..yadkv_storage_core::config::Config::default()
        }
    }

    /// Checks ranges and relations; the error names field, value and what is allowed.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.core().validate()?;
        self.store.validate()?;
        let missing = self.tls.missing();
        check(
            missing.is_none(),
            missing.unwrap_or("tls"),
            "\"\"".into(),
            "a file, as the others of tls.*, or none of them",
        )?;
        let interval = self.tls.reload_interval;
        check(
            self.tls.interval_is_fine(),
            "tls.reload_interval",
            format!("{interval:?}"),
            "10ms to 1h",
        )
    }
}

impl StoreSection {
    fn validate(&self) -> Result<(), ConfigError> {
        check(
            self.memory >= ByteSize::mib(64),
            "store.memory",
            self.memory.to_string(),
            "64MiB or more",
        )?;
        check(
            (1..=64).contains(&self.workers),
            "store.workers",
            self.workers.to_string(),
            "1 to 64",
        )?;
        check(
            (1..=64).contains(&self.read_threads),
            "store.read_threads",
            self.read_threads.to_string(),
            "1 to 64",
        )?;
        check(
            (1..=64).contains(&self.snapshots),
            "store.snapshots",
            self.snapshots.to_string(),
            "1 to 64",
        )?;
        check(
            self.snapshot_rate >= ByteSize::mib(1),
            "store.snapshot_rate",
            self.snapshot_rate.to_string(),
            "1MiB or more",
        )?;
        check(
            self.background_rate >= ByteSize::mib(8),
            "store.background_rate",
            self.background_rate.to_string(),
            "8MiB or more",
        )?;
        check(
            self.inbox >= 256,
            "store.inbox",
            self.inbox.to_string(),
            "256 or more",
        )?;
        let heartbeat = self.heartbeat_interval;
        check(
            (Duration::from_millis(100)..=Duration::from_secs(60)).contains(&heartbeat),
            "store.heartbeat_interval",
            format!("{heartbeat:?}"),
            "100ms to 60s",
        )?;
        check(
            !self.pd.is_empty(),
            "store.pd",
            "[]".into(),
            "at least one host:port",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_the_logs_are_small_beside_what_the_logs_may_take() {
        let bytes = |memory: ByteSize, log_size: ByteSize| {
            let mut config = Config::default();
            config.store.memory = memory;
            config.store.log_size = log_size;
            (config.log_segment_bytes(), config.log_kept_bytes())
        };
        let mib = |number: u64| number << 20;
        for (memory, log_size, expected) in [
            (256, 65_536, (8, 256)),
            (1024, 65_536, (32, 256)),
            (8192, 65_536, (64, 256)),
            (8192, 64, (8, 8)),
            (256, 512, (8, 64)),
        ] {
            let found = bytes(ByteSize::mib(memory), ByteSize::mib(log_size));
            assert_eq!(found, (mib(expected.0), mib(expected.1)));
        }
    }
}
