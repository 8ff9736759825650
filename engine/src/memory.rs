//! The engine in memory, which loses at a crash exactly what a real disk could lose.
//!
//! *Place*: the simulation and the tests of every core open it where a server opens `rocks`.
//!
//! *Types to know*: [`Memory`] (a handle to one simulated disk: clones share it, so it outlives the simulated
//! process that wrote to it), [`Fault`] (how the next write fails).
//!
//! *Life of a batch*: [`Memory::write`] applies it to `visible` and appends it to `unsynced`; a synced write or
//! [`Memory::sync`] copies `visible` to `durable` (O(1): the maps are persistent trees) and empties `unsynced`.
//!
//! ```text
//!   durable --replay unsynced[0..n]--> visible        a process crash keeps `visible`
//!           --replay unsynced[0..keep]--> new visible a power loss keeps a prefix, chosen by the caller
//! ```
//!
//! *Life of damage*: [`Memory::rot`] damages what a table file holds; nobody knows → a read of any key between its
//! first and last one, or a scan that passes them, is refused, and [`Engine::damaged`] names the file from then on →
//! [`Engine::discard_damaged`]. Restarts and power losses heal nothing: the file is on the disk. Neither do writes and
//! sets that are taken in: newer tables lie over the file, and a reader has to pass it all the same, if only to know
//! that it holds nothing of the key. Views that were taken before the damage show what they showed, those taken before
//! the file went stay damaged.
//!
//! *Invariants*: replaying all of `unsynced` on `durable` gives `visible`; a batch is kept whole or lost whole;
//! if one is lost then so is every later one.
//!
//! *Limits and failure*: at most [`UNSYNCED_BATCHES_MAX`] batches wait for a sync, then the oldest becomes
//! durable by itself, as a kernel writes back old pages. A write beyond the capacity fails like a full disk.
//! After a failed write every later one fails with [`Error::Poisoned`] until [`Memory::restart`] or
//! [`Memory::power_loss`].
//!
//! *Source*: what ext4 and RocksDB's log promise at a crash.
//!
//! *Next stop*: `rocks`, the same promises on a real disk.

use crate::intake::{Intake, Order, Stage};
use crate::{
    Cached, DamagedFile, Direction, Durability, Engine, Error, Family, LogEngine, Operation,
    Result, Snapshot, Statistics, Visitor, WriteBatch,
};
use bytes::Bytes;
use imbl::OrdMap;
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Batches that may wait for a sync. Too small and the simulation never loses what a real disk loses; too large
/// and a long run that never syncs keeps every value it ever wrote.
pub const UNSYNCED_BATCHES_MAX: usize = 65_536;

/// How an injected failure looks to the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The write itself fails: nothing of the batch is applied.
    Write,
    /// The batch is applied but the following sync fails: a later power loss may keep it or lose it.
    Sync,
}

type Map = OrdMap<Bytes, Bytes>;

/// A handle to one simulated disk.
#[derive(Clone)]
pub struct Memory {
    disk: Arc<Mutex<Disk>>,
}

struct Disk {
    /// What readers see, one map a family.
    visible: Vec<Map>,
    /// What a power loss certainly leaves.
    durable: Vec<Map>,
    /// What leads from `durable` to `visible`, oldest first.
    unsynced: VecDeque<WriteBatch>,
    /// Why no write is taken any more.
    poisoned: Option<String>,
    /// The failure to come, and how many writes or syncs still succeed before it.
    fault: Option<(Fault, usize)>,
    /// Bytes of visible keys and values.
    bytes: u64,
    /// Most that `bytes` may grow to.
    capacity: u64,
    /// Whether `get_cached` answers, or always says that the disk must be asked.
    cached: bool,
    /// What reads fail on.
    damaged: Vec<Rotten>,
    /// Finished sets, durable.
    staged: BTreeMap<String, Vec<(Family, Bytes, Bytes)>>,
}

