//! Finds damage in RocksDB's write-ahead log, and in its manifest, that RocksDB would take for their ends.
//!
//! *Place*: `rocks::Rocks::open` calls [`verify`] before RocksDB sees the files of a database: nothing but a torn
//! tail may be lost. It only reads. (One that keeps no log has a manifest only, unless an earlier release kept one.)
//!
//! *Why*: with `TolerateCorruptedTailRecords` RocksDB refuses most damage, but three kinds end or thin the log
//! silently, and with it votes and acknowledged entries: a flipped length in the last block (looks like a record
//! cut short), a zeroed sector (looks like preallocated space), and a log cut short that is not the last. A manifest with a
//! flipped length ends there as well: whatever tables it names later are gone, and their logs may be deleted already.
//!
//! *Bytes*: a file is blocks of 32 KiB; a block is records; fewer than 7 bytes at its end are padding.
//!
//! ```text
//!   record  = crc32c, masked (4, over type and payload) | length (2) | type (1) | payload
//!   type    = 1 whole, 2 first, 3 middle, 4 last piece of a batch
//!   batch   = sequence number of its first change (8) | count of changes (4) | changes
//! ```
//!
//! The manifest is made of the same records; what is in them is no batch, and not looked at.
//!
//! *Invariants*: within a log file each batch starts at the sequence number where the one before ended; the next
//! file goes on where a cut one ended.
//!
//! *Limits and failure*: one block in memory. Cost: one pass over the log, bounded by `wal_bytes_max`.
//!
//! *Source*: RocksDB's `log_format.h` and `log_reader.cc`, whose leniency it makes up for.
//!
//! *Next stop*: the end of the tour.

use crate::{Error, Result};
use crc::{CRC_32_ISCSI, Crc, Table};
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

const BLOCK: usize = 32 * 1024;
const HEADER: usize = 7;
const BATCH_HEADER: usize = 12;
const CRC: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISCSI);

const WHOLE: u8 = 1;
const FIRST: u8 = 2;
const MIDDLE: u8 = 3;
const LAST: u8 = 4;

/// Checks the manifest and all log files of a database, oldest first.
///
/// Errors: [`Error::Corrupt`] with the file and offset of the first damage, [`Error::Read`] if a file cannot be
/// read.
pub(crate) fn verify(directory: &Path) -> Result<()> {
    if let Some(path) = manifest(directory)? {
        Scan::of(&path, Kind::Manifest)?;
    }
    let mut cut: Option<(PathBuf, Cut)> = None;
    for path in log_files(directory)? {
        let scan = Scan::of(&path, Kind::Log)?;
        if let (Some((path, cut)), Some(first)) = (&cut, scan.first)
            && cut.next.is_some_and(|next| next != first)
        {
            return Err(damage(
                path,
                cut.offset,
                "the log is cut short here, and a later log file goes on after what is missing",
            ));
        }
        if scan.first.is_some() || scan.cut.is_some() {
            cut = scan.cut.map(|cut| (path, cut));
        }
    }
    Ok(())
}

/// The manifest that is in use; `None` in a new database. A name that is none, or of no file, is for RocksDB to refuse.
fn manifest(directory: &Path) -> Result<Option<PathBuf>> {
    let current = directory.join("CURRENT");
    let name = match std::fs::read_to_string(&current) {
        Ok(name) => name,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) if error.kind() == ErrorKind::InvalidData => return Ok(None),
        Err(error) => return Err(read_error(&current, &error)),
    };
    let path = directory.join(name.trim_end());
    Ok(path.is_file().then_some(path))
}

/// The `NUMBER.log` files in ascending order.
pub(crate) fn log_files(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(directory).map_err(|error| read_error(directory, &error))?;
    let mut files: Vec<(u64, PathBuf)> = entries
        .flatten()
        .filter_map(|entry| {
            let path = entry.path();
            let number = path.file_name()?.to_str()?.strip_suffix(".log")?;
            Some((number.parse().ok()?, path))
        })
        .collect();
    files.sort();
    Ok(files.into_iter().map(|(_, path)| path).collect())
}

