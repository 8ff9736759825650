//! What it takes to look at a store that has a thousand regions.
//!
//! *Next stop*: [`super::replicas`].

use crate::Figure;
use std::time::{Duration, Instant};
use yadkv_tests::http::page;
use yadkv_tests::{Cluster, borders};

const REGIONS: u32 = 1000;
const MILLIS_MAX: f64 = 50.0;
/// How often each store is looked at.
const TIMES: usize = 20;
/// Time between two looks: they are not to find everything in the processor's caches.
const PAUSE: Duration = Duration::from_millis(250);
/// Time for elections and heartbeats to be over.
const SETTLE: Duration = Duration::from_secs(15);

pub(crate) fn measure() -> Vec<Figure> {
    let cluster = Cluster::start(&[&borders(REGIONS), "store.memory=256MiB"]);
    cluster.wait_until_leaders_are_spread();
    std::thread::sleep(SETTLE);
    let (mut slowest, mut largest) = (0.0_f64, 0);
    for _ in 0..TIMES {
        for status in &cluster.status {
            let began = Instant::now();
            let (code, text) = page(status, "/metrics").expect("the store answers");
            slowest = slowest.max(began.elapsed().as_secs_f64() * 1000.0);
            largest = largest.max(text.len());
            assert_eq!(code, 200, "{text}");
        }
        std::thread::sleep(PAUSE);
    }
    eprintln!("the largest page has {} KiB", largest / 1024);
    vec![Figure::at_most(
        format!(
            "{REGIONS} regions: slowest of {} scrapes of a store",
            TIMES * cluster.status.len()
        ),
        MILLIS_MAX,
        slowest,
        "ms",
    )]
}
