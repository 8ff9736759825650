//! Whether a store serves, and its last seconds when it is asked to stop.
//!
//! *Place*: [`crate::node`] has one [`Life`]; the status pages show it, heartbeats tell the placement driver of it.
//!
//! *Life of a store*: it starts → the placement driver knows it → every replica here knows a leader: **ready** → asked to
//! stop: ready no more, and the placement driver gives it no leaders → what it leads is handed over → callers who still
//! come are told who leads → it stops.
//!
//! *Limits and failure*: [`HAND_OVER_MAX`] for leadership, for which somebody has to be there; then it stops all the same.
//!
//! *Next stop*: `yadkv_storage_core::peer`, where leadership goes.

use crate::clock;
use crate::router::Router;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};
use yadkv_storage_core::front::Front;
use yadkv_storage_core::store::message::Input;

/// How long leaders may take to hand over. With the time for calls under way less than the 10 s after which a store
/// that was asked to stop is killed.
const HAND_OVER_MAX: Duration = Duration::from_secs(4);
/// How long callers are told who leads instead: about the time that their requests may have been on the way.
const FAREWELL: Duration = Duration::from_millis(500);
/// Time between two looks at who leads.
const LOOK: Duration = Duration::from_millis(20);

/// What a store can do for others. Cheap to clone.
#[derive(Clone)]
pub struct Life {
    front: Arc<Front>,
    router: Router,
    stages: Arc<Stages>,
}

#[derive(Default)]
struct Stages {
    registered: AtomicBool,
    leaves: AtomicBool,
    /// The placement driver is to hear of it.
    changed: Arc<Notify>,
}

impl Life {
    /// Of a store that starts.
    pub fn new(front: Arc<Front>, router: Router) -> Self {
        Self {
            front,
            router,
            stages: Arc::default(),
        }
    }

    /// Wakes whoever tells the placement driver.
    pub fn changed(&self) -> Arc<Notify> {
        self.stages.changed.clone()
    }

    /// The placement driver knows this store.
    pub fn registered(&self) {
        self.stages.registered.store(true, Ordering::Relaxed);
    }

    /// Whether it was asked to stop.
    pub fn leaves(&self) -> bool {
        self.stages.leaves.load(Ordering::Relaxed)
    }

    /// Whether its workers wait for the disk, and for how long nobody knows.
    pub fn disk_hangs(&self) -> bool {
        self.front.writes.hang(clock::moment())
    }

    /// `Err` says why others should not count on this store now.
    pub fn ready(&self) -> Result<(), String> {
        if self.leaves() {
            return Err("the store stops".into());
        }
        if !self.stages.registered.load(Ordering::Relaxed) {
            return Err("the placement driver has not answered yet".into());
        }
        if self.disk_hangs() {
            return Err("the disk hangs".into());
        }
        let views = self.front.directory.all();
        let lonely = views.iter().filter(|view| view.leader().is_none()).count();
        match lonely {
            0 => Ok(()),
            _ => Err(format!(
                "{lonely} of {} replicas know no leader",
                views.len()
            )),
        }
    }

    /// Gives away what it leads. Ends when nothing is left, or after a while.
    pub async fn leave(&self) {
        self.stages.leaves.store(true, Ordering::Relaxed);
        self.stages.changed.notify_one();
        let began = Instant::now();
        let leads = || {
            let views = self.front.directory.all();
            views.iter().filter(|view| view.could_hand_over()).count()
        };
        let first = leads();
        while leads() > 0 && began.elapsed() < HAND_OVER_MAX {
            // It may get lost in a full inbox.
            self.router.offer(|| Input::Leave);
            sleep(LOOK).await;
        }
        let (left, milliseconds) = (leads(), began.elapsed().as_millis());
        tracing::info!(
            leaders = first,
            left,
            milliseconds,
            "leadership handed over"
        );
        if first > left {
            sleep(FAREWELL).await;
        }
    }
}
