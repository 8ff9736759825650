//! From RocksDB's error text to the place that an operator can look at.
//!
//! *Place*: [`super::Rocks`] passes every error of kind "corruption", and every error on open, through here.
//!
//! *Limits*: RocksDB's errors are text. Where it names no file, the directory is the place.
//!
//! *Next stop*: `wal`, which finds the place itself.

use crate::Error;
use rocksdb::ErrorKind;
use std::path::Path;

/// What [`super::Rocks::open`] answers when RocksDB refuses.
pub(super) fn open_error(directory: &Path, error: &rocksdb::Error) -> Error {
    let text = error.to_string();
    if error.kind() == ErrorKind::Corruption {
        return name_place(directory, error);
    }
    let locked = text.contains("LOCK") && text.contains("lock");
    Error::Open {
        directory: directory.display().to_string(),
        reason: if locked {
            format!("it is in use by a process that is still running; stop that first ({text})")
        } else {
            text
        },
    }
}

/// A corruption error with its file and offset.
pub(super) fn name_place(directory: &Path, error: &rocksdb::Error) -> Error {
    let text = error.to_string();
    Error::Corrupt {
        place: place_in(&directory.display().to_string(), &text),
        reason: text,
    }
}

/// The table file that a message names, without directory.
pub(super) fn table_in(text: &str) -> Option<String> {
    let words = text.split_whitespace();
    let mut words = words.map(|word| word.trim_matches(|mark: char| ":;,()\"'".contains(mark)));
    let path = words.find(|word| word.ends_with(".sst"))?;
    path.rsplit('/').next().map(str::to_owned)
}

/// Finds `DIRECTORY/FILE [... offset N]` in a message.
fn place_in(directory: &str, text: &str) -> String {
    let file = text
        .split_whitespace()
        .map(|word| word.trim_matches(|mark: char| ":;,()\"'".contains(mark)))
        .find(|word| {
            word.ends_with(".sst")
                || word.ends_with(".log")
                || word.contains("MANIFEST-")
                || word.ends_with("CURRENT")
        });
    let offset = text.split_once("offset ").map(|(_, rest)| {
        rest.chars()
            .take_while(char::is_ascii_digit)
            .collect::<String>()
    });
    let file = match file {
        None => return directory.to_owned(),
        Some(file) if file.starts_with('/') && !file.starts_with(directory) => {
            // Some messages name a file relative to the directory, with a slash before it.
            format!("{directory}{file}")
        }
        Some(file) if file.starts_with(directory) => file.to_owned(),
        Some(file) => format!("{directory}/{file}"),
    };
    match offset {
        Some(offset) if !offset.is_empty() => format!("{file} offset {offset}"),
        _ => file,
    }
}

#[cfg(test)]
mod tests {
    use super::{place_in, table_in};

    #[test]
    fn the_place_is_found_in_what_rocksdb_says() {
        let cases = [
            (
                "Corruption: block checksum mismatch: stored = 1, computed = 2, type = 4  in /d/kv/000012.sst offset 77 size 4001",
                "/d/kv/000012.sst offset 77",
            ),
            (
                "Corruption: Can't access /000009.sst: IO error",
                "/d/kv/000009.sst",
            ),
            ("Corruption: checksum mismatch", "/d/kv"),
        ];
        for (text, place) in cases {
            assert_eq!(place_in("/d/kv", text), place);
        }
        assert_eq!(table_in(cases[0].0), Some("000012.sst".into()));
        assert_eq!(table_in(cases[2].0), None);
    }
}
