//! The settings of the deterministic part, with their limits.
//!
//! *Place*: the server fills it from `region.*` and `store.*` settings; every module reads it.
//!
//! *Invariants*: [`Config::validate`] holds before a store opens.
//!
//! *Next stop*: [`crate::layout`].

use crate::split::check::Limits;
use std::ops::RangeInclusive;
use std::time::Duration;

/// Longest key of a point request, bytes. Range bounds are exempt (clients send longer ones for "no bound").
pub const KEY_BYTES_MAX: usize = 8 << 10;
/// Most bytes of keys and values in one answer. A page of a scan is never cut short (clients take a short one for
/// the region's end), so a larger one is refused. Too small: pages of large values fail; too large: one reader
/// takes the store's memory.
pub const ANSWER_BYTES_MAX: usize = 64 << 20;
/// Longest time to live, seconds (about 34,000 years): keeps the sum with any clock within 64 bits.
pub const TTL_S_MAX: u64 = 1 << 40;
/// What packing adds to a command: entry header, versions, lengths.
pub const ENTRY_OVERHEAD_BYTES: usize = 64 << 10;

/// See [`Config::tick`].
const TICK_RANGE: RangeInclusive<Duration> = Duration::from_millis(90)..=Duration::from_millis(150);

/// Settings of a store's core.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Most bytes of one command, and so of one Raft entry; default 8 MiB, 64 KiB to 16 MiB. Larger requests
    /// are refused. Too small: batches fail; too large: one entry stalls its region.
    pub entry_bytes_max: usize,
    /// Bytes of commands packed into one entry before the next is begun; default 1 MiB, at most
    /// `entry_bytes_max`. Too small: more entries; too large: coarse flow control.
    pub pack_bytes: usize,
    /// Bytes of commands one region queues before it refuses with ServerIsBusy; default 32 MiB. Too small:
    /// needless refusals; too large: memory under overload.
    pub queued_bytes_max: usize,
    /// Bytes of committed entries of one region that apply has not reached, after which its leader proposes no more;
    /// default 32 MiB. Too small: writes wait for apply although it keeps up; too large: a leader whose apply is slow
    /// keeps callers waiting for what is far behind in it.
    pub unapplied_bytes_max: u64,
    /// Bytes of entries that wait for apply in memory, over all regions; default 64 MiB. What comes beyond is read from
    /// the log again. Too small: the disk is read while apply is a little behind; too large: memory while it is far.
    pub apply_queue_bytes: usize,
    /// Bytes of entries that apply writes at once, about; default 8 MiB. Too small: more writes; too large: one region
    /// that is far behind holds up the others.
    pub apply_bytes: usize,
    /// How long a request waits for a region without leader; default 1 s, at most 5 s. Too small: elections
    /// reach clients; too large: clients' deadlines pass.
    pub park: Duration,
    /// Most requests parked by one region; default 4,096.
    pub parked_max: usize,
    /// Longest time between two heartbeats of a region to the placement driver; default 60 s.
    pub region_heartbeat: Duration,
    /// Most bytes of the Raft logs on disk before writes are refused with DiskFull; default 64 GiB. Logs keep what a
    /// store lacks that is away, so this bounds the disk.
    pub log_bytes_max: u64,
    /// Bytes of keys and values after which a region is cut, once it has half as many again; default 256 MiB, 16 KiB
    /// to 64 GiB. Smaller: more regions, each with its cost when idle. Larger: longer moves, fewer hands for one range.
    pub split_bytes: u64,
    /// Pairs after which a region is cut, likewise; default 2.5 million, 16 or more.
    pub split_keys: u64,
    /// Entries that every replica has and that stay in the log; default 2048, 16 or more. Smaller: a store that was
    /// away for a moment reads from disk. Larger: more disk, longer restarts.
    pub log_entries: u64,
    /// Bytes of keys and values put after which entries leave the log whatever their number; default 32 MiB, 64 KiB or
    /// more.
    pub log_bytes: u64,
    /// Entries after which a peer that lacks more than `log_entries` of them is left behind: it will be sent a snapshot
    /// instead; default 1 million, at least `log_entries`. Smaller: short absences cost a copy of the region. Larger:
    /// logs grow while a store is away.
    pub lag_entries: u64,
    /// Bytes of keys and values put after which it is left behind whatever their number; default 256 MiB, at least
    /// `log_bytes`.
    pub lag_bytes: u64,
    /// Time after which the leader of a region compares its replicas, again and again; default 24 h, 10 s or more. Each
    /// time all of the region is read on every store.
    pub check_interval: Duration,
    /// Raft tick; default 100 ms, 90 to 150: the lease (550 ms) must be well below 8 ticks, and above 3.
    pub tick: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            entry_bytes_max: 8 << 20,
            pack_bytes: 1 << 20,
            queued_bytes_max: 32 << 20,
            unapplied_bytes_max: 32 << 20,
            apply_queue_bytes: 64 << 20,
            apply_bytes: 8 << 20,
            park: Duration::from_secs(1),
            parked_max: 4096,
            region_heartbeat: Duration::from_secs(60),
            log_bytes_max: 64 << 30,
            split_bytes: 256 << 20,
            split_keys: 2_500_000,
            log_entries: 2048,
            log_bytes: 32 << 20,
            lag_entries: 1_000_000,
            lag_bytes: 256 << 20,
            check_interval: Duration::from_secs(24 * 3600),
            tick: Duration::from_millis(100),
        }
    }
}

/// A setting outside its range; tell the operator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} = {value} is not allowed: use {allowed}")]
pub struct ConfigError {
    /// The setting's name.
    pub field: &'static str,
    /// What it was set to.
    pub value: String,
    /// What it may be set to.
    pub allowed: &'static str,
}

