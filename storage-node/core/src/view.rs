//! What everybody on a store may see of its regions without asking the worker that owns them.
//!
//! *Place*: workers publish, [`crate::front`] and [`crate::read`] look, apply moves the region clock on.
//!
//! *Types to know*: [`Directory`] finds a [`RegionView`] by region id; a published [`Delegate`] is the right
//! to read under the leader's lease.
//!
//! *Invariants*: a view is immutable but for its leader hint, office, clock and delegate; a changed descriptor is a
//! new view. If the borders are others, the old one is retired first: nothing that was read through it is answered any
//! more. A delegate is published only after an entry of its term was applied, and withdrawn before its
//! peer lets go of the lease. The clock moves on only after the write that it describes.
//!
//! *Limits*: one view a replica.
//!
//! *Source*: lease reads: Raft thesis 6.4.1.
//!
//! *Next stop*: [`crate::read`].

use crate::refusal;
use arc_swap::{ArcSwap, ArcSwapOption};
use imbl::OrdMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use yadkv_proto::errorpb;
use yadkv_proto::id::{RegionId, StoreId, Term};
use yadkv_proto::key::KeyRange;
use yadkv_proto::kvrpcpb::Context;
use yadkv_proto::metapb::{Peer, Region};
use yadkv_proto::time::Moment;

/// The right to serve reads of one region in one term, until its lease ends.
#[derive(Debug)]
pub struct Delegate {
    /// The leader's term; an entry of it is applied.
    pub term: Term,
    lease_until: AtomicU64,
}

impl Delegate {
    /// A delegate whose lease ends at `until`.
    pub fn new(term: Term, until: Moment) -> Self {
        Self {
            term,
            lease_until: AtomicU64::new(until.0),
        }
    }

    /// Moves the end of the lease on; an earlier end is ignored.
    pub fn extend(&self, until: Moment) {
        self.lease_until.fetch_max(until.0, Ordering::SeqCst);
    }

    /// Whether the lease covers `now`.
    pub fn covers(&self, now: Moment) -> bool {
        now.0 < self.lease_until.load(Ordering::SeqCst)
    }
}

/// What changes while a view lasts: one for all views of a replica, whichever readers see.
#[derive(Debug, Default)]
struct Vitals {
    leader: AtomicU64,
    /// Term in which this replica leads; 0 while it does not.
    office: AtomicU64,
    clock_ms: AtomicU64,
    /// Its data goes, or others take its place.
    over: AtomicBool,
    /// It applies nothing any more.
    halted: AtomicBool,
    /// When the placement driver last knew the region as it is here; 0: never.
    confirmed_at: AtomicU64,
}

/// One replica as readers see it.
#[derive(Debug)]
pub struct RegionView {
    region: Region,
    range: KeyRange,
    /// What was cut off last.
    siblings: Vec<Region>,
    /// Regions that have become part of it.
    merged: Arc<[u64]>,
    peer: Peer,
    vitals: Arc<Vitals>,
    delegate: ArcSwapOption<Delegate>,
    /// What took this view's place.
    successors: OnceLock<Vec<Region>>,
}

impl RegionView {
    /// A view without leader and delegate.
    pub fn new(region: Region, peer: Peer, clock_ms: u64) -> Self {
        let vitals = Vitals {
            clock_ms: clock_ms.into(),
            ..Vitals::default()
        };
        Self::with_vitals(region, peer, Arc::new(vitals))
    }

    /// The same view, of a region that others have become part of.
    #[must_use]
    pub fn having_merged(mut self, merged: &[u64]) -> Self {
        self.merged = merged.into();
        self
    }

    /// The view that follows this one once `siblings` are cut off; without delegate.
    pub fn followed_by(&self, region: Region, siblings: Vec<Region>) -> Self {
        let mut next = Self::with_vitals(region, self.peer, self.vitals.clone());
        next.siblings = siblings;
        next.merged = self.merged.clone();
        next
    }

    /// The view that follows this one when the members have changed; without delegate.
    pub fn with_members(&self, region: Region) -> Self {
        let own = region.peers.iter().find(|peer| peer.id == self.peer.id);
        let own = own.copied().unwrap_or(self.peer);
        let mut next = Self::with_vitals(region, own, self.vitals.clone());
        next.siblings = self.siblings.clone();
        next.merged = self.merged.clone();
        next
    }

    fn with_vitals(region: Region, peer: Peer, vitals: Arc<Vitals>) -> Self {
        let range = KeyRange::of(&region);
        Self {
            region,
            range,
            siblings: Vec::new(),
            merged: Arc::default(),
            peer,
            vitals,
            delegate: ArcSwapOption::empty(),
            successors: OnceLock::new(),
        }
    }

    /// The descriptor.
    pub fn region(&self) -> &Region {
        &self.region
    }

    /// The descriptor and those that were cut off it last: what a caller with an older epoch wants to know.
    pub fn current_regions(&self) -> Vec<Region> {
        let mut regions = self.siblings.clone();
        regions.push(self.region.clone());
        regions
    }

    /// Regions that have become part of it, as far back as it remembers.
    pub fn merged(&self) -> &[u64] {
        &self.merged
    }

    /// Whether another region is part of it, as far back as it remembers ([`crate::apply`]).
    pub fn has_merged(&self, region: RegionId) -> bool {
        self.merged.contains(&region.0)
    }

    /// The region's id.
    pub fn id(&self) -> RegionId {
        RegionId(self.region.id)
    }

    /// The descriptor's range.
    pub fn range(&self) -> &KeyRange {
        &self.range
    }

    /// The epoch's version, which every command is checked under.
    pub fn version(&self) -> u64 {
        self.region
            .region_epoch
            .as_ref()
            .map_or(0, |epoch| epoch.version)
    }

