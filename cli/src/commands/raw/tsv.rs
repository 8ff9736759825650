//! Records in a file: a line `KEY<TAB>VALUE` each, both as [`crate::text`] writes them.
//!
//! *Life of a line*: read up to its line break → two fields → escapes become bytes → counted.
//!
//! *Invariants*: [`Position`] is always between two lines, and `sum` is the checksum of all bytes before it. Bytes that
//! are not escaped are taken as they are, except carriage returns: nobody can see whether one belongs to the value.
//!
//! *Limits and failure*: a line of at most [`LINE_BYTES_MAX`]; whatever else is wrong is said with the number of its line.
//!
//! *Next stop*: [`super::import`].

use crate::failure::{Context, Failure, Outcome};
use crate::text;
use bytes::Bytes;
use std::io::{BufRead, Read};

/// More than any key and value that a store takes, each byte escaped.
const LINE_BYTES_MAX: u64 = 64 << 20;

/// A place in a file: what comes before it was read.
#[derive(Clone, Debug, Default)]
pub(super) struct Position {
    /// Lines.
    pub(super) line: u64,
    /// Bytes.
    pub(super) offset: u64,
    sum: crc32fast::Hasher,
}

impl Position {
    /// CRC-32 of the bytes before it.
    pub(super) fn sum(&self) -> u32 {
        self.sum.clone().finalize()
    }

    fn add(&mut self, bytes: &[u8]) {
        self.offset += bytes.len() as u64;
        self.sum.update(bytes);
    }
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) key: Bytes,
    pub(super) value: Bytes,
}

/// The records of a file.
pub(super) struct Records<R> {
    reader: R,
    name: String,
    line: Vec<u8>,
    position: Position,
}

impl<R: BufRead> Records<R> {
    /// From the beginning of `reader`, which errors call `name`.
    pub(super) fn new(reader: R, name: String) -> Self {
        Self {
            reader,
            name,
            line: Vec::new(),
            position: Position::default(),
        }
    }

    /// Behind the last record that was read.
    pub(super) fn position(&self) -> &Position {
        &self.position
    }

    /// Passes over lines that end at `offset`, without a look at what they hold.
    pub(super) fn skip(&mut self, line: u64, offset: u64) -> Outcome {
        let mut left = offset;
        while left > 0 {
            let bytes = self.reader.fill_buf().context(&self.name)?;
            if bytes.is_empty() {
                break;
            }
            let count = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            self.position.add(&bytes[..count]);
            self.reader.consume(count);
            left -= count as u64;
        }
        self.position.line = line;
        Ok(())
    }

    /// The next record; `None` at the end.
    pub(super) fn next(&mut self) -> Outcome<Option<Record>> {
        self.line.clear();
        let mut limited = (&mut self.reader).take(LINE_BYTES_MAX);
        let read = limited.read_until(b'\n', &mut self.line);
        if read.context(&self.name)? == 0 {
            return Ok(None);
        }
        let record = record(&self.line).map_err(|reason| {
            let (name, number) = (&self.name, self.position.line + 1);
            Failure(format!("{name}, line {number}: {reason}"))
        })?;
        self.position.add(&self.line);
        self.position.line += 1;
        Ok(Some(record))
    }
}

fn record(line: &[u8]) -> Result<Record, String> {
    let line = match line {
        [line @ .., b'\n'] => line,
        line if line.len() as u64 >= LINE_BYTES_MAX => {
            return Err(format!("longer than {} MiB", LINE_BYTES_MAX >> 20));
        }
        _ => {
            let reason = "it is cut: the file ends without a line break";
            return Err(format!("{reason} (if the line is whole, add one)"));
        }
    };
    if line.contains(&b'\r') {
        let reason = "it has a carriage return: give the file plain line breaks";
        return Err(format!(
            "{reason}, and write one that belongs to a value \\r"
        ));
    }
    let mut fields = line.split(|byte| *byte == b'\t');
    let key = fields.next().unwrap_or_default();
    let Some(value) = fields.next() else {
        return Err("it has no tab between key and value: it is cut, or no record".into());
    };
    let more = fields.count();
    if more > 0 {
        let reason = format!("it has {} fields instead of two", more + 2);
        return Err(format!(
            "{reason}: write a tab that belongs to one of them \\t"
        ));
    }
    if key.is_empty() {
        return Err("its key is empty".into());
    }
    Ok(Record {
        key: field(key, "key")?,
        value: field(value, "value")?,
    })
}

fn field(text: &[u8], name: &str) -> Result<Bytes, String> {
    let bytes = text::unescape_bytes(text).map_err(|position| {
        let help = "use \\t \\n \\r \\\\ or \\xNN";
        format!("bad escape at byte {} of the {name}: {help}", position + 1)
    })?;
    Ok(bytes.into())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::text::escape;

    fn read(text: &[u8]) -> Outcome<Vec<Record>> {
        let mut records = Records::new(text, "f.tsv".into());
        let mut all = Vec::new();
        while let Some(record) = records.next()? {
            all.push(record);
        }
        assert_eq!(records.position().offset, text.len() as u64);
        assert_eq!(records.position().line, all.len() as u64);
        assert_eq!(records.position().sum(), crc32fast::hash(text));
        Ok(all)
    }

    #[test]
    fn every_byte_of_keys_and_values_survives() {
        let all: Vec<u8> = (0..=255).collect();
        let line = format!("{}\t{}\nk\t\n", escape(&all), escape(&all));
        let records = read(line.as_bytes()).unwrap();
        assert_eq!((&*records[0].key, &*records[0].value), (&*all, &*all));
        assert_eq!(
            (&*records[1].key, &*records[1].value),
            (&b"k"[..], &b""[..])
        );
        assert_eq!(&*read(b"\xff\t\x00\n").unwrap()[0].key, b"\xff");
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        for (line, reason) in [
            (&b"a\tb"[..], "cut"),
            (b"ab\n", "no tab"),
            (b"\n", "no tab"),
            (b"\tb\n", "key is empty"),
            (b"a\tb\tc\td\n", "4 fields"),
            (b"a\tb\r\n", "carriage return"),
            (b"a\tb\\q\n", "byte 2 of the value"),
            (b"a\\x4\tb\n", "byte 2 of the key"),
        ] {
            let text = [b"good\tone\n", line].concat();
            let said = read(&text).unwrap_err().to_string();
            assert!(said.starts_with("f.tsv, line 2: "), "{said}");
            assert!(said.contains(reason), "{said}");
        }
    }

    #[test]
    fn what_is_passed_over_counts() {
        let text = b"broken\na\tb\n";
        let mut records = Records::new(&text[..], "f".into());
        records.skip(1, 7).unwrap();
        assert_eq!(records.position().sum(), crc32fast::hash(b"broken\n"));
        assert_eq!(&*records.next().unwrap().unwrap().key, b"a");
        let mut short = Records::new(&b"a\tb\n"[..], "f".into());
        short.skip(9, 100).unwrap();
        assert_eq!(short.position().offset, 4);
    }
}
