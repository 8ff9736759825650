//! The sending end of one pair of stores.
//!
//! *Life of a connection*: resolve → connect → stream frames until it breaks → tell the workers that the store
//! is unreachable → drop what waits → back off → again.
//!
//! *Limits*: a frame holds [`FRAME_BYTES_MAX`] of entries and one message more, and at most [`ENVELOPES_MAX`]; back-off
//! 50 ms to 1 s; it begins anew once a connection has lasted, for one may be refused after it is made. A connection that
//! gets nothing across for 4 s is given up, and one whose other side answers no pings ([`Silence`]).
//!
//! *Next stop*: [`super::peers`].

use super::budget::Share;
use super::wire::{KEEP_ALIVE, PREFACE, REASON_BYTES_MAX, codec, encode};
use super::{FORMAT, Shared, size};
use bytes::{BufMut, BytesMut};
use futures::StreamExt;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio::time::{Instant as TokioInstant, MissedTickBehavior, timeout};
use tokio_util::codec::FramedRead;
use yadkv_proto::id::StoreId;
use yadkv_proto::yadkvpb::{Envelope, Frame};
use yadkv_tls::{Connection, Pace};

/// Messages packed into one frame.
const ENVELOPES_MAX: usize = 4096;
/// Bytes of entries after which a frame is full.
const FRAME_BYTES_MAX: usize = 1 << 20;
/// A buffer that a larger frame has grown beyond this is given back.
const BUFFER_BYTES_MAX: usize = 4 << 20;
const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(1);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a write, and what the kernel has taken, may not get on.
const STALL_MAX: Duration = Duration::from_secs(4);
/// Ticks without an answer after which the connection is given up.
const PINGS_MAX: u32 = 1;
/// The same when much was sent before the pings, which a slow line (10 Mbit/s) has to carry first.
const PINGS_MAX_BEHIND: u32 = 5;
/// This is much.
const BEHIND_BYTES: usize = 256 << 10;
/// How long is listened for the reason when a write fails.
const HEAR_MAX: Duration = Duration::from_millis(200);

pub(super) async fn run(
    shared: Arc<Shared>,
    store: StoreId,
    queue: mpsc::Receiver<Vec<Envelope>>,
    share: Share,
) {
    let mut waiting = Waiting {
        queue,
        share,
        opened: VecDeque::new(),
    };
    let mut backoff = BACKOFF_MIN;
    let mut warnings = Pace::default();
    loop {
        let ended = tokio::select! {
            () = shared.stop.cancelled() => return,
            ended = stream(&shared, store, &mut waiting) => ended,
        };
        match ended {
            Ended::QueueClosed => return,
            Ended::Failed { lasted, reason } => {
                backoff = if lasted >= BACKOFF_MAX {
                    BACKOFF_MIN
                } else {
                    (backoff * 2).min(BACKOFF_MAX)
                };
                // A certificate that is not trusted is seen nowhere else.
                match shared.tls.is_on().then(|| warnings.warn()).flatten() {
                    Some(_) => tracing::warn!(store = store.0, reason, "store is unreachable"),
                    None => tracing::debug!(store = store.0, reason, "store is unreachable"),
                }
            }
        }
        (shared.unreachable)(store);
        tokio::select! {
            () = shared.stop.cancelled() => return,
            () = tokio::time::sleep(backoff) => {}
        }
        while waiting.try_next().is_some() {}
    }
}

/// Messages that wait for one store; those taken out give their bytes back.
struct Waiting {
    queue: mpsc::Receiver<Vec<Envelope>>,
    share: Share,
    /// The rest of the bundle that was taken from the queue last.
    opened: VecDeque<Envelope>,
}

impl Waiting {
    async fn next(&mut self) -> Option<Envelope> {
        while self.opened.is_empty() {
            self.opened = self.queue.recv().await?.into();
        }
        self.try_next()
    }

    fn try_next(&mut self) -> Option<Envelope> {
        while self.opened.is_empty() {
            self.opened = self.queue.try_recv().ok()?.into();
        }
        let envelope = self.opened.pop_front()?;
        self.share.give_back(size(&envelope));
        Some(envelope)
    }
}

enum Ended {
    QueueClosed,
    /// How long the connection lasted, and why it ended.
    Failed {
        lasted: Duration,
        reason: String,
    },
}

async fn stream(shared: &Shared, store: StoreId, waiting: &mut Waiting) -> Ended {
    let failed = |reason| Ended::Failed {
        lasted: Duration::ZERO,
        reason,
    };
    let Some(address) = shared.resolver.resolve(store).await else {
        return failed("its address is unknown".into());
    };
    let connector = shared.tls.peers().gives_up_after(STALL_MAX);
    let connection = match timeout(CONNECT_TIMEOUT, connector.dial(&address)).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return failed(error.to_string()),
        Err(_) => return failed(format!("no connection within {CONNECT_TIMEOUT:?}")),
    };
    let begin = Instant::now();
    match speak(shared, connection, waiting).await {
        None => Ended::QueueClosed,
        Some(reason) => Ended::Failed {
            lasted: begin.elapsed(),
            reason,
        },
    }
}

