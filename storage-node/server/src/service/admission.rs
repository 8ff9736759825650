//! How many bytes of requests a store holds at once.
//!
//! *Place*: services ask before [`super::Door::take`]; what they get travels with the reply and is given back with
//! it.
//!
//! *Limits and failure*: an eighth of `store.memory`. When it is used up, a stream's next frames wait in the
//! connection, and a request that has waited [`WAIT_MAX`] gets ServerIsBusy. A request larger than all of it runs
//! alone.
//!
//! *Next stop*: [`super::batch`].

use prost::Message;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use yadkv_proto::api::StoreRequest;

/// How long a request waits for others to end: below the 2 s after which clients give up.
pub const WAIT_MAX: Duration = Duration::from_secs(1);

/// The bytes that are left. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Admission {
    left: Arc<Semaphore>,
    bytes_max: u32,
    wait_max: Duration,
}

/// A request's share; given back when dropped.
#[derive(Debug)]
pub struct Admitted {
    _share: OwnedSemaphorePermit,
}

impl Admission {
    /// Admits up to `bytes_max` bytes, at least 1; others wait up to `wait_max`, usually [`WAIT_MAX`].
    pub fn new(bytes_max: usize, wait_max: Duration) -> Self {
        let bytes_max = u32::try_from(bytes_max).unwrap_or(u32::MAX).max(1);
        Self {
            left: Arc::new(Semaphore::new(bytes_max as usize)),
            bytes_max,
            wait_max,
        }
    }

    /// Waits until a request fits; `None` when it has waited too long.
    pub async fn admit(&self, request: &StoreRequest) -> Option<Admitted> {
        let bytes = u32::try_from(bytes(request)).unwrap_or(u32::MAX);
        let bytes = bytes.min(self.bytes_max);
        if let Ok(share) = self.left.clone().try_acquire_many_owned(bytes) {
            return Some(Admitted { _share: share });
        }
        let waiting = self.left.clone().acquire_many_owned(bytes);
        let share = tokio::time::timeout(self.wait_max, waiting)
            .await
            .ok()?
            .ok()?;
        Some(Admitted { _share: share })
    }
}

fn bytes(request: &StoreRequest) -> usize {
    macro_rules! encoded_len {
        ($($name:ident),*) => {
            match request { $(StoreRequest::$name(request) => request.encoded_len(),)* }
        };
    }
    encoded_len!(
        RawGet,
        RawBatchGet,
        RawPut,
        RawBatchPut,
        RawDelete,
        RawBatchDelete,
        RawDeleteRange,
        RawScan,
        RawBatchScan,
        RawGetKeyTtl,
        RawCompareAndSwap,
        RawChecksum,
        KvScanLock,
        UnsafeDestroyRange,
        GetStoreSafeTs,
        GetHealthFeedback
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use yadkv_proto::kvrpcpb::RawPutRequest;

    fn put(bytes: usize) -> StoreRequest {
        StoreRequest::RawPut(RawPutRequest {
            value: vec![0; bytes].into(),
            ..Default::default()
        })
    }

    #[tokio::test]
    async fn requests_beyond_the_limit_wait_and_then_are_refused() {
        let admission = Admission::new(1000, Duration::from_millis(1));
        let first = admission.admit(&put(600)).await;
        assert!(first.is_some());
        assert!(admission.admit(&put(600)).await.is_none(), "waited in vain");
        assert!(admission.admit(&put(300)).await.is_some(), "fits beside it");
        drop(first);
        assert!(admission.admit(&put(5000)).await.is_some(), "alone");
    }

    #[tokio::test]
    async fn a_request_that_waits_gets_in_when_another_ends() {
        let admission = Admission::new(1000, WAIT_MAX);
        let first = admission.admit(&put(600)).await;
        let second = put(600);
        let mut waiting = std::pin::pin!(admission.admit(&second));
        assert!(futures::poll!(&mut waiting).is_pending());
        drop(first);
        assert!(waiting.await.is_some());
    }
}
