//! What a placement driver member is told at its start, and the settings that operators change.
//!
//! *Place*: the server's command line and configuration file fill it → [`crate::Member::open`] checks and
//! keeps it.
//!
//! *Types to know*: [`Config`], [`MemberAddress`], [`ScheduleConfig`], [`BootstrapConfig`], [`LogConfig`].
//!
//! *Life of a setting*: file or `--set` → the server's configuration → [`Config::validate`] (ranges and
//! relations, each refusal naming field, value and allowed range).
//!
//! *Next stop*: [`crate::cluster`], the state that these settings shape.

use crate::border;
use crate::member::CHUNK_BYTES_MAX;
use bytes::Bytes;
use std::collections::BTreeSet;
use std::time::Duration;
use yadkv_proto::codec;
use yadkv_proto::id::PeerId;

/// How long a request may wait for a leader, a lease or an applied entry before it is refused.
pub const HOLD_MAX: Duration = Duration::from_millis(1500);

/// A setting that cannot be used: refuse to start and show it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} = {value} is not allowed: use {allowed}")]
pub struct ConfigError {
    /// Dotted name of the setting.
    pub field: String,
    /// What was given.
    pub value: String,
    /// What may be given.
    pub allowed: String,
}

impl ConfigError {
    /// A value outside of what its field allows.
    pub fn value(field: &str, value: impl ToString, allowed: &str) -> Self {
        Self {
            field: field.to_owned(),
            value: value.to_string(),
            allowed: allowed.to_owned(),
        }
    }
}

/// One member of the placement driver; the list is the same on every member and never changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberAddress {
    /// Node id in the Raft group, from 1.
    pub id: PeerId,
    /// Name that people see.
    pub name: String,
    /// Where clients reach it: `http://host:port`, or `https://` with TLS.
    pub client_url: String,
    /// Where other members reach it, likewise.
    pub peer_url: String,
}

/// Everything a member needs besides its engines.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which of `members` this is.
    pub member: PeerId,
    /// All members, this one included; 1 to 7.
    pub members: Vec<MemberAddress>,
    /// Different at every start of the process; keeps read contexts of two lives apart.
    pub boot_id: u64,
    /// Spreads election timeouts and chooses the cluster id.
    pub seed: u64,
    /// Scheduling and the life of stores.
    pub schedule: ScheduleConfig,
    /// The first regions.
    pub bootstrap: BootstrapConfig,
    /// How much of the Raft log stays.
    pub log: LogConfig,
}

/// How much of the Raft log stays. Names start with `log.`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// Entries that stay, unless they are more than `keep_bytes`; a sixteenth more may be there. Default 100,000: hours
    /// of a quiet cluster. Too small: a member that was away for a moment is sent the whole state; too large: the disk, and
    /// a member that was away for long reads more entries than there is state.
    pub keep_entries: u64,
    /// Bytes of entries that stay, likewise. Default 64 MiB, about what large clusters have in state. Too small and too
    /// large: as above; a start reads so much.
    pub keep_bytes: u64,
    /// Bytes of records in one chunk of the state that is sent to a member that lags. Default 512 KiB, 1 KiB to
    /// [`CHUNK_BYTES_MAX`]. Too small: one network round trip for little; too large: heartbeats wait behind it.
    pub chunk_bytes: u64,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            keep_entries: LOG_KEEP_ENTRIES,
            keep_bytes: LOG_KEEP_BYTES,
            chunk_bytes: LOG_CHUNK_BYTES,
        }
    }
}

/// Default of [`LogConfig::keep_entries`].
pub const LOG_KEEP_ENTRIES: u64 = 100_000;
/// Default of [`LogConfig::keep_bytes`].
pub const LOG_KEEP_BYTES: u64 = 64 << 20;
/// Default of [`LogConfig::chunk_bytes`].
pub const LOG_CHUNK_BYTES: u64 = 512 << 10;
/// Entries, or bytes, that may be kept at most.
const LOG_KEEP_MAX: u64 = 1 << 34;

/// What may change while a member runs. Each member goes by its own: where they differ, the leader's decides how stores and
/// regions are judged, and each one's how long its own log stays. Nothing of it is in an entry, so members that apply the
/// same stay the same. Who the members are, and the first regions, were settled once for all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changeable {
    /// Scheduling and the life of stores.
    pub schedule: ScheduleConfig,
    /// How much of the Raft log stays.
    pub log: LogConfig,
}

