//! A failure as a story: the cluster, what went wrong and when, what clients saw of it, the law.
//!
//! *Place*: the binary prints [`tell`] for a shrunk seed; [`command`] is the line that repeats something.
//!
//! *What is left out*: messages and everything else that only the trace has; changes of leaders where there are more
//! than [`LEADERS_MAX`]; operations on other keys, and those far from the broken order.
//!
//! *Next stop*: [`crate::chronicle`].

use crate::check::linearizable::{self, Broken, Verdict};
use crate::chronicle::Happening;
use crate::history::{Kind, Operation, Outcome};
use crate::nemesis::Action;
use crate::nemesis::plan::Plan;
use crate::planted;
use crate::run::Ended;
use crate::sky::Machine;
use std::collections::BTreeSet;
use std::fmt::Write;

/// Changes of leaders that are told, the last ones.
const LEADERS_MAX: usize = 16;
/// Changes of regions that are told, the last ones.
const CHANGES_MAX: usize = 12;
/// Operations told before the first that has no place in the order, and from it on.
const BEFORE: usize = 6;
const AFTER: usize = 8;
/// Leaders that one store becomes within this time are told together, nanoseconds.
const TOGETHER: u64 = 300_000_000;

/// How to run the binary from the root of the repository, with the mistake that is planted.
pub fn command(arguments: &str) -> String {
    let (feature, planted) = match planted::active() {
        Some(bug) => (
            " --features planted-bugs",
            format!(" --planted {}", bug.name()),
        ),
        None => ("", String::new()),
    };
    format!("cargo run -p yadkv-simulation{feature} -- {arguments}{planted}")
}

/// The story of a run that failed.
pub fn tell(ended: &Ended, failure: &str) -> String {
    let mut story = head(ended);
    let broken = broken(ended);
    let mut lines = faults(ended);
    lines.extend(thinned(leaders(ended), LEADERS_MAX, "changes of leaders"));
    lines.extend(thinned(changes(ended), CHANGES_MAX, "changes of regions"));
    lines.extend(broken.as_ref().map(operations).unwrap_or_default());
    lines.sort();
    for (at, line) in lines {
        let _ = writeln!(story, "{:>8.3} s  {line}", at as f64 / 1e9);
    }
    let law = match broken {
        Some(_) => failure.lines().next().unwrap_or_default(),
        None => failure,
    };
    let _ = writeln!(
        story,
        "{:>8.3} s  THE LAW: {law}",
        ended.world.now() as f64 / 1e9
    );
    if broken.is_some() {
        let _ = writeln!(
            story,
            "No order of all operations on the key explains every answer; those with ? fit in none."
        );
    }
    let _ = write!(story, "Again: {}", command(&ended.world.plan.to_string()));
    story
}

fn head(ended: &Ended) -> String {
    let world = &ended.world;
    let plan = &world.plan;
    let bug = planted::active().map_or(String::new(), |bug| format!(", planted: {}", bug.name()));
    let mut story = format!("Seed {}{bug}\n", plan.seed);
    let clients: Vec<String> = plan.clients.iter().map(ToString::to_string).collect();
    let clients = match clients.is_empty() {
        true => "no clients".to_owned(),
        false => format!("clients {}", clients.join(", ")),
    };
    let _ = writeln!(
        story,
        "{} placement drivers, {} stores, {clients}; faults for {:.1} s, from {:.3} s on{}",
        world.pds.len(),
        world.stores.len(),
        plan.safety.as_secs_f64(),
        world.strikes_from as f64 / 1e9,
        if plan == &Plan::of(plan.seed) {
            ""
        } else {
            "; part of the seed"
        },
    );
    story
}

type Line = (u64, String);

fn faults(ended: &Ended) -> Vec<Line> {
    let sky = ended.world.sky.lock();
    let line = |(at, what): &(u64, Happening)| match what {
        Happening::Ordered(cause, action) => Some((*at, format!("{cause:<6} {action}"))),
        Happening::Followed(action @ (Action::PowerLoss(..) | Action::Isolate(..))) => {
            Some((*at, format!("trap   {action}")))
        }
        Happening::Heals => Some((*at, "all faults end".to_owned())),
        Happening::Boots(machine) if *at > ended.world.strikes_from => {
            Some((*at, format!("       {machine} starts")))
        }
        _ => None,
    };
    sky.chronicle.iter().filter_map(line).collect()
}

