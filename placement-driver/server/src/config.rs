//! Settings of a placement driver member, by the names that files and `--set` use.
//!
//! *Place*: `cli` reads file and flags into it; [`crate::node`] takes it.
//!
//! *Types to know*: [`Config`]; [`Config::core`] makes the core's configuration of it.
//!
//! *Who is who*: `pd.members` lists every member, the same on all of them, as `host:port` or `ID=host:port`.
//! Without ids they are numbered from 1 in the order of their sorted addresses, so the order of the list
//! does not matter. A member finds itself by its own address.
//!
//! *Invariants*: unknown names are refused; [`Config::validate`] holds before anything is opened.
//!
//! *Next stop*: [`crate::online`], then `yadkv_placement_core::config`.

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use yadkv_placement_core::{
    BootstrapConfig, Changeable, Config as CoreConfig, ConfigError, LogConfig, MemberAddress,
    ScheduleConfig, border,
};
use yadkv_proto::id::PeerId;
use yadkv_tls::Settings as TlsSection;
use yadkv_tls::host_and_port;

/// All settings of a member.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The process: addresses, directory, members.
    pub pd: PdSection,
    /// Stores' life and balance.
    pub schedule: ScheduleSection,
    /// The first regions.
    pub bootstrap: BootstrapSection,
    /// How much of the Raft log stays.
    pub log: LogSection,
    /// Certificates; without them all is plain text.
    pub tls: TlsSection,
}

/// `pd.*`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PdSection {
    /// Address that is listened on, and told to others unless `advertise_addr` is set.
    pub addr: String,
    /// Address that clients, stores and members use; default `addr` with the port that was bound.
    pub advertise_addr: String,
    /// Where data lives.
    pub data_dir: PathBuf,
    /// All members, `host:port` or `ID=host:port`; empty: this one alone.
    pub members: Vec<String>,
    /// Memory for block cache and memtables in all; default 128 MiB, at least 32 MiB. Too small: reads go to
    /// disk at start; too large: the operating system's cache starves.
    #[serde(with = "yadkv_settings::size")]
    pub memory: ByteSize,
    /// Whether others than this machine may use the pages that change settings or take profiles; default false. Clients
    /// reach the same port.
    pub open_pages: bool,
}

/// `schedule.*`: see `yadkv_placement_core::ScheduleConfig` for meaning and harm.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScheduleSection {
    /// Silence after which a store is Disconnected; default 20 s.
    #[serde(with = "humantime_serde")]
    pub store_disconnect_time: Duration,
    /// Silence after which a store is Down; default 30 min. When only this is lowered, below 20 s, lower the
    /// disconnect time too.
    #[serde(with = "humantime_serde")]
    pub store_dead_time: Duration,
    /// Whether leaders are spread evenly; default true.
    pub balance_leaders: bool,
    /// How often schedulers look; default 1 s.
    #[serde(with = "humantime_serde")]
    pub interval: Duration,
    /// Life of an operator; default 3 min.
    #[serde(with = "humantime_serde")]
    pub operator_timeout: Duration,
    /// Leader transfers that touch one store at a time; default 8.
    pub operators_per_store_max: u32,
    /// Voters that every region shall have; default 3.
    pub replicas: u32,
    /// Whether regions with lost, missing or superfluous replicas are mended; default true.
    pub check_replicas: bool,
    /// Replicas made on one store at a time; default 8.
    pub snapshots_per_store_max: u32,
}

/// `bootstrap.*`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BootstrapSection {
    /// Stores to wait for, and replicas of each first region; default 3.
    pub stores: u32,
    /// More borders: `hex:` and digits, or text with `\xNN` for other bytes.
    pub borders: Vec<String>,
}

/// `log.*`: see `yadkv_placement_core::LogConfig` for meaning and harm.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogSection {
    /// Entries that stay: a member that lacks more is sent the whole state; default 100,000.
    pub keep_entries: u64,
    /// Bytes of entries that stay, likewise; default 64 MiB.
    #[serde(with = "yadkv_settings::size")]
    pub keep_bytes: ByteSize,
    /// Bytes of one chunk of the state; default 512 KiB.
    #[serde(with = "yadkv_settings::size")]
    pub chunk_bytes: ByteSize,
}

impl Default for LogSection {
    fn default() -> Self {
        let core = LogConfig::default();
        Self {
            keep_entries: core.keep_entries,
            keep_bytes: ByteSize::b(core.keep_bytes),
            chunk_bytes: ByteSize::b(core.chunk_bytes),
        }
    }
}

impl Default for PdSection {
    fn default() -> Self {
        Self {
            addr: "127.0.0.1:2379".into(),
            advertise_addr: String::new(),
            data_dir: PathBuf::from("data/pd"),
            members: Vec::new(),
            memory: ByteSize::mib(128),
            open_pages: false,
        }
    }
}

