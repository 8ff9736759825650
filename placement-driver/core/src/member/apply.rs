//! Committed entries: into the state, onto disk, back to their callers.
//!
//! *Place*: `round` and `persisted` bring entries in the order of the log.
//!
//! *Life of an entry*: decode → each command is judged and changes memory and the batch → one batch for all
//! entries, with the applied position, unsynced (the log replays, and keeps what is not flushed: [`super::truncate`]) →
//! purposes are resolved with the outcomes.
//!
//! *Invariants*: memory never shows more than the engine was given: the batch is written before any outcome
//! leaves.
//!
//! *Next stop*: [`crate::cluster`].

use super::call::{Refusal, Reply};
use super::write::{Caller, MapChange, Purpose};
use super::{Fatal, Member, Seat};
use crate::answer::{self, header};
use crate::cluster::{Cluster, Outcome, Reject};
use crate::tso::Oracle;
use yadkv_engine::{Durability, WriteBatch};
use yadkv_proto::api::PdResponse;
use yadkv_proto::id::{Index, RegionId, Term};
use yadkv_proto::key::KeyRange;
use yadkv_proto::pdpb::{self, ErrorType};
use yadkv_proto::time::Now;
use yadkv_proto::yadkvpb::LogEntry;

/// Kind of an entry that carries commands.
const NORMAL: u32 = 0;

impl Member {
    /// Applies committed entries. `Node::applied` is told by `persisted`, since `consensus` takes no input
    /// between its two halves.
    pub(super) fn apply(&mut self, entries: Vec<LogEntry>, now: Now) -> Result<(), Fatal> {
        if entries.is_empty() {
            return Ok(());
        }
        let mut batch = WriteBatch::new();
        let mut applied: Vec<(Index, Term, Vec<Outcome>)> = Vec::with_capacity(entries.len());
        for entry in entries {
            let (index, term) = (Index(entry.index), Term(entry.term));
            let fatal = |reason: String| Fatal::Entry { index, reason };
            if entry.kind != NORMAL {
                return Err(fatal("the members of this group never change".to_owned()));
            }
            let commands = Cluster::decode(&entry.data).map_err(fatal)?;
            self.truncation.applied(&self.config.log, &entry);
            let outcomes = commands
                .into_iter()
                .map(|command| self.cluster.apply(command, &mut batch))
                .collect();
            self.cluster.close(index, term, &mut batch);
            applied.push((index, term, outcomes));
        }
        self.kv.write(batch, Durability::Buffered)?;
        self.retry = true;
        for (index, term, outcomes) in applied {
            self.resolve(index, term, outcomes, now);
        }
        self.follow_role(now);
        Ok(())
    }

    fn resolve(&mut self, index: Index, term: Term, outcomes: Vec<Outcome>, now: Now) {
        let Some(office) = self.office() else { return };
        let purposes = office.writing.take(index, term);
        for (purpose, outcome) in purposes.into_iter().zip(outcomes) {
            self.fulfil(purpose, outcome, now);
        }
    }

    /// A command of this leader was applied.
    fn fulfil(&mut self, purpose: Purpose, outcome: Outcome, now: Now) {
        let Seat::Leader(office) = &mut self.seat else {
            return;
        };
        match purpose {
            Purpose::TsoBound => {
                raised(&mut office.oracle, &self.cluster);
                self.raise_tso_if_waited_for(now);
            }
            Purpose::IdBound => {
                office.ids.raised(self.cluster.id_bound());
                self.bootstrap_soon(now);
            }
            Purpose::Bootstrap => office.bootstrapping = false,
            Purpose::Burial => office.burying = false,
            Purpose::StoreState(reply) => {
                // Another order was faster, to the same end or a later one.
                let refused = |reject: Reject| Refusal::Invalid(reject.to_string());
                reply(outcome.map_err(refused));
            }
            Purpose::Form | Purpose::Nothing => {}
            Purpose::PutStore(reply, bootstrap) => {
                self.answer_put_store(reply, bootstrap, outcome);
                self.bootstrap_soon(now);
            }
            Purpose::GcSafePoint(reply) => {
                let response = pdpb::UpdateGcSafePointResponse {
                    header: header(self.cluster_id_on_wire()),
                    new_safe_point: self.cluster.gc_safe_point(),
                };
                reply(Ok(PdResponse::UpdateGcSafePoint(response)));
            }
            Purpose::Map(change) => self.map_changed(*change, outcome, now),
        }
    }

    pub(super) fn cluster_id_on_wire(&self) -> u64 {
        self.cluster.id().unwrap_or_default().0
    }

    fn answer_put_store(&self, reply: Reply, bootstrap: bool, outcome: Outcome) {
        let cluster_id = self.cluster_id_on_wire();
        let header = match outcome {
            Ok(()) if bootstrap && self.cluster.is_bootstrapped() => answer::error(
                cluster_id,
                ErrorType::AlreadyBootstrapped,
                "the cluster is bootstrapped; the store is registered",
            ),
            Ok(()) => header(cluster_id),
            Err(reject) => {
                let kind = match &reject {
                    Reject::Tombstone(_) => ErrorType::StoreTombstone,
                    Reject::AddressTaken { .. } => ErrorType::DuplicatedEntry,
                    _ => ErrorType::InvalidValue,
                };
                answer::error(cluster_id, kind, reject.to_string())
            }
        };
        reply(Ok(match bootstrap {
            true => PdResponse::Bootstrap(pdpb::BootstrapResponse { header }),
            false => PdResponse::PutStore(pdpb::PutStoreResponse { header }),
        }));
    }

    /// A replacement was applied or refused: the volatile state follows, the heartbeat is answered.
    fn map_changed(&mut self, change: MapChange, outcome: Outcome, now: Now) {
        let Seat::Leader(office) = &mut self.seat else {
            return;
        };
        if let Err(reject) = &outcome {
            tracing::info!(%reject, "replacement refused");
        }
        for id in &change.regions {
            office.replacing.remove(id);
            match self.cluster.regions().by_id(*id) {
                Some(region) => office
                    .pending
                    .prune(self.cluster.regions(), &KeyRange::of(region)),
                None => {
                    office.operators.left(*id);
                    office.reports.forget(*id);
                    office.to_note.remove(id);
                }
            }
        }
        if let Some(replacement) = office.pending.recheck(self.cluster.regions()) {
            self.queue_replacement(replacement, None);
        }
        match change.caller {
            Some(Caller::Heartbeat(heartbeat, reply)) => {
                self.region_heartbeat_applied(heartbeat, reply, now);
            }
            Some(Caller::Split(reply)) => {
                let refused = |reject: Reject| (ErrorType::InvalidValue, reject.to_string());
                self.answer_report(reply, outcome.map_err(refused));
            }
            None => {}
        }
    }

    /// Whether a region is in the map.
    pub(super) fn has_region(&self, id: RegionId) -> bool {
        self.cluster.regions().by_id(id).is_some()
    }
}

fn raised(oracle: &mut Oracle, cluster: &Cluster) {
    oracle.raised(cluster.tso_bound_ms());
}
