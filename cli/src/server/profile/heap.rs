//! What is allocated and stays.
//!
//! *Life of a profile*: sampling begins, one in about 512 KiB of what is allocated → the time is over → what was sampled and
//! is still in use, with the stacks that allocated it → sampling ends, and what it knew is forgotten.
//!
//! *Why not always*: what grows does so while one watches, and sampling makes allocations half as dear again
//! ([`crate::ALLOCATOR_SETTINGS`] says what was measured). Started with `MALLOC_CONF=prof_active:true` a process samples from its
//! beginning; the page then shows everything in use, at once.
//!
//! *Limits and failure*: 501 where the allocator was told not to profile at all (`prof:false`). RocksDB's and other C
//! libraries' allocations are sampled as well.
//!
//! *Next stop*: [`crate::ALLOCATOR_SETTINGS`].

use super::{Profile, Refusal, internal};
use axum::http::StatusCode;
use jemalloc_pprof::PROF_CTL;
use std::time::Duration;

pub(super) async fn take(seconds: u64) -> Result<Profile, Refusal> {
    let Some(allocator) = PROF_CTL.as_ref() else {
        let reason = "this process takes no heap profiles: it was started with prof:false";
        return Err((StatusCode::NOT_IMPLEMENTED, reason.into()));
    };
    let always = allocator.lock().await.activated();
    if !always {
        allocator.lock().await.activate().map_err(internal)?;
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }
    let dump = || allocator.blocking_lock().dump_pprof();
    let dumped = tokio::task::spawn_blocking(dump).await;
    if !always {
        allocator.lock().await.deactivate().map_err(internal)?;
    }
    let profile = dumped.map_err(internal)?.map_err(internal)?;
    Ok(("application/octet-stream", profile))
}
