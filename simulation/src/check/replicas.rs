//! After the quiet phase all replicas of a region hold the same, and so do all placement drivers, whose map is what
//! the leaders say, and whose logs are short.
//!
//! *Place*: [`crate::run`] waits for [`differences`] to vanish, and fails the seed if they do not. [`super::laws`]
//! compares placement drivers at every position that they apply.
//!
//! *Next stop*: [`crate::run`].

use crate::chronicle::range;
use crate::pd::{KEEP_ENTRIES, PdHost};
use crate::sky::Sky;
use crate::store::StoreHost;
use crate::world::World;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use yadkv_engine::memory::Memory;
use yadkv_engine::{DamagedFile, Direction, Engine, Family};
use yadkv_placement_core::schedule::operator::Operator;
use yadkv_placement_core::{FAMILIES, Seat};
use yadkv_proto::id::RegionId;
use yadkv_proto::key::KeyRange;
use yadkv_proto::metapb::{Peer, PeerRole, Region};
use yadkv_storage_core::apply::Applied;
use yadkv_storage_core::check::Report;
use yadkv_storage_core::layout::{RAW, RAW2};

/// How many replicas the placement drivers bring every region back to.
const REPLICAS: usize = 3;

/// What a replica holds.
type Content = (Applied, Vec<Pair>);
/// A family, a key, a value.
type Pair = (u8, Vec<u8>, Vec<u8>);

/// A leader has compared the replicas of its region, at one position.
pub fn checked(sky: &mut Sky, report: &Report) {
    sky.compared += usize::from(report.compared.len() > 1);
    if report.difference.is_some() {
        sky.violated(format!("a check finds a difference: {report:?}"));
    }
}

/// The regions whose replicas differ, lag, or have no leader, in words; none when all agree.
pub fn differences(world: &World) -> Vec<String> {
    let mut found: BTreeMap<u64, Vec<(usize, Content)>> = BTreeMap::new();
    let mut leaders: BTreeMap<u64, usize> = BTreeMap::new();
    let mut descriptors = BTreeMap::new();
    let mut complaints = Vec::new();
    for host in &world.stores {
        let Some(running) = host.runs() else {
            complaints.push(format!("store{} does not run", host.number));
            continue;
        };
        for peer in running
            .workers
            .iter()
            .flat_map(|worker| worker.worker.peers())
        {
            if peer.waits_for().is_some() {
                let region = peer.id();
                complaints.push(format!(
                    "region {region} waits for a merge on store{}",
                    host.number
                ));
            }
            let Some(content) = content(&host.kv, peer.view().range()) else {
                let region = peer.id();
                complaints.push(format!(
                    "region {region} is damaged on store{}",
                    host.number
                ));
                continue;
            };
            let content = (peer.applied(), content);
            found
                .entry(peer.id().0)
                .or_default()
                .push((host.number, content));
            if peer.is_leader() {
                *leaders.entry(peer.id().0).or_default() += 1;
                descriptors.insert(peer.id().0, peer.view().region().clone());
            }
        }
    }
    for (region, replicas) in found {
        complaints.extend(members_complaints(world, region, &replicas, &descriptors));
        if leaders.get(&region) != Some(&1) {
            complaints.push(format!("region {region} has no single leader"));
        }
        let (first, rest) = replicas
            .split_first()
            .expect("a region was found on a store");
        for other in rest.iter().filter(|other| other.1 != first.1) {
            let (left, right) = (first.1.0, other.1.0);
            complaints.push(format!(
                "region {region}: store{} and store{} differ ({left:?}, {right:?})",
                first.0, other.0
            ));
        }
    }
    complaints.extend(disk_complaints(world));
    complaints.extend(map_differences(world, &descriptors));
    if !complaints.is_empty() {
        complaints.extend(running_operators(world));
    }
    complaints.extend(placement_differences(world));
    complaints
}

/// What is wrong with who belongs to a region.
fn members_complaints(
    world: &World,
    region: u64,
    replicas: &[(usize, Content)],
    descriptors: &BTreeMap<u64, Region>,
) -> Vec<String> {
    let mut complaints = Vec::new();
    if replicas.len() != REPLICAS {
        let shown: Vec<_> = replicas
            .iter()
            .map(|one| shown(world, region, one.0))
            .collect();
        complaints.push(format!(
            "region {region} has {} replicas: {}",
            replicas.len(),
            shown.join(", ")
        ));
    }
    let peers = descriptors.get(&region).map(|known| &known.peers);
    let votes = |peer: &Peer| peer.role() == PeerRole::Voter;
    if let Some(peers) = peers.filter(|peers| !peers.iter().all(votes)) {
        let show = |peer: &Peer| format!("{}@{} {:?}", peer.id, peer.store_id, peer.role());
        let peers: Vec<_> = peers.iter().map(show).collect();
        complaints.push(format!(
            "region {region} has members that do not vote: {peers:?}"
        ));
    }
    complaints
}

