//! The receiving half of a transfer: records are checked and kept in memory until the last one is there.
//!
//! *Place*: the leader's chunks come with the Raft messages; what is whole goes to [`super::install`].
//!
//! *Types to know*: [`Receiving`].
//!
//! *Life*: chunk 0: is it needed? → chunks are answered by the number of the next one → the last: the records make a
//! state, of the position that the head said → an [`Arrival`], which the next round installs.
//!
//! *Invariants*: nothing touches engine or log before everything arrived and made a state. A transfer is taken only
//! beyond what is committed here, and only if the log does not hold its position: else nothing is needed, and the log may
//! hold entries behind it that this member has acknowledged. (If it has another entry at a committed position, then no
//! entry from there on was ever committed.)
//!
//! *Limits and failure*: one transfer at a time, of at most [`STATE_BYTES_MAX`]: twice that in memory, as records and as a
//! batch, and about four times that while it is installed, with the engine's own batch and tables. It is
//! given up after [`SILENCE_MAX`]. What is damaged, out of order, newer than this release or of another cluster ends it,
//! and the leader is told why. A chunk that comes again is answered again.
//!
//! *Source*: Raft paper section 7; `ARCHITECTURE.md`, How data would be lost.
//!
//! *Next stop*: [`super::install`].

use super::Member;
use super::sending::TRANSFER_FORMAT;
use crate::cluster::Cluster;
use crate::planted::{self, Planted};
use crate::record::{self, Records};
use std::time::Duration;
use yadkv_consensus::{Opener, Role};
use yadkv_engine::WriteBatch;
use yadkv_proto::id::{Index, PeerId, Term};
use yadkv_proto::time::{Moment, Now};
use yadkv_proto::yadkvpb::state_message::What;
use yadkv_proto::yadkvpb::{SnapshotChunk, SnapshotHead, SnapshotPairs, StateMessage};

/// Bytes of records that a member takes in. About half a million regions; a leader with more cannot help a member that
/// lags.
const STATE_BYTES_MAX: usize = 128 << 20;
/// How long a leader may say nothing.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// Which transfer: the leader, its term, and a number of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TransferId {
    pub(super) from: PeerId,
    pub(super) term: u64,
    pub(super) number: u64,
}

/// A transfer that is arriving.
pub(super) struct Receiving {
    id: TransferId,
    cluster_id: u64,
    position: (Index, Term),
    opener: Opener,
    records: Records,
    /// Takes the place of everything.
    batch: WriteBatch,
    heard: Moment,
}

/// A transfer that is whole.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) id: TransferId,
    pub(super) cluster: Cluster,
    pub(super) batch: WriteBatch,
}

impl Receiving {
    fn begin(id: TransferId, head: &SnapshotHead, position: (Index, Term), now: Moment) -> Self {
        let mut batch = WriteBatch::new();
        if !planted::is(Planted::OldStateKept) {
            for family in record::ALL {
                batch.delete_range(family, "", "");
            }
        }
        Self {
            id,
            cluster_id: head.cluster_id,
            position,
            opener: Opener::default(),
            records: Records::default(),
            batch,
            heard: now,
        }
    }

    /// Takes a chunk; true after the last.
    fn take(&mut self, chunk: SnapshotChunk) -> Result<bool, String> {
        let pairs = self.opener.open(chunk).map_err(|error| error.to_string())?;
        let Some(SnapshotPairs { family, pairs }) = pairs else {
            return Ok(true);
        };
        let known = |known: &yadkv_engine::Family| u32::from(known.0) == family;
        let family = record::ALL.into_iter().find(known);
        let family = family.ok_or("records of an unknown family: upgrade this member")?;
        for pair in pairs {
            let replicated = self.records.add(family, &pair.key, &pair.value);
            if !replicated.map_err(|error| error.to_string())? {
                return Err("a record of an unknown kind: upgrade this member".into());
            }
            self.batch.put(family, pair.key, pair.value);
        }
        match self.batch.bytes() > STATE_BYTES_MAX {
            true => Err(format!("more than {STATE_BYTES_MAX} bytes")),
            false => Ok(false),
        }
    }

    /// The state that all chunks make.
    fn finish(self) -> Result<Arrival, String> {
        let cluster = Cluster::of(self.records).map_err(|error| error.to_string())?;
        let said = (self.cluster_id, self.position);
        if (cluster.id().unwrap_or_default().0, cluster.applied()) != said {
            return Err("the records are not those that the head says".into());
        }
        Ok(Arrival {
            id: self.id,
            cluster,
            batch: self.batch,
        })
    }
}

