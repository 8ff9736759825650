//! Thousands of clients at once: what they get done beside fewer, and what they cost the stores.
//!
//! *Life*: [`APPLICATIONS`] with connections of their own, each with so many clients → rounds with few, more and all of
//! them, in turn → the medians are compared.
//!
//! *Invariants*: no call fails.
//!
//! *Next stop*: [`super::slow`].

use crate::Figure;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use yadkv_client::{Client, Options, RawClient};
use yadkv_tests::process::resident_mib;
use yadkv_tests::{Cluster, borders};

const APPLICATIONS: usize = 64;
/// Clients of an application, round by round.
const CLIENTS: [usize; 3] = [4, 16, 64];
const ROUNDS: usize = 3;
const ROUND: Duration = Duration::from_secs(8);
const REGIONS: u32 = 8;
const KEYS: u64 = 50_000;
const VALUE_BYTES: usize = 1024;
const RATIO_MIN: f64 = 0.85;
const MORE_MIB_MAX: f64 = 300.0;

pub(crate) fn measure() -> Vec<Figure> {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let (rates, more) = runtime.block_on(compare());
    let best = rates.iter().copied().fold(0.0, f64::max);
    let all = APPLICATIONS * CLIENTS[CLIENTS.len() - 1];
    vec![
        Figure::at_least(
            format!("puts of {all} clients, of the best of fewer (medians of {ROUNDS})"),
            RATIO_MIN,
            rates[CLIENTS.len() - 1] / best,
            "times",
        ),
        Figure::at_most(
            format!("resident memory of a store with {all} clients, more than before"),
            MORE_MIB_MAX,
            more,
            "MiB",
        ),
    ]
}

/// Puts a second with so many clients, and what a store grew by with the most of them, MiB.
async fn compare() -> ([f64; 3], f64) {
    let cluster = Cluster::start(&[&borders(REGIONS), "store.memory=512MiB"]);
    let mut applications = Vec::new();
    for _ in 0..APPLICATIONS {
        let connecting = Client::connect(cluster.endpoints.clone(), Options::default());
        applications.push(connecting.await.expect("the cluster serves").raw());
    }
    // Whatever fills with data and not with clients is full before anything is compared.
    round(&applications, CLIENTS[1]).await;
    let (mut rates, mut more) = ([const { Vec::new() }; 3], 0.0_f64);
    for _ in 0..ROUNDS {
        let before = resident(&cluster);
        for (place, clients) in CLIENTS.into_iter().enumerate() {
            let rate = round(&applications, clients).await;
            eprintln!(
                "  {} clients: {rate:.0} puts/s, a store has {:.0} MiB",
                clients * APPLICATIONS,
                resident(&cluster)
            );
            rates[place].push(rate);
        }
        more = more.max(resident(&cluster) - before);
    }
    let median = |mut rates: Vec<f64>| {
        rates.sort_by(f64::total_cmp);
        rates[ROUNDS / 2]
    };
    (rates.map(median), more)
}

/// Most of any store, MiB.
fn resident(cluster: &Cluster) -> f64 {
    let ids = cluster.stores.iter().filter_map(|store| store.id());
    ids.filter_map(resident_mib).fold(0.0, f64::max)
}

/// Puts a second with so many clients in every application.
async fn round(applications: &[RawClient], clients: usize) -> f64 {
    let (done, begun) = (Arc::new(AtomicU64::new(0)), Instant::now());
    let mut running = JoinSet::new();
    for (number, raw) in applications
        .iter()
        .cycle()
        .take(clients * applications.len())
        .enumerate()
    {
        running.spawn(put(raw.clone(), number as u64, done.clone(), begun + ROUND));
    }
    running.join_all().await;
    done.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64()
}

async fn put(raw: RawClient, client: u64, done: Arc<AtomicU64>, until: Instant) {
    let mut state = client + 1;
    while Instant::now() < until {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let key = (state >> 33) % KEYS;
        // The first two bytes choose the region.
        let mut name = ((key * 0x1_0000 / KEYS) as u16).to_be_bytes().to_vec();
        name.extend(key.to_be_bytes());
        let value = state.to_le_bytes().repeat(VALUE_BYTES / 8);
        raw.put(name, value).await.expect("no error surfaces");
        done.fetch_add(1, Ordering::Relaxed);
    }
}