/// A file whose bytes are not what was written.
#[derive(Clone)]
struct Rotten {
    file: DamagedFile,
    /// Whether a read has found out; all copies tell the same.
    met: Arc<AtomicBool>,
}

impl Disk {
    fn view(&self) -> View {
        View {
            families: self.visible.clone(),
            damaged: self.damaged.clone(),
        }
    }
}

impl Memory {
    /// An empty disk with `families` column families, of unlimited capacity.
    pub fn new(families: usize) -> Self {
        let empty = vec![Map::new(); families];
        Self {
            disk: Arc::new(Mutex::new(Disk {
                visible: empty.clone(),
                durable: empty,
                unsynced: VecDeque::new(),
                poisoned: None,
                fault: None,
                bytes: 0,
                capacity: u64::MAX,
                cached: true,
                damaged: Vec::new(),
                staged: BTreeMap::new(),
            })),
        }
    }

    /// Batches that a power loss could lose: the range of `keep` in [`Memory::power_loss`].
    pub fn unsynced(&self) -> usize {
        self.disk.lock().unsynced.len()
    }

    /// Cuts the power: of the unsynced batches the first `keep` survive, the others are lost. The machine comes
    /// back with a healthy disk: poison and injected faults are gone.
    ///
    /// Snapshots taken before keep showing what they showed.
    pub fn power_loss(&self, keep: usize) {
        let mut disk = self.disk.lock();
        disk.visible = disk.durable.clone();
        let survivors: Vec<_> = disk.unsynced.drain(..).take(keep).collect();
        for batch in survivors {
            apply(&mut disk.visible, &batch);
        }
        // What has survived a power loss is on the platter.
        disk.durable = disk.visible.clone();
        disk.bytes = disk.visible.iter().map(map_bytes).sum();
        disk.heal();
    }

    /// Ends the process and starts it again, the power staying on: nothing that was written is lost. An engine
    /// without a log does lose: end it with [`Self::power_loss`]. Poison and injected faults are gone.
    pub fn restart(&self) {
        self.disk.lock().heal();
    }

    /// Lets the next `after` writes and syncs succeed and the one after them fail as `fault` says.
    pub fn fail_writes(&self, fault: Fault, after: usize) {
        self.disk.lock().fault = Some((fault, after));
    }

    /// Limits the bytes of all visible keys and values; a write that would grow beyond fails as on a full disk.
    pub fn set_capacity(&self, bytes: u64) {
        self.disk.lock().capacity = bytes;
    }

    /// Damages the bytes of a file that holds these keys, and somebody has met that already.
    pub fn damage(&self, file: DamagedFile) {
        self.rot(file);
        self.meet_damage();
    }

    /// Damages the bytes of a file that holds these keys; nobody knows before somebody reads one of them.
    pub fn rot(&self, file: DamagedFile) {
        let met = Arc::default();
        self.disk.lock().damaged.push(Rotten { file, met });
    }

    /// All damaged files, whether or not somebody has met the damage: what only a simulation can know.
    pub fn rotten(&self) -> Vec<DamagedFile> {
        let disk = self.disk.lock();
        disk.damaged.iter().map(|one| one.file.clone()).collect()
    }

    /// Everything is read, as when all tables are merged; whether that found damage.
    pub fn meet_damage(&self) -> bool {
        let met = |one: &Rotten| !one.met.swap(true, Ordering::Relaxed);
        let disk = self.disk.lock();
        disk.damaged.iter().filter(|one| met(one)).count() > 0
    }

    /// Whether [`Engine::get_cached`] answers (the start value), or always asks for the disk.
    pub fn set_cached(&self, cached: bool) {
        self.disk.lock().cached = cached;
    }
}

impl LogEngine for Memory {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>> {
        let disk = self.disk.lock();
        sound(&disk.damaged, family, key)?;
        Ok(disk.family(family).get(key).cloned())
    }

