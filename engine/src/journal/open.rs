//! Reads all segments at a start: what is there, where it ends, and whether that is damage.
//!
//! *Life of a start*: segments in the order of their numbers → records one after another, each checked → the end of the
//! last segment with records is written down → what comes next goes to the segment after it.
//!
//! *Why the end is looked at twice*: a power loss leaves a torn end, and a flipped byte looks like one. They are told
//! apart by what comes behind: each record says how far all before it was durable. One behind the torn place that says
//! so of the torn one makes it damage; nobody waited for anything else there. The last record of all has a mark behind it
//! soon ([`super::keeper`]).
//!
//! *Limits and failure*: one segment in memory at a time. Damage is refused with file and offset.
//!
//! *Next stop*: [`super::record`].

use super::index::{Index, Place};
use super::record::{ALIGNMENT, Change, Draft, Kind, Record, Span, Stamp};
use super::segment::{self, Header, START, Segment, damage};
use super::{Options, State, count};
use crate::{Error, Result, direct};
use bytes::Bytes;
use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Zeros in the first file: who opens a journal waits for them.
const FILLED_AT_OPEN: u64 = 8 << 20;

/// How far the reading has come.
struct Reading {
    index: Vec<Index>,
    /// With records, ascending.
    segments: VecDeque<Arc<Segment>>,
    /// Without, ascending.
    unused: Vec<NonZeroU32>,
    /// Of the last record.
    sequence: Option<u64>,
    /// Where the last segment's records end without a word that they do.
    open_end: Option<u64>,
}

/// Reads what is in a directory, and makes it ready for more; whether that can be written past the page cache.
pub(super) fn open(directory: &Path, options: &Options) -> Result<(State, bool)> {
    let failed = |error: std::io::Error| Error::Open {
        directory: directory.display().to_string(),
        reason: error.to_string(),
    };
    std::fs::create_dir_all(directory).map_err(failed)?;
    let direct = direct::is_possible(directory);
    if directory.join("CURRENT").exists() {
        return Err(Error::Open {
            directory: directory.display().to_string(),
            reason: "it was made by an earlier release, with another format of logs".into(),
        });
    }
    let mut reading = Reading {
        index: options.families.iter().copied().map(Index::new).collect(),
        segments: VecDeque::new(),
        unused: Vec::new(),
        sequence: None,
        open_end: None,
    };
    let numbers = segment::numbers(directory)?;
    for (number, next) in numbers.iter().zip(numbers.iter().skip(1)) {
        if number.checked_add(1) != Some(*next) {
            let missing = directory.join(segment::name(number.saturating_add(1)));
            return Err(damage(&missing, 0, "the file is missing"));
        }
    }
    for number in &numbers {
        reading.take_in(Segment::open(directory, *number, direct).map_err(failed)?)?;
    }
    let finished = reading.finish(directory, options, direct);
    Ok((finished.map_err(failed)?, direct))
}

impl Reading {
    fn take_in(&mut self, segment: Segment) -> Result<()> {
        let (number, bytes) = (segment.number, segment.bytes()?);
        let segment = Arc::new(segment);
        let bad = |offset: u64, reason: &str| Err(damage(segment.path(), offset, reason));
        let own = match segment::header(&bytes, number) {
            Header::Own => true,
            Header::Unused => false,
            Header::Bad(reason) => return bad(0, reason),
        };
        let first_of_all = number == NonZeroU32::MIN;
        if first_of_all && self.sequence.is_none() {
            self.sequence = Some(0);
        }
        let (mut at, mut ended) = (START as usize, false);
        while let Some(record) = self.next(&bytes, at, number) {
            let Some(changes) = record.changes() else {
                break;
            };
            if at == START as usize {
                if !own {
                    return bad(0, "the header is not of this segment, its records are");
                }
                if !self.unused.is_empty() || self.open_end.is_some() {
                    return Err(self.damage(&segment, at));
                }
                self.segments.push_back(segment.clone());
            }
            self.sequence = Some(record.stamp.sequence);
            for change in changes {
                self.apply(change, &bytes, &segment)?;
            }
            at = record.end();
            if record.stamp.kind == Kind::End {
                ended = true;
                break;
            }
        }
        segment.end.store(at as u64, Ordering::Relaxed);
        if ended {
            return Ok(());
        }
        if self.is_damage(&bytes, at, number) {
            return Err(self.damage(&segment, at));
        }
        match at == START as usize {
            true => self.unused.push(number),
            false => self.open_end = Some(at as u64),
        }
        Ok(())
    }

