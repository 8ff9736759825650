//! Wall clocks of servers, which a test sets while they run.
//!
//! *Place*: [`crate::Setup::clocks`]; the servers are started with libfaketime before the C library, which reads the offset
//! of each from a file beside its data. Clocks that only go forward, by which leases are judged, are left alone, as they are
//! by an operator who sets the time.
//!
//! *Limits*: without Debian's package `faketime` [`Clocks::may_be_set`] says so, and the test cannot be made.
//!
//! *Next stop*: [`crate::storm`].

use std::fs;
use std::path::{Path, PathBuf};

/// Where the package puts it.
const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";

/// The clocks of a cluster.
#[derive(Clone, Debug)]
pub struct Clocks {
    folder: PathBuf,
}

impl Clocks {
    /// Whether clocks can be set here.
    pub fn may_be_set() -> bool {
        Path::new(LIBRARY).exists()
    }

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
        fs::write(&fresh, format!("{seconds:+}s\n")).expect("a file");
        fs::rename(fresh, self.file(server)).expect("a file");
    }

    /// What a server is started with.
    pub(crate) fn environment(&self, server: &str) -> Vec<(&'static str, String)> {
        if !self.file(server).exists() {
            self.set(server, 0);
        }
        vec![
            ("LD_PRELOAD", LIBRARY.to_owned()),
            (
                "FAKETIME_TIMESTAMP_FILE",
                self.file(server).display().to_string(),
            ),
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ]
    }
}
