//! Whether this process goes on at all: what a supervisor asks before it kills and starts it anew.
//!
//! *Life of a look*: every worker is asked through its inbox, behind what waits there already → all have answered: alive.
//!
//! *Limits and failure*: [`ANSWER_MAX`] for the answers, then 503. A worker that waits for a hung disk counts as alive: a
//! new process would wait for it too. A full inbox is asked again.
//!
//! *Next stop*: [`crate::life`].

use super::Pages;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use futures::future::try_join_all;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{Instant, sleep, timeout_at};
use yadkv_proto::id::RegionId;
use yadkv_storage_core::store::inspect::Inspection;
use yadkv_storage_core::store::message::Input;

/// How long workers may take to answer: longer than any of their rounds on a slow disk.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// Time between two questions to a worker with a full inbox.
const AGAIN_AFTER: Duration = Duration::from_millis(50);

#[derive(Clone)]
struct Looks {
    pages: Pages,
    /// One look at a time; the others wait.
    one: Arc<Semaphore>,
}

pub(super) fn routes(pages: Pages) -> Router {
    let one = Arc::new(Semaphore::new(1));
    Router::new()
        .route("/live", get(live))
        .route("/health", get(live))
        .with_state(Looks { pages, one })
}

async fn live(State(looks): State<Looks>) -> (StatusCode, &'static str) {
    let deadline = Instant::now() + ANSWER_MAX;
    match timeout_at(deadline, looks.all_answer()).await {
        Ok(()) => (StatusCode::OK, "ok\n"),
        Err(_) if looks.pages.life.disk_hangs() => (StatusCode::OK, "the disk hangs\n"),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "a worker is stuck\n"),
    }
}

impl Looks {
    async fn all_answer(&self) {
        // Never closed; if it were, looks would only not wait for each other.
        let _one = self.one.acquire().await;
        loop {
            let mut answers = Vec::new();
            self.pages.router.offer(|| {
                let (sender, answer) = oneshot::channel();
                answers.push(answer);
                let reply = Box::new(move |_| {
                    // Nobody may wait any more.
                    let _ = sender.send(());
                });
                let (from, limit) = (RegionId(0), 0);
                Input::Inspect(Inspection { from, limit, reply })
            });
            if try_join_all(answers).await.is_ok() {
                return;
            }
            sleep(AGAIN_AFTER).await;
        }
    }
}
