//! Damaged data files: whose data lies in them, and when they may go.
//!
//! *Place*: the server looks every second and tells workers and placement driver; whoever installs and destroys replicas
//! calls [`sweep`].
//!
//! *A merge* can halt a replica that has no damage itself: its own log says that it applies the log of the region that
//! becomes part of it, whose replica here has. [`named`] has both.
//!
//! *Life of a damaged file*: a read meets it, and is answered "busy" → [`look`] names the regions that may have data in it
//! → their leaders here hand over, the placement driver puts their replicas elsewhere → none lives here any more →
//! [`sweep`] takes the file away → replicas may come here again.
//!
//! *Invariants*: a file is taken away only while no replica that lives, or is being installed, has keys between its first
//! and its last one. No new replica comes while a damaged file is there, but one that takes the place of others here.
//!
//! *Limits and failure*: the store's own records cannot be had elsewhere: damage in them stops the node. The Raft logs are
//! another matter (`ARCHITECTURE.md`, How data would be lost).
//!
//! *Next stop*: `engine`.

use crate::layout::META;
use crate::planted::{self, Planted};
use crate::store::StoreError;
use crate::store::recover::load_regions;
use crate::view::Directory;
use std::collections::BTreeSet;
use yadkv_engine::{DamagedFile, Engine, Error};
use yadkv_proto::id::RegionId;
use yadkv_proto::key::KeyRange;
use yadkv_proto::storagepb::{PeerState, RegionRecord};

/// What is damaged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Damage {
    /// The files.
    pub files: Vec<DamagedFile>,
    /// Regions whose replica here may have data in one of them.
    pub regions: BTreeSet<RegionId>,
}

/// Looks what is damaged. An error stops the node.
pub fn look(kv: &dyn Engine) -> Result<Damage, StoreError> {
    let files = kv.damaged()?;
    if files.is_empty() {
        return Ok(Damage::default());
    }
    if let Some(file) = files.iter().find(|file| file.family == META) {
        let reason =
            "the store's own records are in it: empty the directory and let the store begin anew";
        return Err(StoreError::Engine(Error::Corrupt {
            place: file.name.clone(),
            reason: reason.to_owned(),
        }));
    }
    let here = load_regions(kv)?;
    let here = here
        .iter()
        .filter(|record| record.state() != PeerState::Tombstone);
    let touched = here.filter(|record| files.iter().any(|file| overlaps(file, record)));
    let id = |record: &RegionRecord| RegionId(record.region.as_ref().map_or(0, |region| region.id));
    let regions = touched.map(id).collect();
    Ok(Damage { files, regions })
}

/// What the placement driver is told: regions whose replica here has to be replaced, those included that apply nothing
/// any more.
pub fn named(kv: &dyn Engine, directory: &Directory) -> Result<Damage, StoreError> {
    let mut damage = look(kv)?;
    let halted = directory.all().into_iter().filter(|view| view.is_halted());
    damage.regions.extend(halted.map(|view| view.id()));
    Ok(damage)
}

/// Takes damaged files away that nobody needs; those that stay although nobody does, of which `kept` were found out
/// before. Not beside an installation.
pub fn sweep(kv: &dyn Engine, kept: &[DamagedFile]) -> Result<Vec<DamagedFile>, StoreError> {
    let Damage { files, regions } = look(kv)?;
    let mut stay = Vec::new();
    if regions.is_empty() || planted::is(Planted::DamagedFileDiscardedEarly) {
        if files.iter().any(|file| !kept.contains(file)) {
            // A table goes at once and for good: so must be what says that nobody lives in it.
            kv.sync()?;
        }
        for file in files {
            if !kv.discard_damaged(&file)? {
                stay.push(file);
            }
        }
    }
    Ok(stay)
}

fn overlaps(file: &DamagedFile, record: &RegionRecord) -> bool {
    let Some(region) = &record.region else {
        return false;
    };
    let range = KeyRange::of(region);
    range.start <= file.last && (range.end.is_empty() || file.first < range.end)
}