impl Config {
    /// When a region is too large.
    pub fn limits(&self) -> Limits {
        Limits {
            bytes: self.split_bytes,
            keys: self.split_keys,
        }
    }

    /// Takes from `wanted` what may change while a store runs; returns whether anything did. The rest stays as it was at
    /// the start, since something was built, or promised to others, with it:
    ///
    /// - `entry_bytes_max`: Raft takes in entries up to it, and followers with another limit would drop what they are sent;
    /// - `apply_queue_bytes`, `apply_bytes`: the queue of apply has its room since the start;
    /// - `tick`: leases are judged by it, on this store and on those that follow.
    ///
    /// Everything that is taken only decides when a leader proposes something, how much waits, or what the placement driver
    /// hears when: entries are applied without it, so stores may differ in it.
    pub fn take_changeable(&mut self, wanted: &Self) -> bool {
        let before = self.clone();
        *self = Self {
            entry_bytes_max: self.entry_bytes_max,
            apply_queue_bytes: self.apply_queue_bytes,
            apply_bytes: self.apply_bytes,
            unapplied_bytes_max: self.unapplied_bytes_max,
            tick: self.tick,
            pack_bytes: wanted.pack_bytes,
            queued_bytes_max: wanted.queued_bytes_max,
            park: wanted.park,
            parked_max: wanted.parked_max,
            region_heartbeat: wanted.region_heartbeat,
            log_bytes_max: wanted.log_bytes_max,
            split_bytes: wanted.split_bytes,
            split_keys: wanted.split_keys,
            log_entries: wanted.log_entries,
            log_bytes: wanted.log_bytes,
            lag_entries: wanted.lag_entries,
            lag_bytes: wanted.lag_bytes,
            check_interval: wanted.check_interval,
        };
        *self != before
    }

    /// Checks each range and the relations between settings.
    pub fn validate(&self) -> Result<(), ConfigError> {
        check(
            (64 << 10..=16 << 20).contains(&self.entry_bytes_max),
            "region.entry_size",
            self.entry_bytes_max.to_string(),
            "64KiB to 16MiB",
        )?;
        check(
            (4 << 10..=self.entry_bytes_max).contains(&self.pack_bytes),
            "region.pack_size",
            self.pack_bytes.to_string(),
            "4KiB to region.entry_size",
        )?;
        check(
            self.queued_bytes_max >= self.entry_bytes_max,
            "region.queue_size",
            self.queued_bytes_max.to_string(),
            "at least region.entry_size",
        )?;
        check(
            self.park <= Duration::from_secs(5),
            "region.park_time",
            format!("{:?}", self.park),
            "0s to 5s",
        )?;
        check(
            self.parked_max > 0,
            "region.parked_max",
            self.parked_max.to_string(),
            "1 or more",
        )?;
        check(
            (Duration::from_secs(1)..=Duration::from_secs(600)).contains(&self.region_heartbeat),
            "region.heartbeat_interval",
            format!("{:?}", self.region_heartbeat),
            "1s to 600s",
        )?;
        check(
            self.log_bytes_max >= 64 << 20,
            "store.log_size",
            self.log_bytes_max.to_string(),
            "64MiB or more",
        )?;
        check(
            TICK_RANGE.contains(&self.tick),
            "region.tick",
            format!("{:?}", self.tick),
            "90ms to 150ms",
        )?;
        check(
            self.check_interval >= Duration::from_secs(10),
            "region.check_interval",
            format!("{:?}", self.check_interval),
            "10s or more",
        )?;
        self.validate_growth()
    }

    fn validate_growth(&self) -> Result<(), ConfigError> {
        check(
            (16 << 10..=64 << 30).contains(&self.split_bytes),
            "region.split_size",
            self.split_bytes.to_string(),
            "16KiB to 64GiB",
        )?;
        check(
            self.split_keys >= 16,
            "region.split_keys",
            self.split_keys.to_string(),
            "16 or more",
        )?;
        check(
            self.log_entries >= 16,
            "region.log_entries",
            self.log_entries.to_string(),
            "16 or more",
        )?;
        check(
            self.log_bytes >= 64 << 10,
            "region.log_size",
            self.log_bytes.to_string(),
            "64KiB or more",
        )?;
        check(
            self.lag_entries >= self.log_entries,
            "region.lag_entries",
            self.lag_entries.to_string(),
            "at least region.log_entries",
        )?;
        check(
            self.lag_bytes >= self.log_bytes,
            "region.lag_size",
            self.lag_bytes.to_string(),
            "at least region.log_size",
        )
    }
}

/// Refuses a setting that is out of range; the server's are checked by it as well.
pub fn check(
    ok: bool,
    field: &'static str,
    value: String,
    allowed: &'static str,
) -> Result<(), ConfigError> {
    match ok {
        true => Ok(()),
        false => Err(ConfigError {
            field,
            value,
            allowed,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_value_names_field_value_and_range() {
        assert_eq!(Config::default().validate(), Ok(()));
        let config = Config {
            entry_bytes_max: 1,
            ..Config::default()
        };
        let error = config.validate().expect_err("one byte is no entry");
        assert_eq!(
            error.to_string(),
            "region.entry_size = 1 is not allowed: use 64KiB to 16MiB"
        );
    }

    #[test]
    fn what_others_rely_on_stays() {
        let mut config = Config::default();
        let wanted = Config {
            entry_bytes_max: 1 << 20,
            tick: Duration::from_millis(120),
            split_keys: 16,
            ..Config::default()
        };
        assert!(config.take_changeable(&wanted));
        let expected = Config {
            split_keys: 16,
            ..Config::default()
        };
        assert_eq!(config, expected);
        assert!(!config.take_changeable(&wanted), "it has them already");
    }
}
