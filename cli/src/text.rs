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
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes().enumerate();
    while let Some((position, byte)) = bytes.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        let bad = || {
            Failure(format!(
                "{text:?}: bad escape at byte {position}: use \\t \\n \\r \\\\ or \\xNN"
            ))
        };
        match bytes.next().ok_or_else(bad)?.1 {
            b't' => out.push(b'\t'),
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b'\\' => out.push(b'\\'),
            b'x' => {
                let digits = text.get(position + 2..position + 4).ok_or_else(bad)?;
                out.push(u8::from_str_radix(digits, 16).map_err(|_| bad())?);
                bytes.nth(1);
            }
            _ => return Err(bad()),
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
