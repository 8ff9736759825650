//! Cutting a region in two or more, on the side of its worker.
//!
//! *Life of a split*:
//! ```text
//! cut asked for, by hand or by size → the placement driver gives ids → proposed with the region's epoch
//!   → queued writes wait → committed: the lease is not renewed → applied: view retired, the next one published,
//!   new replicas started (the leader's campaign at once), the placement driver told, queued writes refused
//!   → the caller is answered and refusals leave when the placement driver knows the split, or after [`ANNOUNCE_MAX`]
//! ```
//!
//! *Invariants*: between commit and apply of a split the lease is not renewed: others may apply it first, and lead
//! the new regions as soon as the lease that was is over. One split at a time.
//!
//! *Limits and failure*: ids that do not come within [`ASK_MAX`] are asked for again at the next occasion. A split
//! whose region changed meanwhile is refused with the present epoch; nothing is half done.
//!
//! *Source*: Raft thesis 6.4.1 (leases); `ARCHITECTURE.md`, How data would be lost.
//!
//! *Next stop*: [`crate::apply`].

use super::Peer;
use super::size::Size;
use crate::apply::SplitDone;
use crate::config::Config;
use crate::layout::FORMAT;
use crate::planted::{self, Planted};
use crate::refusal;
use crate::respond::{Outcome, Responder};
use crate::split::border;
use crate::store::message::{CutTask, Effects, IdRequest, SplitTask};
use prost::Message;
use std::sync::Arc;
use std::time::Duration;
use yadkv_proto::errorpb;
use yadkv_proto::id::{Index, StoreId};
use yadkv_proto::metapb::Region;
use yadkv_proto::time::{Moment, Now};
use yadkv_proto::yadkvpb::command::Operation;
use yadkv_proto::yadkvpb::{Command, RegionEntry, Split, SplitPart};

/// How long callers with the old epoch are kept waiting until the placement driver knows the split: some clients
/// ask it at once, and would learn the old borders again.
const ANNOUNCE_MAX: Duration = Duration::from_millis(200);
/// How long ids may be under way before they are asked for again.
const ASK_MAX: Duration = Duration::from_secs(10);

/// What is under way.
#[derive(Default)]
pub(super) struct Splitting {
    /// Ids were asked for, for a split by size.
    asked: Option<Moment>,
    proposed: Option<Proposed>,
    announcing: Option<Announcing>,
    /// The last one was applied here while this replica did not lead: perhaps nobody has told the placement driver.
    untold: bool,
}

/// A split that was proposed and is not applied.
struct Proposed {
    index: Index,
    caller: Option<Responder>,
}

/// The placement driver is being told.
struct Announcing {
    since: Moment,
    /// Who asked for the split.
    callers: Vec<(Responder, Vec<Region>)>,
    /// Who came with the old borders.
    refused: Vec<(Responder, errorpb::Error)>,
}

impl Peer {
    /// A caller wants the region cut.
    pub fn cut(&mut self, task: CutTask, store: StoreId, effects: &mut Effects) {
        let CutTask {
            context,
            keys,
            responder,
        } = task;
        if let Err(error) = self.check(&context, store) {
            return responder.refuse(error);
        }
        if let Err(unfit) = border::check(self.view.range(), &keys) {
            return responder.invalid(unfit.to_string());
        }
        effects.ids.push(IdRequest {
            region: self.view.region().clone(),
            keys,
            responder: Some(responder),
        });
    }

    /// The region has grown: cuts it at `keys`, unless that is under way.
    pub(super) fn cut_by_size(
        &mut self,
        keys: Vec<bytes::Bytes>,
        now: Moment,
        effects: &mut Effects,
    ) {
        let asked = self.splitting.asked;
        let waits = asked.is_some_and(|asked| now.since(asked) < ASK_MAX);
        if waits || !self.is_leader() || self.splitting.proposed.is_some() {
            return;
        }
        self.splitting.asked = Some(now);
        effects.ids.push(IdRequest {
            region: self.view.region().clone(),
            keys,
            responder: None,
        });
    }

    /// The ids are there: proposes the split.
    pub fn split(&mut self, task: SplitTask, now: Now, config: &Config) {
        self.splitting.asked = None;
        match self.propose_split(&task.region, task.parts, now, config) {
            Ok(index) => {
                let caller = task.responder;
                self.splitting.proposed = Some(Proposed { index, caller });
            }
            Err(error) => {
                tracing::debug!(
                    region = self.id().0,
                    reason = error.message,
                    "split refused"
                );
                if let Some(caller) = task.responder {
                    caller.refuse(error);
                }
            }
        }
    }