/// When a store counts as gone, and how leaders are balanced. Names start with `schedule.`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduleConfig {
    /// Silence after which a store is Disconnected: no new leaders go there. Default 20 s. Too small: a
    /// pause moves leaders about; too large: leaders are sent to a dead store.
    pub store_disconnect_time: Duration,
    /// Silence after which a store is Down. Default 30 min; may equal the disconnect time, never be less.
    /// Too small: a reboot costs a full copy of the store; too large: data stays under-replicated.
    pub store_dead_time: Duration,
    /// Whether leaders are spread evenly. Default true.
    pub balance_leaders: bool,
    /// How often schedulers look at the cluster, besides when an operator has ended. Default 1 s. Too small: work for nothing; too large:
    /// balance comes late.
    pub interval: Duration,
    /// Life of an operator. Default 3 min: three idle region heartbeats. Too small: it is dropped before
    /// the region's leader hears of it; too large: a lost one blocks the region.
    pub operator_timeout: Duration,
    /// Leader transfers that may touch one store at a time. Default 8. Too small: slow balance; too large: a
    /// wave of transfers at once.
    pub operators_per_store_max: u32,
    /// Voters that every region shall have. Default 3, 1 to 9. Too small: one lost disk loses data; too large: each
    /// write costs more.
    pub replicas: u32,
    /// Whether regions with lost, missing or superfluous replicas are mended. Default true.
    pub check_replicas: bool,
    /// Replicas that may be made on one store at a time. Default 8, 1 to 1024. Too small: a lost store takes long to
    /// make good; too large: clients feel it.
    pub snapshots_per_store_max: u32,
}

impl Default for ScheduleConfig {
    fn default() -> Self {
        Self {
            store_disconnect_time: Duration::from_secs(20),
            store_dead_time: Duration::from_secs(30 * 60),
            balance_leaders: true,
            interval: Duration::from_secs(1),
            operator_timeout: Duration::from_secs(180),
            operators_per_store_max: 8,
            replicas: 3,
            check_replicas: true,
            snapshots_per_store_max: 8,
        }
    }
}

/// The first regions. Names start with `bootstrap.`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootstrapConfig {
    /// Stores that must have registered before the first regions are written, and replicas of each first
    /// region. Default 3; 1 for a single-node cluster. Too small: one copy only; too large: the cluster
    /// never starts.
    pub stores: u32,
    /// Borders besides those that the protocol needs. Default none. In text as [`border::parse`] reads them:
    /// `hex:` and hexadecimal digits, or text with `\xNN` for other bytes.
    pub borders: Vec<Bytes>,
}

impl Default for BootstrapConfig {
    fn default() -> Self {
        Self {
            stores: 3,
            borders: Vec::new(),
        }
    }
}

/// Replicas of a first region, at most.
const BOOTSTRAP_STORES_MAX: u32 = 9;
/// Configured borders, at most: all first regions travel in one entry.
const BOOTSTRAP_BORDERS_MAX: usize = 4096;
/// Bytes of one configured border, at most.
const BORDER_BYTES_MAX: usize = 8 << 10;
/// Bytes of all configured borders together, at most.
const BORDERS_BYTES_MAX: usize = 1 << 20;
const MEMBERS_MAX: usize = 7;

impl Config {
    /// A configuration with default settings.
    pub fn new(member: PeerId, members: Vec<MemberAddress>, boot_id: u64, seed: u64) -> Self {
        Self {
            member,
            members,
            boot_id,
            seed,
            schedule: ScheduleConfig::default(),
            bootstrap: BootstrapConfig::default(),
            log: LogConfig::default(),
        }
    }

    /// Ids of all members, ascending.
    pub fn listed(&self) -> Vec<u64> {
        let ids: BTreeSet<_> = self.members.iter().map(|member| member.id.0).collect();
        ids.into_iter().collect()
    }

