//! How many bytes of answers a store holds until its clients take them.
//!
//! *Place*: [`super::Door`] charges every answer when it is made; [`super::batch`] and [`release_with_body`] give
//! the bytes back when the connection has taken it.
//!
//! *Invariants*: a write's answer is never replaced: its outcome is true whether or not there is room.
//!
//! *Limits and failure*: a sixteenth of `store.memory`. A read whose answer does not fit gets ServerIsBusy instead;
//! an answer larger than all of it is let through alone.
//!
//! *Next stop*: [`super::batch`].

use http_body_util::BodyExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tonic::body::Body;
use tonic::codegen::http;
use yadkv_proto::api::StoreResponse;
use yadkv_proto::errorpb;
use yadkv_storage_core::refusal;
use yadkv_storage_core::respond::Kind;

/// The bytes that wait to be taken. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Answers {
    held: Arc<AtomicUsize>,
    bytes_max: usize,
}

/// An answer's bytes; given back when dropped.
#[derive(Debug)]
pub struct Held {
    held: Arc<AtomicUsize>,
    bytes: usize,
}

impl Held {
    /// Bytes of the answer on the wire.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Answers {
    /// Holds up to `bytes_max` bytes of reads' answers.
    pub fn new(bytes_max: usize) -> Self {
        Self {
            held: Arc::default(),
            bytes_max,
        }
    }

    /// Bytes of all answers that wait.
    pub fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// Bytes of reads' answers that may wait.
    pub fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    fn hold(&self, bytes: usize) -> (Held, usize) {
        let before = self.held.fetch_add(bytes, Ordering::Relaxed);
        let held = Held {
            held: self.held.clone(),
            bytes,
        };
        (held, before)
    }

    /// Charges an answer. `read` is the kind of the request if it was a read: its answer becomes a refusal when
    /// there is no room.
    pub fn charge(&self, response: StoreResponse, read: Option<Kind>) -> (StoreResponse, Held) {
        let bytes = response.encoded_len();
        let (held, before) = self.hold(bytes);
        match read {
            Some(kind) if before > 0 && before.saturating_add(bytes) > self.bytes_max => {
                drop((response, held));
                let refused = kind.refused(no_room());
                let (held, _) = self.hold(refused.encoded_len());
                (refused, held)
            }
            _ => (response, held),
        }
    }
}

fn no_room() -> errorpb::Error {
    refusal::busy("too many bytes of answers wait for their clients")
}

/// Keeps what a unary answer holds (an [`Arc`] of [`Held`] among its extensions) until its body is sent or dropped.
pub fn release_with_body(response: http::Response<Body>) -> http::Response<Body> {
    let (mut head, body) = response.into_parts();
    let Some(held) = head.extensions.remove::<Arc<Held>>() else {
        return http::Response::from_parts(head, body);
    };
    let body = body.map_frame(move |frame| {
        let _until_the_body_ends = &held;
        frame
    });
    http::Response::from_parts(head, Body::new(body))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use http_body_util::Full;
    use yadkv_proto::kvrpcpb::{RawCasResponse, RawGetResponse};

    fn found(bytes: usize) -> StoreResponse {
        StoreResponse::RawGet(RawGetResponse {
            value: vec![0; bytes].into(),
            ..Default::default()
        })
    }

    fn is_busy(response: &StoreResponse) -> bool {
        match response {
            StoreResponse::RawGet(response) => response
                .region_error
                .as_ref()
                .is_some_and(|error| error.server_is_busy.is_some()),
            _ => false,
        }
    }

    #[test]
    fn answers_that_nobody_takes_turn_reads_away_and_never_writes() {
        let answers = Answers::new(1000);
        let read = Some(Kind::RawGet);
        let (large, first) = answers.charge(found(5000), read);
        assert!(!is_busy(&large), "nothing else waits");
        let (refused, second) = answers.charge(found(1), read);
        assert!(is_busy(&refused));
        let previous = StoreResponse::RawCompareAndSwap(RawCasResponse {
            succeed: true,
            previous_value: vec![0; 600].into(),
            ..Default::default()
        });
        let (swapped, third) = answers.charge(previous.clone(), None);
        assert_eq!(swapped, previous);
        drop((first, second, third));
        let (small, _fourth) = answers.charge(found(900), read);
        assert!(!is_busy(&small), "all bytes were given back");
    }

    #[tokio::test]
    async fn a_unary_answer_is_held_until_its_body_is_gone() {
        let answers = Answers::new(1000);
        let (_, held) = answers.charge(found(900), Some(Kind::RawGet));
        let mut response = http::Response::new(Body::new(Full::<Bytes>::from("sent")));
        response.extensions_mut().insert(Arc::new(held));
        let response = release_with_body(response);
        let (head, body) = response.into_parts();
        drop(head);
        assert!(is_busy(&answers.charge(found(900), Some(Kind::RawGet)).0));
        drop(body);
        assert!(!is_busy(&answers.charge(found(900), Some(Kind::RawGet)).0));
    }
}