    fn propose_split(
        &mut self,
        asked: &Region,
        parts: Vec<SplitPart>,
        now: Now,
        config: &Config,
    ) -> Result<Index, errorpb::Error> {
        if !self.is_leader() {
            return Err(self.not_leader());
        }
        let epoch = self.view.region().region_epoch.unwrap_or_default();
        if asked.region_epoch != Some(epoch) {
            return Err(refusal::epoch_not_match(self.view.current_regions()));
        }
        if self.splitting.proposed.is_some() || self.merge.holds_writes() {
            return Err(refusal::busy("another change of the region is under way"));
        }
        // What is queued was checked under this epoch, so it goes first.
        self.propose_queued(now, config);
        let command = Command {
            version: epoch.version,
            operation: Some(Operation::Split(Split {
                conf_ver: epoch.conf_ver,
                parts,
            })),
        };
        let entry = RegionEntry {
            format: FORMAT,
            now_ms: now.wall_ms,
            commands: vec![command],
        };
        let proposed = self.node.propose(entry.encode_to_vec().into(), now.moment);
        let proposal = proposed
            .map_err(|error| refusal::busy(&format!("the split cannot be proposed: {error}")))?;
        Ok(proposal.index)
    }

    /// Whether queued writes wait for a split or a merge.
    pub(super) fn holds_writes(&self) -> bool {
        let splits = self.splitting.proposed.is_some();
        (splits && !planted::is(Planted::EpochUncheckedAtApply)) || self.merge.holds_writes()
    }

    /// Whether a split of this leader is committed and not applied: its lease must not grow.
    ///
    /// One that an earlier leader proposed is applied before this one has a lease at all.
    pub(super) fn has_unapplied_split(&self) -> bool {
        let committed = |split: &Proposed| {
            split.index <= self.node.commit() && split.index > self.applied.index
        };
        !planted::is(Planted::LeaseRenewedDuringSplit)
            && self.splitting.proposed.as_ref().is_some_and(committed)
    }

    /// Everything up to the applied position is known: a split under way that is not done by now was rejected.
    pub(super) fn splits_applied(&mut self) {
        let applied = self.applied.index;
        let over = |split: &mut Proposed| split.index <= applied;
        if let Some(rejected) = self.splitting.proposed.take_if(over)
            && let Some(caller) = rejected.caller
        {
            caller.refuse(refusal::epoch_not_match(self.view.current_regions()));
        }
    }

    pub(super) fn split_done(&mut self, done: SplitDone, now: Moment, effects: &mut Effects) {
        tracing::info!(
            region = self.id().0,
            parts = done.parts.len(),
            leader = self.is_leader(),
            "region split"
        );
        let regions = done.regions();
        let next = self
            .view
            .followed_by(done.region.clone(), done.parts.clone());
        self.view.retire(regions.clone());
        self.view = Arc::new(next);
        self.size = Size::default();
        let (campaign, index) = (self.is_leader(), done.index);
        effects.adopt.extend(done.created(campaign));
        self.splitting.untold = !campaign;
        if !campaign {
            return;
        }
        // The new replicas can elect this one only where they exist.
        self.node.announce_commit();
        let error = refusal::epoch_not_match(regions.clone());
        let queued = self.take_queued().into_iter();
        let own = |split: &mut Proposed| split.index == index;
        let caller = self.splitting.proposed.take_if(own);
        let caller = caller.and_then(|split| split.caller);
        let announcing = self.splitting.announcing.get_or_insert(Announcing {
            since: now,
            callers: Vec::new(),
            refused: Vec::new(),
        });
        let answered = caller.map(|caller| (caller, regions.clone()));
        announcing.callers.extend(answered);
        let refused = queued.map(|responder| (responder, error.clone()));
        announcing.refused.extend(refused);
        effects.split_reports.push((self.id(), regions));
        self.report(effects);
    }

    /// Keeps a refusal until the placement driver knows the split; gives it back if there is no reason to.
    pub(super) fn hold_refusal(
        &mut self,
        responder: Responder,
        error: errorpb::Error,
        config: &Config,
    ) -> Option<(Responder, errorpb::Error)> {
        match &mut self.splitting.announcing {
            Some(announcing)
                if error.epoch_not_match.is_some()
                    && announcing.refused.len() < config.parked_max =>
            {
                announcing.refused.push((responder, error));
                None
            }
            _ => Some((responder, error)),
        }
    }

    /// The placement driver knows the split, or nobody waits for that any more.
    pub fn split_announced(&mut self) {
        let Some(announcing) = self.splitting.announcing.take() else {
            return;
        };
        for (caller, regions) in announcing.callers {
            caller.done(Outcome::Split(regions));
        }
        for (responder, error) in announcing.refused {
            responder.refuse(error);
        }
    }

    pub(super) fn expire_announcement(&mut self, now: Moment) {
        let over = |told: &Announcing| now.since(told.since) >= ANNOUNCE_MAX;
        if self.splitting.announcing.as_ref().is_some_and(over) {
            self.split_announced();
        }
    }

    /// This replica leads: tells the placement driver of the last split, if it applied that as a follower. Whoever led
    /// then may have lost its office, or its life, before it did.
    pub(super) fn tell_split(&mut self, effects: &mut Effects) {
        if std::mem::take(&mut self.splitting.untold) {
            let regions = self.view.current_regions();
            effects.split_reports.push((self.id(), regions));
        }
    }

    /// This replica does not lead any more.
    pub(super) fn abandon_split(&mut self) {
        let proposed = self.splitting.proposed.take();
        if let Some(caller) = proposed.and_then(|split| split.caller) {
            caller.refuse(refusal::outcome_unknown());
        }
        self.splitting.asked = None;
        self.split_announced();
    }
}
