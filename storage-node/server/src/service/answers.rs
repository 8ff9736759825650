//! How many bytes of answers a store holds until its clients take them.
//!
//! *Place*: [`super::Door`] charges every answer when it is made; [`super::batch`] and [`super::Door::call`] put what it
//! holds into a [`Parcel`], and [`go_with_bytes`] ties that to the bytes that the connection writes.
//!
//! *Life of a charge*: made with the answer → in the parcel of its response → part of the encoded bytes → given back
//! when the connection has written them to its socket, or drops them.
//!
//! *Invariants*: a write's answer is never replaced: its outcome is true whether or not there is room.
//!
//! *Limits and failure*: a sixteenth of `store.memory`. When it is used up, a read's answer becomes ServerIsBusy and new
//! requests get that at once; the answer that uses it up may be larger than what was left, and commands that were
//! under way then are still answered.
//!
//! *Next stop*: [`super::batch`].

use bytes::Bytes;
use http_body_util::BodyExt;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::Notify;
use tonic::body::Body;
use tonic::codegen::http;
use yadkv_proto::api::StoreResponse;
use yadkv_proto::errorpb;
use yadkv_storage_core::refusal;
use yadkv_storage_core::respond::Kind;

/// Memory of an answer besides its content, about.
const OVERHEAD_BYTES: usize = 512;

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
    backlog: Option<Arc<Backlog>>,
    bytes: usize,
}

impl Held {
    /// Bytes of the encoded answer.
    pub fn content(&self) -> usize {
        self.bytes - OVERHEAD_BYTES
    }

    /// Counts them for a stream, too.
    pub fn on(mut self, backlog: Arc<Backlog>) -> Self {
        backlog.bytes.fetch_add(self.bytes, Ordering::Relaxed);
        self.backlog = Some(backlog);
        self
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.held.fetch_sub(self.bytes, Ordering::Relaxed);
        if let Some(backlog) = &self.backlog {
            backlog.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
            backlog.taken.notify_one();
        }
    }
}

/// The bytes of one stream's answers that its client has not taken.
#[derive(Debug, Default)]
pub struct Backlog {
    bytes: AtomicUsize,
    taken: Notify,
}

impl Backlog {
    /// Waits until less than `bytes_max` is left; for one task.
    pub async fn below(&self, bytes_max: usize) {
        while self.bytes.load(Ordering::Relaxed) >= bytes_max {
            self.taken.notified().await;
        }
    }
}

/// What the answers hold that go into the next bytes of a response. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Parcel(Arc<Mutex<Vec<Held>>>);

impl Parcel {
    /// Adds what an answer holds, before it is encoded.
    pub fn add(&self, held: impl IntoIterator<Item = Held>) {
        self.0.lock().extend(held);
    }

    /// Ties all of it to encoded bytes.
    fn tie(&self, data: Bytes) -> Bytes {
        let held = std::mem::take(&mut *self.0.lock());
        match held.is_empty() {
            true => data,
            false => Bytes::from_owner(Tied { data, _held: held }),
        }
    }
}

/// Bytes on their way to the socket.
struct Tied {
    data: Bytes,
    _held: Vec<Held>,
}

impl AsRef<[u8]> for Tied {
    fn as_ref(&self) -> &[u8] {
        &self.data
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

    /// Whether there is no room for any answer.
    pub fn are_full(&self) -> bool {
        self.held.load(Ordering::Relaxed) > self.bytes_max
    }

    /// Holds the bytes of an answer that has nothing to say.
    pub fn empty(&self) -> Held {
        self.hold(0).0
    }

    fn hold(&self, content: usize) -> (Held, usize) {
        let bytes = content + OVERHEAD_BYTES;
        let before = self.held.fetch_add(bytes, Ordering::Relaxed);
        let held = Held {
            held: self.held.clone(),
            backlog: None,
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
            Some(kind) if before > self.bytes_max => {
                drop((response, held));
                let refused = kind.refused(no_room());
                let (held, _) = self.hold(refused.encoded_len());
                (refused, held)
            }
            _ => (response, held),
        }
    }
}

/// What is said to whom there is no room for.
pub fn no_room() -> errorpb::Error {
    refusal::busy("too many bytes of answers wait for their clients")
}

/// Ties what a response's [`Parcel`] (among its extensions) holds to the bytes of its body.
pub fn go_with_bytes(response: http::Response<Body>) -> http::Response<Body> {
    let (mut head, body) = response.into_parts();
    let Some(parcel) = head.extensions.remove::<Parcel>() else {
        return http::Response::from_parts(head, body);
    };
    let body = body.map_frame(move |frame| frame.map_data(|data| parcel.tie(data)));
    http::Response::from_parts(head, Body::new(body))
}

#[cfg(test)]
mod tests {
    use super::*;
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
        assert!(!is_busy(&large), "there was room");
        assert!(answers.are_full());
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
        assert_eq!(answers.held(), 0);
        let (small, _fourth) = answers.charge(found(900), read);
        assert!(!is_busy(&small), "all bytes were given back");
    }

    /// An HTTP/2 connection asks for the end of a body before the bytes in front of it are written.
    #[tokio::test]
    async fn an_answer_is_held_until_its_bytes_are_gone() {
        let answers = Answers::new(1000);
        let parcel = Parcel::default();
        parcel.add([answers.charge(found(900), Some(Kind::RawGet)).1]);
        let mut response = http::Response::new(Body::new(Full::<Bytes>::from("sent")));
        response.extensions_mut().insert(parcel);
        let mut body = go_with_bytes(response).into_body();
        let frame = body.frame().await.expect("a frame").expect("no error");
        let data = frame.into_data().expect("data");
        assert!(body.frame().await.is_none());
        drop(body);
        assert_eq!(data, "sent");
        assert!(answers.are_full());
        drop(data);
        assert_eq!(answers.held(), 0);
    }

    #[tokio::test]
    async fn an_answer_is_given_back_with_a_body_that_nobody_reads() {
        let answers = Answers::new(1000);
        let backlog = Arc::new(Backlog::default());
        let parcel = Parcel::default();
        parcel.add([answers.empty().on(backlog.clone())]);
        let mut below = std::pin::pin!(backlog.below(1));
        assert!(futures::poll!(&mut below).is_pending());
        let mut response = http::Response::new(Body::new(Full::<Bytes>::from("lost")));
        response.extensions_mut().insert(parcel);
        drop(go_with_bytes(response));
        assert_eq!(answers.held(), 0);
        below.await;
    }
}