    fn scan(
        &self,
        family: Family,
        start: &[u8],
        end: &[u8],
        direction: Direction,
        visit: &mut Visitor<'_>,
    ) -> Result<()> {
        self.snapshot().scan(family, start, end, direction, visit)
    }

    fn write(&self, batch: WriteBatch, durability: Durability) -> Result<()> {
        let mut disk = self.disk.lock();
        disk.check_poison()?;
        let fault = disk.next_fault();
        if fault == Some(Fault::Write) {
            return Err(disk.poison("injected write failure"));
        }
        let mut visible = disk.visible.clone();
        let grown = apply(&mut visible, &batch);
        let bytes = disk.bytes.saturating_add_signed(grown);
        if grown > 0 && bytes > disk.capacity {
            return Err(disk.poison("no space left on the disk"));
        }
        disk.visible = visible;
        disk.bytes = bytes;
        if !batch.is_empty() {
            disk.remember(batch);
        }
        if fault == Some(Fault::Sync) {
            return Err(disk.poison("injected sync failure"));
        }
        if durability == Durability::Synced {
            disk.make_durable();
        }
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        let mut disk = self.disk.lock();
        disk.check_poison()?;
        if disk.next_fault().is_some() {
            return Err(disk.poison("injected sync failure"));
        }
        disk.make_durable();
        Ok(())
    }

    fn give_back(&self) -> Result<()> {
        Ok(())
    }

    fn reclaim(&self) -> Result<()> {
        Ok(())
    }

    fn statistics(&self) -> Statistics {
        let disk = self.disk.lock();
        Statistics {
            disk_bytes: disk.bytes,
            kept_bytes: 0,
            dead_bytes: 0,
            memory_bytes: disk.bytes,
        }
    }
}

impl Engine for Memory {
    fn get_cached(&self, family: Family, key: &[u8]) -> Result<Cached> {
        let disk = self.disk.lock();
        if !disk.cached {
            return Ok(Cached::Unknown);
        }
        sound(&disk.damaged, family, key)?;
        Ok(disk
            .family(family)
            .get(key)
            .map_or(Cached::Missing, |value| Cached::Found(value.clone())))
    }

    fn get_durable(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>> {
        let disk = self.disk.lock();
        sound(&disk.damaged, family, key)?;
        let map = disk.durable.get(usize::from(family.0));
        Ok(map.and_then(|map| map.get(key)).cloned())
    }

    fn snapshot(&self) -> Box<dyn Snapshot + '_> {
        Box::new(self.disk.lock().view())
    }

    fn hold(self: Arc<Self>) -> Box<dyn Snapshot + Send> {
        Box::new(self.disk.lock().view())
    }

    fn damaged(&self) -> Result<Vec<DamagedFile>> {
        let disk = self.disk.lock();
        let met = disk.damaged.iter();
        let met = met.filter(|one| one.met.load(Ordering::Relaxed));
        Ok(met.map(|one| one.file.clone()).collect())
    }

    fn discard_damaged(&self, file: &DamagedFile) -> Result<bool> {
        let mut batch = WriteBatch::new();
        batch.delete_range(file.family, file.first.clone(), after(&file.last));
        let mut disk = self.disk.lock();
        disk.check_poison()?;
        let grown = apply(&mut disk.visible, &batch);
        disk.bytes = disk.bytes.saturating_add_signed(grown);
        // A table is gone at once, and nothing that was written before becomes durable by that.
        apply(&mut disk.durable, &batch);
        let within = |one: &DamagedFile| {
            one.family == file.family && file.first <= one.first && one.last <= file.last
        };
        disk.damaged.retain(|one| !within(&one.file));
        Ok(true)
    }
}

