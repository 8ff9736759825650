//! The published `tikv-client`, unmodified, in both API versions.
#![allow(clippy::unwrap_used)]

use tikv_client::{ColumnFamily, Config, RawClient};
use yadkv_tests::Cluster;

async fn every_call(client: &RawClient) {
    client.put("a".to_owned(), "1").await.unwrap();
    assert_eq!(
        client.get("a".to_owned()).await.unwrap(),
        Some(b"1".to_vec())
    );
    assert_eq!(client.get("none".to_owned()).await.unwrap(), None);
    client.put("empty".to_owned(), "").await.unwrap();
    assert_eq!(
        client.get("empty".to_owned()).await.unwrap(),
        Some(Vec::new())
    );
    client.delete("a".to_owned()).await.unwrap();
    assert_eq!(client.get("a".to_owned()).await.unwrap(), None);

    let pairs: Vec<(String, String)> = (0..200)
        .map(|i| (format!("k{i:03}"), format!("v{i}")))
        .collect();
    client.batch_put(pairs.clone()).await.unwrap();
    let keys: Vec<String> = pairs.iter().map(|(key, _)| key.clone()).collect();
    assert_eq!(client.batch_get(keys.clone()).await.unwrap().len(), 200);

    let scanned = client
        .scan("k010".to_owned().."k020".to_owned(), 100)
        .await
        .unwrap();
    let values: Vec<Vec<u8>> = scanned.into_iter().map(|pair| pair.1).collect();
    let expected: Vec<Vec<u8>> = (10..20).map(|i| format!("v{i}").into_bytes()).collect();
    assert_eq!(values, expected);
    let reversed = client
        .scan_reverse("k010".to_owned().."k020".to_owned(), 3)
        .await
        .unwrap();
    let values: Vec<Vec<u8>> = reversed.into_iter().map(|pair| pair.1).collect();
    assert_eq!(values, [b"v19".to_vec(), b"v18".to_vec(), b"v17".to_vec()]);
    let ranges = vec![
        "k000".to_owned().."k005".to_owned(),
        "k100".to_owned().."k105".to_owned(),
    ];
    assert_eq!(client.batch_scan(ranges, 3).await.unwrap().len(), 6);

    client.put_with_ttl("t".to_owned(), "1", 100).await.unwrap();
    let left = client
        .get_key_ttl_secs("t".to_owned())
        .await
        .unwrap()
        .unwrap();
    assert!((90..=100).contains(&left), "{left}");
    client
        .put_with_ttl("gone".to_owned(), "1", 1)
        .await
        .unwrap();
    for _ in 0..100 {
        if client.get("gone".to_owned()).await.unwrap().is_none() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert_eq!(client.get("gone".to_owned()).await.unwrap(), None);

    let atomic = client.with_atomic_for_cas();
    assert_eq!(
        atomic
            .compare_and_swap("c".to_owned(), None, "1")
            .await
            .unwrap(),
        (None, true)
    );
    let (previous, swapped) = atomic
        .compare_and_swap("c".to_owned(), None, "2")
        .await
        .unwrap();
    assert_eq!((previous, swapped), (Some(b"1".to_vec()), false));
    let (_, swapped) = atomic
        .compare_and_swap("c".to_owned(), Some(b"1".to_vec()), "2")
        .await
        .unwrap();
    assert!(swapped);

    client.batch_delete(keys[..100].to_vec()).await.unwrap();
    client
        .delete_range("k100".to_owned().."k150".to_owned())
        .await
        .unwrap();
    assert_eq!(client.batch_get(keys).await.unwrap().len(), 50);
    let locked = client
        .with_cf(ColumnFamily::Lock)
        .put("a".to_owned(), "1")
        .await;
    assert!(locked.is_err(), "raw data has one column family");
}

#[tokio::test(flavor = "multi_thread")]
async fn raw_calls_in_both_versions() {
    let cluster = Cluster::start(&["bootstrap.borders=[\"k050\", \"k150\"]"]);
    let v1 = RawClient::new(cluster.endpoints.clone()).await.unwrap();
    every_call(&v1).await;
    let config = Config::default().with_default_keyspace();
    let v2 = RawClient::new_with_config(cluster.endpoints.clone(), config)
        .await
        .unwrap();
    every_call(&v2).await;
}
