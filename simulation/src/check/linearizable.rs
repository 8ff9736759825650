//! Is there one order of all operations on a key that explains what every client saw?
//!
//! *Place*: [`check`] takes a run's history; each key is checked by itself, since keys are independent.
//!
//! *How*: Wing and Gong's search with the memory of Lowe: take any operation that began before the first
//! unplaced one ended, place it next if its answer fits the value, go on; never look twice at the same (placed
//! operations, value). Operations without outcome may be placed anywhere after their begin, or never.
//!
//! *Copies*: a write that was sent several times may take effect several times: once between its begin and its
//! end, as always, and once more, at any time, for each copy that nobody answered.
//!
//! *Shortcuts*, which lose no order: a look whose answer fits and that changes nothing is placed at once. A write
//! without outcome is placed only where the next operation looks and agrees: anywhere else the next one
//! overwrites what nobody saw, and the same order without it is as good.
//!
//! *Expiry*: judged by the region's clock, which may be ahead or behind by the skew of the stores' clocks; so
//! from `begun + ttl − 2 × skew` on, a value with a time to live may be gone, for good.
//!
//! *Limits*: [`STEPS_MAX`] placements a key; beyond that the key counts as undecided, never as fine.
//!
//! *Source*: Wing & Gong 1993; Lowe, "Testing for linearizability", 2017.
//!
//! *Next stop*: [`super::replicas`].

use crate::history::{Key, Kind, Operation, Outcome};
use crate::sky::SKEW_MAX_MS;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Placements tried for one key.
pub const STEPS_MAX: u64 = 3_000_000;

/// Operations shown of a key without an order, and how many of them from before the first that has no place.
const SHOWN: usize = 40;
const BEFORE: usize = 15;

/// What the search found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// An order exists for every key.
    Linearizable,
    /// No order exists for a key.
    Broken(Broken),
    /// The search was given up for this many keys.
    Undecided(usize),
}

/// A key without an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// The key.
    pub key: Key,
    /// Its operations by their begin, and whether the longest order found has them.
    pub operations: Vec<(bool, Operation)>,
}

impl Broken {
    /// The first answered operation that the longest order found does not have.
    pub fn first(&self) -> usize {
        let without = |(placed, operation): &(bool, Operation)| {
            !placed && operation.outcome != Outcome::Unknown
        };
        self.operations.iter().position(without).unwrap_or(0)
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (api, key) = (1 + u8::from(self.key.0), self.key.1.escape_ascii());
        write!(formatter, "key \"{key}\" of API V{api} is not linearizable")?;
        let from = self.first().saturating_sub(BEFORE);
        for (placed, operation) in self.operations.iter().skip(from).take(SHOWN) {
            let mark = if *placed { ' ' } else { '?' };
            write!(formatter, "\n{mark} {operation}")?;
        }
        Ok(())
    }
}

/// Checks every key of a history.
pub fn check(operations: &[Operation]) -> Verdict {
    let mut by_key: BTreeMap<&Key, Vec<&Operation>> = BTreeMap::new();
    for operation in operations {
        by_key.entry(&operation.key).or_default().push(operation);
    }
    let mut undecided = 0;
    for (key, operations) in by_key {
        match check_key(operations) {
            Ok(true) => {}
            Ok(false) => undecided += 1,
            Err(operations) => {
                let key = key.clone();
                return Verdict::Broken(Broken { key, operations });
            }
        }
    }
    if undecided == 0 {
        Verdict::Linearizable
    } else {
        Verdict::Undecided(undecided)
    }
}

