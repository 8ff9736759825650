//! Which faults a run has: its strikes by number, and the actions of each.
//!
//! *Place*: [`crate::run::run_plan`] follows one; [`World::strike`] asks it; [`crate::shrink`] looks for a small one.
//!
//! *Types to know*: [`Plan`], [`Part`], [`Cause`].
//!
//! *Life of a strike*: its generator comes from (seed, number of the strike) and draws the time until the next strike
//! first, then what happens. Each action that it orders takes the next number, also one that is left out; what is to
//! be drawn when the action is carried out comes from a generator of (seed, strike, action).
//!
//! *Invariants*: what is left out shifts neither numbers nor times nor draws of the rest, and not what clients choose.
//!
//! *Limits*: the cluster takes another course all the same: a strike at the leader of a region may meet another store,
//! and there are other messages to be delayed. [`Plan::noise`] draws those delays anew.
//!
//! *Next stop*: [`super::ambush`].

use super::{Action, Step};
use crate::chronicle::Happening;
use crate::random::Random;
use crate::run::SAFETY;
use crate::sky::Event;
use crate::world::World;
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Clients of a run.
pub const CLIENTS: usize = 4;
/// Tells the generators of strikes from those of machines and links, whose path begins with [`Plan::noise`].
const STRIKES: u64 = u64::MAX;

/// An action of a strike.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cause {
    /// Number of the strike in its run, from 0.
    pub strike: u64,
    /// Number of the action in its strike, from 0.
    pub action: u64,
}

impl fmt::Display for Cause {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.strike, self.action)
    }
}

/// A part of the faults that is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Everything that a strike orders.
    Strike(u64),
    /// One action.
    Action(Cause),
}

impl fmt::Display for Part {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Strike(number) => number.fmt(formatter),
            Self::Action(cause) => cause.fmt(formatter),
        }
    }
}

impl FromStr for Part {
    type Err = String;

    fn from_str(written: &str) -> Result<Self, String> {
        let number = |digits: &str| {
            let parsed = digits.parse();
            parsed.map_err(|_| format!("{written:?} is neither STRIKE nor STRIKE.ACTION"))
        };
        Ok(match written.split_once('.') {
            None => Self::Strike(number(written)?),
            Some((strike, action)) => Self::Action(Cause {
                strike: number(strike)?,
                action: number(action)?,
            }),
        })
    }
}

/// Everything that decides about a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The seed.
    pub seed: u64,
    /// The faults that are carried out; `None`: all.
    pub only: Option<BTreeSet<Part>>,
    /// The clients that work, in order.
    pub clients: Vec<usize>,
    /// How long faults strike.
    pub safety: Duration,
    /// Not 0: machines and links draw from other generators, others for each number, once faults strike.
    pub noise: u64,
}

impl Plan {
    /// All of a seed.
    pub fn of(seed: u64) -> Self {
        Self {
            seed,
            only: None,
            clients: (0..CLIENTS).collect(),
            safety: SAFETY,
            noise: 0,
        }
    }

    fn has_strike(&self, number: u64) -> bool {
        let of_it = |part: &Part| match part {
            Part::Strike(strike) => *strike == number,
            Part::Action(cause) => cause.strike == number,
        };
        self.only
            .as_ref()
            .is_none_or(|parts| parts.iter().any(of_it))
    }

    fn has(&self, cause: Cause) -> bool {
        self.only.as_ref().is_none_or(|parts| {
            parts.contains(&Part::Strike(cause.strike)) || parts.contains(&Part::Action(cause))
        })
    }
}

/// The arguments of the binary that repeat it.
impl fmt::Display for Plan {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = Self::of(self.seed);
        write!(formatter, "--seed {}", self.seed)?;
        if let Some(parts) = &self.only {
            write!(formatter, " --only {}", listed(parts))?;
        }
        if self.clients != whole.clients {
            write!(formatter, " --clients {}", listed(&self.clients))?;
        }
        if self.safety != whole.safety {
            write!(formatter, " --safety-ms {}", self.safety.as_millis())?;
        }
        if self.noise != 0 {
            write!(formatter, " --noise {}", self.noise)?;
        }
        Ok(())
    }
}

