//! What happened, as lines: a hash of all of them and the last ones to read.
//!
//! *Place*: everybody notes into it through [`crate::note!`]; a failing seed prints the tail.
//!
//! *Invariants*: two runs of one seed have the same hash.
//!
//! *Limits*: the last [`LINES_MAX`] lines are kept.
//!
//! *Next stop*: [`crate::world`].

use std::collections::VecDeque;
use std::fmt;
use yadkv_proto::yadkvpb::Envelope;
use yadkv_proto::yadkvpb::state_message::What;

/// Lines kept.
pub const LINES_MAX: usize = 400;

/// The trace of a run.
#[derive(Debug)]
pub struct Trace {
    hash: u64,
    count: u64,
    tail: VecDeque<String>,
}

impl Default for Trace {
    fn default() -> Self {
        Self {
            hash: 0xcbf2_9ce4_8422_2325,
            count: 0,
            tail: VecDeque::new(),
        }
    }
}

impl Trace {
    /// Adds a line.
    pub fn note(&mut self, now: u64, what: fmt::Arguments<'_>) {
        let mut line = if self.tail.len() >= LINES_MAX {
            self.tail.pop_front().unwrap_or_default()
        } else {
            String::new()
        };
        line.clear();
        let written = fmt::write(
            &mut line,
            format_args!(
                "{:>6}.{:06} {what}",
                now / 1_000_000_000,
                now / 1000 % 1_000_000
            ),
        );
        written.expect("writing to a string succeeds");
        for byte in line.bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        self.count += 1;
        self.tail.push_back(line);
    }

    /// Hash of all lines.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// Number of all lines.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The last lines, oldest first.
    pub fn tail(&self) -> Vec<String> {
        self.tail.iter().cloned().collect()
    }
}

/// Notes a line in the trace of a sky.
#[macro_export]
macro_rules! note {
    ($sky:expr, $($what:tt)*) => {{
        let now = $sky.now;
        $sky.trace.note(now, format_args!($($what)*));
    }};
}

/// A Raft message in a few words.
pub fn raft(envelope: &Envelope) -> String {
    if let Some(state) = &envelope.state {
        let what = match &state.what {
            Some(What::Chunk(chunk)) => format!("chunk {}", chunk.number),
            other => format!("{other:?}"),
        };
        return format!("transfer {}.{} {what}", state.term, state.transfer);
    }
    let Some(message) = &envelope.message else {
        return "nothing".to_owned();
    };
    let kind = match message.kind {
        3 => "append",
        4 => "append-response",
        5 => "vote?",
        6 => "vote",
        8 => "heartbeat",
        9 => "heartbeat-response",
        14 => "timeout-now",
        15 => "read-index",
        16 => "read-index-response",
        17 => "pre-vote?",
        18 => "pre-vote",
        _ => "message",
    };
    let no = if message.reject { " no" } else { "" };
    let entries = message.entries.len();
    format!(
        "r{} {kind}{no} term={} index={} +{entries} commit={}",
        envelope.region_id, message.term, message.index, message.commit
    )
}
