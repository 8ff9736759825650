//! Timestamps across random failures: deaths, cuts, pauses and clocks that disagree never make one fall.
#![allow(clippy::unwrap_used)]

mod rig;

use proptest::prelude::*;
use rig::Rig;
use yadkv_proto::api::PdResponse;
use yadkv_proto::pdpb::TsoRequest;

/// Asks the leader; the block's first and last timestamp, if it answered.
fn stamps(rig: &mut Rig, count: u32) -> Option<[(i64, i64); 2]> {
    let leader = rig.await_leader();
    let header = rig.header();
    let answer = rig.ask(
        leader,
        TsoRequest {
            header,
            count,
            ..Default::default()
        },
    );
    let Ok(PdResponse::Tso(response)) = answer else {
        return None;
    };
    let last = response.timestamp.unwrap();
    assert_eq!(response.count, count);
    assert!(last.logical < 1 << 18 && last.logical + 1 >= i64::from(count));
    Some([
        (last.physical, last.logical + 1 - i64::from(count)),
        (last.physical, last.logical),
    ])
}

/// One thing that happens to the cluster, and to whom.
fn disturb(rig: &mut Rig, kind: u8, who: u64, size: u64) {
    let id = who % 3 + 1;
    let alive = rig
        .ids()
        .into_iter()
        .filter(|id| rig.member(*id).is_some())
        .count();
    match kind {
        0 if alive == 3 && rig.cut.is_empty() => rig.kill(id, size.is_multiple_of(2)),
        1 if alive == 3 && rig.cut.is_empty() => {
            rig.cut.insert(rig.leader().unwrap_or(id));
        }
        2 => {
            rig.cut.clear();
            for id in rig.ids() {
                if rig.member(id).is_none() {
                    rig.start(id).unwrap();
                }
            }
        }
        3 => rig.hosts.get_mut(&id).unwrap().skew_ms = size as i64 * 7 - 7000,
        4 => rig.hosts.get_mut(&id).unwrap().pause_ms = size,
        _ => rig.run(size),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(128) })]

    #[test]
    fn they_rise(
        seed in 0u64..1000,
        steps in prop::collection::vec((0u8..7, 0u64..3, 0u64..2000, 1u32..5000), 1..24),
    ) {
        let mut rig = Rig::new(3, seed);
        rig.start_all();
        let mut last = None;
        for (kind, who, size, count) in steps {
            disturb(&mut rig, kind, who, size);
            if let Some([first, end]) = stamps(&mut rig, count) {
                prop_assert!(last < Some(first), "{last:?} then {first:?}");
                last = Some(end);
            }
        }
    }
}

/// The first leader serves right after its first raise, which no follower has applied, and dies. The next
/// one's clock is far behind, so only the replicated bound keeps it above.
fn first_raise_then_fail_over() -> bool {
    let mut rig = Rig::new(3, 1);
    rig.start_all();
    let leader = rig.await_leader();
    for id in rig.ids().into_iter().filter(|id| *id != leader) {
        rig.hosts.get_mut(&id).unwrap().skew_ms = -60_000;
    }
    let before = stamps(&mut rig, 1).expect("the leader serves");
    rig.kill(leader, false);
    let after = stamps(&mut rig, 1).expect("the next leader serves");
    before[1] < after[0]
}

#[test]
fn the_next_leader_starts_at_the_bound() {
    assert!(first_raise_then_fail_over());
}

#[cfg(feature = "planted-bugs")]
#[test]
fn a_bound_read_too_early_is_found() {
    use yadkv_placement_core::planted::{Planted, set};
    set(Some(Planted::TsoBoundReadTooEarly));
    let rose = first_raise_then_fail_over();
    set(None);
    assert!(!rose, "the planted bug was not found");
}
