//! Small plans of faults that belong together.
//!
//! *Place*: [`World::strike`] chooses one; each part is an [`Action`] that also happens alone.
//!
//! *Next stop*: [`super::members`].

use super::{Action, BORDERS};
use crate::client::insider::Deed;
use crate::sky::Machine;
use crate::world::World;
use std::time::Duration;

impl World {
    /// Two stores lose each other; the third, which hears both, restarts at once, again and again.
    pub(super) fn ambush_restarted_voter(&mut self) {
        let [one, other, voter] = self.three();
        let time = self.millis(2500, 4500);
        self.at_once(Action::Cut(
            Machine::Store(one),
            Machine::Store(other),
            time,
        ));
        let mut at = self.millis(900, 1200);
        for _ in 0..4 {
            let down = self.millis(5, 120);
            self.later(at, Action::Crash(Machine::Store(voter), down));
            at += self.millis(350, 900);
        }
    }

    /// Two stores lose each other while the third is down; when it comes back and votes, its power goes.
    pub(super) fn ambush_vote(&mut self) {
        let [one, other, voter] = self.three();
        let time = self.millis(5000, 7000);
        self.at_once(Action::Cut(
            Machine::Store(one),
            Machine::Store(other),
            time,
        ));
        let down = self.millis(1700, 2400);
        self.at_once(Action::Crash(Machine::Store(voter), down));
        self.later(down + Duration::from_millis(50), Action::Trap(voter));
    }

    /// Transfers are ordered, the orders are held back; meanwhile the old leader loses its peers.
    pub(super) fn ambush_transfer(&mut self) {
        let [from, to, _] = self.three();
        self.at_once(Action::HoldTransfers(Duration::from_millis(30)));
        for region in self.regions() {
            if self.leader(region) == Some(from) {
                self.at_once(Action::Transfer(region, to));
            }
        }
        let (start, time) = (self.millis(850, 1500), self.millis(400, 1500));
        self.later(start, Action::Isolate(Machine::Store(from), time));
    }

    /// A store's log disk hangs and it loses its peers: its worker stands still, others lead what its readers
    /// still show to clients.
    pub(super) fn ambush_reader(&mut self) {
        let [store, ..] = self.three();
        let (stall, time) = (self.millis(1500, 4000), self.millis(2500, 4500));
        if self.chance(850) {
            self.at_once(Action::SlowDisk(Machine::Store(store), stall, time));
        }
        if self.chance(300) {
            self.at_once(Action::SlowData(Machine::Store(store), time));
        }
        let start = self.millis(0, 200);
        self.later(start, Action::Isolate(Machine::Store(store), time));
    }

    /// A store is gone; clients ask the others before those know whether they lead, and whoever leads next is
    /// behind with applying.
    pub(super) fn ambush_new_leader(&mut self) {
        let regions = self.regions();
        let region = self.below(regions.len() as u64) as usize;
        let Some(gone) = regions.get(region).and_then(|region| self.leader(*region)) else {
            return;
        };
        let time = self.millis(1800, 3500);
        for other in (0..self.stores.len()).filter(|other| *other != gone) {
            self.at_once(Action::SlowData(Machine::Store(other), time));
        }
        let delay = self.millis(100, 1000);
        let kind = self.below(2);
        self.later(
            delay,
            match kind {
                0 => Action::Crash(Machine::Store(gone), time),
                _ => Action::IsolateFully(Machine::Store(gone), time),
            },
        );
    }

    /// A region is cut while its leader, or another, is behind with applying; then the power goes, or somebody is cut
    /// off.
    pub(super) fn ambush_split(&mut self) {
        let time = self.millis(1800, 4000);
        for store in 0..self.stores.len() {
            if self.chance(400) {
                self.at_once(Action::SlowData(Machine::Store(store), time));
            }
        }
        for _ in 0..3 {
            let border = BORDERS[self.below(BORDERS.len() as u64) as usize];
            let at = self.millis(0, 600);
            self.later(at, Action::Split(border));
        }
        let (at, dark) = (self.millis(20, 1500), self.millis(10, 600));
        match self.below(4) {
            0 => {}
            1 => {
                for store in 0..self.stores.len() {
                    let at = at + self.millis(0, 30);
                    self.later(at, Action::PowerLoss(Machine::Store(store), dark));
                }
            }
            2 => {
                let [store, ..] = self.three();
                self.later(at, Action::PowerLoss(Machine::Store(store), dark));
            }
            _ => {
                let [store, ..] = self.three();
                self.later(at, Action::Isolate(Machine::Store(store), time));
            }
        }
    }