impl Default for ScheduleSection {
    fn default() -> Self {
        let core = ScheduleConfig::default();
        Self {
            store_disconnect_time: core.store_disconnect_time,
            store_dead_time: core.store_dead_time,
            balance_leaders: core.balance_leaders,
            interval: core.interval,
            operator_timeout: core.operator_timeout,
            operators_per_store_max: core.operators_per_store_max,
            replicas: core.replicas,
            check_replicas: core.check_replicas,
            snapshots_per_store_max: core.snapshots_per_store_max,
        }
    }
}

impl Default for BootstrapSection {
    fn default() -> Self {
        Self {
            stores: BootstrapConfig::default().stores,
            borders: Vec::new(),
        }
    }
}

const MEMORY_MIN: ByteSize = ByteSize::mib(32);

impl Config {
    /// Checks what can be checked before an address is bound.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.pd.memory < MEMORY_MIN {
            return Err(ConfigError::value(
                "pd.memory",
                self.pd.memory,
                "32MiB or more",
            ));
        }
        if let Some(field) = self.tls.missing() {
            let allowed = "a file, as the others of tls.*, or none of them";
            return Err(ConfigError::value(field, "\"\"", allowed));
        }
        if !self.tls.interval_is_fine() {
            let interval = format!("{:?}", self.tls.reload_interval);
            return Err(ConfigError::value(
                "tls.reload_interval",
                interval,
                "10ms to 1h",
            ));
        }
        let addr = if self.pd.advertise_addr.is_empty() {
            &self.pd.addr
        } else {
            &self.pd.advertise_addr
        };
        let bound = SocketAddr::from(([127, 0, 0, 1], port_of(addr).unwrap_or(0).max(1)));
        self.core(bound, 0, 0).map(|_| ())
    }

    /// The core's configuration of the member that is bound to `bound`.
    pub fn core(
        &self,
        bound: SocketAddr,
        boot_id: u64,
        seed: u64,
    ) -> Result<CoreConfig, ConfigError> {
        let own = self.own_address(bound)?;
        let members = self.members(&own)?;
        let member = members
            .iter()
            .find(|member| member.client_url == self.url(&own));
        let Some(member) = member.map(|member| member.id) else {
            let allowed = format!(
                "a list that has this member's own address {own} (pd.addr, or pd.advertise_addr)"
            );
            return Err(ConfigError::value(
                "pd.members",
                self.pd.members.join(","),
                &allowed,
            ));
        };
        let mut config = CoreConfig::new(member, members, boot_id, seed);
        let changeable = self.changeable();
        (config.schedule, config.log) = (changeable.schedule, changeable.log);
        config.bootstrap.stores = self.bootstrap.stores;
        for text in &self.bootstrap.borders {
            let border = border::parse(text).map_err(|reason| {
                ConfigError::value(
                    "bootstrap.borders",
                    text,
                    &format!("hex: and digits, or text with \\xNN ({reason})"),
                )
            })?;
            config.bootstrap.borders.push(border);
        }
        config.validate()?;
        Ok(config)
    }

    /// What the core takes while it runs.
    pub fn changeable(&self) -> Changeable {
        let schedule = &self.schedule;
        Changeable {
            schedule: ScheduleConfig {
                store_disconnect_time: schedule.store_disconnect_time,
                store_dead_time: schedule.store_dead_time,
                balance_leaders: schedule.balance_leaders,
                interval: schedule.interval,
                operator_timeout: schedule.operator_timeout,
                operators_per_store_max: schedule.operators_per_store_max,
                replicas: schedule.replicas,
                check_replicas: schedule.check_replicas,
                snapshots_per_store_max: schedule.snapshots_per_store_max,
            },
            log: LogConfig {
                keep_entries: self.log.keep_entries,
                keep_bytes: self.log.keep_bytes.as_u64(),
                chunk_bytes: self.log.chunk_bytes.as_u64(),
            },
        }
    }

    fn url(&self, address: &str) -> String {
        match self.tls.is_on() {
            true => format!("https://{address}"),
            false => format!("http://{address}"),
        }
    }

    /// The address that others use for this member.
    fn own_address(&self, bound: SocketAddr) -> Result<String, ConfigError> {
        if !self.pd.advertise_addr.is_empty() {
            return checked("pd.advertise_addr", &self.pd.advertise_addr);
        }
        let host = self
            .pd
            .addr
            .rsplit_once(':')
            .map(|(host, _)| host)
            .filter(|host| !host.is_empty());
        let Some(host) = host else {
            return Err(ConfigError::value("pd.addr", &self.pd.addr, "host:port"));
        };
        Ok(format!("{host}:{}", bound.port()))
    }

    fn members(&self, own: &str) -> Result<Vec<MemberAddress>, ConfigError> {
        let listed = match self.pd.members.is_empty() {
            true => vec![own.to_owned()],
            false => self.pd.members.clone(),
        };
        let malformed =
            |text: &str| ConfigError::value("pd.members", text, "host:port or ID=host:port");
        let mut named: Vec<(Option<u64>, String)> = Vec::new();
        for text in &listed {
            let (id, address) = match text.split_once('=') {
                Some((id, address)) => (
                    Some(id.trim().parse().map_err(|_| malformed(text))?),
                    address,
                ),
                None => (None, text.as_str()),
            };
            let address = host_and_port(address);
            named.push((id, checked("pd.members", address)?));
        }
        let with_id = named.iter().filter(|(id, _)| id.is_some()).count();
        if with_id != 0 && with_id != named.len() {
            return Err(ConfigError::value(
                "pd.members",
                listed.join(","),
                "ids for all members, or for none",
            ));
        }
        named.sort_by(|left, right| left.1.cmp(&right.1));
        let distinct: BTreeSet<_> = named.iter().map(|(_, address)| address).collect();
        if distinct.len() != named.len() {
            return Err(ConfigError::value(
                "pd.members",
                listed.join(","),
                "different addresses",
            ));
        }
        let number = |(at, (id, address)): (usize, (Option<u64>, String))| {
            let id = id.unwrap_or(at as u64 + 1);
            let url = self.url(&address);
            MemberAddress {
                id: PeerId(id),
                name: format!("pd-{id}"),
                client_url: url.clone(),
                peer_url: url,
            }
        };
        Ok(named.into_iter().enumerate().map(number).collect())
    }
}

