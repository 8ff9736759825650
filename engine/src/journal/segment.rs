//! One file of records.
//!
//! | at | bytes | content |
//! |---|---|---|
//! | 0 | 8 | `yadkvlog` |
//! | 8 | 4 | format: 1 |
//! | 12 | 4 | number of the segment, as in the file's name |
//! | 16 | 4 | CRC-32 of the bytes before |
//! | 64 | | records |
//!
//! *Life of a file*: made with room for a segment → zeros, as far as there is time → records → nobody needs them →
//! renamed to a later number and written over: a sync of data need not wait for the file system's own records there, if it
//! writes in place.
//!
//! *Invariants*: a file bears the name of a number before it says so itself; in between it holds no records.
//!
//! *Next stop*: [`super::tail`].

use super::record::Span;
use super::tail::Tail;
use crate::direct::stay_in_place;
use crate::{Error, Result};
use bytes::Bytes;
use parking_lot::Mutex;
use rustix::fs::{FallocateFlags, fallocate};
use std::fs::{self, File};
use std::io;
use std::num::NonZeroU32;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Where the first record begins.
pub(super) const START: u64 = 64;
const MAGIC: &[u8; 8] = b"yadkvlog";
const FORMAT: u32 = 1;
const HEADER: usize = 20;

/// A file that is open.
pub(super) struct Segment {
    pub(super) number: NonZeroU32,
    path: PathBuf,
    file: File,
    tail: Mutex<Tail>,
    /// Bytes of the file when it was opened.
    room: u64,
    /// Where its records end.
    pub(super) end: AtomicU64,
    /// Bytes of values that the index knows here, and something for each.
    pub(super) live: AtomicU64,
}

/// What the first bytes of a file say.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Header {
    /// It is the segment that its name says.
    Own,
    /// It was made, or is to be used again, and nothing was written to it yet.
    Unused,
    /// Damaged, or of a later release.
    Bad(&'static str),
}

