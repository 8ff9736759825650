//! Spreads region leaders evenly over the living stores.
//!
//! *Place*: asked by [`crate::member`] with a [`ClusterView`]; its wishes go to
//! [`super::operator::Operators`].
//!
//! *Life of a wish*: the store with most leaders and the one with fewest → a region led by the one with a
//! voter on the other that is neither lagging nor unheard → transfer, counted as done → again until no two
//! stores differ by more than [`DIFFERENCE_MAX`].
//!
//! *Invariants*: a store that is not Up, or busy, gets no leader; a learner gets none; a region with an operator is
//! left alone.
//!
//! *Limits*: [`WISHES_MAX`] wishes a call.
//!
//! *Next stop*: [`super::operator`].

use super::ClusterView;
use super::operator::{Operator, Operators};
use super::step::Step;
use crate::config::ScheduleConfig;
use crate::reports::Condition;
use std::collections::{BTreeMap, BTreeSet};
use yadkv_proto::id::{PeerId, RegionId, StoreId};
use yadkv_proto::metapb::{Peer, PeerRole};

/// Leaders by which two stores may differ. One is unavoidable; less would move leaders for ever.
pub const DIFFERENCE_MAX: usize = 1;
/// Wishes in one call.
pub const WISHES_MAX: usize = 64;

/// Which transfers would spread the leaders, best first.
pub fn balance_leaders(
    view: &ClusterView,
    operators: &Operators,
    config: &ScheduleConfig,
) -> Vec<Operator> {
    if !config.balance_leaders {
        return Vec::new();
    }
    let mut counts: BTreeMap<StoreId, usize> = (view.stores.iter())
        .filter(|(_, store)| store.condition == Condition::Up)
        .map(|(id, store)| (*id, store.leaders))
        .collect();
    let mut busy: BTreeSet<RegionId> = BTreeSet::new();
    for operator in operators.running() {
        busy.insert(operator.region);
        if let Some(Step::TransferLeader { from, to }) = operator.step() {
            moved(&mut counts, *from, StoreId(to.store_id));
        }
    }
    let mut wishes = Vec::new();
    while wishes.len() < WISHES_MAX {
        let Some((wish, from, to)) = best(view, &counts, &busy) else {
            break;
        };
        busy.insert(wish.region);
        moved(&mut counts, from, to);
        wishes.push(wish);
    }
    wishes
}

fn moved(counts: &mut BTreeMap<StoreId, usize>, from: StoreId, to: StoreId) {
    counts
        .entry(from)
        .and_modify(|count| *count = count.saturating_sub(1));
    counts.entry(to).and_modify(|count| *count += 1);
}

/// The transfer between the two stores that differ most and have a region to move.
fn best(
    view: &ClusterView,
    counts: &BTreeMap<StoreId, usize>,
    busy: &BTreeSet<RegionId>,
) -> Option<(Operator, StoreId, StoreId)> {
    let mut pairs: Vec<(usize, StoreId, StoreId)> = Vec::new();
    for (from, high) in counts {
        let lower = counts
            .iter()
            .filter(|(to, low)| *high > **low + DIFFERENCE_MAX && !view.stores[to].is_busy);
        pairs.extend(lower.map(|(to, low)| (high - low, *from, *to)));
    }
    pairs.sort_by_key(|(difference, from, to)| (std::cmp::Reverse(*difference), *from, *to));
    pairs.into_iter().find_map(|(_, from, to)| {
        let wish = view.regions.iter().find_map(|(id, region)| {
            let peer = fit_peer(&region.region.peers, to, &region.unfit)?;
            let free = region.leader == from && !busy.contains(id);
            free.then(|| {
                let reason = format!(
                    "balance leaders: {from} leads {}, {to} leads {}",
                    counts[&from], counts[&to]
                );
                let steps = vec![Step::TransferLeader { from, to: peer }];
                Operator::new(*id, &region.region, steps, reason)
            })
        })?;
        Some((wish, from, to))
    })
}

fn fit_peer(peers: &[Peer], store: StoreId, unfit: &[PeerId]) -> Option<Peer> {
    let fit = |peer: &&Peer| {
        peer.store_id == store.0
            && peer.role() == PeerRole::Voter
            && !unfit.contains(&PeerId(peer.id))
    };
    peers.iter().find(fit).copied()
}

