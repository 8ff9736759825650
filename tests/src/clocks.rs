//! Wall clocks of servers, which a test sets while they run.
//!
//! *Place*: [`crate::Setup::clocks`]; the servers are started with the library of `yadkv-test-clock` before the C library,
//! which reads from a file beside the data of each how wrong its clock is. Clocks that only go forward, by which leases are
//! judged, are left alone, as they are by an operator who sets the time.
//!
//! *Next stop*: [`crate::storm`].

use std::fs;
use std::path::{Path, PathBuf};

/// The clocks of a cluster.
#[derive(Clone, Debug)]
pub struct Clocks {
    folder: PathBuf,
}

impl Clocks {
    /// The clocks of the servers that keep their data in a folder: all are right.
    pub(crate) fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
        }
    }

    fn file(&self, server: &str) -> PathBuf {
        self.folder.join(format!("{server}.clock"))
    }

    /// Sets the clock of a server so many seconds before (or, negative, behind) the time.
    pub fn set(&self, server: &str, seconds: i64) {
        // Renamed into its place: the server reads it at any moment.
        let fresh = self.folder.join(format!("{server}.clock.new"));
        fs::write(&fresh, seconds.to_string()).expect("a file");
        fs::rename(fresh, self.file(server)).expect("a file");
    }

    /// What a server is started with.
    pub(crate) fn environment(&self, server: &str) -> Vec<(&'static str, String)> {
        if !self.file(server).exists() {
            self.set(server, 0);
        }
        let library = crate::binary().with_file_name("libyadkv_test_clock.so");
        assert!(
            library.exists(),
            "{library:?} is missing: run `cargo build --workspace` first"
        );
        vec![
            ("LD_PRELOAD", library.display().to_string()),
            ("YADKV_TEST_CLOCK", self.file(server).display().to_string()),
        ]
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::Clocks;
    use std::process::Command;

    /// What a program that starts with the environment of a server thinks that the time is.
    fn seconds(clocks: &Clocks) -> i64 {
        let mut date = Command::new("date");
        let output = date.arg("+%s").envs(clocks.environment("store-0")).output();
        let text = String::from_utf8(output.unwrap().stdout).unwrap();
        text.trim().parse().unwrap()
    }

    #[test]
    fn a_clock_is_as_wrong_as_a_test_says() {
        let folder = tempfile::tempdir().unwrap();
        let clocks = Clocks::new(folder.path());
        let right = seconds(&clocks);
        clocks.set("store-0", 100_000);
        assert!((100_000..110_000).contains(&(seconds(&clocks) - right)));
        clocks.set("store-0", -100_000);
        assert!((-100_000..-90_000).contains(&(seconds(&clocks) - right)));
    }
}