impl Member {
    /// A leader sends a chunk.
    pub(super) fn state_chunk(&mut self, id: TransferId, chunk: SnapshotChunk, now: Now) {
        // What a leader of the past sends is of no use; one that is being installed is answered when it is.
        let past = id.term < self.node.term().0 || self.node.role() == Role::Leader;
        let receiving = self.receiving.as_ref().map(|receiving| receiving.id);
        let older =
            receiving.is_some_and(|known| (known.term, known.number) > (id.term, id.number));
        if past || older || self.arrival.is_some() {
            return;
        }
        let answer = match self.receiving.take() {
            Some(receiving) if receiving.id == id => self.continue_receiving(receiving, chunk, now),
            _ if self.taken == Some(id) => Some(What::Taken(true)),
            other if chunk.number != 0 => {
                self.receiving = other;
                Some(What::Refused("nothing of this transfer is here".into()))
            }
            _ => Some(self.begin_receiving(id, &chunk, now)),
        };
        if let Some(answer) = answer {
            self.answer_state(id, answer);
        }
    }

    fn begin_receiving(&mut self, id: TransferId, chunk: &SnapshotChunk, now: Now) -> What {
        match self.check_head(chunk.head.as_ref()) {
            Ok((_, position)) if !self.needs(position) => What::Taken(true),
            Ok((head, position)) => {
                let receiving = Receiving::begin(id, head, position, now.moment);
                let wanted = receiving.opener.wanted();
                self.receiving = Some(receiving);
                What::Wanted(wanted)
            }
            Err(reason) => What::Refused(reason),
        }
    }

    fn continue_receiving(
        &mut self,
        mut receiving: Receiving,
        chunk: SnapshotChunk,
        now: Now,
    ) -> Option<What> {
        receiving.heard = now.moment;
        let again = chunk.number < receiving.opener.wanted();
        let over = match again {
            true => Ok(false),
            false => receiving.take(chunk),
        };
        match over {
            Ok(false) => {
                let wanted = receiving.opener.wanted();
                self.receiving = Some(receiving);
                Some(What::Wanted(wanted))
            }
            Ok(true) if !self.needs(receiving.position) => Some(What::Taken(true)),
            Ok(true) => match receiving.finish().and_then(|arrival| self.check(arrival)) {
                Ok(arrival) => {
                    self.arrival = Some(Box::new(arrival));
                    None
                }
                Err(reason) => Some(What::Refused(reason)),
            },
            Err(reason) => Some(What::Refused(reason)),
        }
    }

    fn check_head<'a>(
        &self,
        head: Option<&'a SnapshotHead>,
    ) -> Result<(&'a SnapshotHead, (Index, Term)), String> {
        let head = head.ok_or("the head is missing")?;
        if head.format != TRANSFER_FORMAT {
            let (found, known) = (head.format, TRANSFER_FORMAT);
            return Err(format!("format {found}, known is {known}: upgrade it"));
        }
        let own = self.cluster.id().unwrap_or_default().0;
        if own != 0 && own != head.cluster_id {
            return Err(format!("of cluster {}, this is {own}", head.cluster_id));
        }
        let applied = head.applied.unwrap_or_default();
        if applied.index == 0 || applied.term == 0 || applied.term > head.term {
            return Err("the head contradicts itself".into());
        }
        Ok((head, (Index(applied.index), Term(applied.term))))
    }

    /// Whether the log cannot lead to a position.
    fn needs(&self, (index, term): (Index, Term)) -> bool {
        index > self.node.commit() && self.node.term_at(index) != Some(term)
    }

    /// Refuses a state that this member could not be opened with.
    fn check(&self, arrival: Arrival) -> Result<Arrival, String> {
        let (formed, listed) = (arrival.cluster.member_ids(), self.config.listed());
        if arrival.cluster.id().is_some() && formed != listed {
            return Err(format!("formed by members {formed:?}, here are {listed:?}"));
        }
        Ok(arrival)
    }

    pub(super) fn answer_state(&mut self, id: TransferId, answer: What) {
        let message = StateMessage {
            term: id.term,
            transfer: id.number,
            what: Some(answer),
        };
        self.post(id.from, message);
    }

    /// Lets go of a transfer that does not go on.
    pub(super) fn expire_receiving(&mut self, now: Moment) {
        let silent = |receiving: &mut Receiving| now.since(receiving.heard) >= SILENCE_MAX;
        self.receiving.take_if(silent);
    }
}
