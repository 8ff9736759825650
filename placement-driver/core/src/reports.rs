//! What stores and region leaders say of themselves: volatile, and known to the leader only.
//!
//! *Place*: [`crate::member`] records heartbeats here; answers and schedulers read it. A new leader starts
//! empty and hears everything again within a heartbeat interval; until then the replicated hints serve.
//!
//! *Types to know*: [`Reports`], [`Condition`] (how alive a store is), [`Lead`] (who leads a region).
//!
//! *Invariants*: a region's term never falls; in one term a region has one leader.
//!
//! *Limits*: one entry a store and one a region of the replicated state; nothing unknown is kept.
//!
//! *Next stop*: [`crate::schedule`].

use crate::config::ScheduleConfig;
use std::collections::BTreeMap;
use std::time::Duration;
use yadkv_proto::id::{PeerId, RegionId, StoreId, Term};
use yadkv_proto::metapb::{Peer, Region, Store, StoreState};
use yadkv_proto::pdpb::{PeerStats, RegionHeartbeatRequest, StoreStats};
use yadkv_proto::time::Moment;

/// How alive a store is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Condition {
    /// Heard of within the disconnect time.
    Up,
    /// Silent for longer; nothing new goes there.
    Disconnected,
    /// Silent for the dead time: its replicas count as lost.
    Down,
    /// Being drained.
    Offline,
    /// Gone for good.
    Tombstone,
}

impl Condition {
    /// The name that HTTP and the command line show.
    pub fn name(self) -> &'static str {
        match self {
            Self::Up => "Up",
            Self::Disconnected => "Disconnected",
            Self::Down => "Down",
            Self::Offline => "Offline",
            Self::Tombstone => "Tombstone",
        }
    }
}

/// A store's last heartbeat.
#[derive(Clone, Debug)]
pub struct StoreReport {
    /// What it said.
    pub stats: StoreStats,
    /// When it was heard.
    pub at: Moment,
}

/// A region's last heartbeat.
#[derive(Clone, Debug)]
pub struct Lead {
    /// The leader.
    pub peer: Peer,
    /// In this Raft term of the region.
    pub term: Term,
    /// When it was heard.
    pub at: Moment,
    /// Approximate size of the region, bytes.
    pub size_bytes: u64,
    /// Approximate number of keys.
    pub keys: u64,
    /// Peers that lag behind.
    pub pending: Vec<PeerId>,
    /// Peers that the leader does not hear.
    pub down: Vec<PeerId>,
    /// For how long it had not heard each of them when it said so.
    pub down_for: Vec<Duration>,
}

impl Lead {
    /// Peers that lag, or that the leader does not hear.
    fn unfit(&self) -> impl Iterator<Item = PeerId> {
        self.pending.iter().chain(&self.down).copied()
    }

    /// For how long the leader has not heard a peer; none if it hears it. Goes on counting between two reports: the
    /// leader says at once when the peer speaks again.
    pub fn silence_of(&self, peer: PeerId, now: Moment) -> Option<Duration> {
        let mut down = self.down.iter().zip(&self.down_for);
        let (_, silence) = down.find(|(down, _)| **down == peer)?;
        Some(silence.saturating_add(now.since(self.at)))
    }
}

/// Everything heard in this term of office.
#[derive(Debug)]
pub struct Reports {
    since: Moment,
    stores: BTreeMap<StoreId, StoreReport>,
    leads: BTreeMap<RegionId, Lead>,
}

impl Reports {
    /// Nothing heard yet. Silence counts from `now`: what was before is not known.
    pub fn new(now: Moment) -> Self {
        Self {
            since: now,
            stores: BTreeMap::new(),
            leads: BTreeMap::new(),
        }
    }

    /// Records a store's heartbeat.
    pub fn store(&mut self, stats: StoreStats, now: Moment) {
        self.stores
            .insert(StoreId(stats.store_id), StoreReport { stats, at: now });
    }

    /// The last heartbeat of a store.
    pub fn of_store(&self, store: StoreId) -> Option<&StoreReport> {
        self.stores.get(&store)
    }

