//! Sizes as settings show them: exact, in the largest unit that leaves no rest.
//!
//! *Place*: `#[serde(with = "yadkv_settings::size")]` beside each size. What a server shows as in force may be put into its
//! file as it is; the usual form, with one decimal, would say 976.6 KiB of 1,000,001 bytes.
//!
//! *Next stop*: [`crate::page`].

use bytesize::ByteSize;
use serde::{Deserialize, Deserializer, Serializer};

const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];

/// Writes a size.
pub fn serialize<S: Serializer>(size: &ByteSize, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&show(*size))
}

/// Reads one: bytes as a number, or text with a unit.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ByteSize, D::Error> {
    ByteSize::deserialize(deserializer)
}

/// `256MiB`.
pub fn show(size: ByteSize) -> String {
    let (mut amount, mut unit) = (size.as_u64(), 0);
    while amount > 0 && amount.is_multiple_of(1024) && unit + 1 < UNITS.len() {
        amount /= 1024;
        unit += 1;
    }
    format!("{amount}{}", UNITS[unit])
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_read_back() {
        for (bytes, shown) in [
            (0, "0B"),
            (1_000_001, "1000001B"),
            (1536, "1536B"),
            (64 << 10, "64KiB"),
            (256 << 20, "256MiB"),
            (1 << 50, "1024TiB"),
            (u64::MAX, "18446744073709551615B"),
        ] {
            assert_eq!(show(ByteSize::b(bytes)), shown);
            assert_eq!(shown.parse::<ByteSize>().unwrap(), ByteSize::b(bytes));
        }
    }
}
