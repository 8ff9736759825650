//! What happened that a reader of a failure wants to know: faults, leaders, changes of regions.
//!
//! *Place*: faults, laws and apply tell it to [`crate::sky::Sky::tell`] as it happens; [`crate::story`] puts it in
//! words. The trace beside it has every message.
//!
//! *Limits*: every replica tells the changes of its region; the story drops what it knows.
//!
//! *Next stop*: [`crate::story`].

use crate::nemesis::Action;
use crate::nemesis::plan::Cause;
use crate::sky::Machine;
use std::collections::BTreeMap;
use yadkv_proto::codec;
use yadkv_proto::metapb::{Peer, PeerRole, Region};
use yadkv_storage_core::apply::Change;

/// Letters shown of a border.
const BORDER_MAX: usize = 16;

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Happening {
    /// A strike's action was carried out.
    Ordered(Cause, Action),
    /// Something followed from one: its end, or a trap that sprang.
    Followed(Action),
    /// The first machine leads a region (0: the placement drivers) in a term.
    Leads {
        /// The region.
        region: u64,
        /// The term.
        term: u64,
        /// Who leads.
        machine: Machine,
    },
    /// A replica applied a change of its region.
    Changed {
        /// Id, version and version of members of the region after it.
        epoch: (u64, u64, u64),
        /// What changed.
        words: String,
    },
    /// The cluster serves: the regions that each store leads.
    Serves(BTreeMap<usize, Vec<String>>),
    /// A process starts.
    Boots(Machine),
    /// All faults end.
    Heals,
}

impl Happening {
    /// A change that a replica applied.
    pub fn changed(change: &Change, stores: &BTreeMap<u64, usize>) -> Self {
        let region = change.region();
        let epoch = region.region_epoch.unwrap_or_default();
        Self::Changed {
            epoch: (region.id, epoch.version, epoch.conf_ver),
            words: words(change, stores),
        }
    }
}

fn words(change: &Change, stores: &BTreeMap<u64, usize>) -> String {
    let region = change.region();
    let id = region.id;
    match change {
        Change::Split(done) => {
            let parts: Vec<String> = done.regions().iter().map(range).collect();
            format!("region {id} is cut: {}", parts.join(", "))
        }
        Change::Members(done) => {
            let members: Vec<String> = done
                .region
                .peers
                .iter()
                .map(|peer| member(peer, stores))
                .collect();
            format!("members of region {id}: {}", members.join(", "))
        }
        Change::MergePrepared(..) => format!("region {id} waits to become part of its neighbour"),
        Change::MergeRolledBack(_) => format!("region {id} stays by itself after all"),
        Change::Merged(done) => format!(
            "region {id} takes region {} in: {}",
            done.source,
            range(&done.region)
        ),
        Change::TakenIn(_) => format!("region {id} is over: part of its neighbour"),
    }
}

/// A region and its keys.
pub fn range(region: &Region) -> String {
    let (start, end) = (border(&region.start_key), border(&region.end_key));
    format!("{} [{start}..{end})", region.id)
}

/// The beginning of a key, decoded if it is of API V2.
fn border(key: &[u8]) -> String {
    let decoded = codec::decode(key).ok();
    let shown = decoded.as_deref().unwrap_or(key).escape_ascii().to_string();
    let shown = shown.replace("\\x00", "\\0");
    match shown.char_indices().nth(BORDER_MAX) {
        Some((end, _)) => format!("{}…", &shown[..end]),
        None => shown,
    }
}

fn member(peer: &Peer, stores: &BTreeMap<u64, usize>) -> String {
    let role = match peer.role() {
        PeerRole::Voter => "",
        PeerRole::Learner => " (learns)",
        PeerRole::IncomingVoter => " (will vote)",
        PeerRole::DemotingVoter => " (will only learn)",
    };
    match stores.get(&peer.store_id) {
        Some(number) => format!("store{number}{role}"),
        None => format!("store id {}{role}", peer.store_id),
    }
}
