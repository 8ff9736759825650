//! Profiles of the process, for who wants to know where its time or its memory goes.
//!
//! | page | answer |
//! |---|---|
//! | `GET /debug/pprof/profile?seconds=10&frequency=99&format=pprof` | where processor time goes meanwhile: for `pprof`, or with `format=svg` a flame graph: [`cpu`] |
//! | `GET /debug/pprof/heap?seconds=10` | what is allocated meanwhile and still in use at the end, for `pprof`: [`heap`] |
//!
//! *Place*: on a store's status port and a placement driver's port, for callers that are near; `yadkv ctl profile` asks.
//!
//! *Limits and failure*: one of a kind at a time, 429 for the next one; 1 to 60 seconds. 400 for what makes no sense, with
//! what does. A caller who goes away leaves his profile to its end.
//!
//! *Next stop*: [`cpu`].

mod cpu;
mod flame;
mod heap;

use axum::Router;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::collections::BTreeMap;
use std::future::Future;
use std::ops::RangeInclusive;
use std::sync::Arc;
use tokio::sync::Semaphore;
use yadkv_settings::near::Near;

const SECONDS: RangeInclusive<u64> = 1..=60;
const SECONDS_DEFAULT: u64 = 10;

/// One profile of a kind at a time.
#[derive(Clone)]
struct Profiles {
    cpu: Arc<Semaphore>,
    heap: Arc<Semaphore>,
}

/// What a page brings: its media type and content.
type Profile = (&'static str, Vec<u8>);
/// Why it does not.
type Refusal = (StatusCode, String);

/// The pages.
pub(crate) fn pages(near: Near) -> Router {
    let routes = Router::new()
        .route("/debug/pprof/profile", get(cpu_page))
        .route("/debug/pprof/heap", get(heap_page))
        .with_state(Profiles {
            cpu: Arc::new(Semaphore::new(1)),
            heap: Arc::new(Semaphore::new(1)),
        });
    near.guard(routes)
}

async fn cpu_page(State(profiles): State<Profiles>, Query(query): Query<Parameters>) -> Response {
    answer(alone(profiles.cpu, cpu::Wanted::read(&query), cpu::take).await)
}

async fn heap_page(State(profiles): State<Profiles>, Query(query): Query<Parameters>) -> Response {
    let wanted = only(&query, &["seconds"]).and_then(|()| seconds(&query));
    answer(alone(profiles.heap, wanted, heap::take).await)
}

/// Takes a profile, if it is the only one of its kind. It goes to its end even if the caller goes away.
async fn alone<W, F>(
    kind: Arc<Semaphore>,
    wanted: Result<W, String>,
    take: impl FnOnce(W) -> F,
) -> Result<Profile, Refusal>
where
    F: Future<Output = Result<Profile, Refusal>> + Send + 'static,
{
    let wanted = wanted.map_err(|reason| (StatusCode::BAD_REQUEST, reason))?;
    let Ok(alone) = kind.try_acquire_owned() else {
        let reason = "another profile of this kind is being taken: ask again when it is over";
        return Err((StatusCode::TOO_MANY_REQUESTS, reason.into()));
    };
    let taking = take(wanted);
    let taken = tokio::spawn(async move {
        let _alone = alone;
        taking.await
    });
    taken.await.map_err(internal)?
}

fn internal(error: impl ToString) -> Refusal {
    (StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
}

fn answer(taken: Result<Profile, Refusal>) -> Response {
    match taken {
        Ok((kind, content)) => ([(header::CONTENT_TYPE, kind)], content).into_response(),
        Err((code, reason)) => (code, reason + "\n").into_response(),
    }
}

type Parameters = BTreeMap<String, String>;

/// Nothing but these is there.
fn only(query: &Parameters, known: &[&str]) -> Result<(), String> {
    match query.keys().find(|name| !known.contains(&name.as_str())) {
        None => Ok(()),
        Some(name) => {
            let known = known.join(", ");
            Err(format!("{name} is no parameter of this page: use {known}"))
        }
    }
}

fn number(
    query: &Parameters,
    name: &str,
    default: u64,
    range: RangeInclusive<u64>,
) -> Result<u64, String> {
    let Some(written) = query.get(name) else {
        return Ok(default);
    };
    let number = written.parse().ok();
    number
        .filter(|number| range.contains(number))
        .ok_or_else(|| {
            let (min, max) = (range.start(), range.end());
            format!("{name} = {written} is not allowed: use {min} to {max}")
        })
}

fn seconds(query: &Parameters) -> Result<u64, String> {
    number(query, "seconds", SECONDS_DEFAULT, SECONDS)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_of_a_kind_at_a_time() {
        let kind = Arc::new(Semaphore::new(1));
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        let first = tokio::spawn(alone(kind.clone(), Ok(()), |()| async {
            let _ = ended.await;
            Ok(("text/plain", vec![1]))
        }));
        while kind.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        let take = |()| async { Ok(("text/plain", vec![2])) };
        let (code, reason) = alone(kind.clone(), Ok(()), take).await.unwrap_err();
        assert_eq!(code, StatusCode::TOO_MANY_REQUESTS, "{reason}");
        // Whoever asked goes away: his profile is still being taken.
        first.abort();
        assert!(first.await.is_err());
        assert_eq!(kind.available_permits(), 0);
        end.send(()).unwrap();
        while kind.available_permits() == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(alone(kind, Ok(()), take).await.unwrap().1, [2]);
    }

    #[test]
    fn wrong_parameters_say_what_is_right() {
        let query = |text: &str| -> Parameters {
            let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
            pairs
                .map(|(name, value)| (name.into(), value.into()))
                .collect()
        };
        let wanted = |text| cpu::Wanted::read(&query(text));
        for (text, reason) in [
            ("seconds=0", "seconds = 0 is not allowed: use 1 to 60"),
            ("seconds=61", "seconds = 61 is not allowed: use 1 to 60"),
            ("seconds=ten", "seconds = ten is not allowed: use 1 to 60"),
            (
                "frequency=5000",
                "frequency = 5000 is not allowed: use 1 to 1000",
            ),
            (
                "format=png",
                "format = png is not allowed: use pprof or svg",
            ),
            (
                "second=1",
                "second is no parameter of this page: use seconds, frequency, format",
            ),
        ] {
            assert_eq!(wanted(text).unwrap_err(), reason);
        }
        let wanted = wanted("seconds=1&format=svg").unwrap();
        assert_eq!((wanted.seconds, wanted.frequency), (1, 99));
    }
}