    /// Checks ranges and the relations between settings.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.validate_members()?;
        self.validate_schedule()?;
        self.validate_log()?;
        let stores = self.bootstrap.stores;
        if !(1..=BOOTSTRAP_STORES_MAX).contains(&stores) {
            return Err(ConfigError::value("bootstrap.stores", stores, "1 to 9"));
        }
        if self.bootstrap.borders.len() > BOOTSTRAP_BORDERS_MAX {
            let count = format!("{} borders", self.bootstrap.borders.len());
            return Err(ConfigError::value(
                "bootstrap.borders",
                count,
                "at most 4096 borders",
            ));
        }
        let bytes: usize = self.bootstrap.borders.iter().map(Bytes::len).sum();
        if bytes > BORDERS_BYTES_MAX {
            let shown = format!("{bytes} bytes of borders");
            return Err(ConfigError::value(
                "bootstrap.borders",
                shown,
                "at most 1 MiB in all",
            ));
        }
        for key in &self.bootstrap.borders {
            if key.is_empty() || key.len() > BORDER_BYTES_MAX || !codec::is_legal_border(key) {
                return Err(ConfigError::value(
                    "bootstrap.borders",
                    border::show(key),
                    "1 to 8192 bytes that do not go on after a whole memcomparable key",
                ));
            }
        }
        Ok(())
    }

    fn validate_members(&self) -> Result<(), ConfigError> {
        let count = self.members.len();
        if !(1..=MEMBERS_MAX).contains(&count) {
            return Err(ConfigError::value("members", count, "1 to 7 members"));
        }
        let ids: BTreeSet<_> = self.members.iter().map(|member| member.id).collect();
        let urls: BTreeSet<_> = self
            .members
            .iter()
            .map(|member| &member.client_url)
            .collect();
        if ids.len() != count || urls.len() != count || ids.contains(&PeerId::NONE) {
            let shown: Vec<_> = self
                .members
                .iter()
                .map(|m| format!("{} {}", m.id.0, m.client_url))
                .collect();
            return Err(ConfigError::value(
                "members",
                shown.join(", "),
                "different ids from 1 and different client urls",
            ));
        }
        if !ids.contains(&self.member) {
            return Err(ConfigError::value(
                "member",
                self.member.0,
                "the id of one of the members",
            ));
        }
        let is_url = |url: &str| url.starts_with("http://") || url.starts_with("https://");
        match self.members.iter().find(|m| !is_url(&m.client_url)) {
            Some(member) => Err(ConfigError::value(
                "client_url",
                &member.client_url,
                "http://host:port or https://host:port",
            )),
            None => Ok(()),
        }
    }

    fn validate_log(&self) -> Result<(), ConfigError> {
        let log = &self.log;
        let ranges = [
            ("log.keep_entries", log.keep_entries, 8, LOG_KEEP_MAX),
            ("log.keep_bytes", log.keep_bytes, 4096, LOG_KEEP_MAX),
            ("log.chunk_bytes", log.chunk_bytes, 1024, CHUNK_BYTES_MAX),
        ];
        let outside = |(_, value, min, max): &(&str, u64, u64, u64)| !(min..=max).contains(&value);
        match ranges.into_iter().find(outside) {
            Some((field, value, min, max)) => {
                let allowed = format!("{min} to {max}");
                Err(ConfigError::value(field, value, &allowed))
            }
            None => Ok(()),
        }
    }

    fn validate_schedule(&self) -> Result<(), ConfigError> {
        let schedule = &self.schedule;
        let second = Duration::from_secs(1);
        let day = 86400 * second;
        let within = |field: &str, value: Duration, min: Duration, max: Duration| {
            if (min..=max).contains(&value) {
                return Ok(());
            }
            let allowed = format!("{} to {}", show(min), show(max));
            Err(ConfigError::value(field, show(value), &allowed))
        };
        within(
            "schedule.store_disconnect_time",
            schedule.store_disconnect_time,
            second,
            day,
        )?;
        within(
            "schedule.store_dead_time",
            schedule.store_dead_time,
            schedule.store_disconnect_time,
            365 * day,
        )?;
        within(
            "schedule.interval",
            schedule.interval,
            second / 10,
            3600 * second,
        )?;
        within(
            "schedule.operator_timeout",
            schedule.operator_timeout,
            second,
            day,
        )?;
        let counts = [
            (
                "schedule.operators_per_store_max",
                schedule.operators_per_store_max,
                1024,
            ),
            (
                "schedule.snapshots_per_store_max",
                schedule.snapshots_per_store_max,
                1024,
            ),
            ("schedule.replicas", schedule.replicas, BOOTSTRAP_STORES_MAX),
        ];
        let bad = counts
            .into_iter()
            .find(|(_, value, max)| !(1..=*max).contains(value));
        match bad {
            Some((field, value, max)) => {
                Err(ConfigError::value(field, value, &format!("1 to {max}")))
            }
            None => Ok(()),
        }
    }
}

/// A duration in its largest whole unit.
fn show(duration: Duration) -> String {
    match duration.as_millis() {
        ms if ms % 3_600_000 == 0 && ms > 0 => format!("{}h", ms / 3_600_000),
        ms if ms % 60_000 == 0 && ms > 0 => format!("{}m", ms / 60_000),
        ms if ms % 1000 == 0 => format!("{}s", ms / 1000),
        ms => format!("{ms}ms"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn config() -> Config {
        let members = (1..=3).map(|id| MemberAddress {
            id: PeerId(id),
            name: format!("pd{id}"),
            client_url: format!("http://pd{id}:2379"),
            peer_url: format!("http://pd{id}:2379"),
        });
        Config::new(PeerId(1), members.collect(), 1, 1)
    }

    #[test]
    fn refusals_name_field_value_and_range() {
        let mut config = config();
        config.schedule.store_dead_time = Duration::from_secs(19);
        assert_eq!(
            config.validate().unwrap_err().to_string(),
            "schedule.store_dead_time = 19s is not allowed: use 20s to 8760h"
        );
        config.schedule.store_dead_time = Duration::from_secs(20);
        config.validate().unwrap();
        config.bootstrap.borders = vec![codec::encode(b"a"), Bytes::from_static(b"raw")];
        config.validate().unwrap();
        let behind = [&codec::encode(b"a")[..], b"x"].concat();
        config.bootstrap.borders.push(behind.into());
        assert_eq!(
            config.validate().unwrap_err().to_string(),
            "bootstrap.borders = a\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\xf8x is not allowed: use 1 to 8192 bytes \
             that do not go on after a whole memcomparable key"
        );
    }
}
