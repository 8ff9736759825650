//! Replicas of this store, as their workers see them at the moment.
//!
//! *Life of a look*: parameters checked → the workers are asked through their inboxes → they answer between two other
//! inputs → JSON.
//!
//! *Limits and failure*: [`LOOKS_MAX`] looks at once, [`INSPECTED_MAX`] replicas each, [`ANSWER_MAX`] for the workers'
//! answers; beyond, 503 with the reason. 404 for a region without a replica here, 400 for what makes no sense.
//!
//! *Next stop*: `yadkv_storage_core::store::inspect`.

use super::Pages;
use crate::transport::snapshots::UnderWay;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use futures::future::try_join_all;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit, oneshot};
use yadkv_consensus::Replication;
use yadkv_proto::id::{PeerId, RegionId};
use yadkv_storage_core::peer::inspect::{Follower, Replica};
use yadkv_storage_core::store::inspect::{INSPECTED_MAX, Inspected, Inspection};
use yadkv_storage_core::store::message::Input;

/// Looks at once.
const LOOKS_MAX: usize = 4;
/// Replicas shown if nobody says how many.
const LIMIT: usize = 100;
/// How long workers may take to answer. Less than the time that `yadkv ctl` waits for a store.
const ANSWER_MAX: Duration = Duration::from_millis(500);

type Refusal = (StatusCode, String);

#[derive(Clone)]
struct Looks {
    pages: Pages,
    room: Arc<Semaphore>,
}

/// A part of the list.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Page {
    from: u64,
    limit: usize,
}

impl Default for Page {
    fn default() -> Self {
        Self {
            from: 0,
            limit: LIMIT,
        }
    }
}

pub(super) fn routes(pages: Pages) -> Router {
    let looks = Looks {
        pages,
        room: Arc::new(Semaphore::new(LOOKS_MAX)),
    };
    Router::new()
        .route("/regions", get(list))
        .route("/regions/{region}", get(one))
        .with_state(looks)
}

async fn list(
    State(looks): State<Looks>,
    page: Result<Query<Page>, QueryRejection>,
) -> Result<Json<Value>, Refusal> {
    let help = format!("ask for /regions?from=REGION&limit=N, N up to {INSPECTED_MAX}\n");
    let page = page.map(|Query(page)| page);
    let page = page.map_err(|error| refuse_request(format!("{error}: {help}")))?;
    if !(1..=INSPECTED_MAX).contains(&page.limit) {
        let reason = format!("limit {} is not allowed: {help}", page.limit);
        return Err(refuse_request(reason));
    }
    let from = RegionId(page.from);
    let found = looks.all(from, page.limit).await?;
    // A full page may not be the last.
    let last = found.last().filter(|_| found.len() >= page.limit);
    let next = last.and_then(|last| last.region().0.checked_add(1));
    let sent = &looks.pages.under_way;
    let regions: Vec<_> = found.iter().map(|one| show(one, sent)).collect();
    Ok(Json(json!({
        "store_id": looks.pages.store.0,
        "count": regions.len(),
        "regions": regions,
        "next": next,
    })))
}

async fn one(
    State(looks): State<Looks>,
    Path(region): Path<String>,
) -> Result<Json<Value>, Refusal> {
    let id = region.parse().map(RegionId);
    let id =
        id.map_err(|_| refuse_request(format!("{region:?} is no region: give its number\n")))?;
    let found = looks.region(id).await?;
    let found = found.filter(|found| found.region() == id).ok_or_else(|| {
        let reason = format!(
            "region {id} has no replica on store {}\n",
            looks.pages.store
        );
        (StatusCode::NOT_FOUND, reason)
    })?;
    Ok(Json(show(&found, &looks.pages.under_way)))
}

fn refuse_request(reason: String) -> Refusal {
    (StatusCode::BAD_REQUEST, reason)
}

fn refuse_for_now(reason: &str) -> Refusal {
    let reason = format!("{reason}: try again\n");
    (StatusCode::SERVICE_UNAVAILABLE, reason)
}