impl Intake for Memory {
    fn stage(&self, name: &str) -> Result<Box<dyn Stage + '_>> {
        self.discard(name)?;
        Ok(Box::new(Pairs {
            disk: self,
            name: name.to_owned(),
            order: Order::default(),
            pairs: Vec::new(),
        }))
    }

    fn ingest(&self, name: &str) -> Result<()> {
        let mut disk = self.disk.lock();
        disk.check_poison()?;
        let Some(pairs) = disk.staged.get(name).cloned() else {
            return Err(Error::Corrupt {
                place: name.to_owned(),
                reason: "the staged set is missing".to_owned(),
            });
        };
        let mut batch = WriteBatch::new();
        for (family, key, value) in pairs {
            batch.put(family, key, value);
        }
        // At once on the disk, whatever was written before waits for.
        apply(&mut disk.durable, &batch);
        let grown = apply(&mut disk.visible, &batch);
        disk.bytes = disk.bytes.saturating_add_signed(grown);
        Ok(())
    }

    fn discard(&self, name: &str) -> Result<()> {
        self.disk.lock().staged.remove(name);
        Ok(())
    }

    fn staged(&self) -> Result<Vec<String>> {
        Ok(self.disk.lock().staged.keys().cloned().collect())
    }
}

/// A set in the making; a crash forgets it.
struct Pairs<'a> {
    disk: &'a Memory,
    name: String,
    order: Order,
    pairs: Vec<(Family, Bytes, Bytes)>,
}

impl Stage for Pairs<'_> {
    fn put(&mut self, family: Family, key: &[u8], value: &[u8]) -> Result<()> {
        self.order.follow(family, key)?;
        let (key, value) = (Bytes::copy_from_slice(key), Bytes::copy_from_slice(value));
        self.pairs.push((family, key, value));
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<()> {
        self.disk.disk.lock().staged.insert(self.name, self.pairs);
        Ok(())
    }
}

impl Disk {
    fn family(&self, family: Family) -> &Map {
        self.visible
            .get(usize::from(family.0))
            .expect("the family is one of those the engine was opened with")
    }

    fn check_poison(&self) -> Result<()> {
        match &self.poisoned {
            Some(reason) => Err(Error::Poisoned(reason.clone())),
            None => Ok(()),
        }
    }

    fn poison(&mut self, reason: &str) -> Error {
        self.poisoned = Some(reason.to_owned());
        Error::Poisoned(reason.to_owned())
    }

    fn heal(&mut self) {
        self.poisoned = None;
        self.fault = None;
    }

    /// Counts one write towards the injected fault; the fault if it is due now.
    fn next_fault(&mut self) -> Option<Fault> {
        match &mut self.fault {
            Some((fault, 0)) => Some(*fault),
            Some((_, left)) => {
                *left -= 1;
                None
            }
            None => None,
        }
    }

    fn remember(&mut self, batch: WriteBatch) {
        self.unsynced.push_back(batch);
        if self.unsynced.len() > UNSYNCED_BATCHES_MAX
            && let Some(oldest) = self.unsynced.pop_front()
        {
            apply(&mut self.durable, &oldest);
        }
    }

    fn make_durable(&mut self) {
        self.durable = self.visible.clone();
        self.unsynced.clear();
    }
}

/// Applies a batch; returns by how many bytes the maps grew.
fn apply(families: &mut [Map], batch: &WriteBatch) -> i64 {
    let mut grown = 0;
    for operation in batch.operations() {
        let (Operation::Put(family, ..)
        | Operation::Delete(family, ..)
        | Operation::DeleteRange(family, ..)) = operation;
        let map = families
            .get_mut(usize::from(family.0))
            .expect("the family is one of those the engine was opened with");
        match operation {
            Operation::Put(_, key, value) => {
                grown += pair_bytes(key, value);
                let old = map.insert(key.clone(), value.clone());
                grown -= old.map_or(0, |old| pair_bytes(key, &old));
            }
            Operation::Delete(_, key) => {
                let old = map.remove(key);
                grown -= old.map_or(0, |old| pair_bytes(key, &old));
            }
            Operation::DeleteRange(_, start, end) => grown -= delete_range(map, start, end),
        }
    }
    grown
}