fn port_of(address: &str) -> Option<u16> {
    address
        .rsplit_once(':')
        .and_then(|(_, port)| port.parse().ok())
}

fn checked(field: &str, address: &str) -> Result<String, ConfigError> {
    let port = port_of(address).filter(|port| *port != 0);
    let host = address.rsplit_once(':').map_or("", |(host, _)| host);
    if port.is_none() || host.is_empty() || host.contains(char::is_whitespace) {
        return Err(ConfigError::value(field, address, "host:port"));
    }
    Ok(address.to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn core(own: &str, members: &[&str]) -> Result<CoreConfig, ConfigError> {
        let mut config = Config::default();
        config.pd.addr = own.into();
        config.pd.members = members.iter().map(|member| (*member).into()).collect();
        config.core(
            SocketAddr::from(([127, 0, 0, 1], port_of(own).unwrap())),
            1,
            1,
        )
    }

    #[test]
    fn the_order_of_the_list_does_not_matter() {
        let first = core("b:2", &["a:1", "b:2", "c:3"]).unwrap();
        let second = core("b:2", &["c:3", "b:2", "a:1"]).unwrap();
        assert_eq!(
            (first.member, &first.members),
            (second.member, &second.members)
        );
        assert_eq!(first.member, PeerId(2));
        let named = core("b:2", &["7=b:2", "9=a:1"]).unwrap();
        assert_eq!(named.member, PeerId(7));
        assert_eq!(core("b:2", &[]).unwrap().members.len(), 1);
    }

    #[test]
    fn wrong_lists_are_refused_by_name() {
        for members in [
            &["a:1"][..],
            &["7=b:2", "a:1"],
            &["b:2", "b:2"],
            &["b"],
            &["x=b:2"],
            &["0=b:2"],
        ] {
            let error = core("b:2", members).unwrap_err().to_string();
            assert!(error.contains("members"), "{error}");
        }
    }

    #[test]
    fn certificates_are_all_there_and_show_in_the_urls() {
        let mut config = Config::default();
        config.pd.members = vec!["https://127.0.0.1:2379".into()];
        let url = |config: &Config| {
            let bound = SocketAddr::from(([127, 0, 0, 1], 2379));
            let core = config.core(bound, 1, 1).unwrap();
            core.members[0].client_url.clone()
        };
        assert_eq!(url(&config), "http://127.0.0.1:2379");
        config.tls.ca = "ca.pem".into();
        config.tls.cert = "pd.pem".into();
        let refused = config.validate().unwrap_err().to_string();
        assert!(refused.contains("tls.key"), "{refused}");
        config.tls.key = "pd-key.pem".into();
        config.validate().unwrap();
        assert_eq!(url(&config), "https://127.0.0.1:2379");
        config.tls.reload_interval = Duration::ZERO;
        let refused = config.validate().unwrap_err().to_string();
        assert!(refused.contains("tls.reload_interval"), "{refused}");
    }

    #[test]
    fn a_file_holds_all_settings() {
        let text = toml::to_string(&Config::default()).unwrap();
        let read: Config = toml::from_str(&text).unwrap();
        assert_eq!(text, toml::to_string(&read).unwrap());
        read.validate().unwrap();
        assert!(toml::from_str::<Config>("[pd]\nunknown = 1").is_err());
    }
}
