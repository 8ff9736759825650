//! Raft logs at their size limit: writes are refused with the setting's name, everything else goes on.
#![allow(clippy::unwrap_used)]

use std::time::Duration;
use yadkv_client::{Client, Error, Options, RawClient};
use yadkv_tests::Cluster;

const LIMIT_MIB: usize = 64;
const VALUE_BYTES: usize = 1 << 20;

async fn connect(cluster: &Cluster, timeout: Duration) -> RawClient {
    let options = Options {
        timeout,
        ..Options::default()
    };
    let client = Client::connect(cluster.endpoints.clone(), options);
    client.await.unwrap().raw()
}

fn value(number: usize) -> Vec<u8> {
    vec![number as u8; VALUE_BYTES]
}

/// Writes `1 MiB` values from number `from` on until one is refused; the number of that one.
async fn fill(raw: &RawClient, from: usize) -> usize {
    for number in from..from + 10 * LIMIT_MIB {
        if let Err(error) = raw.put(number.to_string(), value(number)).await {
            assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
            assert!(error.to_string().contains("store.log_size"), "{error}");
            return number;
        }
    }
    panic!("no write was refused");
}

/// A store that is away keeps the logs long; when it is back and has caught up, they are shortened.
#[tokio::test(flavor = "multi_thread")]
async fn full_logs_refuse_writes_and_lose_nothing_until_the_missing_store_is_back() {
    let limit = format!("store.log_size={LIMIT_MIB}MiB");
    let mut cluster = Cluster::start(&[&limit]);
    let patient = connect(&cluster, Duration::from_secs(20)).await;
    let hasty = connect(&cluster, Duration::from_secs(3)).await;
    let (away, rest) = cluster.stores.split_last_mut().unwrap();
    away.kill();
    let written = fill(&hasty, 0).await;
    assert!(written >= LIMIT_MIB / 2, "refused after {written} MiB");

    for store in &mut *rest {
        store.kill();
    }
    for store in &mut *rest {
        store.start();
    }
    patient.get("0").await.unwrap();
    // The start wrote the logs anew, without what was there twice: there may be room again.
    let written = fill(&hasty, written).await;
    for number in 0..written {
        let found = patient.get(number.to_string()).await.unwrap();
        assert!(found.as_deref() == Some(&value(number)[..]), "{number}");
    }
    assert_eq!(patient.get(written.to_string()).await.unwrap(), None);

    away.start();
    let mut tries = 0;
    while hasty.put("again", "1").await.is_err() {
        tries += 1;
        assert!(tries < 20, "there is no room although all stores are back");
    }
    let most = written + 3 * LIMIT_MIB;
    for number in written..most {
        patient
            .put(number.to_string(), value(number))
            .await
            .unwrap();
    }
    for number in 0..most {
        let found = patient.get(number.to_string()).await.unwrap();
        assert!(found.as_deref() == Some(&value(number)[..]), "{number}");
    }
}
