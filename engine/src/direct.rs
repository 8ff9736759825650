//! Whether files can be written past the page cache.
//!
//! *Place*: RocksDB and the journal ask before they open a database.
//!
//! Flush and compaction write each table once, in large pieces, and the block cache holds what of it is read
//! again. Through the page cache the same bytes cost a copy and fresh pages: 15 % of all CPU under puts of
//! 1 KiB, where direct writes brought 4–14 % more of them a second. Entries of logs are hardly read at all.
//!
//! *Limits*: some file systems (older tmpfs among them) know no direct writes; there everything goes through the page
//! cache.
//!
//! *Next stop*: `rocks`, [`crate::journal`].

use rustix::fs::OFlags;
use std::fs::{self, File};
use std::io::Result;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

/// A size and an alignment that every device takes.
pub(crate) const BLOCK: usize = 4096;

/// Tries it with one block in a file of its own. Errors count as "no": a directory that cannot be written to at
/// all is for the opening of the database to report.
pub(crate) fn is_possible(directory: &Path) -> bool {
    let path = directory.join("direct-write-test");
    let written = write_block(&path);
    // If it cannot be removed it does no harm, and is overwritten next time.
    let _ = fs::remove_file(&path);
    written.is_ok()
}

fn write_block(path: &Path) -> Result<()> {
    #[repr(align(4096))]
    struct Block([u8; BLOCK]);

    File::create(path)?;
    open(path)?.write_all_at(&Block([0; BLOCK]).0, 0)
}

/// Opens a file for writing past the page cache: whole blocks, from memory that begins at a multiple of one.
pub(crate) fn open(path: &Path) -> Result<File> {
    let direct = OFlags::DIRECT.bits().cast_signed();
    File::options().write(true).custom_flags(direct).open(path)
}

/// File systems that write elsewhere what is written over, so that zeros beforehand only cost: btrfs, ZFS, bcachefs, F2FS.
/// Source: `linux/magic.h`; ZFS and bcachefs name theirs in their own sources.
const ELSEWHERE: [u32; 4] = [0x9123_683E, 0x2FC1_2FC1, 0xCA45_1A4E, 0xF2F5_2010];

/// Whether blocks that are written over stay where they are. One that cannot be asked counts as one where they do not.
pub(crate) fn stay_in_place(directory: &Path) -> bool {
    let kind = rustix::fs::statfs(directory).map(|found| found.f_type);
    kind.is_ok_and(|kind| {
        !ELSEWHERE
            .iter()
            .any(|other| i128::from(kind) == i128::from(*other))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_nothing_behind_and_takes_no_for_an_answer() {
        let directory = tempfile::tempdir().expect("a directory");
        let _ = is_possible(directory.path());
        assert_eq!(directory.path().read_dir().expect("readable").count(), 0);
        assert!(!is_possible(&directory.path().join("missing")));
    }
}
