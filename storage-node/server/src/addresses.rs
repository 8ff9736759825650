//! Where others reach this store.
//!
//! *Place*: [`crate::node`] tells the placement driver, which tells everybody.
//!
//! *Next stop*: [`crate::pd`].

use crate::config::Config;
use std::net::SocketAddr;

/// What the store's record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// For clients and other stores.
    pub clients: String,
    /// For people: the status port; empty if there is none.
    pub status: String,
}

impl Addresses {
    /// From the settings and what was bound. A status port on all interfaces is reached at the host that clients use.
    /// The error says what to set.
    pub fn of(
        config: &Config,
        bound: SocketAddr,
        status: Option<SocketAddr>,
    ) -> Result<Self, String> {
        let clients = match config.store.advertise_addr.as_str() {
            "" if bound.ip().is_unspecified() => {
                return Err(format!(
                    "nobody can reach a store at {bound}: set store.advertise_addr"
                ));
            }
            "" => bound.to_string(),
            advertised => advertised.to_string(),
        };
        let host = clients
            .rsplit_once(':')
            .map_or(&clients[..], |(host, _)| host);
        let status = match status {
            None => String::new(),
            Some(status) if status.ip().is_unspecified() => format!("{host}:{}", status.port()),
            Some(status) => status.to_string(),
        };
        Ok(Self { clients, status })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn of(advertised: &str, bound: &str, status: Option<&str>) -> Result<Addresses, String> {
        let mut config = Config::default();
        config.store.advertise_addr = advertised.into();
        let status = status.map(|status| status.parse().unwrap());
        Addresses::of(&config, bound.parse().unwrap(), status)
    }

    #[test]
    fn nobody_is_sent_to_all_interfaces() {
        let cases = [
            (
                "",
                "10.0.0.1:20160",
                Some("10.0.0.2:9"),
                "10.0.0.1:20160",
                "10.0.0.2:9",
            ),
            (
                "",
                "10.0.0.1:20160",
                Some("0.0.0.0:9"),
                "10.0.0.1:20160",
                "10.0.0.1:9",
            ),
            (
                "db1:7",
                "0.0.0.0:20160",
                Some("0.0.0.0:9"),
                "db1:7",
                "db1:9",
            ),
            ("db1:7", "0.0.0.0:20160", Some("[::]:9"), "db1:7", "db1:9"),
            ("", "[::1]:20160", Some("[::]:9"), "[::1]:20160", "[::1]:9"),
            ("db1:7", "0.0.0.0:20160", None, "db1:7", ""),
        ];
        for (advertised, bound, listens, clients, status) in cases {
            let expected = Addresses {
                clients: clients.into(),
                status: status.into(),
            };
            assert_eq!(of(advertised, bound, listens), Ok(expected));
        }
        let refused = of("", "0.0.0.0:20160", None).unwrap_err();
        assert!(refused.contains("store.advertise_addr"), "{refused}");
    }
}
