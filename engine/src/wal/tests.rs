//! What the check of a log finds, and what it lets pass.

#![allow(clippy::unwrap_used)]

use super::*;
use proptest::prelude::*;

/// Writes log files as RocksDB does.
#[derive(Default)]
struct Writer {
    bytes: Vec<u8>,
    /// Where each piece starts.
    pieces: Vec<usize>,
    /// Where each batch ends.
    ends: Vec<usize>,
}

impl Writer {
    fn batch(&mut self, sequence: u64, count: u32, payload: &[u8]) {
        let mut batch = sequence.to_le_bytes().to_vec();
        batch.extend(count.to_le_bytes());
        batch.extend(payload);
        let mut rest = &batch[..];
        let mut first = true;
        loop {
            let left = BLOCK - self.bytes.len() % BLOCK;
            if left < HEADER {
                self.bytes.extend(vec![0; left]);
                continue;
            }
            let (piece, after) = rest.split_at(rest.len().min(left - HEADER));
            let kind = match (first, after.is_empty()) {
                (true, true) => WHOLE,
                (true, false) => FIRST,
                (false, true) => LAST,
                (false, false) => MIDDLE,
            };
            self.pieces.push(self.bytes.len());
            self.bytes.extend(checksum(kind, piece).to_le_bytes());
            self.bytes.extend((piece.len() as u16).to_le_bytes());
            self.bytes.push(kind);
            self.bytes.extend(piece);
            first = false;
            rest = after;
            if rest.is_empty() {
                self.ends.push(self.bytes.len());
                return;
            }
        }
    }
}

fn log(first: u64, payloads: &[usize]) -> (Writer, u64) {
    let mut writer = Writer::default();
    let mut sequence = first;
    for (index, length) in payloads.iter().enumerate() {
        let count = index as u32 % 3 + 1;
        writer.batch(sequence, count, &vec![index as u8 | 1; *length]);
        sequence += u64::from(count);
    }
    (writer, sequence)
}

/// The place of damage in a database of these log files.
fn check(files: &[&[u8]]) -> Option<String> {
    let directory = tempfile::tempdir().unwrap();
    for (index, bytes) in files.iter().enumerate() {
        std::fs::write(
            directory.path().join(format!("{:06}.log", index + 4)),
            bytes,
        )
        .unwrap();
    }
    match verify(directory.path()) {
        Ok(()) => None,
        Err(Error::Corrupt { place, .. }) => {
            Some(place.rsplit('/').next().unwrap_or_default().to_owned())
        }
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn whole_logs_of_any_shape_pass() {
    let (first, next) = log(1, &[10, 40_000, 0, 100_000, 32_768 - 7 - 12, 5]);
    let (second, _) = log(next, &[100; 500]);
    assert_eq!(check(&[]), None);
    assert_eq!(check(&[b""]), None);
    assert_eq!(check(&[&first.bytes, &second.bytes]), None);
}

/// What is found in a manifest of these bytes.
fn check_manifest(bytes: &[u8]) -> Option<String> {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("CURRENT"), "MANIFEST-000005\n").unwrap();
    std::fs::write(directory.path().join("MANIFEST-000005"), bytes).unwrap();
    verify(directory.path())
        .err()
        .map(|error| error.to_string())
}

#[test]
fn a_manifest_is_checked_as_a_log_is() {
    // Sequence numbers mean nothing there.
    let mut writer = Writer::default();
    for length in [40, 900, 30_000, 10] {
        writer.batch(7, 1, &vec![3; length]);
    }
    assert_eq!(check_manifest(&writer.bytes), None);
    assert_eq!(check_manifest(b""), None);
    for cut in writer.ends[2]..writer.bytes.len() {
        assert_eq!(check_manifest(&writer.bytes[..cut]), None, "cut at {cut}");
    }
    for piece in &writer.pieces {
        // Checksum, length, type, and the first byte of what follows.
        for at in (0..8).map(|byte| piece + byte) {
            for bit in 0..8 {
                let mut bytes = writer.bytes.clone();
                bytes[at] ^= 1 << bit;
                let found = check_manifest(&bytes);
                assert!(found.is_some(), "byte {at} bit {bit}");
            }
        }
    }
}

#[test]
fn a_log_cut_short_inside_the_last_batch_passes() {
    let (writer, _) = log(1, &[100, 200, 300]);
    for cut in writer.ends[1]..writer.bytes.len() {
        assert_eq!(check(&[&writer.bytes[..cut]]), None, "cut at {cut}");
    }
    let mut zeros = writer.bytes.clone();
    zeros.extend(vec![0; 100_000]);
    assert_eq!(check(&[&zeros]), None);
}

#[test]
fn a_log_cut_short_before_another_one_is_damage() {
    let (first, next) = log(1, &[100, 200]);
    let (second, _) = log(next, &[100]);
    let cut = &first.bytes[..first.bytes.len() - 1];
    let place = format!("000004.log offset {}", first.pieces[1]);
    assert_eq!(check(&[cut, &second.bytes]), Some(place.clone()));
    assert_eq!(check(&[cut, b"", &second.bytes]), Some(place));
    // The same after a recovery that dropped the torn batch: the next file takes its number.
    let (second, _) = log(next - 2, &[100]);
    assert_eq!(check(&[cut, &second.bytes]), None);
}

#[test]
fn a_missing_batch_is_damage() {
    let (writer, _) = log(1, &[100, 200, 300]);
    let mut bytes = writer.bytes[..writer.ends[0]].to_vec();
    bytes.extend(&writer.bytes[writer.ends[1]..]);
    let place = format!("000004.log offset {}", writer.ends[0]);
    assert_eq!(check(&[&bytes]), Some(place));
}

#[test]
fn a_zeroed_sector_is_damage() {
    let (writer, _) = log(1, &[100; 20]);
    let mut bytes = writer.bytes.clone();
    bytes[writer.pieces[4]..][..512].fill(0);
    let place = format!("000004.log offset {}", writer.pieces[4]);
    assert_eq!(check(&[&bytes]), Some(place));
}

proptest! {
    /// Whatever bit flips in whatever byte of whole records, it is found, and no later than where it is.
    #[test]
    fn a_flipped_bit_is_damage(
        lengths in proptest::collection::vec(0..40_000usize, 1..6),
        at in any::<prop::sample::Index>(),
        bit in 0..8u8,
    ) {
        let (writer, _) = log(7, &lengths);
        let at = at.index(writer.bytes.len());
        let mut bytes = writer.bytes.clone();
        bytes[at] ^= 1 << bit;
        let last = writer.pieces.iter().rposition(|start| *start <= at).unwrap();
        let length = usize::from(u16::from_le_bytes([
            writer.bytes[writer.pieces[last] + 4],
            writer.bytes[writer.pieces[last] + 5],
        ]));
        // Padding at the end of a block means nothing.
        prop_assume!(at < writer.pieces[last] + HEADER + length);
        let place = format!("000004.log offset {}", writer.pieces[last]);
        prop_assert_eq!(check(&[&bytes]), Some(place));
    }
}
