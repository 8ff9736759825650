//! Bytes as text: printable ASCII as it is, `\t`, `\n`, `\r`, `\\` and `\xNN` for the rest.
//!
//! *Place*: keys and values on the command line and in TSV.
//!
//! *Invariants*: `unescape(escape(bytes)) == bytes`; escaped text holds no tab and no line break.
//!
//! *Next stop*: [`crate::commands::raw`].

use crate::failure::{Failure, Outcome};
use std::fmt::Write;

/// The text of some bytes.
pub(crate) fn escape(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            b'\t' => out.push_str("\\t"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\\' => out.push_str("\\\\"),
            b' '..=b'~' => out.push(char::from(*byte)),
            _ => {
                // Writing to a string cannot fail.
                let _ = write!(out, "\\x{byte:02x}");
            }
        }
    }
    out
}

/// The bytes of some text; the error names the place.
pub(crate) fn unescape(text: &str) -> Outcome<Vec<u8>> {
    unescape_bytes(text.as_bytes()).map_err(|position| {
        Failure(format!(
            "{text:?}: bad escape at byte {position}: use \\t \\n \\r \\\\ or \\xNN"
        ))
    })
}

/// The same of text in any encoding; `Err` is the place of a bad escape.
pub(crate) fn unescape_bytes(text: &[u8]) -> Result<Vec<u8>, usize> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.iter().copied().enumerate();
    while let Some((position, byte)) = bytes.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        match bytes.next().ok_or(position)?.1 {
            b't' => out.push(b'\t'),
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b'\\' => out.push(b'\\'),
            b'x' => {
                let mut digit = || {
                    let digit = bytes.next().map(|(_, byte)| char::from(byte));
                    digit.and_then(|digit| digit.to_digit(16)).ok_or(position)
                };
                let (high, low) = (digit()?, digit()?);
                out.push((high * 16 + low) as u8);
            }
            _ => return Err(position),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_survives() {
        let all: Vec<u8> = (0..=255).collect();
        let text = escape(&all);
        assert!(text.is_ascii() && !text.contains(['\t', '\n']));
        assert_eq!(unescape(&text).expect("escaped here"), all);
        assert_eq!(unescape("a\\x41é").expect("valid"), "aAé".as_bytes());
        for bad in ["\\", "\\q", "\\x4", "\\xzz", "\\xé"] {
            assert!(unescape(bad).is_err(), "{bad}");
        }
    }
}