    /// A leader proposes a split and stops applying; the others apply it, one of them leads the part that was cut off,
    /// and somebody writes there while others still ask the old leader.
    pub(super) fn ambush_unapplied_split(&mut self) {
        let border = [&b"c"[..], b"k", b"q"][self.below(3) as usize];
        let Some((store, _)) = self.leading(border) else {
            return;
        };
        let time = self.millis(2600, 4500);
        self.at_once(Action::StallApply(Machine::Store(store), time));
        self.at_once(Action::Split(border));
        let mut at = self.millis(1000, 1800);
        while at < time {
            let key = ["b", "a", "h", "i", "p"][self.below(5) as usize];
            let (deed, late) = match self.below(5) {
                0..=1 => (Deed::Put, false),
                2 => (Deed::Swap, true),
                3 => (Deed::Get, true),
                _ => (Deed::Get, false),
            };
            self.later(at, Action::Insider(key, deed, late));
            at += self.millis(10, 120);
        }
    }

    /// The clock of the leading placement driver jumps ahead; soon after it is gone.
    pub(super) fn ambush_timestamps(&mut self) {
        let Some(leader) = self.pd_leader().map(Machine::Pd) else {
            return;
        };
        let (by, delay) = (2000 + self.below(4000) as i64, self.millis(5, 250));
        self.at_once(Action::StepClock(leader, by));
        self.later(Duration::from_secs(5), Action::StepClock(leader, -by));
        let (kind, time) = (self.below(3), self.millis(1500, 4000));
        self.later(
            delay,
            match kind {
                0 => Action::Crash(leader, time),
                1 => Action::PowerLoss(leader, time),
                _ => Action::IsolateFully(leader, time),
            },
        );
    }

    /// A store is away until the others have shortened their logs without it; when it is back and is sent everything,
    /// something happens to it, or to a sender.
    pub(super) fn ambush_laggard(&mut self) {
        let [store, other, _] = self.three();
        let away = self.millis(2500, 5000);
        let action = match self.below(3) {
            0 => Action::Crash(Machine::Store(store), away),
            1 => Action::PowerLoss(Machine::Store(store), away),
            _ => Action::IsolateFully(Machine::Store(store), away),
        };
        self.at_once(action);
        self.later(
            away.saturating_sub(Duration::from_millis(600)),
            Action::ShortenLogs,
        );
        for _ in 0..self.below(3) {
            let at = away + self.millis(10, 1500);
            let dark = self.millis(10, 500);
            let action = match self.below(4) {
                0 => Action::PowerLoss(Machine::Store(other), dark),
                1 => Action::Crash(Machine::Store(store), dark),
                _ => Action::PowerLoss(Machine::Store(store), dark),
            };
            self.later(at, action);
        }
    }

    /// A placement driver is away until the others have shortened their logs without it; when it is back and is sent the
    /// state, something happens to it, or to another one.
    pub(super) fn ambush_member(&mut self) {
        let pds = self.pds.len() as u64;
        let (pd, other) = (self.below(pds) as usize, self.below(pds) as usize);
        let (machine, away) = (Machine::Pd(pd), self.millis(2000, 4500));
        let action = match self.below(3) {
            0 => Action::Crash(machine, away),
            1 => Action::PowerLoss(machine, away),
            _ => Action::IsolateFully(machine, away),
        };
        self.at_once(action);
        if self.chance(700) {
            let power_loss = self.chance(700);
            self.at_once(Action::TrapInstall(pd, power_loss));
        }
        if self.chance(500) {
            let (at, dark) = (away + self.millis(10, 1000), self.millis(10, 1500));
            self.later(at, Action::PowerLoss(Machine::Pd(other), dark));
        }
    }
}
