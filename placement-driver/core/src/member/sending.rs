//! The leader's half of a transfer: its whole state, to a member that lacks what is no longer in the log.
//!
//! *Place*: `consensus` names the member in a round; chunks leave with the Raft messages, answers come with them.
//!
//! *Types to know*: [`Sendings`].
//!
//! *Life of a transfer*:
//! ```text
//! the member lags behind the log ─▶ one view of the state engine is held: position and records are of one moment
//! chunk 0: the head ───────────────▶ wanted 1
//! chunk 1 … n: records ────────────▶ wanted n + 1
//! the last chunk ──────────────────▶ taken, when it is installed
//! report to Raft: it sends entries again, or asks for the next transfer
//! ```
//!
//! *Invariants*: every member that `consensus` named is reported once, whatever became of its transfer, unless the term
//! or the role has ended: then Raft has forgotten it.
//!
//! *Limits and failure*: one transfer a member, one chunk under way in each, of at most [`CHUNK_BYTES_MAX`] bytes of
//! records and one record more; it is sent again after [`RESEND`], and the transfer given up after [`SILENCE_MAX`]
//! without an answer. Then it begins anew.
//!
//! *Source*: Raft paper section 7; `ARCHITECTURE.md`, How data would be lost.
//!
//! *Next stop*: [`super::receiving`].

use super::Member;
use crate::record::{self, FORMAT};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use yadkv_consensus::{Cutter, Role, chunk};
use yadkv_engine::Snapshot;
use yadkv_proto::id::{PeerId, Term};
use yadkv_proto::key::KeyRange;
use yadkv_proto::placementpb::ClusterRecord;
use yadkv_proto::storagepb::AppliedRecord;
use yadkv_proto::time::{Moment, Now};
use yadkv_proto::yadkvpb::state_message::What;
use yadkv_proto::yadkvpb::{SnapshotChunk, SnapshotHead, StateMessage};

/// Wire format of a transfer.
pub(super) const TRANSFER_FORMAT: u32 = 1;
/// Most bytes of records after which a chunk ends. With one record more, of less than 64 KiB, it is below 1 MiB.
pub const CHUNK_BYTES_MAX: u64 = 960 << 10;
const _: () = assert!(CHUNK_BYTES_MAX + (64 << 10) <= 1 << 20);
/// How long a chunk waits for its answer before it is sent again.
const RESEND: Duration = Duration::from_millis(500);
/// How long a member may say nothing.
const SILENCE_MAX: Duration = Duration::from_secs(5);
/// How long it may say nothing after the last chunk: it installs the state, and its driver does nothing else.
const INSTALL_MAX: Duration = Duration::from_secs(120);
/// How long a member that refused twice is left alone: it would do so again. One that started anew refuses what goes on.
const REFUSED_WAIT: Duration = Duration::from_secs(10);

/// What became of the transfers of this life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Transfers {
    /// Sent, and taken by the member.
    pub sent: u64,
    /// Begun to be sent, and not taken.
    pub failed: u64,
    /// Received and installed here.
    pub installed: u64,
}

/// All transfers that this leader sends.
#[derive(Default)]
pub(super) struct Sendings {
    /// Of which term.
    term: Term,
    /// How many were begun in it.
    begun: u64,
    running: BTreeMap<PeerId, Sending>,
    /// Members whose transfer could not begin, or ended between two inputs of Raft.
    lost: Vec<PeerId>,
    /// Members that refused the last transfer.
    refused: BTreeSet<PeerId>,
}

struct Sending {
    view: Box<dyn Snapshot + Send>,
    cutter: Cutter,
    transfer: u64,
    /// The one under way.
    chunk: SnapshotChunk,
    /// When it was sent last.
    sent: Moment,
    /// When the member said something last.
    heard: Moment,
    /// It has said no.
    refused: bool,
}

impl Sending {
    /// How long nothing may be heard of the member.
    fn silence_max(&self) -> Duration {
        match (self.refused, self.chunk.last) {
            (true, _) => REFUSED_WAIT,
            (_, true) => INSTALL_MAX,
            _ => SILENCE_MAX,
        }
    }

    /// How long the chunk under way waits for its answer.
    fn resend_after(&self) -> Duration {
        match self.chunk.last {
            true => RESEND * 4,
            false => RESEND,
        }
    }
}

impl Member {
    /// Raft wants these members to be sent the state.
    pub(super) fn send_state(&mut self, members: Vec<PeerId>, now: Now) {
        for to in members {
            match self.begin_sending(now) {
                Ok(sending) => {
                    let position = sending.chunk.head.as_ref().and_then(|head| head.applied);
                    let index = position.unwrap_or_default().index;
                    tracing::info!(member = to.0, index, "sending the state");
                    self.sendings.running.insert(to, sending);
                    self.send_chunk(to, now.moment);
                }
                Err(reason) => {
                    tracing::warn!(member = to.0, reason, "the state cannot be sent");
                    self.sendings.running.remove(&to);
                    self.sendings.lost.push(to);
                }
            }
        }
    }

