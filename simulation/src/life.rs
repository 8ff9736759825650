//! How processes begin and end, whatever runs in them.
//!
//! *Place*: [`crate::pd::PdHost`] and [`crate::store::StoreHost`] call it when they boot and are killed. What lies
//! in between is each host's own: their loops look alike, but a store's has several workers, traps and effects,
//! and a placement driver's makes round after round; one loop for both would be made of exceptions.
//!
//! *Invariants*: a life has a number that no other life of the machine has; events and replies of an ended one
//! reach nobody. Without power nobody resets connections: callers wait until their time is up.
//!
//! *Next stop*: [`crate::pd`].

use crate::chronicle::Happening;
use crate::sky::{Answer, Machine, Shared};
use yadkv_client::runtime::CallError;
use yadkv_engine::memory::Memory;

/// The disks of a machine.
#[derive(Clone, Copy)]
pub struct Disks<'a> {
    /// The data, which has no log of its own.
    pub kv: &'a Memory,
    /// The Raft logs.
    pub raft: &'a Memory,
}

/// A process starts over the disks of its machine; the number of its life.
pub fn begin(sky: &Shared, machine: Machine, disks: Disks<'_>) -> u64 {
    disks.kv.restart();
    disks.raft.restart();
    let mut sky = sky.lock();
    let life = sky.life(machine) + 1;
    sky.lives.insert(machine, life);
    crate::note!(sky, "{machine} boots, life {life}");
    sky.tell(Happening::Boots(machine));
    life
}

/// A process ends, and the data loses what chance decides of what was not synced; with a power loss the logs too.
pub fn end(sky: &Shared, machine: Machine, disks: Disks<'_>, power_loss: bool) {
    let mut sky = sky.lock();
    let life = sky.life(machine) + 1;
    sky.lives.insert(machine, life);
    if !power_loss {
        crate::note!(sky, "{machine} crashes");
        for call in sky.calls.at(machine) {
            let reset = CallError::Lost("connection reset".into());
            sky.answer(machine, call, Answer::Failed(reset));
        }
    } else {
        crate::note!(sky, "{machine} loses power");
    }
    let losing = [("data", disks.kv, true), ("logs", disks.raft, power_loss)];
    for (name, disk, loses) in losing {
        if !loses {
            continue;
        }
        let unsynced = disk.unsynced();
        let keep = sky.places.machine(machine).below(unsynced as u64 + 1) as usize;
        crate::note!(
            sky,
            "{machine} {name}: {keep} of {unsynced} unsynced batches survive"
        );
        disk.power_loss(keep);
    }
}