/// True: an order exists; false: given up; error: none exists, and which operations the longest one has.
fn check_key(all: Vec<&Operation>) -> Result<bool, Vec<(bool, Operation)>> {
    let mut operations = all;
    operations.retain(|operation| {
        !matches!(
            (&operation.kind, &operation.outcome),
            (Kind::Get | Kind::Exists, Outcome::Unknown)
        )
    });
    let copies: Vec<Operation> = operations.iter().flat_map(|one| copies(one)).collect();
    operations.extend(&copies);
    operations.sort_by_key(|operation| operation.begun);
    let mut search = Search {
        placed: vec![0; operations.len().div_ceil(64)],
        left: operations
            .iter()
            .filter(|operation| operation.outcome != Outcome::Unknown)
            .count(),
        operations,
        visited: BTreeSet::new(),
        steps: 0,
        best: (usize::MAX, Vec::new()),
    };
    match search.go(None, false) {
        true => Ok(true),
        false if search.steps >= STEPS_MAX => Ok(false),
        false => Err(search.longest()),
    }
}

/// What the copies of a write may do besides its one effect; without outcome that one is the first copy's.
fn copies(operation: &Operation) -> impl Iterator<Item = Operation> {
    let own = usize::from(operation.outcome == Outcome::Unknown);
    operation.copies.iter().skip(own).map(|sent| Operation {
        begun: *sent,
        ended: u64::MAX,
        outcome: Outcome::Unknown,
        copies: Vec::new(),
        ..operation.clone()
    })
}

struct Search<'a> {
    operations: Vec<&'a Operation>,
    /// Bit set of placed operations.
    placed: Vec<u64>,
    /// Operations with a known outcome that are not placed.
    left: usize,
    visited: BTreeSet<(Vec<u64>, Option<usize>)>,
    steps: u64,
    /// Fewest operations left, and which, for the story.
    best: (usize, Vec<u64>),
}

