//! The end of a segment: records are added in whole blocks, past the page cache where that is possible.
//!
//! *Place*: each [`super::segment::Segment`] has one.
//!
//! ```text
//!   [ block ][ block ][ rec|0000 ]      the last block is written again with each record: bytes that were there before
//!                                       stay as they are
//! ```
//!
//! *Limits*: memory for one record, given back when it was large; for two pieces of zeros while a file is filled.
//!
//! *Next stop*: [`crate::direct`].

use crate::direct::{self, BLOCK};
use std::fs::File;
use std::io::Result;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Bytes of a buffer that are kept.
const KEPT_MAX: usize = 1 << 20;

/// Zeros that are written at once, a multiple of a block's size.
const FILL_BYTES: usize = 256 << 10;

/// Where a segment goes on.
pub(super) enum Tail {
    /// Through the page cache.
    Buffered,
    /// Past it.
    Direct(File, Blocks),
}

/// Whole blocks in memory, the first of which begins at a multiple of a block's size.
#[derive(Default)]
pub(super) struct Blocks {
    memory: Vec<u8>,
    /// Where they begin in it.
    start: usize,
}

impl Tail {
    pub(super) fn open(path: &Path, direct: bool) -> Result<Self> {
        match direct {
            true => Ok(Self::Direct(direct::open(path)?, Blocks::default())),
            false => Ok(Self::Buffered),
        }
    }

    /// What a file that is opened again has in the block where it goes on.
    pub(super) fn resume(&mut self, file: &File, end: u64) -> Result<()> {
        if let Self::Direct(_, blocks) = self {
            let within = (end % BLOCK as u64) as usize;
            blocks.hold(0, BLOCK);
            file.read_exact_at(&mut blocks.bytes()[..within], end - within as u64)?;
        }
        Ok(())
    }

    /// Writes zeros into a file that nobody has written to, past the page cache (through it they cost more than they
    /// bring), while `goes_on` at the place of the next ones: up to `bytes`, and to the end of a block.
    pub(super) fn fill(
        &mut self,
        file: &File,
        bytes: u64,
        mut goes_on: impl FnMut(u64) -> bool,
    ) -> Result<()> {
        if matches!(self, Self::Buffered) {
            return Ok(());
        }
        let zeros = vec![0; FILL_BYTES];
        for at in (0..bytes).step_by(FILL_BYTES) {
            if !goes_on(at) {
                break;
            }
            let left = usize::try_from(bytes - at).unwrap_or(usize::MAX);
            self.append(file, at, &zeros[..left.min(FILL_BYTES)])?;
        }
        Ok(())
    }

    /// Writes bytes behind the `end` of what is there.
    pub(super) fn append(&mut self, file: &File, end: u64, bytes: &[u8]) -> Result<()> {
        let Self::Direct(direct, blocks) = self else {
            return file.write_all_at(bytes, end);
        };
        let within = (end % BLOCK as u64) as usize;
        let filled = within + bytes.len();
        let all = filled.next_multiple_of(BLOCK);
        blocks.hold(within, all);
        let memory = blocks.bytes();
        memory[within..filled].copy_from_slice(bytes);
        memory[filled..all].fill(0);
        direct.write_all_at(&memory[..all], end - within as u64)?;
        // The last block, if it is not full, is where the next bytes go.
        let last = filled - filled % BLOCK;
        memory.copy_within(last..filled, 0);
        blocks.shrink(filled - last);
        Ok(())
    }
}

impl Blocks {
    fn bytes(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..]
    }

    /// Makes room for `length` bytes and keeps the first `kept` that are there.
    fn hold(&mut self, kept: usize, length: usize) {
        if self.memory.len() >= self.start + length {
            return;
        }
        let memory = vec![0; length + BLOCK];
        let start = memory.as_ptr().align_offset(BLOCK);
        let old = std::mem::replace(self, Self { memory, start });
        self.bytes()[..kept].copy_from_slice(&old.memory[old.start..old.start + kept]);
    }

    /// Gives memory back, but for the first `kept` bytes.
    fn shrink(&mut self, kept: usize) {
        if self.memory.len() > KEPT_MAX {
            let mut small = Self::default();
            small.hold(0, BLOCK);
            small.bytes()[..kept].copy_from_slice(&self.bytes()[..kept]);
            *self = small;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn both_ways_leave_the_same(
            sizes in prop::collection::vec(prop_oneof![0..64_usize, 0..9000_usize, Just(BLOCK), Just(2 * KEPT_MAX)], 1..12),
            again in 0..12_usize,
        ) {
            let directory = tempfile::tempdir().expect("a directory");
            if !direct::is_possible(directory.path()) {
                return Ok(());
            }
            let mut expected = Vec::new();
            let path = |direct: bool| directory.path().join(direct.to_string());
            let files = [false, true].map(|direct| {
                let mut options = File::options();
                options.read(true).write(true).create(true).truncate(true);
                options.open(path(direct)).expect("a file")
            });
            let open = |direct| Tail::open(&path(direct), direct).expect("a tail");
            let mut tails = [open(false), open(true)];
            for (number, size) in sizes.iter().enumerate() {
                let bytes = vec![number as u8 + 1; *size];
                let end = expected.len() as u64;
                for (direct, (tail, file)) in [false, true].into_iter().zip(tails.iter_mut().zip(&files)) {
                    if number == again {
                        *tail = open(direct);
                        tail.resume(file, end).expect("what is there");
                    }
                    tail.append(file, end, &bytes).expect("a write");
                }
                expected.extend(bytes);
            }
            for direct in [false, true] {
                let found = std::fs::read(path(direct)).expect("a file");
                prop_assert!(found[..expected.len()] == expected, "direct: {direct}");
                prop_assert!(found[expected.len()..].iter().all(|byte| *byte == 0));
            }
        }
    }
}