fn listed<T: fmt::Display>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    match items.is_empty() {
        true => "none".to_owned(),
        false => items.join(","),
    }
}

/// A list as [`Plan`] shows it.
pub fn parse_list<T: FromStr>(written: &str) -> Result<Vec<T>, T::Err> {
    match written {
        "none" => Ok(Vec::new()),
        items => items.split(',').map(str::parse).collect(),
    }
}

impl World {
    /// Schedules the next strike, chooses what this one does, and has it ordered.
    pub fn strike(&mut self, number: u64) {
        if self.now() >= self.strikes_until {
            return;
        }
        let choice = {
            let mut sky = self.sky.lock();
            sky.dice = Random::derived(self.plan.seed, [STRIKES, number, 0]);
            let pause = sky.dice.millis(500, 2200);
            sky.after(pause, Event::Nemesis(Step::Strike(number + 1)));
            sky.dice.below(160)
        };
        if self.plan.has_strike(number) {
            self.faults += 1;
            self.next_action = Cause {
                strike: number,
                action: 0,
            };
            self.choose(choice);
        }
    }

    /// The number of the next action, if it is to be carried out.
    fn ordered(&mut self) -> Option<Cause> {
        let cause = self.next_action;
        self.next_action.action += 1;
        self.plan.has(cause).then_some(cause)
    }

    /// The strike has something done after a time.
    pub(super) fn later(&mut self, delay: Duration, action: Action) {
        if let Some(cause) = self.ordered() {
            let mut sky = self.sky.lock();
            sky.after(delay, Event::Nemesis(Step::Do(cause, action)));
        }
    }

    /// The strike has something done at once.
    pub(super) fn at_once(&mut self, action: Action) {
        if let Some(cause) = self.ordered() {
            self.carry_out(cause, action);
        }
    }

    /// Does what a strike ordered.
    pub fn carry_out(&mut self, cause: Cause, action: Action) {
        let own = Random::derived(self.plan.seed, [STRIKES, cause.strike, cause.action + 1]);
        let of_strike = std::mem::replace(&mut self.sky.lock().dice, own);
        self.sky.lock().tell(Happening::Ordered(cause, action));
        self.act(action);
        self.sky.lock().dice = of_strike;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_repeated_by_what_it_shows() {
        let mut plan = Plan::of(7);
        assert_eq!(plan.to_string(), "--seed 7");
        let parts = ["3", "7.2", "11"].map(|part| part.parse().expect("a part"));
        plan.only = Some(parts.into());
        plan.clients = vec![0, 2];
        plan.safety = Duration::from_millis(9500);
        plan.noise = 4;
        let shown = "--seed 7 --only 3,11,7.2 --clients 0,2 --safety-ms 9500 --noise 4";
        assert_eq!(plan.to_string(), shown);
        assert_eq!(
            parse_list("3,11,7.2").map(BTreeSet::from_iter),
            Ok(parts.into())
        );
        assert_eq!(parse_list::<Part>("none"), Ok(Vec::new()));
        assert!(parse_list::<Part>("3,x").is_err());
    }

    #[test]
    fn a_plan_has_what_it_names() {
        let mut plan = Plan::of(7);
        let cause = |strike, action| Cause { strike, action };
        assert!(plan.has_strike(5) && plan.has(cause(5, 1)));
        plan.only = Some([Part::Strike(3), Part::Action(cause(5, 1))].into());
        assert!(plan.has(cause(3, 0)) && plan.has(cause(3, 9)) && plan.has(cause(5, 1)));
        assert!(plan.has_strike(5) && !plan.has(cause(5, 0)));
        assert!(!plan.has_strike(4) && !plan.has(cause(4, 0)));
    }
}
