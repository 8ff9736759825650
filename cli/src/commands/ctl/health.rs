//! Which regions are not fine.
//!
//! | trouble | a region is in it when |
//! |---|---|
//! | `no-leader` | nobody leads it as far as is known, or its leader's store is silent, or too few stores of voters are heard of to elect one, or its leader has said nothing for [`REPORT_AGE_MAX_S`] |
//! | `down` | its leader does not hear a peer |
//! | `pending` | a peer lags, or is being sent a snapshot |
//! | `undersized` | it has fewer voters than wanted, those on stores that are Down or gone not counted |
//!
//! *Invariants*: judged by what the placement driver was told, which is seconds old.
//!
//! *Next stop*: [`super::region`].

use clap::ValueEnum;
use serde_json::Value;
use std::collections::BTreeMap;

/// Age of a region's last report from which its leader does not count: leaders report every minute.
const REPORT_AGE_MAX_S: f64 = 180.0;

/// What can be wrong with a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Trouble {
    /// A peer is silent.
    Down,
    /// A peer lags.
    Pending,
    /// Nobody leads.
    NoLeader,
    /// Too few voters.
    Undersized,
}

/// What regions are judged by.
pub(super) struct Judge {
    /// States of stores.
    stores: BTreeMap<u64, String>,
    /// Voters that every region shall have.
    replicas: u64,
}

impl Judge {
    /// From stores as the placement driver shows them.
    pub(super) fn new(stores: &[Value], replicas: u64) -> Self {
        let state = |shown: &Value| {
            let store = &shown["store"];
            Some((
                store["id"].as_u64()?,
                store["state_name"].as_str()?.to_owned(),
            ))
        };
        Self {
            stores: stores.iter().filter_map(state).collect(),
            replicas,
        }
    }

    /// A store's state.
    pub(super) fn state(&self, store: &Value) -> &str {
        let known = store.as_u64().and_then(|id| self.stores.get(&id));
        known.map_or("Unknown", String::as_str)
    }

    /// Whether a region has a trouble.
    pub(super) fn has(&self, region: &Value, trouble: Trouble) -> bool {
        let any = |list: &str| region[list].as_array().is_some_and(|list| !list.is_empty());
        match trouble {
            Trouble::Down => any("down_peers"),
            Trouble::Pending => any("pending_peers"),
            Trouble::NoLeader => !self.is_led(region),
            Trouble::Undersized => self.voters(region, is_kept) < self.replicas,
        }
    }

    fn is_led(&self, region: &Value) -> bool {
        let leader = &region["leader"];
        let age = region["reported_seconds_ago"].as_f64().unwrap_or(0.0);
        let live = self.voters(region, is_heard);
        let all = self.voters(region, |_| true);
        leader["id"].as_u64().is_some_and(|id| id > 0)
            && is_heard(self.state(&leader["store_id"]))
            && live * 2 > all
            && age <= REPORT_AGE_MAX_S
    }

    /// Voters on stores of which something holds.
    fn voters(&self, region: &Value, of_store: impl Fn(&str) -> bool) -> u64 {
        let peers = region["peers"].as_array().into_iter().flatten();
        let counts = |peer: &&Value| {
            let votes = matches!(peer["role_name"].as_str(), Some("Voter" | "IncomingVoter"));
            votes && of_store(self.state(&peer["store_id"]))
        };
        peers.filter(counts).count() as u64
    }
}

fn is_heard(state: &str) -> bool {
    matches!(state, "Up" | "Offline")
}

/// Whether its replicas are there, or come back.
fn is_kept(state: &str) -> bool {
    is_heard(state) || state == "Disconnected"
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn judge() -> Judge {
        let states = ["Up", "Disconnected", "Down", "Offline", "Tombstone"];
        let shown = states
            .iter()
            .zip(1..)
            .map(|(state, id)| json!({ "store": { "id": id, "state_name": state } }));
        Judge::new(&shown.collect::<Vec<_>>(), 3)
    }

    fn region(leader: u64, stores: &[u64]) -> Value {
        let peer = |store: &u64| json!({ "id": store, "store_id": store, "role_name": "Voter" });
        json!({
            "leader": { "id": leader, "store_id": leader },
            "peers": stores.iter().map(peer).collect::<Vec<_>>(),
            "down_peers": [],
            "pending_peers": [],
        })
    }

    #[test]
    fn a_leader_counts_if_its_store_and_a_majority_are_heard() {
        let led = |region: &Value| !judge().has(region, Trouble::NoLeader);
        assert!(led(&region(1, &[1, 4, 2])));
        assert!(!led(&region(2, &[1, 4, 2])), "its store is silent");
        assert!(!led(&region(1, &[1, 2, 3])), "it hears nobody");
        assert!(!led(&region(0, &[1, 4, 2])), "nobody leads");
        assert!(!led(&region(9, &[1, 4, 9])), "an unknown store");
        let mut old = region(1, &[1, 4, 2]);
        old["leader"] = Value::Null;
        assert!(!led(&old));
        let mut old = region(1, &[1, 4, 2]);
        old["reported_seconds_ago"] = json!(179.0);
        assert!(led(&old));
        old["reported_seconds_ago"] = json!(181.0);
        assert!(!led(&old), "its leader stepped down, or cannot report");
    }

    #[test]
    fn voters_on_stores_that_come_back_count() {
        let undersized = |region: &Value| judge().has(region, Trouble::Undersized);
        assert!(!undersized(&region(1, &[1, 2, 4])));
        assert!(undersized(&region(1, &[1, 2, 3])));
        assert!(undersized(&region(1, &[1, 2, 5])));
        assert!(undersized(&region(1, &[1, 2])));
        let mut learner = region(1, &[1, 2, 4]);
        learner["peers"][2]["role_name"] = json!("Learner");
        assert!(undersized(&learner));
    }

    #[test]
    fn what_its_leader_says_of_peers_counts() {
        let mut one = region(1, &[1, 2, 4]);
        let has = |one: &Value, trouble| judge().has(one, trouble);
        assert!(!has(&one, Trouble::Down) && !has(&one, Trouble::Pending));
        one["down_peers"] = json!([{ "peer": { "id": 2 }, "down_seconds": 5 }]);
        assert!(has(&one, Trouble::Down) && !has(&one, Trouble::Pending));
        one["pending_peers"] = json!([{ "id": 2 }]);
        assert!(has(&one, Trouble::Pending));
    }
}
