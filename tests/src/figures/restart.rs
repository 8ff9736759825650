//! All stores are killed and started again, with a million records in five hundred regions: how long until every region
//! serves.
//!
//! *Life*: import → every region has a leader → `kill -9` of all stores → all start at once → a read and a write in every
//! region → the records are counted.
//!
//! *Next stop*: [`super::clients`].

use crate::Figure;
use std::time::Instant;
use tokio::task::JoinSet;
use yadkv_client::{Client, Options, RawClient};
use yadkv_tests::{Cluster, borders};

const REGIONS: u32 = 500;
const RECORDS: u32 = 1_000_000;
const BATCH: u32 = 500;
const VALUE_BYTES: usize = 100;
const SECONDS_MAX: f64 = 5.0;

pub(crate) fn measure() -> Vec<Figure> {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let seconds = runtime.block_on(restart());
    vec![Figure::at_most(
        format!(
            "all stores killed and started with {RECORDS} records: all {REGIONS} regions serve"
        ),
        SECONDS_MAX,
        seconds,
        "s",
    )]
}

/// Record `number` of a region.
fn key(region: u32, number: u32) -> Vec<u8> {
    let first = region * 0x1_0000 / REGIONS;
    let mut key = (first as u16).to_be_bytes().to_vec();
    key.extend(number.to_be_bytes());
    key
}

async fn restart() -> f64 {
    let mut cluster = Cluster::start(&[&borders(REGIONS), "store.memory=256MiB"]);
    let connecting = Client::connect(cluster.endpoints.clone(), Options::default());
    let raw = connecting.await.expect("the cluster serves").raw();
    let begun = Instant::now();
    for region in 0..REGIONS {
        for first in (0..RECORDS / REGIONS).step_by(BATCH as usize) {
            let numbers = first..first + BATCH;
            let pairs = numbers.map(|number| (key(region, number), vec![b'x'; VALUE_BYTES]));
            raw.batch_put(pairs).await.expect("the cluster serves");
        }
    }
    eprintln!("  imported in {:.1} s", begun.elapsed().as_secs_f64());
    // Those of others included: whoever started the cluster looked whether it serves.
    let before = raw.checksum("", "").await.expect("the cluster serves");
    assert!(before.total_kvs >= u64::from(RECORDS));
    cluster.stores.iter_mut().for_each(|store| store.kill());
    let begun = Instant::now();
    cluster.stores.iter_mut().for_each(|store| store.start());
    let mut regions = JoinSet::new();
    for region in 0..REGIONS {
        regions.spawn(serves(raw.clone(), region));
    }
    regions.join_all().await;
    let seconds = begun.elapsed().as_secs_f64();
    let after = raw.checksum("", "").await.expect("the cluster serves");
    assert_eq!(
        (after.checksum, after.total_kvs),
        (before.checksum, before.total_kvs),
        "records are missing"
    );
    seconds
}

/// Waits until a region takes a write and gives what was written before.
async fn serves(raw: RawClient, region: u32) {
    let value = vec![b'x'; VALUE_BYTES];
    let put = raw.put(key(region, 0), value.clone());
    put.await.expect("no error surfaces");
    let found = raw.get(key(region, 1)).await.expect("no error surfaces");
    assert_eq!(found.as_deref(), Some(&value[..]), "a record is lost");
}
