//! Faults in words, for the story of a run.
//!
//! *Next stop*: [`crate::story`].

use super::Action;
use super::disks::Stretch;
use super::members::Change;
use crate::client::insider::Deed;
use std::fmt;
use std::time::Duration;

impl fmt::Display for Action {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Crash(machine, time) => {
                write!(formatter, "{machine} crashes, for {}", shown(*time))
            }
            Self::PowerLoss(machine, time) => {
                write!(formatter, "{machine} loses power for {}", shown(*time))
            }
            Self::Boot(machine) => write!(formatter, "{machine} starts"),
            Self::Cut(one, other, time) => write!(
                formatter,
                "{one} and {other} lose each other for {}",
                shown(*time)
            ),
            Self::CutOneWay(from, to, time) => {
                write!(
                    formatter,
                    "{to} hears no more of {from} for {}",
                    shown(*time)
                )
            }
            Self::Mend(one, other) => write!(formatter, "{one} and {other} hear each other again"),
            Self::Isolate(machine, time) => {
                write!(formatter, "{machine} loses its peers for {}", shown(*time))
            }
            Self::IsolateFully(machine, time) => {
                write!(formatter, "{machine} loses everybody for {}", shown(*time))
            }
            Self::Pause(machine, time) => {
                write!(formatter, "{machine} stands still for {}", shown(*time))
            }
            Self::StepClock(machine, by) => {
                write!(formatter, "the wall clock of {machine} jumps by {by} ms")
            }
            Self::Noise(loss, twice, late, time) => write!(
                formatter,
                "of 1000 messages {loss} are lost, {twice} come twice, {late} late, for {}",
                shown(*time)
            ),
            Self::Quiet => write!(formatter, "messages arrive again"),
            Self::SlowDisk(machine, by, time) => write!(
                formatter,
                "syncs of {machine} take {} longer, for {}",
                shown(*by),
                shown(*time)
            ),
            Self::QuickDisk(machine) => write!(formatter, "syncs of {machine} are quick again"),
            Self::SlowData(machine, time) => write!(
                formatter,
                "the data engine of {machine} hangs now and then, for {}",
                shown(*time)
            ),
            Self::QuickData(machine) => {
                write!(formatter, "the data engine of {machine} is quick again")
            }
            Self::StallApply(machine, time) => {
                write!(formatter, "{machine} applies nothing for {}", shown(*time))
            }
            order => order.order(formatter),
        }
    }
}

impl Action {
    /// What is ordered rather than broken.
    fn order(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Insider(key, deed, late) => {
                let deed = match deed {
                    Deed::Put => "puts to",
                    Deed::Get => "reads",
                    Deed::Swap => "puts, if there is nothing, to",
                };
                let borders = if *late { "oldest" } else { "newest" };
                write!(
                    formatter,
                    "somebody {deed} {key:?} at the leader with the {borders} borders"
                )
            }
            Self::HoldTransfers(time) => write!(
                formatter,
                "orders of leader transfers are held back, for {}",
                shown(*time)
            ),
            Self::PassTransfers => write!(formatter, "orders of leader transfers pass again"),
            Self::Split(border) => {
                write!(
                    formatter,
                    "a cut at \"{}\" is asked for",
                    border.escape_ascii()
                )
            }
            Self::Transfer(region, to) => {
                write!(formatter, "region {region} is to be led by store{to}")
            }
            Self::Trap(store) => write!(
                formatter,
                "a trap: the power of store{store} goes when it next writes a vote"
            ),
            Self::TrapInstall(pd, power) => {
                let what = if *power { "loses power" } else { "crashes" };
                write!(formatter, "a trap: pd{pd} {what} when it installs a state")
            }
            Self::Members(region, change) => {
                let change = match change {
                    Change::Learn => "is to have a learner on another store",
                    Change::Promote => "is to let its learner vote",
                    Change::Exchange => "is to exchange a voter for its learner",
                    Change::Drop => "is to lose its learner",
                    Change::Remove => "is to lose a voter",
                    Change::Leave => "is to leave its joint state",
                };
                write!(formatter, "region {region} {change}")
            }
            Self::Merge(border, left) => {
                let (source, target) = if *left {
                    ("left", "right")
                } else {
                    ("right", "left")
                };
                write!(
                    formatter,
                    "the region {source} of \"{}\" is to become part of the {target} one",
                    border.escape_ascii()
                )
            }
            Self::ShortenLogs => write!(formatter, "every store is told to shorten its logs"),
            disks => disks.disks(formatter),
        }
    }

    /// What becomes of disks.
    fn disks(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damage(store, Stretch { v2, first, last }) => {
                let keys = if *v2 { "V2" } else { "V1" };
                write!(
                    formatter,
                    "{keys} data of store{store} from {first:?} to {last:?} rots"
                )
            }
            Self::MergeTables(store) => {
                write!(
                    formatter,
                    "a merge of store{store}'s tables meets what rots"
                )
            }
            Self::LoseDisks(store, down) => write!(
                formatter,
                "store{store} loses its disks, and comes back after {}",
                shown(*down)
            ),
            Self::RemoveStore(store) => write!(formatter, "store id {store} is to be removed"),
            fault => write!(formatter, "{fault:?}"),
        }
    }
}

/// A time for readers: milliseconds below a second.
fn shown(time: Duration) -> String {
    match time.as_millis() {
        0 => format!("{} µs", time.as_micros()),
        ms @ ..1000 => format!("{ms} ms"),
        _ => format!("{:.1} s", time.as_secs_f64()),
    }
}