#[cfg(test)]
mod tests {
    use super::super::{RegionView, StoreView};
    use super::*;
    use std::sync::Arc;
    use yadkv_proto::metapb::Region;
    use yadkv_proto::time::Moment;

    /// Regions 1.. with a peer on each store, led as listed.
    fn view(stores: &[Condition], leaders: &[u64]) -> ClusterView {
        let mut view = ClusterView::default();
        for (at, condition) in stores.iter().enumerate() {
            let id = StoreId(at as u64 + 1);
            let count = leaders.iter().filter(|leader| **leader == id.0).count();
            view.stores.insert(
                id,
                StoreView {
                    condition: *condition,
                    leaders: count,
                    regions: 0,
                    has_room: true,
                    is_busy: false,
                },
            );
        }
        for (at, leader) in leaders.iter().enumerate() {
            let id = at as u64 + 1;
            let peer = |store| Peer {
                id: id * 100 + store,
                store_id: store,
                ..Peer::default()
            };
            let peers = (1..=stores.len() as u64).map(peer).collect();
            let region = Arc::new(Region {
                id,
                peers,
                ..Region::default()
            });
            let region = RegionView {
                region,
                leader: StoreId(*leader),
                unfit: Vec::new(),
                damaged: Vec::new(),
            };
            view.regions.insert(RegionId(id), region);
        }
        view
    }

    fn moves(view: &ClusterView) -> Vec<(u64, u64, u64)> {
        let wishes = balance_leaders(view, &Operators::default(), &ScheduleConfig::default());
        let show = |wish: Operator| {
            let Some(Step::TransferLeader { from, to }) = wish.step() else {
                panic!("only transfers balance leaders");
            };
            (wish.region.0, from.0, to.store_id)
        };
        wishes.into_iter().map(show).collect()
    }

    #[test]
    fn leaders_spread_until_no_two_stores_differ_by_more_than_one() {
        use Condition::{Disconnected, Up};
        assert_eq!(
            moves(&view(&[Up; 3], &[1, 1, 1, 1, 1, 1])),
            [(1, 1, 2), (2, 1, 3), (3, 1, 2), (4, 1, 3)]
        );
        assert_eq!(moves(&view(&[Up; 3], &[1, 1, 2, 2, 3])), []);
        assert_eq!(
            moves(&view(&[Up, Disconnected, Up], &[1, 1, 1, 1])),
            [(1, 1, 3), (2, 1, 3)]
        );
    }

    #[test]
    fn busy_stores_get_no_leader_and_may_lose_some() {
        let mut view = view(&[Condition::Up; 3], &[1, 1, 1, 1, 2]);
        let busy = |view: &mut ClusterView, id| {
            view.stores
                .entry(StoreId(id))
                .and_modify(|store| store.is_busy = true);
        };
        busy(&mut view, 3);
        assert_eq!(moves(&view), [(1, 1, 2)]);
        busy(&mut view, 1);
        assert_eq!(moves(&view), [(1, 1, 2)]);
        busy(&mut view, 2);
        assert_eq!(moves(&view), []);
    }

    #[test]
    fn unfit_peers_and_learners_get_no_leader() {
        let mut view = view(&[Condition::Up; 2], &[1, 1, 1]);
        view.regions
            .entry(RegionId(1))
            .and_modify(|region| region.unfit = vec![PeerId(102)]);
        view.regions.entry(RegionId(2)).and_modify(|region| {
            let mut changed = (*region.region).clone();
            changed.peers[1].role = PeerRole::Learner as i32;
            region.region = Arc::new(changed);
        });
        assert_eq!(moves(&view), [(3, 1, 2)]);
        let off = ScheduleConfig {
            balance_leaders: false,
            ..ScheduleConfig::default()
        };
        assert_eq!(balance_leaders(&view, &Operators::default(), &off), []);
    }

    #[test]
    fn running_operators_count_as_done() {
        let view = view(&[Condition::Up; 2], &[1, 1]);
        let config = ScheduleConfig::default();
        let mut operators = Operators::default();
        for wish in balance_leaders(&view, &operators, &config) {
            assert!(operators.add(wish, &config, Moment(0)));
        }
        assert_eq!(operators.running().count(), 1);
        assert_eq!(balance_leaders(&view, &operators, &config), []);
    }
}