impl Segment {
    /// A new file with room for `bytes`, and zeros in it as long as `goes_on` says so, which is asked before each piece and
    /// told how far it has come; its name is not durable yet.
    pub(super) fn create(
        directory: &Path,
        number: NonZeroU32,
        bytes: u64,
        direct: bool,
        goes_on: impl FnMut(u64) -> bool,
    ) -> io::Result<Self> {
        let path = directory.join(name(number));
        let mut options = File::options();
        let file = options
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)?;
        fallocate(&file, FallocateFlags::empty(), 0, bytes)?;
        if stay_in_place(directory) {
            Tail::open(&path, direct)?.fill(&file, bytes, goes_on)?;
        }
        Self::begin(path, file, number, direct)
    }

    /// A file whose records nobody needs, under a later number. The name is durable before the file says so itself: under
    /// its old name it would be of a later segment.
    pub(super) fn recycle(
        old: &Path,
        directory: &Path,
        number: NonZeroU32,
        direct: bool,
    ) -> io::Result<Self> {
        let path = directory.join(name(number));
        fs::rename(old, &path)?;
        sync_directory(directory)?;
        let file = File::options().read(true).write(true).open(&path)?;
        Self::begin(path, file, number, direct)
    }

    fn begin(path: PathBuf, file: File, number: NonZeroU32, direct: bool) -> io::Result<Self> {
        let mut header = [0; START as usize];
        header[..8].copy_from_slice(MAGIC);
        header[8..12].copy_from_slice(&FORMAT.to_le_bytes());
        header[12..16].copy_from_slice(&number.get().to_le_bytes());
        let crc = crc32fast::hash(&header[..16]);
        header[16..HEADER].copy_from_slice(&crc.to_le_bytes());
        let mut tail = Tail::open(&path, direct)?;
        tail.append(&file, 0, &header)?;
        file.sync_all()?;
        Self::of(path, file, tail, number)
    }

    /// A file that was there before.
    pub(super) fn open(directory: &Path, number: NonZeroU32, direct: bool) -> io::Result<Self> {
        let path = directory.join(name(number));
        let file = File::options().read(true).write(true).open(&path)?;
        let tail = Tail::open(&path, direct)?;
        Self::of(path, file, tail, number)
    }

    fn of(path: PathBuf, file: File, tail: Tail, number: NonZeroU32) -> io::Result<Self> {
        Ok(Self {
            number,
            path,
            room: file.metadata()?.len(),
            file,
            tail: Mutex::new(tail),
            end: AtomicU64::new(START),
            live: AtomicU64::new(0),
        })
    }

    /// Bytes that it occupies, used or not, up to a block.
    pub(super) fn bytes_on_disk(&self) -> u64 {
        self.room.max(self.end.load(Ordering::Relaxed))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether so many bytes go to the next segment. A record larger than a segment has one of its own.
    pub(super) fn is_full(&self, bytes: u64, segment_bytes: u64) -> bool {
        let end = self.end.load(Ordering::Relaxed);
        end > START && end + bytes > segment_bytes
    }

    /// Adds a record behind the last one.
    pub(super) fn append(&self, record: &[u8]) -> io::Result<()> {
        let end = self.end.load(Ordering::Relaxed);
        self.tail.lock().append(&self.file, end, record)?;
        self.end.store(end + record.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Goes on at `end` in a file that was there before.
    pub(super) fn resume(&self, end: u64) -> io::Result<()> {
        self.end.store(end, Ordering::Relaxed);
        self.tail.lock().resume(&self.file, end)
    }

    /// Makes all records durable.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Reads a value.
    pub(super) fn value(&self, span: Span) -> Result<Bytes> {
        let mut value = vec![0; span.length as usize];
        let offset = u64::from(span.offset);
        let read = self.file.read_exact_at(&mut value, offset);
        read.map_err(|error| Error::Read(format!("{}: {error}", self.path.display())))?;
        match crc32fast::hash(&value) == span.crc {
            true => Ok(value.into()),
            false => Err(damage(
                &self.path,
                offset,
                "a value does not match its checksum",
            )),
        }
    }

    /// All of it.
    pub(super) fn bytes(&self) -> Result<Vec<u8>> {
        read(&self.path)
    }
}

/// What a file of this number says of itself.
pub(super) fn header(bytes: &[u8], number: NonZeroU32) -> Header {
    let start = &bytes[..bytes.len().min(START as usize)];
    if start.iter().all(|byte| *byte == 0) {
        return Header::Unused;
    }
    let Some(header) = start.first_chunk::<HEADER>() else {
        return Header::Bad("the file ends within its header");
    };
    let long = |at: usize| {
        u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
    };
    if header[..8] != *MAGIC || crc32fast::hash(&header[..16]) != long(16) {
        return Header::Bad("the header does not match its checksum");
    }
    if long(8) != FORMAT {
        return Header::Bad("the format is of a later release");
    }
    match long(12).cmp(&number.get()) {
        std::cmp::Ordering::Equal => Header::Own,
        std::cmp::Ordering::Less => Header::Unused,
        std::cmp::Ordering::Greater => Header::Bad("the header is of a later segment"),
    }
}

/// The numbers of all segments of a directory, ascending.
pub(super) fn numbers(directory: &Path) -> Result<Vec<NonZeroU32>> {
    let entries = fs::read_dir(directory).map_err(|error| read_error(directory, &error))?;
    let mut numbers = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| read_error(directory, &error))?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(".log"));
        numbers.extend(number.and_then(|number| number.parse::<NonZeroU32>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// The file of a segment.
pub(super) fn name(number: NonZeroU32) -> String {
    format!("{number:010}.log")
}

pub(super) fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|error| read_error(path, &error))
}

/// Makes the names in a directory durable.
pub(super) fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

fn read_error(path: &Path, error: &io::Error) -> Error {
    Error::Read(format!("{}: {error}", path.display()))
}

pub(super) fn damage(path: &Path, offset: u64, reason: &str) -> Error {
    Error::Corrupt {
        place: format!("{} offset {offset}", path.display()),
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{SeekFrom, seek};

    /// File systems that know which blocks were never written call them a hole.
    #[test]
    fn zeros_are_written_until_somebody_waits() {
        let directory = tempfile::tempdir().expect("a directory");
        let direct = crate::direct::is_possible(directory.path());
        if !direct || !stay_in_place(directory.path()) {
            return;
        }
        let bytes = (1 << 20) + 5000;
        for (number, end) in [(1, bytes), (2, 1 << 19)] {
            let number = NonZeroU32::new(number).expect("a number");
            let made = Segment::create(directory.path(), number, bytes, direct, |at| at < end);
            let segment = made.expect("a segment");
            let hole = seek(&segment.file, SeekFrom::Hole(0)).expect("how far it is written");
            assert!(hole >= end, "written up to {hole} instead of {end}");
            let content = segment.bytes().expect("readable");
            assert!(content.len() as u64 >= bytes);
            assert_eq!(header(&content, number), Header::Own);
            assert!(content[START as usize..].iter().all(|byte| *byte == 0));
        }
    }
}