/// Who comes to lead what after the start, joined where one machine comes to lead several regions.
fn leaders(ended: &Ended) -> Vec<Line> {
    let mut joined: Vec<(u64, Machine, Vec<String>)> = Vec::new();
    for (at, what) in &ended.world.sky.lock().chronicle {
        let Happening::Leads {
            region,
            term,
            machine: leader,
        } = what
        else {
            continue;
        };
        if *at < ended.world.strikes_from {
            continue;
        }
        let led = match region {
            0 => format!("the placement drivers (term {term})"),
            region => format!("region {region} (term {term})"),
        };
        let fits = |(since, machine, _): &&mut (u64, Machine, Vec<String>)| {
            machine == leader && *at - *since < TOGETHER
        };
        match joined.iter_mut().rev().find(fits) {
            Some((.., regions)) => regions.push(led),
            None => joined.push((*at, *leader, vec![led])),
        }
    }
    let line = |(at, machine, led): (u64, Machine, Vec<String>)| {
        (at, format!("       {machine} leads {}", led.join(", ")))
    };
    joined.into_iter().map(line).collect()
}

/// What became of regions, each change once.
fn changes(ended: &Ended) -> Vec<Line> {
    let mut known = BTreeSet::new();
    let mut lines = Vec::new();
    for (at, what) in &ended.world.sky.lock().chronicle {
        match what {
            Happening::Serves(led) => {
                let line = |(store, regions): (&usize, &Vec<String>)| {
                    (
                        *at,
                        format!("       store{store} leads {}", regions.join(", ")),
                    )
                };
                lines.extend(led.iter().map(line));
            }
            Happening::Changed { epoch, words } if known.insert((*epoch, words.clone())) => {
                lines.push((*at, format!("       {words}")));
            }
            _ => {}
        }
    }
    lines
}

/// The last lines, and how many there were before.
fn thinned(mut lines: Vec<Line>, most: usize, what: &str) -> Vec<Line> {
    let over = lines.len().saturating_sub(most);
    let dropped = lines.drain(..over).next_back();
    if let Some((at, _)) = dropped {
        lines.insert(
            0,
            (
                at,
                format!("       ({over} {what} until here are left out)"),
            ),
        );
    }
    lines
}

/// The key whose operations have no order, if that is the failure.
fn broken(ended: &Ended) -> Option<Broken> {
    ended
        .failure
        .as_ref()
        .filter(|failure| failure.contains("not linearizable"))?;
    match linearizable::check(&ended.world.history.lock().operations) {
        Verdict::Broken(broken) => Some(broken),
        _ => None,
    }
}

/// The operations around the end of the longest order, and who wrote what the first without a place has found.
fn operations(broken: &Broken) -> Vec<Line> {
    let first = broken.first();
    let near = first.saturating_sub(BEFORE)..first + AFTER;
    let found = broken.operations.get(first).and_then(|(_, one)| found(one));
    let mut lines = Vec::new();
    for (number, (placed, operation)) in broken.operations.iter().enumerate() {
        let wrote = found.is_some_and(|found| writes(operation, found));
        if near.contains(&number) || wrote {
            let fits = *placed || operation.outcome == Outcome::Unknown;
            let mark = if fits { ' ' } else { '?' };
            lines.push((operation.begun, format!("     {mark} {operation}")));
        }
    }
    lines
}

fn found(operation: &Operation) -> Option<&[u8]> {
    match &operation.outcome {
        Outcome::Value(found) | Outcome::Swapped(_, found) => found.as_deref(),
        _ => None,
    }
}

fn writes(operation: &Operation, value: &[u8]) -> bool {
    match &operation.kind {
        Kind::Put(new, _) | Kind::Swap(_, Some(new)) => new == value,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_stay_and_the_others_are_counted() {
        let lines = |count: u64| (0..count).map(|at| (at, format!("line {at}"))).collect();
        assert_eq!(thinned(lines(3), 3, "lines"), lines(3));
        let thin = thinned(lines(5), 2, "lines");
        assert_eq!(thin.len(), 3);
        assert_eq!(
            thin[0],
            (2, "       (3 lines until here are left out)".to_owned())
        );
        assert_eq!(
            thin[1..],
            [(3, "line 3".to_owned()), (4, "line 4".to_owned())]
        );
    }
}
