//! Replicas that their region counts on and that do not exist here yet: a learner that waits for its snapshot, or the part
//! of a split that this store missed.
//!
//! *Life of a part that was missed*: the log here was too far behind, a snapshot brought the other part → no replica of
//! this part is made here → whoever has one campaigns and asks this store too, with the descriptor → a vote, synced → it
//! leads, hears that nothing is here, and sends a snapshot.
//!
//! *Invariants*: an answer is given only where the replica never was, nobody here has keys of its range, and the sender's
//! descriptor names it. A vote is durable before it leaves.
//!
//! *Limits and failure*: a vote costs one sync of the log; candidates ask once an election timeout.
//!
//! *Source*: `yadkv_consensus::unborn`.
//!
//! *Next stop*: [`super::adopt`].

use super::recover::damaged;
use super::strangers::Reason;
use super::{StoreError, Worker};
use crate::layout;
use crate::view::RegionView;
use std::sync::Arc;
use yadkv_consensus::{is_vote_request, says_nothing_is_here};
use yadkv_engine::{Durability, WriteBatch};
use yadkv_proto::epoch;
use yadkv_proto::id::{PeerId, RegionId};
use yadkv_proto::key::KeyRange;
use yadkv_proto::metapb::{Peer, Region};
use yadkv_proto::storagepb::{PeerState, RegionRecord};
use yadkv_proto::yadkvpb::{Envelope, RaftMessage};

impl Worker {
    /// Answers for a replica that may still come; else says why not.
    pub(super) fn answer_unborn(
        &mut self,
        envelope: &Envelope,
    ) -> Result<Result<(), Reason>, StoreError> {
        let (Some(from), Some(to), Some(region), Some(message)) = (
            envelope.from,
            envelope.to,
            &envelope.region,
            &envelope.message,
        ) else {
            return Ok(Err("unknown region"));
        };
        let misled = to.store_id != self.shared.store.0 || message.to != to.id;
        if misled || region.id != envelope.region_id || message.from != from.id {
            return Ok(Err("unknown region"));
        }
        let answer = match self.may_come(region, to, &envelope.merged)? {
            Err(reason) => return Ok(Err(reason)),
            Ok(()) if is_vote_request(message) => self.vote(region, message)?,
            Ok(()) if self.shared.kv.damaged()?.is_empty() => says_nothing_is_here(message),
            Ok(()) => return Ok(Err("data files are damaged here")),
        };
        let Some(answer) = answer else {
            return Ok(Err("unknown region"));
        };
        self.effects.send.push(Envelope {
            region_id: region.id,
            from: Some(to),
            to: Some(from),
            epoch: envelope.epoch,
            message: Some(answer),
            ..Envelope::default()
        });
        Ok(Ok(()))
    }

    /// Whether a replica of the region may come to be here, in the place of what has become part of it.
    fn may_come(
        &self,
        region: &Region,
        own: Peer,
        merged: &[u64],
    ) -> Result<Result<(), Reason>, StoreError> {
        let id = RegionId(region.id);
        if region.region_epoch == Some(epoch::FIRST) {
            return Ok(Err(
                "the placement driver has assigned it, it is not created yet",
            ));
        }
        if !region.peers.contains(&own) {
            return Ok(Err("unknown region"));
        }
        let record: Option<RegionRecord> = layout::load(&*self.shared.kv, &layout::region_key(id))?;
        let was_here = record.is_some_and(|record| {
            let lived = record.peer.unwrap_or_default().id;
            record.state() != PeerState::Tombstone || lived >= own.id
        });
        let owner = self.owner(id)?;
        if was_here || owner.is_some_and(|owner| owner >= PeerId(own.id)) {
            return Ok(Err("the replica was destroyed"));
        }
        let range = KeyRange::of(region);
        let in_the_way = |view: &Arc<RegionView>| {
            !merged.contains(&view.region().id) && view.range().overlaps(&range)
        };
        match self.shared.directory.all().iter().any(in_the_way) {
            true => Ok(Err("another region has part of the range")),
            false => Ok(Ok(())),
        }
    }

    /// Votes, if it may, in the place of the replica that a split made elsewhere.
    fn vote(
        &self,
        region: &Region,
        request: &RaftMessage,
    ) -> Result<Option<RaftMessage>, StoreError> {
        let id = RegionId(region.id);
        let mut batch = WriteBatch::new();
        let log = &self.shared.log;
        let answer = log
            .vote_unborn(id, request, &mut batch)
            .map_err(|error| damaged(id, error))?;
        if !batch.is_empty() {
            log.engine().write(batch, Durability::Synced)?;
            tracing::info!(
                region = id.0,
                candidate = request.from,
                term = request.term,
                "a replica that is not here yet votes"
            );
        }
        Ok(answer)
    }
}