    /// The record at a place, if it is the one that comes next.
    fn next<'a>(&self, bytes: &'a [u8], at: usize, number: NonZeroU32) -> Option<Record<'a>> {
        let record = Record::read(bytes, at, number.get())?;
        let follows = |last: u64| last.checked_add(1) == Some(record.stamp.sequence);
        self.sequence.is_none_or(follows).then_some(record)
    }

    /// Whether the record that should be at a place, and is not, was durable once.
    fn is_damage(&self, bytes: &[u8], at: usize, number: NonZeroU32) -> bool {
        let (mut durable, mut first) = (0, u64::MAX);
        for place in (at..bytes.len()).step_by(ALIGNMENT) {
            if let Some(record) = Record::read(bytes, place, number.get()) {
                durable = durable.max(record.stamp.durable);
                first = first.min(record.stamp.sequence);
            }
        }
        let missing = match self.sequence {
            Some(last) => last.saturating_add(1),
            None => first.saturating_sub(1),
        };
        durable >= missing && first != u64::MAX
    }

    /// Damage that is known by what comes behind it: where the records before end.
    fn damage(&self, segment: &Segment, at: usize) -> Error {
        let reason = "a record is damaged or missing, and later ones tell that it was durable";
        let begins = at == START as usize;
        let before = self.open_end.zip(self.segments.back());
        match (begins, before, self.unused.first()) {
            (true, Some((end, last)), _) => damage(last.path(), end, reason),
            (true, None, Some(empty)) => {
                let path = segment.path().with_file_name(segment::name(*empty));
                damage(&path, START, reason)
            }
            _ => damage(segment.path(), at as u64, reason),
        }
    }

    fn apply(&mut self, change: Change, bytes: &[u8], segment: &Arc<Segment>) -> Result<()> {
        let (Change::Put(family, ..)
        | Change::Delete(family, ..)
        | Change::DeleteRange(family, ..)) = &change;
        let family = usize::from(family.0);
        let Some(index) = self.index.get_mut(family) else {
            let reason = "a record is of a family that is not known";
            return Err(damage(segment.path(), 0, reason));
        };
        match change {
            Change::Put(_, key, span) => {
                if !index.takes(&key) {
                    let reason = "a key has another length than those of its family";
                    return Err(damage(segment.path(), span.offset.into(), reason));
                }
                let value = span.offset as usize..span.offset as usize + span.length as usize;
                let place = Place {
                    segment: segment.number,
                    span,
                };
                let old = index.put(&key, bytes.get(value).unwrap_or_default(), place);
                count(&self.segments, old, Some(place));
            }
            Change::Delete(_, key) => count(&self.segments, index.delete(&key), None),
            Change::DeleteRange(_, start, end) => {
                for old in index.delete_range(&start, &end) {
                    count(&self.segments, Some(old), None);
                }
            }
        }
        Ok(())
    }

    /// Writes down where the last segment ends, and what comes after it.
    fn finish(self, directory: &Path, options: &Options, direct: bool) -> std::io::Result<State> {
        let mut sequence = self.sequence.unwrap_or(0);
        // Whatever a killed process left there unsynced is counted on from here on.
        self.segments
            .iter()
            .try_for_each(|segment| segment.sync())?;
        if let (Some(last), Some(end)) = (self.segments.back(), self.open_end) {
            last.resume(end)?;
            let stamp = Stamp {
                kind: Kind::End,
                segment: last.number.get(),
                sequence: sequence + 1,
                durable: sequence,
            };
            last.append(Draft::sign().seal(stamp))?;
            last.sync()?;
            sequence += 1;
        }
        let mut state = State {
            index: self.index,
            segments: self.segments,
            prepared: VecDeque::new(),
            preparing: false,
            sequence,
            marked: sequence,
            poisoned: None,
        };
        for number in self.unused {
            let path = directory.join(segment::name(number));
            let segment = Segment::recycle(&path, directory, number, direct)?;
            state.prepared.push_back(Arc::new(segment));
        }
        if state.prepared.is_empty() {
            let segment = Segment::create(
                directory,
                state.next_number(),
                options.segment_bytes,
                direct,
                |at| at < FILLED_AT_OPEN,
            )?;
            state.prepared.push_back(Arc::new(segment));
        }
        segment::sync_directory(directory)?;
        state.segments.extend(state.prepared.pop_front());
        Ok(state)
    }
}

/// The puts of a segment that is read again, with the bytes of their values.
pub(super) fn puts(bytes: &[u8], segment: NonZeroU32) -> Option<Vec<(crate::Family, Bytes, Span)>> {
    let mut puts = Vec::new();
    let mut at = START as usize;
    loop {
        let record = Record::read(bytes, at, segment.get())?;
        for change in record.changes()? {
            if let Change::Put(family, key, span) = change {
                puts.push((family, key, span));
            }
        }
        if record.stamp.kind == Kind::End {
            return Some(puts);
        }
        at = record.end();
    }
}
