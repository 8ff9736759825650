//! Closed-loop load: each client sends its next operation when the last one is answered.
//!
//! *Invariants*: an operation that began in time counts, however long it takes.
//!
//! *Next stop*: [`crate::targets`].

use crate::report::{Report, Seen};
use crate::targets::Target;
use crate::values::{Values, key};
use crate::{Error, Options, Workload};
use futures::stream::{FuturesUnordered, StreamExt};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::sync::Arc;
use std::time::Instant;
use tokio::task::JoinSet;

/// Records written at a time while preloading.
const PRELOADERS: u64 = 128;

/// Writes every record once.
pub async fn preload(target: &dyn Target, options: Options) -> Result<(), Error> {
    let values = Values::new(options.value_bytes);
    let writers = (0..PRELOADERS.min(options.records)).map(|writer| {
        let values = values.clone();
        async move {
            let mut random = StdRng::seed_from_u64(writer);
            let mut number = writer;
            while number < options.records {
                let session = usize::try_from(writer).unwrap_or(0);
                target
                    .put(session, key(number), values.pick(&mut random))
                    .await?;
                number += PRELOADERS;
            }
            Ok(())
        }
    });
    let written: Vec<Result<(), String>> = writers.collect::<FuturesUnordered<_>>().collect().await;
    written
        .into_iter()
        .collect::<Result<(), _>>()
        .map_err(|reason| Error::Target {
            target: target.name().into(),
            reason: format!("preloading: {reason}"),
        })
}

/// Runs all clients until the time is over.
pub async fn closed_loop(target: Arc<dyn Target>, options: Options) -> Report {
    let begun = Instant::now();
    let deadline = begun + options.time;
    let values = Values::new(options.value_bytes);
    let mut clients = JoinSet::new();
    for number in 0..options.clients {
        clients.spawn(client(
            target.clone(),
            options,
            number,
            values.clone(),
            deadline,
        ));
    }
    let mut all = Seen::default();
    for seen in clients.join_all().await {
        all.merge(seen);
    }
    Report::new(
        target.name(),
        options.workload.name(),
        options.clients,
        all,
        begun.elapsed(),
    )
}

async fn client(
    target: Arc<dyn Target>,
    options: Options,
    number: usize,
    values: Values,
    deadline: Instant,
) -> Seen {
    let mut seen = Seen::default();
    let mut random = StdRng::seed_from_u64(number as u64 ^ 0x00C1_1E27);
    loop {
        let begun = Instant::now();
        if begun >= deadline {
            return seen;
        }
        let key = key(random.random_range(0..options.records));
        let answer = match options.workload {
            Workload::Put => target.put(number, key, values.pick(&mut random)).await,
            Workload::Get => match target.get(number, key).await {
                Ok(true) => Ok(()),
                Ok(false) => Err("a preloaded record was not found".into()),
                Err(error) => Err(error),
            },
        };
        seen.answer(begun.elapsed(), answer);
    }
}
