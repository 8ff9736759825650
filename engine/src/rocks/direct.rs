//! Whether table files can be written past the page cache.
//!
//! *Place*: [`super::Rocks::open`] asks before it opens a database.
//!
//! Flush and compaction write each table once, in large pieces, and the block cache holds what of it is read
//! again. Through the page cache the same bytes cost a copy and fresh pages: 15 % of all CPU under puts of
//! 1 KiB, where direct writes brought 4–14 % more of them a second.
//!
//! *Limits*: some file systems (older tmpfs among them) know no direct writes; there tables go through the page
//! cache.
//!
//! *Next stop*: [`super::Options`].

use std::fs;
use std::io::Result;
use std::path::Path;

/// Tries it with one block in a file of its own. Errors count as "no": a directory that cannot be written to at
/// all is for the opening of the database to report.
pub(super) fn is_possible(directory: &Path) -> bool {
    let path = directory.join("direct-write-test");
    let written = write_block(&path);
    // If it cannot be removed it does no harm, and is overwritten next time.
    let _ = fs::remove_file(&path);
    written.is_ok()
}

#[cfg(target_os = "linux")]
fn write_block(path: &Path) -> Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;

    /// A size and an alignment that every device takes.
    #[repr(align(4096))]
    struct Block([u8; 4096]);

    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .custom_flags(libc::O_DIRECT)
        .open(path)?;
    file.write_all(&Block([0; 4096]).0)
}

/// Only asked for on Linux so far.
#[cfg(not(target_os = "linux"))]
fn write_block(_: &Path) -> Result<()> {
    Err(std::io::ErrorKind::Unsupported.into())
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