impl Search<'_> {
    /// Places the rest; `value` is the operation that wrote the present value. If `unseen`, that one has no
    /// outcome and the next operation has to look at it.
    fn go(&mut self, value: Option<usize>, unseen: bool) -> bool {
        if self.left == 0 {
            return true;
        }
        if self.left < self.best.0 {
            self.best = (self.left, self.placed.clone());
        }
        let stop = self.steps >= STEPS_MAX;
        if stop || (!unseen && !self.visited.insert((self.placed.clone(), value))) {
            return false;
        }
        let candidates = self.candidates();
        let plain = |number: &&usize| {
            let known = self.operations[**number].outcome != Outcome::Unknown;
            known && self.looks(**number) && self.place(**number, value) == Some(value)
        };
        if let Some(number) = candidates.iter().find(plain) {
            return self.go_on(*number, value);
        }
        candidates.into_iter().any(|number| {
            let next = (!unseen || self.looks(number)).then(|| self.place(number, value));
            next.flatten().is_some_and(|next| self.go_on(number, next))
        })
    }

    /// Places an operation and then the rest, or takes it back.
    fn go_on(&mut self, number: usize, next: Option<usize>) -> bool {
        self.steps += 1;
        let known = usize::from(self.operations[number].outcome != Outcome::Unknown);
        self.placed[number / 64] |= 1 << (number % 64);
        self.left -= known;
        let found = self.go(next, known == 0);
        self.placed[number / 64] &= !(1 << (number % 64));
        self.left += known;
        found
    }

    /// Whether an operation's answer or effect depends on the value before.
    fn looks(&self, number: usize) -> bool {
        let kind = &self.operations[number].kind;
        !matches!(kind, Kind::Put(..) | Kind::Delete)
    }

    /// Operations that may come next: those that began before any unplaced one ended.
    fn candidates(&self) -> Vec<usize> {
        let mut first_end = u64::MAX;
        let mut candidates = Vec::new();
        for (number, operation) in self.operations.iter().enumerate() {
            if self.placed[number / 64] & (1 << (number % 64)) != 0 {
                continue;
            }
            if operation.begun > first_end {
                break;
            }
            first_end = first_end.min(operation.ended);
            candidates.push(number);
        }
        candidates.retain(|number| self.operations[*number].begun <= first_end);
        candidates.sort_by_key(|number| self.operations[*number].ended);
        candidates
    }

    /// The value after an operation, if its answer fits the value before.
    fn place(&self, number: usize, value: Option<usize>) -> Option<Option<usize>> {
        let operation = self.operations[number];
        let present = value.and_then(|writer| self.written(writer));
        let may_be_gone = value.is_none_or(|writer| self.may_expire(writer, operation.ended));
        let after_look = |found: Option<&Bytes>| match found {
            None => may_be_gone.then_some(None),
            Some(_) => (found == present).then_some(value),
        };
        match (&operation.kind, &operation.outcome) {
            (Kind::Get, Outcome::Value(found)) => after_look(found.as_ref()),
            (Kind::Exists, Outcome::Exists(exists)) if *exists => value.map(|_| value),
            (Kind::Exists, Outcome::Exists(_)) => may_be_gone.then_some(None),
            (Kind::Put(..), _) => Some(Some(number)),
            (Kind::Delete, _) => Some(None),
            (Kind::Swap(_, new), Outcome::Swapped(true, found)) => {
                after_look(found.as_ref())?;
                Some(new.as_ref().map(|_| number))
            }
            (Kind::Swap(..), Outcome::Swapped(false, found)) => after_look(found.as_ref()),
            (Kind::Swap(expected, new), Outcome::Unknown) => {
                let fits = after_look(expected.as_ref()).is_some();
                fits.then_some(new.as_ref().map(|_| number))
            }
            _ => None,
        }
    }

    fn written(&self, writer: usize) -> Option<&Bytes> {
        match &self.operations[writer].kind {
            Kind::Put(value, _) | Kind::Swap(_, Some(value)) => Some(value),
            _ => None,
        }
    }

    fn may_expire(&self, writer: usize, ended: u64) -> bool {
        let Kind::Put(_, ttl_s @ 1..) = self.operations[writer].kind else {
            return false;
        };
        let skew = 2 * SKEW_MAX_MS.unsigned_abs() * 1_000_000;
        ended >= (self.operations[writer].begun + ttl_s * 1_000_000_000).saturating_sub(skew)
    }

    /// All operations, and whether the longest order found has them.
    fn longest(&self) -> Vec<(bool, Operation)> {
        let placed = |number: usize| self.best.1[number / 64] & (1 << (number % 64)) != 0;
        let all = self.operations.iter().enumerate();
        all.map(|(number, operation)| (placed(number), (*operation).clone()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operation(begun: u64, ended: u64, kind: Kind, outcome: Outcome) -> Operation {
        let key = (false, Bytes::from_static(b"k"));
        Operation {
            client: 0,
            key,
            kind,
            begun,
            ended,
            outcome,
            copies: Vec::new(),
        }
    }

    fn put(begun: u64, ended: u64, value: &'static str) -> Operation {
        operation(
            begun,
            ended,
            Kind::Put(Bytes::from_static(value.as_bytes()), 0),
            Outcome::Done,
        )
    }

    fn get(begun: u64, ended: u64, value: Option<&'static str>) -> Operation {
        let found = value.map(|value| Bytes::from_static(value.as_bytes()));
        operation(begun, ended, Kind::Get, Outcome::Value(found))
    }

    fn unknown(mut write: Operation) -> Operation {
        write.ended = u64::MAX;
        write.outcome = Outcome::Unknown;
        write
    }

    #[test]
    fn a_stale_read_is_seen() {
        let fine = [
            put(1, 2, "a"),
            put(3, 6, "b"),
            get(4, 5, Some("a")),
            get(7, 8, Some("b")),
        ];
        assert_eq!(check(&fine), Verdict::Linearizable);
        let stale = [put(1, 2, "a"), put(3, 4, "b"), get(5, 6, Some("a"))];
        assert!(matches!(check(&stale), Verdict::Broken(_)));
        let back = [
            put(1, 2, "a"),
            put(3, 10, "b"),
            get(4, 5, Some("b")),
            get(6, 7, Some("a")),
        ];
        assert!(matches!(check(&back), Verdict::Broken(_)));
    }

    #[test]
    fn an_unknown_write_may_come_late_or_never_but_once() {
        let never = [
            put(1, 2, "a"),
            unknown(put(3, 4, "b")),
            get(9, 10, Some("a")),
        ];
        assert_eq!(check(&never), Verdict::Linearizable);
        let late = [
            put(1, 2, "a"),
            unknown(put(3, 4, "b")),
            get(5, 6, Some("a")),
            get(9, 10, Some("b")),
        ];
        assert_eq!(check(&late), Verdict::Linearizable);
        let twice = [
            unknown(put(1, 2, "b")),
            get(3, 4, Some("b")),
            put(5, 6, "a"),
            get(7, 8, Some("a")),
            get(9, 10, Some("b")),
        ];
        assert!(matches!(check(&twice), Verdict::Broken(_)));
    }

    #[test]
    fn an_acknowledged_write_must_not_vanish() {
        let lost = [put(1, 2, "a"), get(3, 4, None)];
        assert!(matches!(check(&lost), Verdict::Broken(_)));
    }

    #[test]
    fn a_swap_is_judged_by_what_it_found() {
        let swap = |begun, ended, expected, new, outcome| {
            let some = |value: Option<&'static str>| {
                value.map(|value| Bytes::from_static(value.as_bytes()))
            };
            operation(begun, ended, Kind::Swap(some(expected), some(new)), outcome)
        };
        let found = Some(Bytes::from_static(b"a"));
        let fine = [
            put(1, 2, "a"),
            swap(
                3,
                4,
                Some("a"),
                Some("b"),
                Outcome::Swapped(true, found.clone()),
            ),
            get(5, 6, Some("b")),
        ];
        assert_eq!(check(&fine), Verdict::Linearizable);
        let both = [
            put(1, 2, "a"),
            swap(
                3,
                4,
                Some("a"),
                Some("b"),
                Outcome::Swapped(true, found.clone()),
            ),
            swap(5, 6, Some("a"), Some("c"), Outcome::Swapped(true, found)),
        ];
        assert!(matches!(check(&both), Verdict::Broken(_)));
    }

    #[test]
    fn an_expired_value_is_gone_for_good_and_not_too_soon() {
        let second = 1_000_000_000;
        let mut write = put(1, 2, "a");
        write.kind = Kind::Put(Bytes::from_static(b"a"), 10);
        let gone = [write.clone(), get(8 * second, 8 * second + 1, None)];
        assert_eq!(check(&gone), Verdict::Linearizable);
        let soon = [write.clone(), get(second, second + 1, None)];
        assert!(matches!(check(&soon), Verdict::Broken(_)));
        let revived = [
            write,
            get(8 * second, 8 * second + 1, None),
            get(9 * second, 9 * second + 1, Some("a")),
        ];
        assert!(matches!(check(&revived), Verdict::Broken(_)));
    }

    #[test]
    fn an_unknown_write_that_expired_unseen_explains_an_empty_key() {
        let second = 1_000_000_000;
        let lost = |ttl_s| {
            let mut write = put(10, u64::MAX, "b");
            write.kind = Kind::Put(Bytes::from_static(b"b"), ttl_s);
            write.outcome = Outcome::Unknown;
            [put(1, 2, "a"), write, get(8 * second, 8 * second + 1, None)]
        };
        assert_eq!(check(&lost(4)), Verdict::Linearizable);
        assert!(matches!(check(&lost(0)), Verdict::Broken(_)));
    }

    #[test]
    fn a_copy_may_undo_a_newer_write_once() {
        let mut repeated = put(1, 20, "a");
        repeated.copies = vec![2];
        let story = |repeated: Operation, last| {
            [
                repeated,
                put(21, 22, "b"),
                get(23, 24, Some("b")),
                get(25, 26, Some("a")),
                put(27, 28, "c"),
                get(29, 30, Some(last)),
            ]
        };
        assert_eq!(check(&story(repeated.clone(), "c")), Verdict::Linearizable);
        // Another time needs another copy.
        assert!(matches!(
            check(&story(repeated.clone(), "a")),
            Verdict::Broken(_)
        ));
        repeated.copies.push(10);
        assert_eq!(check(&story(repeated.clone(), "a")), Verdict::Linearizable);
        repeated.copies.clear();
        assert!(matches!(check(&story(repeated, "c")), Verdict::Broken(_)));
    }

    #[test]
    fn a_repeated_write_without_outcome_has_as_many_effects_as_copies() {
        let mut repeated = unknown(put(1, 2, "a"));
        let story = |repeated: Operation| {
            [
                repeated,
                get(3, 4, Some("a")),
                put(5, 6, "b"),
                get(7, 8, Some("a")),
            ]
        };
        repeated.copies = vec![1];
        assert!(matches!(
            check(&story(repeated.clone())),
            Verdict::Broken(_)
        ));
        repeated.copies = vec![1, 2];
        assert_eq!(check(&story(repeated)), Verdict::Linearizable);
    }

    /// Every history of a few operations is judged as a search through all orders judges it.
    #[test]
    fn shortcuts_lose_no_order() {
        let mut random = crate::random::Random::new(1);
        let mut verdicts = [0, 0];
        for _ in 0..30_000 {
            let operations = random_history(&mut random);
            let expected = any_order(&operations, &mut vec![false; operations.len()], None);
            let found = check(&operations) == Verdict::Linearizable;
            assert_eq!(found, expected, "{operations:#?}");
            verdicts[usize::from(found)] += 1;
        }
        assert!(verdicts.iter().all(|count| *count > 3000), "{verdicts:?}");
    }

    fn random_history(random: &mut crate::random::Random) -> Vec<Operation> {
        const VALUES: [&str; 3] = ["a", "b", "c"];
        let bytes = |value: &'static str| Bytes::from_static(value.as_bytes());
        let one = |random: &mut crate::random::Random| {
            let begun = random.below(12);
            let ended = begun + 1 + random.below(5);
            let some = |random: &mut crate::random::Random| {
                random.chance(700).then(|| bytes(random.pick(&VALUES)))
            };
            let (kind, outcome) = match random.below(6) {
                0..=1 => (Kind::Get, Outcome::Value(some(random))),
                2..=3 => (Kind::Put(bytes(random.pick(&VALUES)), 0), Outcome::Done),
                4 => (Kind::Delete, Outcome::Done),
                _ => {
                    let (expected, new) = (some(random), some(random));
                    let outcome = Outcome::Swapped(true, expected.clone());
                    (Kind::Swap(expected, new), outcome)
                }
            };
            let lost = kind != Kind::Get && random.chance(400);
            let operation = operation(begun, ended, kind, outcome);
            if lost { unknown(operation) } else { operation }
        };
        let count = random.between(3, 8);
        (0..count).map(|_| one(random)).collect()
    }

    /// Without any cleverness: whether the operations not yet `done` can follow `value`.
    fn any_order(operations: &[Operation], done: &mut Vec<bool>, value: Option<Bytes>) -> bool {
        let open = |number: usize| operations[number].outcome != Outcome::Unknown;
        let left: Vec<_> = (0..done.len()).filter(|number| !done[*number]).collect();
        if !left.iter().any(|number| open(*number)) {
            return true;
        }
        left.iter().any(|number| {
            let operation = &operations[*number];
            if left
                .iter()
                .any(|other| operations[*other].ended < operation.begun)
            {
                return false;
            }
            let next = match (&operation.kind, &operation.outcome) {
                (Kind::Get, Outcome::Value(found)) if *found != value => return false,
                (Kind::Swap(expected, _), _) if *expected != value => return false,
                (Kind::Put(new, _), _) => Some(new.clone()),
                (Kind::Swap(_, new), _) => new.clone(),
                (Kind::Delete, _) => None,
                _ => value.clone(),
            };
            done[*number] = true;
            let found = any_order(operations, done, next);
            done[*number] = false;
            found
        })
    }
}
