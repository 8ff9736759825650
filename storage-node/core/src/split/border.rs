//! What may be a border inside a region.
//!
//! Raw V1 keys and memcomparable encodings share one border space. Rows of one encoded key begin with its encoding,
//! so any bytes may be a border of which no encoding is a proper prefix.
//!
//! ```text
//! user0000000000000042   no encoding in front      may be a border as it is
//! [encoding]suffix       a row of an encoded key   the border goes down to [encoding]
//! ```
//!
//! *Place*: [`super::check`] moves its keys down with [`legal_inside`]; cuts asked for by hand pass [`check`].
//!
//! *Invariants*: encodings are prefix-free, and two prefixes of the same bytes are prefixes of each other: at most
//! one encoding is a proper prefix of a key, so [`at_or_before`] has one answer. It is a legal border, keeps order
//! (`a <= b` gives `at_or_before(a) <= at_or_before(b)`), and what lies between it and the key begins with it.
//!
//! *Limits*: [`CUTS_MAX`] cuts at once, [`BORDER_BYTES_MAX`] bytes a border.
//!
//! *Source*: `proto/README.md`, Which keys travel where.
//!
//! *Next stop*: [`super::check`].

use bytes::Bytes;
use yadkv_proto::codec;
use yadkv_proto::key::KeyRange;

/// Most cuts of one region at once. More that are asked for by hand are refused, more by size wait for the next check.
pub const CUTS_MAX: usize = 1024;

/// Most bytes of a border: an encoded key of 8 KiB and room to spare. The placement driver takes no longer ones.
pub const BORDER_BYTES_MAX: usize = 32 << 10;

/// Bytes of an encoding's group: data and mark.
const GROUP: usize = codec::encoded_len(0);
/// Mark of a group that is not the last.
const MARK_FULL: u8 = 0xFF;
/// Most bytes of a key that an error shows.
const SHOWN_BYTES_MAX: usize = 64;

/// Why a region cannot be cut as asked. Nothing was done; ask with other keys.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// No keys, or too many; the field counts them.
    #[error("{0} split keys: give 1 to {CUTS_MAX}")]
    Count(usize),
    /// This key is not above the one before it.
    #[error("split key \"{}\" is not above the one before it: give them in rising order, each once", shown(.0))]
    NotRising(Bytes),
    /// This key has more bytes than any region may begin with.
    #[error("split key \"{}\" is too long: a border has at most {BORDER_BYTES_MAX} bytes", shown(.0))]
    TooLong(Bytes),
    /// This key is the region's start or end.
    #[error("split key \"{}\" is the region's border already: leave it out", shown(.0))]
    AtBorder(Bytes),
    /// This key belongs to another region.
    #[error("split key \"{}\" is outside of the region: look up its region again", shown(.0))]
    Outside(Bytes),
    /// A cut here would part rows of one encoded key.
    #[error("split key \"{}\" parts rows of one encoded key: cut at its first {encoding_len} bytes", shown(.key))]
    Illegal {
        /// The key.
        key: Bytes,
        /// Bytes of the encoding that it begins with.
        encoding_len: usize,
    },
}

fn shown(key: &[u8]) -> String {
    match key.get(..SHOWN_BYTES_MAX) {
        Some(front) if key.len() > SHOWN_BYTES_MAX => {
            format!("{}… ({} bytes)", front.escape_ascii(), key.len())
        }
        _ => key.escape_ascii().to_string(),
    }
}

/// The greatest border not above `key` that parts no rows: `key` if it is legal, else the encoding it begins with.
pub fn at_or_before(key: &[u8]) -> Bytes {
    Bytes::copy_from_slice(&key[..legal_len(key)])
}

/// Bytes of `key` up to the end of the encoding it begins with; all of them if there is none.
fn legal_len(key: &[u8]) -> usize {
    if codec::is_legal_border(key) {
        return key.len();
    }
    let groups = key.chunks_exact(GROUP);
    let full = groups
        .take_while(|group| group[GROUP - 1] == MARK_FULL)
        .count();
    (full + 1) * GROUP
}

/// [`at_or_before`], if it is strictly inside of `range`: above its start and below its end.
pub fn legal_inside(range: &KeyRange, key: &[u8]) -> Option<Bytes> {
    let border = &key[..legal_len(key)];
    let is_inside = border > &range.start[..] && range.contains(border);
    is_inside.then(|| Bytes::copy_from_slice(border))
}

/// Whether a region that covers `range` can be cut at `keys`; the error names the first key that is wrong.
pub fn check(range: &KeyRange, keys: &[Bytes]) -> Result<(), Unfit> {
    if keys.is_empty() || keys.len() > CUTS_MAX {
        return Err(Unfit::Count(keys.len()));
    }
    let mut before: Option<&Bytes> = None;
    for key in keys {
        if before.is_some_and(|before| key <= before) {
            return Err(Unfit::NotRising(key.clone()));
        }
        if key.len() > BORDER_BYTES_MAX {
            return Err(Unfit::TooLong(key.clone()));
        }
        let is_end = !range.end.is_empty() && *key == range.end;
        if *key == range.start || is_end {
            return Err(Unfit::AtBorder(key.clone()));
        }
        if !range.contains(key) {
            return Err(Unfit::Outside(key.clone()));
        }
        let encoding_len = legal_len(key);
        if encoding_len < key.len() {
            return Err(Unfit::Illegal {
                key: key.clone(),
                encoding_len,
            });
        }
        before = Some(key);
    }
    Ok(())
}

#[cfg(test)]
#[path = "border_tests.rs"]
mod tests;