    /// Whether a store says that its data of a region is damaged.
    pub fn is_damaged(&self, store: StoreId, region: RegionId) -> bool {
        let report = self.stores.get(&store);
        report.is_some_and(|report| report.stats.damaged_regions_id.contains(&region.0))
    }

    /// Peers of a region that should neither lead nor come to vote: they lag, or the leader does not hear them, or their
    /// data is damaged.
    pub fn unfit(&self, region: &Region) -> Vec<PeerId> {
        let id = RegionId(region.id);
        let unheard = self.lead(id).into_iter().flat_map(Lead::unfit);
        unheard.chain(self.damaged(region)).collect()
    }

    /// Peers of a region whose data is damaged.
    pub fn damaged(&self, region: &Region) -> Vec<PeerId> {
        let id = RegionId(region.id);
        let is_damaged = |peer: &&Peer| self.is_damaged(StoreId(peer.store_id), id);
        let damaged = region.peers.iter().filter(is_damaged);
        damaged.map(|peer| PeerId(peer.id)).collect()
    }

    /// How long a store has been silent, as far as this leader knows.
    pub fn silence(&self, store: StoreId, now: Moment) -> Duration {
        let heard = self
            .stores
            .get(&store)
            .map_or(self.since, |report| report.at);
        now.since(heard.max(self.since))
    }

    /// How alive a store is.
    pub fn condition(&self, store: &Store, config: &ScheduleConfig, now: Moment) -> Condition {
        match store.state() {
            StoreState::Tombstone => return Condition::Tombstone,
            StoreState::Offline => return Condition::Offline,
            StoreState::Up => {}
        }
        match self.silence(StoreId(store.id), now) {
            silence if silence > config.store_dead_time => Condition::Down,
            silence if silence > config.store_disconnect_time => Condition::Disconnected,
            _ => Condition::Up,
        }
    }

    /// Records a region's heartbeat, or says why it is history. Whether the leader changed is the answer.
    pub fn region(
        &mut self,
        heartbeat: &RegionHeartbeatRequest,
        now: Moment,
    ) -> Result<bool, &'static str> {
        let region = heartbeat
            .region
            .as_ref()
            .ok_or("the heartbeat has no region")?;
        let leader = heartbeat.leader.ok_or("the heartbeat has no leader")?;
        let term = Term(heartbeat.term);
        let is_member = |peer: &Peer| (peer.id, peer.store_id) == (leader.id, leader.store_id);
        if !region.peers.iter().any(is_member) {
            return Err("the leader is no peer of the region");
        }
        let id = RegionId(region.id);
        let known = self.leads.get(&id);
        match known {
            Some(known) if term < known.term => return Err("the term is stale"),
            Some(known) if term == known.term && known.peer.id != leader.id => {
                return Err("another peer leads in this term");
            }
            _ => {}
        }
        let changed = known.is_none_or(|known| known.peer.id != leader.id || known.term != term);
        let lead = Lead {
            peer: leader,
            term,
            at: now,
            size_bytes: heartbeat.approximate_size,
            keys: heartbeat.approximate_keys,
            pending: heartbeat
                .pending_peers
                .iter()
                .map(|peer| PeerId(peer.id))
                .collect(),
            down: down(heartbeat).map(|(peer, _)| peer).collect(),
            down_for: down(heartbeat).map(|(_, silence)| silence).collect(),
        };
        self.leads.insert(id, lead);
        Ok(changed)
    }

    /// The reported leader of a region.
    pub fn lead(&self, region: RegionId) -> Option<&Lead> {
        self.leads.get(&region)
    }

    /// How many regions have reported.
    pub fn leads_len(&self) -> usize {
        self.leads.len()
    }

    /// Forgets a region that left the map.
    pub fn forget(&mut self, region: RegionId) {
        self.leads.remove(&region);
    }
}