/// What a store knows of a region.
fn shown(world: &World, region: u64, store: usize) -> String {
    let running = world.stores[store].runs();
    let view = running.and_then(|running| running.directory.get(RegionId(region)));
    view.map_or(format!("store{store}"), |view| {
        let epoch = view.region().region_epoch.unwrap_or_default();
        let halted = if view.is_halted() { ", halted" } else { "" };
        let (range, version) = (range(view.region()), epoch.version);
        format!(
            "store{store} knows {range} v{version} c{}{halted}",
            epoch.conf_ver
        )
    })
}

/// Damaged files that are still there, and stores with lost disks that are not gone.
fn disk_complaints(world: &World) -> Vec<String> {
    let damaged = |host: &StoreHost| {
        let files = host.kv.damaged().unwrap_or_default();
        let names = files.into_iter().map(|file| file.name);
        let words = |name| format!("{name} of store{} is damaged", host.number);
        names.map(words).collect::<Vec<_>>()
    };
    let mut complaints: Vec<String> = world.stores.iter().flat_map(damaged).collect();
    let lost: Vec<u64> = world.sky.lock().lost_stores.iter().copied().collect();
    let stay = lost.into_iter().filter(|store| !world.is_buried(*store));
    complaints
        .extend(stay.map(|store| format!("store {store} has lost its disks, and is no tombstone")));
    complaints
}

/// Regions that the first placement driver knows otherwise than their leaders do. Its map tiles the key space (a law),
/// so the leaders' descriptors do when there is no difference.
fn map_differences(world: &World, leaders: &BTreeMap<u64, Region>) -> Vec<String> {
    let process = world.pds.first().and_then(|host| host.process.as_ref());
    let Some(process) = process else {
        return vec!["pd0 does not run".to_owned()];
    };
    let map = process.member.cluster().regions();
    let map: BTreeMap<u64, &Region> = map.iter().map(|region| (region.id, &**region)).collect();
    let ids = map.keys().chain(leaders.keys()).copied();
    let differ = |id: &u64| map.get(id).copied() != leaders.get(id);
    let ids: BTreeSet<u64> = ids.filter(differ).collect();
    let complain = |id| format!("region {id}: the placement driver knows it otherwise");
    ids.into_iter().map(complain).collect()
}

/// What regions are asked to do meanwhile.
fn running_operators(world: &World) -> Vec<String> {
    let processes = world.pds.iter().filter_map(|host| host.process.as_ref());
    let offices = processes.filter_map(|process| match process.member.seat() {
        Seat::Leader(office) => Some(office),
        _ => None,
    });
    let running = offices.flat_map(|office| office.operators().running());
    let show = |one: &Operator| {
        let step = one.step().map(ToString::to_string).unwrap_or_default();
        format!(
            "region {} is asked to {step} ({})",
            one.region.0, one.reason
        )
    };
    running.map(show).collect()
}

/// Placement drivers that differ from the first one; the applied position is part of what they hold.
fn placement_differences(world: &World) -> Vec<String> {
    let Some((first, rest)) = world.pds.split_first() else {
        return Vec::new();
    };
    let held = placement_state(first);
    let other = |host: &&PdHost| placement_state(host) != held;
    let differ = rest.iter().filter(other);
    let differ = differ.map(|host| format!("pd{} and pd{} differ", first.number, host.number));
    let running = world.pds.iter().filter_map(|host| {
        let process = host.process.as_ref()?;
        let entries = process.member.log_entries();
        (entries > 2 * KEEP_ENTRIES)
            .then(|| format!("the log of pd{} has {entries} entries", host.number))
    });
    differ.chain(running).collect()
}

/// Everything that a placement driver replicates: all of its engine.
pub fn placement_state(host: &PdHost) -> Vec<Pair> {
    let mut pairs = Vec::new();
    for family in 0..FAMILIES.len() as u8 {
        let scanned = scan(&host.kv, Family(family), (&[], &[]), &mut pairs);
        scanned.expect("nothing damages the disks of a placement driver");
    }
    pairs
}

/// Nothing if some of it is damaged, which is not looked at: nobody shall know of it by this.
fn content(kv: &Memory, range: &KeyRange) -> Option<Vec<Pair>> {
    let inside = |file: &DamagedFile| {
        range.start <= file.last && (range.end.is_empty() || file.first < range.end)
    };
    let mut pairs = Vec::new();
    if kv.rotten().iter().any(inside) {
        return None;
    }
    for family in [RAW, RAW2] {
        scan(kv, family, (&range.start, &range.end), &mut pairs).ok()?;
    }
    Some(pairs)
}

fn scan(
    kv: &dyn Engine,
    family: Family,
    (start, end): (&[u8], &[u8]),
    pairs: &mut Vec<Pair>,
) -> yadkv_engine::Result<()> {
    let mut visit = |key: &[u8], value: &[u8]| {
        pairs.push((family.0, key.to_vec(), value.to_vec()));
        ControlFlow::Continue(())
    };
    kv.snapshot()
        .scan(family, start, end, Direction::Forward, &mut visit)
}