fn read_error(path: &Path, error: &std::io::Error) -> Error {
    Error::Read(format!("{}: {error}", path.display()))
}

fn damage(path: &Path, offset: u64, reason: &str) -> Error {
    Error::Corrupt {
        place: format!("{} offset {offset}", path.display()),
        reason: reason.to_owned(),
    }
}

/// Where a file ends inside a batch.
#[derive(Debug)]
struct Cut {
    offset: u64,
    /// Sequence number that the lost batch had; unknown if the file holds no whole batch.
    next: Option<u64>,
}

/// What the records of a file are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Kind {
    /// Batches.
    #[default]
    Log,
    /// Changes of the set of files.
    Manifest,
}

/// What one file holds, as far as it was read.
#[derive(Debug, Default)]
struct Scan {
    kind: Kind,
    /// Sequence number of the first batch.
    first: Option<u64>,
    /// Sequence number after the last whole batch.
    next: Option<u64>,
    /// The batch being put together from pieces.
    open: Option<Open>,
    /// Set when the file turned out to end inside a batch.
    cut: Option<Cut>,
}

#[derive(Debug)]
struct Open {
    offset: u64,
    head: Vec<u8>,
}

/// One look at a position in a block.
enum Look<'a> {
    Piece {
        kind: u8,
        payload: &'a [u8],
    },
    /// The file ends inside the record.
    Short,
    /// Zeros up to the end of the file.
    Zeros,
    Bad(&'static str),
}

impl Scan {
    fn of(path: &Path, kind: Kind) -> Result<Self> {
        let mut file = File::open(path).map_err(|error| read_error(path, &error))?;
        let mut scan = Self {
            kind,
            ..Self::default()
        };
        let mut block = Vec::with_capacity(BLOCK);
        let mut base = 0;
        // Offset of zeros that must go on to the end of the file.
        let mut zeros: Option<u64> = None;
        loop {
            block.clear();
            let mut reader = (&mut file).take(BLOCK as u64);
            reader
                .read_to_end(&mut block)
                .map_err(|error| read_error(path, &error))?;
            if let Some(offset) = zeros {
                if block.iter().any(|byte| *byte != 0) {
                    return Err(damage(
                        path,
                        offset,
                        "the log is zero here and goes on later",
                    ));
                }
            } else {
                zeros = scan
                    .block(&block, base)
                    .map_err(|(offset, reason)| damage(path, offset, reason))?;
            }
            if block.len() < BLOCK {
                break;
            }
            base += BLOCK as u64;
        }
        let end = zeros.or(scan.cut.as_ref().map(|cut| cut.offset));
        let open = scan.open.take().map(|open| open.offset);
        scan.cut = open.or(end).map(|offset| Cut {
            offset,
            next: scan.next,
        });
        Ok(scan)
    }

    /// Reads one block; the offset where zeros begin that reach its end, or else the place of damage.
    fn block(
        &mut self,
        block: &[u8],
        base: u64,
    ) -> std::result::Result<Option<u64>, (u64, &'static str)> {
        let mut position = 0;
        while position < block.len() {
            let offset = base + position as u64;
            match look(block, position) {
                Look::Piece { kind, payload } => {
                    self.piece(kind, payload, offset)
                        .map_err(|reason| (offset, reason))?;
                    position += HEADER + payload.len();
                    if BLOCK - position < HEADER {
                        return Ok(None);
                    }
                }
                Look::Zeros => return Ok(Some(offset)),
                Look::Short => {
                    self.cut = Some(Cut { offset, next: None });
                    return Ok(None);
                }
                Look::Bad(reason) => return Err((offset, reason)),
            }
        }
        Ok(None)
    }

