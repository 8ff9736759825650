//! Timestamps on request: Tso and GetMinTS.
//!
//! *Place*: [`super::serve`] brings wishes; [`super::read`] releases what was given.
//!
//! *Life of a wish*: it joins the queue → given a block by [`crate::tso::Oracle`] while a lease covers the
//! present → held until `round` brings a later clock reading that the lease covers too → sent. At the bound
//! the whole queue waits until the raise is applied.
//!
//! *Invariants*: first come, first served: a stream's answers rise in the order of its requests.
//!
//! *Limits*: [`super::PARKED_MAX`] wishes wait, each at most 1.5 s; 1 to 2^18 timestamps a wish.
//!
//! *Source*: `proto/README.md`, Timestamps.
//!
//! *Next stop*: [`crate::tso`].

use super::call::{Answer, Call, Refusal};
use super::read::Wish;
use super::{Member, PARKED_MAX, Seat};
use crate::answer::header;
use crate::tso::{Block, LOGICAL_MAX, Taken};
use yadkv_proto::api::{PdRequest, PdResponse};
use yadkv_proto::pdpb::{GetMinTsResponse, Timestamp, TsoResponse};
use yadkv_proto::time::{Moment, Now};

impl Member {
    /// Queues a wish for timestamps.
    pub(super) fn wish_stamps(&mut self, call: Call, deadline: Moment, now: Now) {
        let count = match &call {
            Call::Pd(PdRequest::Tso(request), _) => u64::from(request.count),
            _ => 1,
        };
        if !(1..=LOGICAL_MAX).contains(&count) {
            let reason =
                format!("{count} timestamps in one request, 1 to {LOGICAL_MAX} are possible");
            return call.refuse(Refusal::Invalid(reason));
        }
        if self.reading.wishes.len() >= PARKED_MAX {
            return call.refuse(Refusal::Unavailable("too many calls wait for timestamps"));
        }
        if let Some(office) = self.office() {
            office.stamped = now.moment;
        }
        self.reading.wishes.push_back(Wish {
            call,
            count,
            deadline,
        });
        self.raise_tso(now);
    }

    /// Gives timestamps to as many wishes as bound and clock allow.
    pub(super) fn give_stamps(&mut self, now: Now) {
        if self.reading.wishes.is_empty() || !self.covers(now.moment) {
            return;
        }
        let cluster_id = self.cluster_id_on_wire();
        let Seat::Leader(office) = &mut self.seat else {
            return;
        };
        while let Some(wish) = self.reading.wishes.pop_front() {
            match office.oracle.take(wish.count, now) {
                Taken::Block(block) => {
                    let answer = response(cluster_id, &wish, block);
                    self.reading.held_stamps.push((wish, answer));
                }
                Taken::Wait => {
                    self.reading.wishes.push_front(wish);
                    break;
                }
            }
        }
        self.raise_tso_if_waited_for(now);
    }

    /// Proposes a higher bound if wishes wait for one.
    pub(super) fn raise_tso_if_waited_for(&mut self, now: Now) {
        if !self.reading.wishes.is_empty() {
            self.raise_tso(now);
        }
    }
}

fn response(cluster_id: u64, wish: &Wish, block: Block) -> Answer {
    let header = header(cluster_id);
    let timestamp = Some(Timestamp {
        physical: block.physical as i64,
        logical: block.logical as i64,
        suffix_bits: 0,
    });
    Answer::Pd(Box::new(match &wish.call {
        Call::Pd(PdRequest::GetMinTs(_), _) => {
            PdResponse::GetMinTs(GetMinTsResponse { header, timestamp })
        }
        _ => PdResponse::Tso(TsoResponse {
            header,
            count: wish.count as u32,
            timestamp,
        }),
    }))
}
