//! Writers that read what they wrote, for as long as a test lets them, and never see an error.
//!
//! *Place*: the tests that change a cluster under its clients.
//!
//! *Invariants*: each key has one writer, so a read gives what that writer wrote last; [`Load::stop`] reads every key
//! once more.
//!
//! *Next stop*: `tests/members.rs`.

use crate::eventually;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::task::JoinHandle;
use yadkv_client::RawClient;

/// Keys of one writer.
const KEYS: u64 = 200;
/// How long a step of a test may take before the load is said to stand still.
const PATIENCE: Duration = Duration::from_secs(30);

type Written = BTreeMap<String, String>;

/// Running writers.
pub struct Load {
    raw: RawClient,
    shared: Arc<Shared>,
    writers: Vec<JoinHandle<Written>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    writes: AtomicU64,
}

impl Load {
    /// Starts writers; `key` makes a key of a writer and a number.
    pub fn start(raw: &RawClient, writers: u64, key: fn(u64, u64) -> String) -> Self {
        let shared = Arc::new(Shared::default());
        let spawn = |writer| tokio::spawn(write(shared.clone(), raw.clone(), writer, key));
        let writers = (0..writers).map(spawn).collect();
        Self {
            raw: raw.clone(),
            shared,
            writers,
        }
    }

    /// Waits for `more` writes.
    pub fn goes_on(&self, more: u64, when: &str) {
        let target = self.shared.writes.load(Ordering::Relaxed) + more;
        eventually(&format!("writes go on {when}"), PATIENCE, || {
            let failed = self.writers.iter().any(JoinHandle::is_finished);
            assert!(!failed, "a writer ended {when}");
            (self.shared.writes.load(Ordering::Relaxed) >= target).then_some(())
        });
    }

    /// Ends the writers and reads what they wrote; how many writes there were.
    pub async fn stop(self) -> u64 {
        self.shared.stop.store(true, Ordering::Relaxed);
        for writer in self.writers {
            let written = writer.await.expect("a writer sees no error");
            for (key, value) in written {
                let read = self.raw.get(key.clone()).await.expect("a read");
                assert_eq!(read.as_deref(), Some(value.as_bytes()), "{key}");
            }
        }
        self.shared.writes.load(Ordering::Relaxed)
    }
}

async fn write(
    shared: Arc<Shared>,
    raw: RawClient,
    writer: u64,
    key: fn(u64, u64) -> String,
) -> Written {
    let mut written = Written::new();
    let mut round = 0_u64;
    while !shared.stop.load(Ordering::Relaxed) {
        let (key, value) = (key(writer, round % KEYS), round.to_string());
        let put = raw.put(key.clone(), value.clone()).await;
        put.expect("no write fails");
        let read = raw.get(key.clone()).await.expect("no read fails");
        assert_eq!(read.as_deref(), Some(value.as_bytes()), "{key}");
        written.insert(key, value);
        shared.writes.fetch_add(1, Ordering::Relaxed);
        round += 1;
    }
    written
}
