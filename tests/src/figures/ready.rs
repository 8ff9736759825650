//! How soon a playground is ready, and how large the binary is.
//!
//! *Next stop*: [`super::idle`].

use crate::Figure;
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Instant;
use yadkv_tests::binary;

const READY_SECONDS_MAX: f64 = 10.0;
const BINARY_MB_MAX: f64 = 60.0;
const RUNS: usize = 3;

pub(crate) fn measure() -> Vec<Figure> {
    let slowest = (0..RUNS).map(|_| ready()).fold(0.0, f64::max);
    let bytes = fs::metadata(binary()).expect("the binary").len();
    vec![
        Figure::at_most(
            format!("playground ready (slowest of {RUNS})"),
            READY_SECONDS_MAX,
            slowest,
            "s",
        ),
        Figure::at_most(
            "stripped release binary",
            BINARY_MB_MAX,
            bytes as f64 / 1e6,
            "MB",
        ),
    ]
}

/// Seconds until a playground says that it is ready.
fn ready() -> f64 {
    let folder = tempfile::tempdir().expect("a folder");
    let begun = Instant::now();
    let mut playground = Command::new(binary())
        .args(["playground", "--port-base", "0", "--data-dir"])
        .arg(folder.path())
        .stdout(Stdio::piped())
        .stdin(Stdio::null())
        .spawn()
        .expect("the binary starts");
    let output = playground.stdout.take().expect("piped");
    let mut lines = BufReader::new(output).lines().map_while(Result::ok);
    let ready = lines.any(|line| line.starts_with("ready: "));
    let seconds = begun.elapsed().as_secs_f64();
    // It ends its servers before itself, so that nobody writes to the folder any more.
    let pid = Pid::from_child(&playground);
    kill_process(pid, Signal::TERM).expect("our own process");
    playground.wait().expect("our own process");
    assert!(ready, "the playground ended before it was ready");
    seconds
}
