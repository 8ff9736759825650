//! Regions become part of their neighbours, while everything else goes wrong.
//!
//! *Place*: [`World::strike_merge`] and [`World::ambush_unapplied_merge`] plan, [`World::merge`] tells the leader; what
//! it refuses is not done.
//!
//! *Limits*: only at borders that the simulation cuts at: those of the keyspaces stay, as the placement driver would
//! see to.
//!
//! *Next stop*: [`crate::run`].

use super::members::Change;
use super::{Action, BORDERS};
use crate::client::insider::Deed;
use crate::sky::{Machine, StoreEvent};
use crate::store::schedule;
use crate::world::World;
use std::time::Duration;
use yadkv_proto::id::RegionId;
use yadkv_proto::metapb::Region;
use yadkv_storage_core::store::message::MergeTask;

impl World {
    /// Regions are cut and become one again, perhaps several after each other; meanwhile one of them may change, or
    /// somebody fails.
    pub(super) fn strike_merge(&mut self) {
        let mut at = Duration::ZERO;
        for _ in 0..=self.below(4) {
            let border = self.any_border();
            if self.chance(500) {
                self.later(at, Action::Split(border));
                at += self.millis(20, 900);
            }
            let left = self.chance(500);
            self.later(at, Action::Merge(border, left));
            let soon = at + self.millis(0, 12);
            self.disturb_merge((border, left), at, soon);
            at += self.millis(0, 800);
        }
        if self.chance(300) {
            let at = at + self.millis(0, 2000);
            self.later(at, Action::ShortenLogs);
        }
    }

    /// Something happens at about the time of a merge, or nothing.
    fn disturb_merge(
        &mut self,
        (border, left): (&'static [u8], bool),
        at: Duration,
        soon: Duration,
    ) {
        let sides = self.sides(border, left);
        let (source, target) = sides.map_or((0, 0), |(source, target)| (source.id, target.id));
        match self.below(24) {
            // What changes the target first makes the merge fail.
            0 => self.later(soon, Action::Split(self.any_border())),
            1..=3 => self.later(soon, Action::Members(target, Change::Learn)),
            4 => {
                let stores = self.stores.len() as u64;
                let to = self.below(stores) as usize;
                let moved = [source, target][self.below(2) as usize];
                self.later(soon, Action::Transfer(moved, to));
            }
            // One has the source's log, and forgets what it did; when it is back, the source is over.
            5 | 15 | 16 => {
                let ([store, ..], dark) = (self.three(), self.millis(50, 2000));
                let at = match self.below(2) {
                    0 => soon,
                    _ => at + self.millis(5, 90),
                };
                self.later(at, Action::PowerLoss(Machine::Store(store), dark));
            }
            // Somebody has the source's last entries, and hears neither that they are committed nor anything later.
            18..=23 => {
                let noise = Action::Noise(450, 0, 0, Duration::from_millis(40));
                for key in ["a", "b", "h", "i", "p"] {
                    let before = at.saturating_sub(self.millis(1, 4));
                    self.later(before, Action::Insider(key, Deed::Put, false));
                }
                self.later(at + self.millis(0, 3), noise);
            }
            6 => {
                let [store, ..] = self.three();
                let time = self.millis(500, 3000);
                self.later(soon, Action::IsolateFully(Machine::Store(store), time));
            }
            7 => {
                let dark = self.millis(10, 400);
                for store in 0..self.stores.len() {
                    let at = soon + self.millis(0, 90);
                    self.later(at, Action::PowerLoss(Machine::Store(store), dark));
                }
            }
            // One hears no more of the source, and goes on hearing of the target.
            10..=14 => {
                let leader = self.leader(source).unwrap_or_default();
                let other = self.three().into_iter().find(|other| *other != leader);
                let (one, other) = (Machine::Store(leader), other.map(Machine::Store));
                let time = self.millis(800, 4000);
                if let Some(other) = other {
                    self.later(soon, Action::Cut(one, other, time));
                }
            }
            8..=9 => {
                let [store, ..] = self.three();
                let time = self.millis(500, 3000);
                self.later(soon, Action::StallApply(Machine::Store(store), time));
            }
            _ => {}
        }
    }

    /// A leader proposes a merge and stops applying; the others apply it, one of them leads the region that both are
    /// now, and somebody writes there while others still ask the old leader.
    pub(super) fn ambush_unapplied_merge(&mut self) {
        let (border, keys) = [
            (&b"c"[..], ["b", "h"]),
            (b"h", ["b", "h"]),
            (b"k", ["i", "p"]),
        ][self.below(3) as usize];
        let left = self.chance(500);
        let key = keys[usize::from(!left)];
        self.at_once(Action::Split(border));
        let Some((store, _)) = self.leading(key.as_bytes()) else {
            return;
        };
        let mut others = self.three().into_iter().filter(|other| *other != store);
        let [start, time] = [self.millis(300, 900), self.millis(1200, 3500)];
        if let (Some(other), Some((_, target))) = (others.next_back(), self.sides(border, left)) {
            self.later(start / 2, Action::Transfer(target.id, other));
        }
        self.later(start, Action::StallApply(Machine::Store(store), time));
        self.later(
            start + Duration::from_millis(1),
            Action::Merge(border, left),
        );
        let mut at = start + self.millis(5, 60);
        while at < start + time {
            let (deed, late) = match self.below(5) {
                0..=1 => (Deed::Put, false),
                2 => (Deed::Swap, true),
                _ => (Deed::Get, true),
            };
            self.later(at, Action::Insider(key, deed, late));
            at += self.millis(5, 60);
        }
    }

    /// Tells the leader of the region left (or right) of a border to let it become part of the other one.
    pub(super) fn merge(&mut self, border: &[u8], left: bool) {
        let Some((source, target)) = self.sides(border, left) else {
            return;
        };
        let Some(store) = self.leader(source.id) else {
            return;
        };
        let id = RegionId(source.id);
        let task = MergeTask {
            epoch: source.region_epoch.unwrap_or_default(),
            target,
        };
        let machine = Machine::Store(store);
        let mut sky = self.sky.lock();
        let life = sky.life(machine);
        let event = StoreEvent::Merge(id, Box::new(task));
        schedule(&mut sky, machine, life, Duration::ZERO, event);
    }

    /// The two regions that meet at a border, as their leaders know them; the left one first if it is said so.
    fn sides(&self, border: &[u8], left: bool) -> Option<(Region, Region)> {
        let led = self.regions().into_iter().filter_map(|region| {
            let directory = &self.stores[self.leader(region)?].runs()?.directory;
            Some(directory.get(RegionId(region))?.region().clone())
        });
        let led: Vec<Region> = led.collect();
        let ends = led.iter().find(|region| region.end_key == border)?.clone();
        let begins = led
            .iter()
            .find(|region| region.start_key == border)?
            .clone();
        Some(match left {
            true => (ends, begins),
            false => (begins, ends),
        })
    }

    fn any_border(&self) -> &'static [u8] {
        BORDERS[self.below(BORDERS.len() as u64) as usize]
    }
}