    fn piece(
        &mut self,
        kind: u8,
        payload: &[u8],
        offset: u64,
    ) -> std::result::Result<(), &'static str> {
        match (kind, self.open.take()) {
            (WHOLE | FIRST, Some(_)) => return Err("the batch before has no end"),
            (MIDDLE | LAST, None) => return Err("a batch without a beginning"),
            (_, open) => {
                let mut open = open.unwrap_or(Open {
                    offset,
                    head: Vec::with_capacity(BATCH_HEADER),
                });
                let missing = BATCH_HEADER - open.head.len();
                open.head
                    .extend_from_slice(&payload[..missing.min(payload.len())]);
                self.open = Some(open);
            }
        }
        if kind == WHOLE || kind == LAST {
            let open = self.open.take().expect("it was set above");
            self.batch(&open.head)?;
        }
        Ok(())
    }

    fn batch(&mut self, head: &[u8]) -> std::result::Result<(), &'static str> {
        if self.kind == Kind::Manifest {
            return Ok(());
        }
        let (Some(sequence), Some(count)) = (
            head.first_chunk::<8>()
                .map(|bytes| u64::from_le_bytes(*bytes)),
            head.last_chunk::<4>()
                .map(|bytes| u32::from_le_bytes(*bytes)),
        ) else {
            return Err("a batch without a header");
        };
        if head.len() < BATCH_HEADER {
            return Err("a batch without a header");
        }
        if self.next.is_some_and(|next| next != sequence) {
            return Err("batches before this one are missing");
        }
        self.first.get_or_insert(sequence);
        self.next = Some(sequence.saturating_add(u64::from(count)));
        Ok(())
    }
}

fn look(block: &[u8], position: usize) -> Look<'_> {
    let rest = &block[position..];
    let Some(header) = rest.first_chunk::<HEADER>() else {
        return Look::Short;
    };
    let stored = u32::from_le_bytes([header[0], header[1], header[2], header[3]]);
    let length = usize::from(u16::from_le_bytes([header[4], header[5]]));
    let kind = header[6];
    if kind == 0 && length == 0 && stored == 0 {
        return if rest.iter().all(|byte| *byte == 0) {
            Look::Zeros
        } else {
            Look::Bad("the log is zero here and goes on later")
        };
    }
    let Some(payload) = rest.get(HEADER..HEADER + length) else {
        return look_cut(block, position, stored, length);
    };
    if !(WHOLE..=LAST).contains(&kind) || checksum(kind, payload) != stored {
        return Look::Bad("the record does not match its checksum");
    }
    Look::Piece { kind, payload }
}

/// A record that is longer than what is left: cut short, or its length is wrong.
fn look_cut(block: &[u8], position: usize, stored: u32, length: usize) -> Look<'static> {
    let rest = &block[position..];
    if block.len() == BLOCK || position + HEADER + length > BLOCK {
        return Look::Bad("the record is longer than its block");
    }
    // Were it the true length, the checksum of what is there would not match, and nothing would follow.
    if checksum(rest[6], &rest[HEADER..]) == stored {
        return Look::Bad("the length of the last record is wrong");
    }
    let follows = (position + 1..block.len()).any(|later| intact(block, later));
    if follows {
        return Look::Bad("the record does not match its length, and an intact one follows");
    }
    Look::Short
}

/// Whether a record that matches its checksum starts at `position`.
fn intact(block: &[u8], position: usize) -> bool {
    let rest = &block[position..];
    let Some(header) = rest.first_chunk::<HEADER>() else {
        return false;
    };
    let kind = header[6];
    if !(WHOLE..=LAST).contains(&kind) {
        return false;
    }
    let length = usize::from(u16::from_le_bytes([header[4], header[5]]));
    let stored = u32::from_le_bytes([header[0], header[1], header[2], header[3]]);
    rest.get(HEADER..HEADER + length)
        .is_some_and(|payload| checksum(kind, payload) == stored)
}

/// CRC-32C over type and payload, rotated and shifted so that checksums of checksums stay useful.
fn checksum(kind: u8, payload: &[u8]) -> u32 {
    let mut digest = CRC.digest();
    digest.update(&[kind]);
    digest.update(payload);
    digest.finalize().rotate_right(15).wrapping_add(0xA282_EAD8)
}

#[cfg(test)]
mod tests;
