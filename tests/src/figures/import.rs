//! How fast `yadkv raw import` and `export` are, with records of about 100 bytes.
//!
//! *Invariants*: what comes out is what went in.
//!
//! *Next stop*: [`super::clients`].

use crate::Figure;
use std::fmt::Write;
use std::fs;
use std::time::Instant;
use yadkv_tests::{Cluster, borders};

const RECORDS: u64 = 1_000_000;
const REGIONS: u32 = 8;
const VALUE_BYTES: usize = 83;
const RECORDS_PER_SECOND_MIN: f64 = 100_000.0;

pub(crate) fn measure() -> Vec<Figure> {
    let cluster = Cluster::start(&[&borders(REGIONS)]);
    let path = |name| cluster.folder.path().join(name).display().to_string();
    let (file, out, pd) = (path("in.tsv"), path("out.tsv"), cluster.pd());
    let mut state = 1_u64;
    let mut all = String::new();
    for number in 0..RECORDS {
        // The first two bytes of keys choose the region.
        let part = (number * 0x1_0000 / RECORDS).to_be_bytes();
        write!(all, "\\x{:02x}\\x{:02x}k{number:010}\t", part[6], part[7]).expect("a string");
        for _ in 0..VALUE_BYTES {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            all.push(char::from(b'a' + (state >> 59) as u8 % 26));
        }
        all.push('\n');
    }
    fs::write(&file, &all).expect("our own folder");
    let timed = |args: &[&str]| {
        let begun = Instant::now();
        cluster.run(&[&["raw", "--pd", &pd], args].concat());
        RECORDS as f64 / begun.elapsed().as_secs_f64()
    };
    let imported = timed(&["import", &file]);
    let exported = timed(&["export", "--out", &out]);
    let lines = fs::read_to_string(&out).expect("our own folder");
    let own = lines.lines().filter(|line| *line != "ready\t1").count();
    assert_eq!(own as u64, RECORDS);
    let rate = |what: &str, reached| {
        Figure::at_least(
            format!("{what} records of 100 bytes"),
            RECORDS_PER_SECOND_MIN,
            reached,
            "a second",
        )
    };
    vec![rate("imported", imported), rate("exported", exported)]
}