/// Removes `[start, end)`; returns the bytes removed.
fn delete_range(map: &mut Map, start: &[u8], end: &[u8]) -> i64 {
    let Some(bounds) = bounds(start, end) else {
        return 0;
    };
    let doomed: Vec<Bytes> = map
        .range::<_, [u8]>(bounds)
        .map(|(key, _)| key.clone())
        .collect();
    let mut removed = 0;
    for key in doomed {
        let old = map.remove(&key);
        removed += old.map_or(0, |old| pair_bytes(&key, &old));
    }
    removed
}

fn pair_bytes(key: &[u8], value: &[u8]) -> i64 {
    (key.len() + value.len()) as i64
}

fn map_bytes(map: &Map) -> u64 {
    map.iter()
        .map(|(key, value)| (key.len() + value.len()) as u64)
        .sum()
}

type Bounds<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

/// The bounds of `[start, end)`, an empty end being plus infinity; nothing if no key lies inside.
fn bounds<'a>(start: &'a [u8], end: &'a [u8]) -> Option<Bounds<'a>> {
    if end.is_empty() {
        return Some((Bound::Included(start), Bound::Unbounded));
    }
    (start < end).then_some((Bound::Included(start), Bound::Excluded(end)))
}

/// A view of one moment: the persistent maps as they were.
struct View {
    families: Vec<Map>,
    damaged: Vec<Rotten>,
}

/// Refuses a key that a damaged file may hold.
fn sound(damaged: &[Rotten], family: Family, key: &[u8]) -> Result<()> {
    passes(damaged, family, key, Bound::Included(key))
}

/// Refuses a way from a key to another one that leads through a damaged file.
fn passes(damaged: &[Rotten], family: Family, low: &[u8], high: Bound<&[u8]>) -> Result<()> {
    let meets = |one: &&Rotten| {
        let begins = match high {
            Bound::Included(high) => *one.file.first <= *high,
            Bound::Excluded(high) => *one.file.first < *high,
            Bound::Unbounded => true,
        };
        one.file.family == family && begins && *low <= *one.file.last
    };
    match damaged.iter().find(meets) {
        None => Ok(()),
        Some(one) => {
            one.met.store(true, Ordering::Relaxed);
            Err(Error::Corrupt {
                place: one.file.name.clone(),
                reason: "block checksum mismatch".to_owned(),
            })
        }
    }
}

/// The least key behind another one.
fn after(key: &[u8]) -> Bytes {
    [key, &[0]].concat().into()
}

impl View {
    fn family(&self, family: Family) -> &Map {
        self.families
            .get(usize::from(family.0))
            .expect("the family is one of those the engine was opened with")
    }
}

impl Snapshot for View {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>> {
        sound(&self.damaged, family, key)?;
        Ok(self.family(family).get(key).cloned())
    }

    fn scan(
        &self,
        family: Family,
        start: &[u8],
        end: &[u8],
        direction: Direction,
        visit: &mut Visitor<'_>,
    ) -> Result<()> {
        let Some(bounds) = bounds(start, end) else {
            return Ok(());
        };
        let mut pairs = self.family(family).range::<_, [u8]>(bounds);
        // What is still ahead.
        let (mut low, mut high) = (start, bounds.1);
        loop {
            let next = match direction {
                Direction::Forward => pairs.next(),
                Direction::Backward => pairs.next_back(),
            };
            let Some((key, value)) = next else {
                return passes(&self.damaged, family, low, high);
            };
            match direction {
                Direction::Forward => passes(&self.damaged, family, low, Bound::Included(key))?,
                Direction::Backward => passes(&self.damaged, family, key, high)?,
            }
            if visit(key, value) == ControlFlow::Break(()) {
                return Ok(());
            }
            match direction {
                Direction::Forward => low = key,
                Direction::Backward => high = Bound::Included(key),
            }
        }
    }
}
