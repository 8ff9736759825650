//! How many bytes of requests a store holds at once.
//!
//! *Place*: a request is admitted before [`super::Door::submit`]; its share travels with the reply and is given
//! back with it.
//!
//! *Limits and failure*: a sixteenth of `store.memory`, half for reads and half for writes, so that neither waits
//! for the other. When a half is used up, requests wait until a deadline ([`WAIT_MAX`] from when they were read)
//! and then get ServerIsBusy; a stream whose requests wait is not read further. A request larger than its half
//! runs alone. What a connection is still receiving, and a frame that is being taken apart, is not counted: each stream
//! may have one message of the size that [`crate::node`] allows.
//!
//! *Next stop*: [`super::answers`].

use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use yadkv_proto::api::StoreRequest;
use yadkv_storage_core::front;
use yadkv_storage_core::respond::Kind;

/// How long a request waits for others to end: below the 2 s after which clients give up.
pub const WAIT_MAX: Duration = Duration::from_secs(1);

/// The bytes that are left. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Admission {
    reads: Pool,
    writes: Pool,
}

#[derive(Clone, Debug)]
struct Pool {
    left: Arc<Semaphore>,
    bytes_max: u32,
}

/// A request's share; given back when dropped.
#[derive(Debug)]
pub struct Admitted {
    _share: OwnedSemaphorePermit,
}

impl Pool {
    fn new(bytes_max: usize) -> Self {
        let bytes_max = u32::try_from(bytes_max).unwrap_or(u32::MAX).max(1);
        Self {
            left: Arc::new(Semaphore::new(bytes_max as usize)),
            bytes_max,
        }
    }

    fn held(&self) -> usize {
        self.bytes_max as usize - self.left.available_permits()
    }

    fn share(&self, request: &StoreRequest) -> u32 {
        let bytes = u32::try_from(request.encoded_len()).unwrap_or(u32::MAX);
        bytes.min(self.bytes_max)
    }
}

impl Admission {
    /// Admits up to `bytes_max` bytes, half of them reads.
    pub fn new(bytes_max: usize) -> Self {
        Self {
            reads: Pool::new(bytes_max / 2),
            writes: Pool::new(bytes_max / 2),
        }
    }

    /// Bytes of requests under way.
    pub fn held(&self) -> usize {
        self.reads.held() + self.writes.held()
    }

    fn pool(&self, request: &StoreRequest) -> &Pool {
        let kind = front::describe(request).map(|(kind, _)| kind);
        if kind.is_some_and(Kind::is_write) {
            &self.writes
        } else {
            &self.reads
        }
    }

    /// Admits a request that there is room for now.
    pub fn try_admit(&self, request: &StoreRequest) -> Option<Admitted> {
        let pool = self.pool(request);
        let share = pool
            .left
            .clone()
            .try_acquire_many_owned(pool.share(request));
        Some(Admitted {
            _share: share.ok()?,
        })
    }

    /// Waits until there is room for a request; `None` when there is none at the deadline.
    pub async fn admit(&self, request: &StoreRequest, deadline: Instant) -> Option<Admitted> {
        let pool = self.pool(request);
        let waiting = pool.left.clone().acquire_many_owned(pool.share(request));
        let share = tokio::time::timeout_at(deadline, waiting).await;
        Some(Admitted {
            _share: share.ok()?.ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use yadkv_proto::kvrpcpb::{RawGetRequest, RawPutRequest};

    fn put(bytes: usize) -> StoreRequest {
        StoreRequest::RawPut(RawPutRequest {
            value: vec![0; bytes].into(),
            ..Default::default()
        })
    }

    #[tokio::test]
    async fn writes_beyond_the_limit_wait_for_their_deadline_and_reads_do_not() {
        let admission = Admission::new(2000);
        let first = admission.try_admit(&put(600));
        assert!(first.is_some());
        assert!(admission.try_admit(&put(600)).is_none());
        let late = admission.admit(&put(600), Instant::now()).await;
        assert!(late.is_none(), "the deadline is over");
        assert!(admission.try_admit(&put(300)).is_some(), "fits beside it");
        let get = StoreRequest::RawGet(RawGetRequest {
            key: vec![0; 900].into(),
            ..Default::default()
        });
        assert!(admission.try_admit(&get).is_some(), "has its own half");
        drop(first);
        assert!(admission.try_admit(&put(5000)).is_some(), "runs alone");
    }

    #[tokio::test]
    async fn a_request_that_waits_gets_in_when_another_ends() {
        let admission = Admission::new(2000);
        let first = admission.try_admit(&put(600));
        let second = put(600);
        let deadline = Instant::now() + WAIT_MAX;
        let mut waiting = std::pin::pin!(admission.admit(&second, deadline));
        assert!(futures::poll!(&mut waiting).is_pending());
        drop(first);
        assert!(waiting.await.is_some());
    }
}
