//! Whether the replicas of a region are the same.
//!
//! *Place*: [`crate::peer`] runs a check, whoever reads whole regions calls [`digest`].
//!
//! *Life of a check*:
//! ```text
//! asked for, or due → the leader proposes an entry → applied: every replica holds a view of its data at that position
//!   → a background thread makes digests of it → sent to the leader → all the same: over
//!   → else every replica lists the pairs of the first stretch that differs → the first key that differs
//! ```
//!
//! *Types to know*: [`Point`] (a view and its position), [`digest::Part`], [`compare::Comparison`], [`Report`].
//!
//! *Invariants*: what is compared is what readers may see: values that have expired by the region clock at that position
//! are left out, since each replica drops them when it likes.
//!
//! *Limits and failure*: a check changes nothing. Nobody can say which replica is right: that is for the operator, who is
//! told which ones agree. A replica that cannot read its data, or does not answer in time, is named.
//!
//! *Next stop*: [`digest`].

pub mod compare;
pub mod digest;

use crate::layout::FAMILIES;
use crate::store::message::DigestTask;
use bytes::Bytes;
use digest::{Part, Scope};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use yadkv_engine::{Family, Snapshot};
use yadkv_proto::id::{Index, PeerId, RegionId};
use yadkv_proto::key::KeyRange;
use yadkv_proto::metapb::{Peer, Region};
use yadkv_proto::yadkvpb::{CheckDifference, CheckGroup, CheckRegionResponse, CheckSilence};

/// The data of a replica right after a check's entry was applied.
#[derive(Clone)]
pub struct Point {
    /// The region then.
    pub region: Region,
    /// Position of the entry.
    pub index: Index,
    /// Region clock then.
    pub clock_ms: u64,
    /// Who compares.
    pub asked_by: PeerId,
    view: Arc<Mutex<Box<dyn Snapshot + Send>>>,
}

impl Point {
    /// Of a view that was taken then.
    pub fn new(
        region: Region,
        (index, clock_ms): (Index, u64),
        asked_by: PeerId,
        view: Box<dyn Snapshot + Send>,
    ) -> Self {
        Self {
            region,
            index,
            clock_ms,
            asked_by,
            view: Arc::new(Mutex::new(view)),
        }
    }

    /// Makes the digests that a task asks for.
    pub fn digest(&self, task: &DigestTask) -> yadkv_engine::Result<Vec<Part>> {
        let view = self.view.lock().unwrap_or_else(PoisonError::into_inner);
        let range = KeyRange::of(&self.region);
        match &task.scope {
            None => digest::whole(&**view, &range, self.clock_ms),
            Some(Scope {
                family,
                range: wanted,
            }) => {
                let scope = Scope {
                    family: *family,
                    range: wanted.intersect(&range),
                };
                digest::pairs(&**view, &scope, self.clock_ms)
            }
        }
    }
}

impl PartialEq for Point {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.view, &other.view)
    }
}

impl fmt::Debug for Point {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Point({} at {})", self.region.id, self.index.0)
    }
}

/// How a check ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The region.
    pub region: RegionId,
    /// The position at which its replicas were compared.
    pub index: Index,
    /// Pairs of the leader.
    pub pairs: u64,
    /// Replicas whose data was read.
    pub compared: Vec<Peer>,
    /// Replicas that have not answered, and why.
    pub silent: Vec<(Peer, String)>,
    /// Where they differ first, if they do.
    pub difference: Option<Difference>,
}

impl Report {
    /// As whoever asked is told.
    pub fn into_response(self) -> CheckRegionResponse {
        let silence = |(peer, reason)| CheckSilence {
            peer: Some(peer),
            reason,
        };
        let group = |peers| CheckGroup { peers };
        let difference = |difference: Difference| CheckDifference {
            family: FAMILIES[usize::from(difference.family.0)].into(),
            key: difference.key,
            exact: difference.exact,
            groups: difference.groups.into_iter().map(group).collect(),
        };
        CheckRegionResponse {
            region_id: self.region.0,
            index: self.index.0,
            pairs: self.pairs,
            compared: self.compared,
            silent: self.silent.into_iter().map(silence).collect(),
            difference: self.difference.map(difference),
            ..CheckRegionResponse::default()
        }
    }
}

/// Where the replicas of a region differ first, and who agrees with whom.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// The family of the first pair that is not everywhere.
    pub family: Family,
    /// Its key.
    pub key: Bytes,
    /// Whether it is that pair: otherwise the first difference lies at that key or behind it.
    pub exact: bool,
    /// Replicas with the same data, the leader's first.
    pub groups: Vec<Vec<Peer>>,
}