fn down(heartbeat: &RegionHeartbeatRequest) -> impl Iterator<Item = (PeerId, Duration)> {
    let named = |down: &PeerStats| {
        let silence = Duration::from_secs(down.down_seconds);
        Some((PeerId(down.peer?.id), silence))
    };
    heartbeat.down_peers.iter().filter_map(named)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn heartbeat(term: u64, leader: u64) -> RegionHeartbeatRequest {
        let peer = |id| Peer {
            id,
            store_id: id,
            ..Peer::default()
        };
        RegionHeartbeatRequest {
            region: Some(Region {
                id: 1,
                peers: vec![peer(1), peer(2)],
                ..Region::default()
            }),
            leader: Some(peer(leader)),
            term,
            ..RegionHeartbeatRequest::default()
        }
    }

    #[test]
    fn a_term_has_one_leader_and_never_falls() {
        let mut reports = Reports::new(Moment(0));
        assert_eq!(reports.region(&heartbeat(6, 1), Moment(0)), Ok(true));
        assert_eq!(reports.region(&heartbeat(6, 1), Moment(0)), Ok(false));
        assert!(reports.region(&heartbeat(6, 2), Moment(0)).is_err());
        assert_eq!(reports.region(&heartbeat(7, 2), Moment(0)), Ok(true));
        assert!(reports.region(&heartbeat(6, 1), Moment(0)).is_err());
        assert!(reports.region(&heartbeat(8, 3), Moment(0)).is_err());
        assert_eq!(reports.lead(RegionId(1)).unwrap().peer.id, 2);
    }

    #[test]
    fn a_silent_peer_ages_until_its_leader_hears_it() {
        let at = |seconds| Moment::default().after(Duration::from_secs(seconds));
        let mut reports = Reports::new(at(0));
        let mut report = heartbeat(6, 1);
        report.down_peers = vec![
            PeerStats::default(),
            PeerStats {
                peer: Some(report.region.as_ref().unwrap().peers[1]),
                down_seconds: 5,
            },
        ];
        reports.region(&report, at(10)).unwrap();
        let silence = |reports: &Reports, peer, seconds| {
            let lead = reports.lead(RegionId(1)).unwrap();
            lead.silence_of(PeerId(peer), at(seconds))
        };
        assert_eq!(silence(&reports, 1, 20), None);
        let known = silence(&reports, 2, 20);
        assert_eq!(known, Some(Duration::from_secs(15)));
        reports.region(&heartbeat(6, 1), at(21)).unwrap();
        assert_eq!(silence(&reports, 2, 22), None);
    }

    #[test]
    fn a_peer_that_is_silent_or_damaged_is_unfit() {
        let mut reports = Reports::new(Moment(0));
        let mut report = heartbeat(6, 1);
        let region = report.region.clone().unwrap();
        reports.region(&report, Moment(0)).unwrap();
        assert_eq!(reports.unfit(&region), []);
        let damaged = StoreStats {
            store_id: 1,
            damaged_regions_id: vec![1],
            ..StoreStats::default()
        };
        reports.store(damaged, Moment(0));
        report.down_peers = vec![PeerStats {
            peer: Some(region.peers[1]),
            down_seconds: 5,
        }];
        reports.region(&report, Moment(0)).unwrap();
        assert_eq!(reports.unfit(&region), [PeerId(2), PeerId(1)]);
    }

    #[test]
    fn silence_ages_a_store() {
        let config = ScheduleConfig::default();
        let mut reports = Reports::new(Moment(0));
        let store = Store {
            id: 1,
            ..Store::default()
        };
        let at = |seconds| Moment::default().after(Duration::from_secs(seconds));
        reports.store(
            StoreStats {
                store_id: 1,
                ..StoreStats::default()
            },
            at(10),
        );
        for (seconds, condition) in [
            (30, Condition::Up),
            (31, Condition::Disconnected),
            (1811, Condition::Down),
        ] {
            assert_eq!(reports.condition(&store, &config, at(seconds)), condition);
        }
        let other = Store {
            id: 2,
            state: StoreState::Tombstone as i32,
            ..Store::default()
        };
        assert_eq!(
            reports.condition(&other, &config, at(0)),
            Condition::Tombstone
        );
    }
}
