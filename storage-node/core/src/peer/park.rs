//! Requests of a region without leader, or that is being merged, wait a moment: most elections and merges end within a
//! client's patience.
//!
//! *Life*: a request meets a replica that does not lead and knows no leader → parked → a leader appears:
//! taken in again if it is this replica, else refused with the hint; or its time is up: refused. That of a region that
//! waits to become part of another one is refused when it has: the route is another one then.
//!
//! *Limits*: `parked_max` requests a region and `park` time each; beyond, refused at once.
//!
//! *Next stop*: [`super::propose`](super).

use super::Peer;
use crate::config::Config;
use crate::respond::Responder;
use crate::store::message::{ReadTask, WriteTask};
use std::collections::VecDeque;
use yadkv_proto::errorpb;
use yadkv_proto::id::StoreId;
use yadkv_proto::time::Moment;

enum Request {
    Write(WriteTask),
    Read(ReadTask),
}

impl Request {
    fn arrived(&self) -> Moment {
        match self {
            Self::Write(task) => task.arrived,
            Self::Read(task) => task.arrived,
        }
    }

    fn refuse(self, error: errorpb::Error) {
        match self {
            Self::Write(task) => task.responder.refuse(error),
            Self::Read(task) => task.responder.refuse(error),
        }
    }
}

/// Waiting requests, oldest first.
#[derive(Default)]
pub(super) struct Parked {
    requests: VecDeque<Request>,
}

impl Parked {
    pub(super) fn len(&self) -> usize {
        self.requests.len()
    }
}

impl Peer {
    fn may_park(&self, error: &errorpb::Error, config: &Config) -> bool {
        let leaderless = error.not_leader.is_some() && self.node.leader().is_none();
        let waits = error.proposal_in_merging_mode.is_some();
        (leaderless || waits) && self.parked.requests.len() < config.parked_max
    }

    pub(super) fn refuse_or_park_write(
        &mut self,
        task: WriteTask,
        error: errorpb::Error,
        config: &Config,
    ) {
        if self.may_park(&error, config) {
            self.parked.requests.push_back(Request::Write(task));
        } else {
            self.refuse_soon(task.responder, error, config);
        }
    }

    pub(super) fn refuse_or_park_read(
        &mut self,
        task: ReadTask,
        error: errorpb::Error,
        config: &Config,
    ) {
        if self.may_park(&error, config) {
            self.parked.requests.push_back(Request::Read(task));
        } else {
            self.refuse_soon(task.responder, error, config);
        }
    }

    /// Refuses now, or when the placement driver knows of the split that is the reason.
    fn refuse_soon(&mut self, responder: Responder, error: errorpb::Error, config: &Config) {
        if let Some((responder, error)) = self.hold_refusal(responder, error, config) {
            responder.refuse(error);
        }
    }

    /// A leader is known now.
    pub(super) fn unpark(&mut self, store: StoreId, config: &Config) {
        for request in std::mem::take(&mut self.parked.requests) {
            match request {
                Request::Write(task) => self.write(task, store, config),
                Request::Read(task) => self.read(task, store, config),
            }
        }
    }

    pub(super) fn refuse_parked(&mut self, error: &errorpb::Error) {
        for request in std::mem::take(&mut self.parked.requests) {
            request.refuse(error.clone());
        }
    }

    pub(super) fn expire_parked(&mut self, now: Moment, config: &Config) {
        let expired = |request: &Request| now.since(request.arrived()) >= config.park;
        while self.parked.requests.front().is_some_and(expired) {
            let error = self.refused_by_merge().unwrap_or_else(|| self.not_leader());
            if let Some(request) = self.parked.requests.pop_front() {
                request.refuse(error);
            }
        }
    }
}
