//! The memcomparable form of a key (`proto/README.md`, Which keys travel where) and `ceil`, the border that an encoded
//! caller is shown.
//!
//! *Place*: stores map transactional and V2 keys into region space with [`encode`]; the placement driver
//! shows borders through [`ceil`].
//!
//! *Bytes*: groups of 8, each followed by `FF`; the last group (0 to 7 bytes) is zero-padded to 8 and
//! followed by `FF - padding`. `encode("")` = `00 00 00 00 00 00 00 00 F7`.
//!
//! *Invariants*: order and prefix-freeness are kept: `a < b` iff `encode(a) < encode(b)`, and no encoding is
//! a proper prefix of another.
//!
//! *Next stop*: `engine`.

use bytes::{BufMut, Bytes, BytesMut};

const GROUP: usize = 8;
const MARK_FULL: u8 = 0xFF;

/// Why some bytes are no memcomparable encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end inside a group or right after a full one.
    #[error("memcomparable key ends early: refuse the key")]
    Short,
    /// A mark or padding byte cannot stand where it stands.
    #[error("memcomparable key has a bad mark or padding at byte {0}: refuse the key")]
    Malformed(usize),
    /// Bytes follow the last group.
    #[error("memcomparable key has bytes after its end, from byte {0}: refuse the key")]
    Trailing(usize),
}

/// Length of the encoding of a key of `length` bytes.
pub const fn encoded_len(length: usize) -> usize {
    (length / GROUP + 1) * (GROUP + 1)
}

/// Encodes a key.
pub fn encode(key: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(encoded_len(key.len()));
    let mut groups = key.chunks_exact(GROUP);
    for group in &mut groups {
        out.put_slice(group);
        out.put_u8(MARK_FULL);
    }
    let rest = groups.remainder();
    let padding = GROUP - rest.len();
    out.put_slice(rest);
    out.put_bytes(0, padding);
    out.put_u8(MARK_FULL - padding as u8);
    out.freeze()
}

/// Decodes a whole key; every byte must belong to it.
pub fn decode(encoded: &[u8]) -> Result<Bytes, DecodeError> {
    let mut out = BytesMut::with_capacity(encoded.len());
    decode_into(encoded, &mut out)?;
    Ok(out.freeze())
}

/// [`decode`] behind what is in `out` already; after an error, part of the key is there.
pub fn decode_into(encoded: &[u8], out: &mut BytesMut) -> Result<(), DecodeError> {
    let mut position = 0;
    loop {
        let group = encoded
            .get(position..position + GROUP + 1)
            .ok_or(DecodeError::Short)?;
        let (data, mark) = (&group[..GROUP], group[GROUP]);
        position += GROUP + 1;
        if mark == MARK_FULL {
            out.put_slice(data);
            continue;
        }
        let padding = usize::from(MARK_FULL - mark);
        if padding > GROUP {
            return Err(DecodeError::Malformed(position - 1));
        }
        let (kept, pad) = data.split_at(GROUP - padding);
        if pad.iter().any(|byte| *byte != 0) {
            return Err(DecodeError::Malformed(position - 1));
        }
        out.put_slice(kept);
        return if position == encoded.len() {
            Ok(())
        } else {
            Err(DecodeError::Trailing(position))
        };
    }
}

/// Whether `bytes` are exactly one encoding.
pub fn is_encoded(bytes: &[u8]) -> bool {
    decode(bytes).is_ok()
}

/// Whether a region may begin or end at `border`: no encoding is a proper prefix of it.
///
/// A key stored under an encoded key (a version, a raw V2 pair) begins with the encoding; a border behind it
/// would cut between keys that belong together.
pub fn is_legal_border(border: &[u8]) -> bool {
    let mut rest = border;
    while let Some((group, after)) = rest.split_at_checked(GROUP + 1) {
        if group[GROUP] != MARK_FULL {
            return after.is_empty() || !is_encoded(group);
        }
        rest = after;
    }
    true
}

/// The border that an encoded caller is shown for `border`: the least encoding that is not below it.
///
/// No encoding lies between the two, so encoded keys are tiled identically by both. There always is one, since
/// a long enough row of full `FF` groups is above any bytes. Empty (an infinite border) stays empty.
pub fn ceil(border: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(border.len() + 2 * (GROUP + 1));
    let mut rest = border;
    if rest.is_empty() {
        return Bytes::new();
    }
    loop {
        // The same data bytes can always be kept: a full group may go on with anything.
        let data_len = rest.len().min(GROUP);
        out.put_slice(&rest[..data_len]);
        out.put_bytes(0, GROUP - data_len);
        let group = &out[out.len() - GROUP..];
        let zeros = group.iter().rev().take_while(|byte| **byte == 0).count();
        let Some((wanted, after)) = rest[data_len..].split_first() else {
            // Nothing of the border is left: the least mark is the one with the most padding.
            put_end(&mut out, zeros);
            return out.freeze();
        };
        if *wanted == MARK_FULL {
            out.put_u8(MARK_FULL);
            if after.is_empty() {
                put_least_group(&mut out);
                return out.freeze();
            }
            rest = after;
            continue;
        }
        // A last group with exactly the wanted mark is below the border if the border goes on behind it.
        let wanted_padding = usize::from(MARK_FULL - wanted) - usize::from(!after.is_empty());
        put_end(&mut out, zeros.min(wanted_padding));
        return out.freeze();
    }
}

/// Ends an encoding after 8 data bytes: with a mark of at most `padding`, or else with one more group.
fn put_end(out: &mut BytesMut, padding: usize) {
    out.put_u8(MARK_FULL - padding as u8);
    if padding == 0 {
        put_least_group(out);
    }
}

/// The least group that ends an encoding: no data.
fn put_least_group(out: &mut BytesMut) {
    out.put_bytes(0, GROUP);
    out.put_u8(MARK_FULL - GROUP as u8);
}