/// Sends what waits, until nothing will any more (none) or the connection is broken.
async fn speak(shared: &Shared, connection: Connection, waiting: &mut Waiting) -> Option<String> {
    let (reader, mut writer) = tokio::io::split(connection);
    let answers = AtomicUsize::new(0);
    let mut hearing = std::pin::pin!(hear(reader, &answers));
    let mut pings = tokio::time::interval_at(TokioInstant::now() + KEEP_ALIVE, KEEP_ALIVE);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut silence = Silence::default();
    let mut buffer = BytesMut::from(&PREFACE[..]);
    loop {
        if let Err(error) = send(&mut writer, &buffer).await {
            // What the other side has said explains more.
            let heard = timeout(HEAR_MAX, &mut hearing).await;
            return Some(heard.unwrap_or_else(|_| error.to_string()));
        }
        if buffer.capacity() > BUFFER_BYTES_MAX {
            buffer = BytesMut::new();
        }
        tokio::select! {
            biased;
            reason = &mut hearing => return Some(reason),
            _ = pings.tick() => {
                if let Some(reason) = silence.is_too_long(answers.swap(0, Ordering::Relaxed)) {
                    return Some(reason);
                }
                buffer.clear();
                buffer.put_u32(0);
            }
            envelope = waiting.next() => {
                encode(&pack(shared, envelope?, waiting), &mut buffer);
                silence.since += buffer.len();
            }
        }
    }
}

/// Pings that the other side has not answered.
#[derive(Default)]
struct Silence {
    /// Ticks since an answer came, as far as pings are unanswered.
    ticks: u32,
    /// Bytes sent since the last ping.
    since: usize,
    /// Bytes sent right before each ping that is unanswered.
    before: VecDeque<usize>,
}

impl Silence {
    /// Before each ping, how many answers came since the last one: why the connection is given up, if it is.
    fn is_too_long(&mut self, answers: usize) -> Option<String> {
        self.before.drain(..answers.min(self.before.len()));
        if answers > 0 || self.before.is_empty() {
            self.ticks = 0;
        } else {
            self.ticks += 1;
        }
        let most = if self.before.iter().sum::<usize>() > BEHIND_BYTES {
            PINGS_MAX_BEHIND
        } else {
            PINGS_MAX
        };
        if self.ticks >= most {
            let pings = self.before.len();
            return Some(format!("{pings} pings unanswered, one each {KEEP_ALIVE:?}"));
        }
        self.before.push_back(std::mem::take(&mut self.since));
        None
    }
}

/// Counts answers to pings; returns why the other side ends the connection.
async fn hear(reader: ReadHalf<Connection>, answers: &AtomicUsize) -> String {
    let mut words = FramedRead::new(reader, codec(REASON_BYTES_MAX));
    loop {
        match words.next().await {
            None => return "closed by the other side".into(),
            Some(Err(error)) => return error.to_string(),
            Some(Ok(empty)) if empty.is_empty() => drop(answers.fetch_add(1, Ordering::Relaxed)),
            Some(Ok(reason)) => return String::from_utf8_lossy(&reason).into_owned(),
        }
    }
}

/// Writes all, as long as it goes on.
async fn send(writer: &mut WriteHalf<Connection>, mut bytes: &[u8]) -> io::Result<()> {
    let stalled = |_| io::Error::new(io::ErrorKind::TimedOut, "the other side takes nothing");
    while !bytes.is_empty() {
        let written = timeout(STALL_MAX, writer.write(bytes)).await;
        let written = written.map_err(stalled)??;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        bytes = &bytes[written..];
    }
    timeout(STALL_MAX, writer.flush()).await.map_err(stalled)?
}

fn pack(shared: &Shared, first: Envelope, waiting: &mut Waiting) -> Frame {
    let mut packed = size(&first);
    let mut envelopes = vec![first];
    while packed < FRAME_BYTES_MAX && envelopes.len() < ENVELOPES_MAX {
        let Some(envelope) = waiting.try_next() else {
            break;
        };
        packed += size(&envelope);
        envelopes.push(envelope);
    }
    Frame {
        format: FORMAT,
        cluster_id: shared.cluster.0,
        envelopes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_excuses_silence_but_what_was_sent_before_the_ping() {
        let mut silence = Silence::default();
        assert_eq!(silence.is_too_long(0), None, "the first ping");
        silence.since += BEHIND_BYTES + 1;
        assert!(silence.is_too_long(0).is_some(), "it came behind it");
    }

    #[test]
    fn much_that_was_sent_before_a_ping_gives_it_time() {
        let mut silence = Silence::default();
        assert_eq!(silence.is_too_long(0), None);
        silence.since += BEHIND_BYTES + 1;
        assert_eq!(silence.is_too_long(1), None, "this ping is behind it");
        for _ in 1..PINGS_MAX_BEHIND {
            assert_eq!(silence.is_too_long(0), None);
        }
        assert!(silence.is_too_long(0).is_some());
    }

    #[test]
    fn an_answer_that_comes_late_is_an_answer() {
        let mut silence = Silence::default();
        silence.since += BEHIND_BYTES + 1;
        assert_eq!(silence.is_too_long(0), None);
        assert_eq!(silence.is_too_long(0), None);
        assert_eq!(silence.is_too_long(1), None, "to the first of two");
        assert!(
            silence.is_too_long(0).is_some(),
            "nothing was before the other"
        );
    }
}
