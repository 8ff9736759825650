//! Damage in the engine in memory: nobody knows of it before somebody reads, and nothing but its removal heals it.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use std::ops::ControlFlow;
use yadkv_engine::memory::Memory;
use yadkv_engine::{
    DamagedFile, Direction, Durability, Engine, Error, Family, LogEngine, WriteBatch,
};

const DATA: Family = Family(0);

fn file(first: &'static str, last: &'static str) -> DamagedFile {
    DamagedFile {
        name: "000007.sst".into(),
        family: DATA,
        first: Bytes::from_static(first.as_bytes()),
        last: Bytes::from_static(last.as_bytes()),
    }
}

fn put(disk: &Memory, key: &'static str) {
    let mut batch = WriteBatch::new();
    batch.put(DATA, key.as_bytes(), key.as_bytes());
    disk.write(batch, Durability::Buffered).unwrap();
}

/// What a scan visits before it ends, and whether damage ended it.
fn scan(disk: &Memory, start: &str, end: &str, direction: Direction) -> (String, bool) {
    let mut seen = String::new();
    let mut visit = |key: &[u8], _: &[u8]| {
        seen.push_str(std::str::from_utf8(key).unwrap());
        ControlFlow::Continue(())
    };
    let (start, end) = (start.as_bytes(), end.as_bytes());
    let scanned = disk
        .snapshot()
        .scan(DATA, start, end, direction, &mut visit);
    (seen, matches!(scanned, Err(Error::Corrupt { .. })))
}

#[test]
fn a_read_meets_damage_and_tells() {
    let disk = Memory::new(1);
    ["a", "c", "f"].into_iter().for_each(|key| put(&disk, key));
    disk.rot(file("c", "d"));
    assert_eq!(disk.damaged().unwrap(), []);
    assert!(disk.get(DATA, b"a").unwrap().is_some());
    assert!(disk.get(DATA, b"f").unwrap().is_some());
    assert_eq!(disk.damaged().unwrap(), [], "nobody has read of it");
    assert!(matches!(disk.get(DATA, b"d"), Err(Error::Corrupt { .. })));
    assert_eq!(disk.damaged().unwrap(), [file("c", "d")]);
}

#[test]
fn a_scan_does_not_pass_damage_where_no_key_is() {
    let disk = Memory::new(1);
    ["a", "f"].into_iter().for_each(|key| put(&disk, key));
    disk.rot(file("c", "d"));
    use Direction::{Backward, Forward};
    assert_eq!(scan(&disk, "", "", Forward), ("a".into(), true));
    assert_eq!(scan(&disk, "", "", Backward), ("f".into(), true));
    assert_eq!(scan(&disk, "", "c", Forward), ("a".into(), false));
    assert_eq!(scan(&disk, "", "cc", Forward), ("a".into(), true));
    assert_eq!(scan(&disk, "dd", "", Backward), ("f".into(), false));
    assert_eq!(scan(&disk, "d", "", Backward), ("f".into(), true));
}

#[test]
fn damage_stays_until_the_file_goes() {
    let disk = Memory::new(1);
    put(&disk, "c");
    disk.rot(file("c", "d"));
    put(&disk, "c");
    disk.power_loss(1);
    disk.restart();
    assert!(disk.get(DATA, b"c").is_err(), "newer tables lie over it");
    assert!(disk.discard_damaged(&file("b", "e")).unwrap());
    assert_eq!(disk.rotten(), []);
    assert_eq!(disk.get(DATA, b"c").unwrap(), None);
}
