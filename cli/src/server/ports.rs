//! Addresses of a playground's processes.
//!
//! PD `i` listens at `P + 2i`, store `i` at `S + 2i` with its status port at `S + 2i + 1`; `P` = 2379 and `S` =
//! 20160, or `P` = N and `S` = N + 100 with `--port-base N`, or whatever the system gives with N = 0.
//!
//! *Limits*: ports that the system chose are released before the child binds them; another process could take
//! one in between, then the child says so.
//!
//! *Next stop*: [`super::playground`].

use crate::failure::{Context, Failure, Outcome};
use std::net::TcpListener;

const HOST: &str = "127.0.0.1";
const PD_BASE: u16 = 2379;
const STORE_BASE: u16 = 20160;
const STORE_OFFSET: u16 = 100;

/// Where each process listens.
#[derive(Debug)]
pub(crate) struct Ports {
    /// Placement drivers.
    pub(crate) pds: Vec<String>,
    /// Stores: service address and status address.
    pub(crate) stores: Vec<(String, String)>,
}

impl Ports {
    /// Chooses addresses.
    pub(crate) fn choose(base: Option<u16>, pds: u16, stores: u16) -> Outcome<Self> {
        if base == Some(0) {
            return Self::from_system(pds, stores);
        }
        let (pd_base, store_base) = match base {
            None => (PD_BASE, STORE_BASE),
            Some(base) => (base, base.checked_add(STORE_OFFSET).ok_or_else(too_high)?),
        };
        let at = |base: u16, offset: u16| {
            base.checked_add(offset)
                .map(|port| format!("{HOST}:{port}"))
                .ok_or_else(too_high)
        };
        let pds = (0..pds)
            .map(|number| at(pd_base, 2 * number))
            .collect::<Outcome<_>>()?;
        let stores = (0..stores)
            .map(|number| Ok((at(store_base, 2 * number)?, at(store_base, 2 * number + 1)?)))
            .collect::<Outcome<_>>()?;
        Ok(Self { pds, stores })
    }

    fn from_system(pds: u16, stores: u16) -> Outcome<Self> {
        let mut held = Vec::new();
        let mut next = || -> Outcome<String> {
            let listener = TcpListener::bind((HOST, 0)).context("no free port")?;
            let address = listener.local_addr().context("no free port")?.to_string();
            held.push(listener);
            Ok(address)
        };
        let pds = (0..pds).map(|_| next()).collect::<Outcome<_>>()?;
        let stores = (0..stores)
            .map(|_| Ok((next()?, next()?)))
            .collect::<Outcome<_>>()?;
        Ok(Self { pds, stores })
    }
}

fn too_high() -> Failure {
    Failure("--port-base is too high: the last port would be above 65535".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_follow_the_documented_pattern() {
        let ports = Ports::choose(None, 3, 3).expect("fits");
        assert_eq!(
            ports.pds,
            ["127.0.0.1:2379", "127.0.0.1:2381", "127.0.0.1:2383"]
        );
        assert_eq!(
            ports.stores[2],
            ("127.0.0.1:20164".into(), "127.0.0.1:20165".into())
        );
        let ports = Ports::choose(Some(5000), 1, 1).expect("fits");
        assert_eq!(
            (ports.pds[0].as_str(), ports.stores[0].0.as_str()),
            ("127.0.0.1:5000", "127.0.0.1:5100")
        );
        assert!(Ports::choose(Some(65_500), 1, 1).is_err());
    }
}