/// A question, and where its answer comes.
fn question(from: RegionId, limit: usize) -> (Input, oneshot::Receiver<Vec<Inspected>>) {
    let (sender, answer) = oneshot::channel();
    // Nobody may wait any more.
    let reply = Box::new(move |found| drop(sender.send(found)));
    let inspection = Inspection { from, limit, reply };
    (Input::Inspect(inspection), answer)
}

impl Looks {
    async fn region(&self, id: RegionId) -> Result<Option<Inspected>, Refusal> {
        let _room = self.enter()?;
        let (input, answer) = question(id, 1);
        self.pages.router.offer_to(id, input);
        Ok(wait(vec![answer]).await?.into_iter().next())
    }

    async fn all(&self, from: RegionId, limit: usize) -> Result<Vec<Inspected>, Refusal> {
        let _room = self.enter()?;
        let mut answers = Vec::new();
        self.pages.router.offer(|| {
            let (input, answer) = question(from, limit);
            answers.push(answer);
            input
        });
        let mut found = wait(answers).await?;
        found.sort_by_key(Inspected::region);
        found.truncate(limit);
        Ok(found)
    }

    fn enter(&self) -> Result<SemaphorePermit<'_>, Refusal> {
        let room = self.room.try_acquire();
        room.map_err(|_| refuse_for_now("others look as well"))
    }
}

async fn wait(answers: Vec<oneshot::Receiver<Vec<Inspected>>>) -> Result<Vec<Inspected>, Refusal> {
    let found = tokio::time::timeout(ANSWER_MAX, try_join_all(answers)).await;
    let found = found.map_err(|_| {
        refuse_for_now("a worker does not answer in time, it may wait for the disk")
    })?;
    let found = found.map_err(|_| refuse_for_now("a worker has too much to do"))?;
    Ok(found.into_iter().flatten().collect())
}

fn show(found: &Inspected, under_way: &UnderWay) -> Value {
    let replica = match found {
        Inspected::Moves(region) => return json!({ "region_id": region.0, "state": "moving" }),
        Inspected::Lives(replica) => replica,
    };
    let state = match replica.waits_for {
        Some(_) => "merging",
        None => "normal",
    };
    let Replica {
        region, waiting, ..
    } = &**replica;
    let epoch = region.region_epoch.unwrap_or_default();
    let follower = |follower: &Follower| show_follower(follower, replica, under_way);
    json!({
        "region_id": region.id,
        "state": state,
        "peer_id": replica.peer.id,
        "role": format!("{:?}", replica.role),
        "term": replica.term.0,
        "leader_peer_id": replica.leader.map(|peer| peer.0),
        "epoch": { "conf_ver": epoch.conf_ver, "version": epoch.version },
        "commit_index": replica.commit.0,
        "applied_index": replica.applied.0,
        "first_index": replica.first.0,
        "last_index": replica.last.0,
        "merging_into": replica.waits_for.map(|region| region.0),
        "queued_writes": waiting.queued,
        "queued_bytes": waiting.queued_bytes,
        "proposed_entries": waiting.proposed,
        "waiting_reads": waiting.reads,
        "parked_requests": waiting.parked,
        "approximate_bytes": replica.size.map(|size| size.bytes),
        "approximate_keys": replica.size.map(|size| size.keys),
        "followers": replica.followers.iter().map(follower).collect::<Vec<_>>(),
    })
}

fn show_follower(follower: &Follower, leader: &Replica, under_way: &UnderWay) -> Value {
    let replication = match follower.replication {
        Replication::Probe => "probe",
        Replication::Stream => "stream",
        Replication::Snapshot => "snapshot",
    };
    let region = RegionId(leader.region.id);
    let sent = under_way.sent(region, PeerId(follower.peer.id));
    let snapshot = follower.snapshot.map(|since| {
        // Without a count it waits for room, or for its answer.
        json!({
            "seconds": since.as_secs_f64(),
            "sent_bytes": sent,
            "approximate_bytes": leader.size.map(|size| size.bytes),
        })
    });
    json!({
        "id": follower.peer.id,
        "store_id": follower.peer.store_id,
        "matched_index": follower.matched.0,
        "lag": leader.last.0.saturating_sub(follower.matched.0),
        "replication": replication,
        "silence_seconds": follower.silence.as_secs_f64(),
        "snapshot": snapshot,
    })
}