    /// The replica on this store.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// The region clock of what is applied, milliseconds since the epoch. Read it before the engine.
    pub fn clock_ms(&self) -> u64 {
        self.vitals.clock_ms.load(Ordering::SeqCst)
    }

    /// Moves the region clock on, after the write that carried it and before any reply to it.
    pub fn advance_clock(&self, clock_ms: u64) {
        self.vitals.clock_ms.fetch_max(clock_ms, Ordering::SeqCst);
    }

    /// The leader as last heard of; `None` if unknown.
    pub fn leader(&self) -> Option<Peer> {
        let id = self.vitals.leader.load(Ordering::Relaxed);
        self.region.peers.iter().find(|peer| peer.id == id).copied()
    }

    /// Notes the leader; 0 is unknown.
    pub fn set_leader(&self, peer_id: u64) {
        self.vitals.leader.store(peer_id, Ordering::Relaxed);
    }

    /// Whether this replica leads in `term`, and has applied nothing of a later one.
    pub fn leads(&self, term: Term) -> bool {
        self.vitals.office.load(Ordering::SeqCst) == term.0
    }

    /// Whether this replica leads and there is another one that could.
    pub fn could_hand_over(&self) -> bool {
        self.vitals.office.load(Ordering::SeqCst) != 0 && self.region.peers.len() > 1
    }

    /// Notes the term in which this replica leads, or (0) that it does not: before an entry of another leader is
    /// handed over to apply.
    pub fn set_office(&self, term: Term) {
        self.vitals.office.store(term.0, Ordering::SeqCst);
    }

    /// The published delegate.
    pub fn delegate(&self) -> Option<Arc<Delegate>> {
        self.delegate.load_full()
    }

    /// Publishes the right to read in `term` until `until`, or extends it.
    pub fn publish(&self, term: Term, until: Moment) {
        match &*self.delegate.load() {
            Some(delegate) if delegate.term == term => delegate.extend(until),
            _ => self
                .delegate
                .store(Some(Arc::new(Delegate::new(term, until)))),
        }
    }

    /// Takes the right to read back.
    pub fn withdraw(&self) {
        // To change what is there it looks through what every thread reads; a follower withdraws in each of its rounds.
        if self.delegate.load().is_some() {
            self.delegate.store(None);
        }
    }

    /// The region is cut into `successors`: withdraws the delegate, for good.
    pub fn retire(&self, successors: Vec<Region>) {
        let first = self.successors.set(successors).is_ok();
        assert!(first, "a view is followed once");
        self.withdraw();
    }

    /// The replica is over: before any of its data is deleted. Nothing read from now on is answered.
    pub fn end(&self) {
        self.vitals.over.store(true, Ordering::SeqCst);
        self.withdraw();
    }

    /// The replica applies nothing any more, in this life of the store: an entry has to read what is damaged.
    pub fn halt(&self) {
        self.vitals.halted.store(true, Ordering::SeqCst);
    }

    /// Whether it applies nothing any more.
    pub fn is_halted(&self) -> bool {
        self.vitals.halted.load(Ordering::SeqCst)
    }

    /// The placement driver, asked at this moment, knew the region under the version that it has here.
    pub fn confirm(&self, asked: Moment) {
        self.vitals
            .confirmed_at
            .fetch_max(asked.0, Ordering::SeqCst);
    }

    /// When it was asked last.
    pub fn confirmed_at(&self) -> Moment {
        Moment(self.vitals.confirmed_at.load(Ordering::SeqCst))
    }

    /// Whether the replica is over; to be asked after its data was read.
    pub fn is_over(&self) -> bool {
        self.vitals.over.load(Ordering::SeqCst)
    }

    /// What took this view's place, if something did.
    pub fn successors(&self) -> Option<&Vec<Region>> {
        self.successors.get()
    }

    // ANCHOR: check
    /// Checks a request's address and epoch, not leadership, in the order of `proto/README.md`, Region errors.
    pub fn check(&self, store: StoreId, context: &Context) -> Result<(), errorpb::Error> {
        check_store(store, context)?;
        let requested = context.peer.as_ref().map_or(0, |peer| peer.id);
        if requested != self.peer.id {
            return Err(refusal::mismatch_peer(requested, self.peer.id));
        }
        let version = context
            .region_epoch
            .as_ref()
            .map_or(0, |epoch| epoch.version);
        if version != self.version() {
            return Err(refusal::epoch_not_match(self.current_regions()));
        }
        Ok(())
    }
    // ANCHOR_END: check
}

/// Checks that a request is meant for this store.
pub fn check_store(store: StoreId, context: &Context) -> Result<(), errorpb::Error> {
    let requested = context.peer.as_ref().map_or(0, |peer| peer.store_id);
    if requested == store.0 {
        Ok(())
    } else {
        Err(refusal::store_not_match(requested, store))
    }
}

/// All replicas on a store.
#[derive(Debug, Default)]
pub struct Directory {
    views: ArcSwap<OrdMap<RegionId, Arc<RegionView>>>,
}

impl Directory {
    /// The view of a region.
    pub fn get(&self, region: RegionId) -> Option<Arc<RegionView>> {
        self.views.load().get(&region).cloned()
    }

    /// Adds or replaces a view.
    pub fn publish(&self, view: Arc<RegionView>) {
        self.views
            .rcu(|views| views.update(view.id(), view.clone()));
    }

    /// Takes a view out: there is no replica any more.
    pub fn remove(&self, region: RegionId) {
        self.views.rcu(|views| views.without(&region));
    }

    /// All views, in the order of their ids.
    pub fn all(&self) -> Vec<Arc<RegionView>> {
        self.views.load().values().cloned().collect()
    }
}
