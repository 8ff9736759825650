//! What a tokio runtime does.
//!
//! *Place*: servers add theirs once to their meters.
//!
//! *Next stop*: [`crate::Meters`].

use crate::{Error, Meters, about, catch_up_micros, level};
use tokio::runtime::Handle;

impl Meters {
    /// Adds tasks, waiting tasks and busy time of the runtime that this is called in; outside of one they stay 0.
    pub fn add_runtime(&self) -> Result<(), Error> {
        let tasks = self.gauge(about(
            "runtime_tasks",
            "Tasks of the asynchronous runtime.",
            "Do connections or calls pile up?",
        ))?;
        let queue = self.gauge(about(
            "runtime_queue_length",
            "Tasks that wait for a thread of the runtime.",
            "Are there too few processors for the connections?",
        ))?;
        let busy = self.seconds(about(
            "runtime_busy_seconds_total",
            "Time in which threads of the runtime ran tasks.",
            "How much of the processors goes to connections?",
        ))?;
        let Ok(runtime) = Handle::try_current() else {
            return Ok(());
        };
        self.before_text(move || {
            let now = runtime.metrics();
            tasks.set(level(now.num_alive_tasks()));
            queue.set(level(now.global_queue_depth()));
            let times = (0..now.num_workers()).map(|one| now.worker_total_busy_duration(one));
            let micros = times.map(|time| time.as_micros()).sum::<u128>();
            catch_up_micros(&busy, u64::try_from(micros).unwrap_or(u64::MAX));
        });
        Ok(())
    }
}