    fn begin_sending(&mut self, now: Now) -> Result<Sending, String> {
        let term = self.node.term();
        if self.sendings.term != term {
            self.sendings = Sendings {
                term,
                ..Sendings::default()
            };
        }
        let view = self.kv.clone().hold();
        let found = view.get(record::META, record::CLUSTER_KEY);
        let found = found.map_err(|error| error.to_string())?;
        let bytes = found.ok_or("no entry was applied yet")?;
        let cluster: ClusterRecord = record::decode(record::META, record::CLUSTER_KEY, &bytes)
            .map_err(|error| error.to_string())?;
        self.sendings.begun += 1;
        let head = SnapshotHead {
            format: TRANSFER_FORMAT,
            cluster_id: cluster.cluster_id,
            term: term.0,
            applied: Some(AppliedRecord {
                format: FORMAT,
                index: cluster.applied_index,
                term: cluster.applied_term,
                ..AppliedRecord::default()
            }),
            ..SnapshotHead::default()
        };
        let bytes_max = usize::try_from(self.config.log.chunk_bytes).unwrap_or(usize::MAX);
        Ok(Sending {
            view,
            cutter: Cutter::new(&record::ALL, KeyRange::default(), bytes_max),
            transfer: self.sendings.begun,
            chunk: chunk::first(head),
            sent: now.moment,
            heard: now.moment,
            refused: false,
        })
    }

    fn send_chunk(&mut self, to: PeerId, now: Moment) {
        let term = self.sendings.term.0;
        if let Some(sending) = self.sendings.running.get_mut(&to) {
            sending.sent = now;
            let message = StateMessage {
                term,
                transfer: sending.transfer,
                what: Some(What::Chunk(sending.chunk.clone())),
            };
            self.post(to, message);
        }
    }

    /// A member answers.
    pub(super) fn state_answered(&mut self, from: PeerId, message: StateMessage, now: Now) {
        let current = message.term == self.sendings.term.0;
        let running = self.sendings.running.get_mut(&from);
        let this = |one: &&mut Sending| one.transfer == message.transfer && !one.refused;
        let Some(sending) = running.filter(|one| current && this(one)) else {
            return;
        };
        sending.heard = now.moment;
        match message.what {
            Some(What::Taken(true)) => {
                self.sendings.refused.remove(&from);
                self.state_sent(from, true);
            }
            Some(What::Refused(reason)) => {
                tracing::warn!(member = from.0, reason, "the state was refused");
                match self.sendings.refused.insert(from) {
                    true => self.state_sent(from, false),
                    false => sending.refused = true,
                }
            }
            Some(What::Wanted(number)) if number == sending.chunk.number + 1 => {
                match sending.cutter.next(&*sending.view) {
                    Ok(Some(chunk)) => {
                        sending.chunk = chunk;
                        self.send_chunk(from, now.moment);
                    }
                    // The last one is under way: `taken` follows.
                    Ok(None) => {}
                    Err(error) => {
                        tracing::warn!(member = from.0, %error, "the state cannot be read");
                        self.state_sent(from, false);
                    }
                }
            }
            _ => {}
        }
    }

    fn state_sent(&mut self, to: PeerId, taken: bool) {
        self.sendings.running.remove(&to);
        match taken {
            true => self.transfers.sent += 1,
            false => self.transfers.failed += 1,
        }
        self.node.report_snapshot(to, taken);
    }

    /// Transfers end with the term; lost ones are reported.
    pub(super) fn keep_sending(&mut self) {
        let leads = self.node.role() == Role::Leader && self.node.term() == self.sendings.term;
        if !leads {
            self.sendings.running.clear();
            self.sendings.lost.clear();
        }
        for to in std::mem::take(&mut self.sendings.lost) {
            self.state_sent(to, false);
        }
    }

    /// Sends again what was not answered, gives up who says nothing.
    pub(super) fn tick_sending(&mut self, now: Moment) {
        let members: Vec<_> = self.sendings.running.keys().copied().collect();
        for to in members {
            let Some(sending) = self.sendings.running.get(&to) else {
                continue;
            };
            if now.since(sending.heard) >= sending.silence_max() {
                let refused = sending.refused;
                tracing::info!(member = to.0, refused, "the state is not sent");
                self.state_sent(to, false);
            } else if now.since(sending.sent) >= sending.resend_after() && !sending.refused {
                self.send_chunk(to, now);
            }
        }
    }

    /// What became of the transfers of this life.
    pub fn transfers(&self) -> Transfers {
        self.transfers
    }
}
