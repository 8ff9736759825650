//! The machine that was measured.
//!
//! *Source*: proc(5).
//!
//! *Next stop*: [`crate::results`].

use serde::Serialize;
use std::fmt::{Display, Formatter};
use std::fs::read_to_string;
use std::process::Command;

/// What figures depend on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Machine {
    /// The processor's name.
    pub processor: String,
    /// Processors that this process may use.
    pub cores: usize,
    /// Main memory, GiB.
    pub memory_gib: u64,
    /// The kernel's release.
    pub kernel: String,
}

impl Machine {
    /// This one.
    pub fn this() -> Self {
        let read = |path: &str| read_to_string(path).unwrap_or_default();
        Self {
            processor: field(&read("/proc/cpuinfo"), "model name"),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_gib: gib(&field(&read("/proc/meminfo"), "MemTotal")),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        }
    }
}

/// The value of the first line `name : value`.
fn field(text: &str, name: &str) -> String {
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    let mut values = lines.filter(|(key, _)| key.trim() == name);
    values
        .next()
        .map_or_else(String::new, |(_, value)| value.trim().to_owned())
}

fn gib(kib: &str) -> u64 {
    let kib = kib.split_whitespace().next();
    let kib: u64 = kib.and_then(|kib| kib.parse().ok()).unwrap_or_default();
    (kib + (1 << 19)) >> 20
}

/// What was compared, of which version.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Programs {
    /// This one, and how it was built.
    pub yadkv: String,
    /// Its first line of `--version`; empty if it is not here.
    pub etcd: String,
    /// The same.
    pub redis: String,
}

impl Programs {
    /// Those that are here.
    pub fn here() -> Self {
        let built = option_env!("YADKV_BUILD").unwrap_or(match cfg!(debug_assertions) {
            true => "not optimised at all",
            false => "plain release",
        });
        Self {
            yadkv: format!("yadkv {} ({built})", env!("CARGO_PKG_VERSION")),
            etcd: version("etcd"),
            redis: version("redis-server"),
        }
    }
}

/// The first line that a program says of itself.
fn version(program: &str) -> String {
    let output = Command::new(program).arg("--version").output();
    let output = output.map(|output| output.stdout).unwrap_or_default();
    let text = String::from_utf8_lossy(&output);
    text.lines().next().unwrap_or_default().trim().to_owned()
}

impl Display for Programs {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> std::fmt::Result {
        let Self { yadkv, etcd, redis } = self;
        write!(formatter, "{yadkv}; {etcd}; {redis}")
    }
}

impl Display for Machine {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> std::fmt::Result {
        let Self {
            processor,
            cores,
            memory_gib,
            kernel,
        } = self;
        write!(
            formatter,
            "{cores} cores of {processor}, {memory_gib} GiB, Linux {kernel}; servers and load on this one machine"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found() {
        let text = "processor\t: 0\nmodel name\t: A: fast one\nmodel name\t: B\n";
        assert_eq!(field(text, "model name"), "A: fast one");
        assert_eq!(field(text, "nothing"), "");
        assert_eq!(gib("25164824 kB"), 24);
    }
}
