//! Bad input gets a clear error and loses nothing: wrong folders, ports, keys, values, and garbage on every port.
#![allow(clippy::unwrap_used)]

use bytes::{Buf, BufMut, Bytes};
use prost::Message;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::Endpoint;
use tonic::{Request, Status};
use yadkv_client::{Client, Error, Options};
use yadkv_proto::metapb::Peer;
use yadkv_proto::yadkvpb::{Envelope, Frame, RaftMessage};
use yadkv_tests::http::page;
use yadkv_tests::{Cluster, eventually, free_addresses};

/// Runs a server that must end at once; its words.
fn refused(cluster: &Cluster, args: &[&str]) -> String {
    let output = cluster.yadkv(args);
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{args:?} must fail: {words}");
    words
}

#[test]
fn a_port_or_a_folder_that_is_not_ours() {
    let mut cluster = Cluster::start(&["bootstrap.borders=[]"]);
    let folder = |name: &str| cluster.folder.path().join(name).display().to_string();
    let (pd, new) = (cluster.pd(), folder("new"));
    let no_status = ["--set", "store.status_addr=\"\""];
    let in_use = &cluster.endpoints[0];
    for kind in ["store", "pd"] {
        let args = [kind, "--addr", in_use, "--data-dir", &new, "--pd", &pd];
        let words = refused(&cluster, &args);
        assert!(
            words.contains(in_use) && words.contains("in use"),
            "{kind}: {words}"
        );
        let taken = folder(&format!("{kind}-0"));
        // A member must be in its own list.
        let free = free_addresses(1).remove(0);
        let members = format!("{pd},{free}");
        let pd = if kind == "pd" { &members } else { &pd };
        let args = [kind, "--addr", &free, "--data-dir", &taken, "--pd", pd];
        let more: &[&str] = if kind == "store" { &no_status } else { &[] };
        let words = refused(&cluster, &[&args, more].concat());
        assert!(
            words.contains(&taken) && words.contains("another process"),
            "{kind}: {words}"
        );
    }
    cluster.run(&["raw", "--pd", &pd, "put", "kept", "1"]);
    let other = Cluster::start(&[]);
    let ours = folder("store-2");
    let address = cluster.stores[2].address().to_owned();
    cluster.stores[2].kill();
    let pd_of_other = other.pd();
    let args = [
        "store",
        "--addr",
        &address,
        "--data-dir",
        &ours,
        "--pd",
        &pd_of_other,
    ];
    let words = refused(&cluster, &[&args[..], &no_status].concat());
    assert!(words.contains("cluster"), "{words}");
    cluster.stores[2].start();
    cluster.stores[0].kill();
    let pd = cluster.pd();
    assert_eq!(
        cluster.run(&["raw", "--pd", &pd, "get", "kept"]),
        "1\n",
        "nothing is lost"
    );
    let words = refused(&cluster, &["ctl", "--pd", &pd, "store", "999"]);
    assert!(
        words.contains("999") && words.contains("not found"),
        "{words}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_values_and_ranges_out_of_bounds() {
    let cluster = Cluster::start(&[]);
    let client = Client::connect(cluster.endpoints.clone(), Options::default());
    let raw = client.await.unwrap().raw();
    let key_max = vec![b'k'; 8 << 10];
    let too_long = vec![b'k'; (8 << 10) + 1];
    assert!(raw.put(Vec::new(), "v").await.is_err(), "an empty key");
    assert!(raw.put(too_long.clone(), "v").await.is_err(), "a long key");
    assert!(raw.get(too_long.clone()).await.is_err(), "a long key");
    raw.scan_all(too_long, Vec::new(), Default::default())
        .await
        .unwrap();
    let large = vec![b'v'; 9 << 20];
    let error = raw.put("large", large.clone()).await.unwrap_err();
    assert!(matches!(error, Error::TooLarge { .. }), "{error}");
    let error = raw
        .put_with_ttl("ttl", "v", Duration::MAX)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("live"), "{error}");
    assert!(
        raw.delete_range("b", "a").await.is_err(),
        "a reversed range"
    );
    assert!(raw.scan_all("b", "a", Default::default()).await.is_err());
    assert!(raw.checksum("b", "a").await.is_err(), "a reversed range");
    raw.put(key_max.clone(), "v").await.unwrap();
    assert_eq!(raw.get(key_max).await.unwrap().as_deref(), Some(&b"v"[..]));
    assert_eq!(raw.get("large").await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_above_the_limit_is_refused_and_a_scan_asks_for_less() {
    let cluster = Cluster::start(&["bootstrap.borders=[]"]);
    let client = Client::connect(cluster.endpoints.clone(), Options::default());
    let raw = client.await.unwrap().raw();
    // A little more than the 64 MiB that one answer may have.
    let keys: Vec<String> = (0..70).map(|number| format!("large-{number:02}")).collect();
    let value = Bytes::from(vec![b'v'; 1 << 20]);
    let pairs = keys.iter().map(|key| (key.clone(), value.clone()));
    raw.batch_put(pairs).await.unwrap();
    let error = raw.batch_get(keys.clone()).await.unwrap_err();
    assert!(matches!(error, Error::TooLarge { .. }), "{error}");
    assert!(error.to_string().contains("fewer"), "{error}");
    let scan = raw.scan_all("large-", "large.", Default::default());
    let found = scan.await.unwrap();
    assert!(
        found.iter().map(|pair| &pair.key).eq(&keys),
        "all, in order"
    );
    assert!(found.iter().all(|pair| pair.value == value));
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_on_every_port_harms_nobody() {
    let cluster = Cluster::start(&[]);
    let pd = cluster.pd();
    cluster.run(&["raw", "--pd", &pd, "put", "kept", "1"]);
    let stores = cluster
        .stores
        .iter()
        .map(|store| store.address().to_owned());
    let grpc: Vec<String> = cluster.endpoints.iter().cloned().chain(stores).collect();
    for address in grpc.iter().chain(&cluster.status) {
        for garbage in [
            &b"\0\xff\0\xff\0\xff"[..],
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff",
            b"GET /\xff\xff HTTP/1.1\r\n\r\n",
            b"YADKV\x01\0\0\0\x04\xff\xff\xff\xff",
            b"POST /pd/api/v1/regions HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
        ] {
            shout(address, garbage);
        }
    }
    for address in &grpc {
        for path in [
            "/tikvpb.Tikv/RawGet",
            "/tikvpb.Tikv/RawBatchPut",
            "/tikvpb.Tikv/BatchCommands",
            "/yadkvpb.Transport/Deliver",
            "/pdpb.PD/GetRegion",
            "/pdpb.PD/RegionHeartbeat",
        ] {
            call_with_garbage(address, path).await;
        }
    }
    let client = Client::connect(cluster.endpoints.clone(), Options::default());
    let id = client.await.unwrap().cluster_id();
    for store in &cluster.stores {
        send_as_stranger(store.address(), id);
    }
    let dropped = || {
        let metrics = page(&cluster.status[0], "/metrics").unwrap().1;
        metrics.contains("unknown region").then_some(())
    };
    eventually(
        "the stranger's message is counted",
        Duration::from_secs(10),
        dropped,
    );
    for process in cluster.pds.iter().chain(&cluster.stores) {
        assert!(!process.log().contains("panicked"), "{}", process.log());
    }
    assert_eq!(cluster.run(&["raw", "--pd", &pd, "get", "kept"]), "1\n");
}

/// Writes bytes to a port and takes whatever comes back.
fn shout(address: &str, bytes: &[u8]) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    stream.write_all(bytes).unwrap();
    // An answer, an end or silence: all are fine.
    let _ = stream.read(&mut [0; 1024]);
}

/// Messages that are no protobuf, or name absurd lengths.
async fn call_with_garbage(address: &str, path: &'static str) {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    let mut grpc = tonic::client::Grpc::new(endpoint.connect().await.unwrap());
    for garbage in [
        &b"\xff\xff\xff\xff\xff"[..],
        b"\x0a\xff\xff\xff\xff\x0f",
        b"\x12\x80\x80\x80\x80\x80\x80\x80\x80\x80\x02",
        b"\x07",
    ] {
        grpc.ready().await.unwrap();
        let request = Request::new(tokio_stream::iter([Bytes::copy_from_slice(garbage)]));
        let path = tonic::codegen::http::uri::PathAndQuery::from_static(path);
        if let Ok(answer) = grpc.streaming(request, path, Raw).await {
            // A stream may end without an answer; it must not give one.
            assert!(!matches!(answer.into_inner().message().await, Ok(Some(_))));
        }
    }
}

/// A Raft message from a store that is no member, for a region that does not exist.
fn send_as_stranger(address: &str, cluster: u64) {
    let peer = |id, store_id| Peer {
        id,
        store_id,
        ..Peer::default()
    };
    let frame = |cluster_id| Frame {
        format: 1,
        cluster_id,
        envelopes: vec![Envelope {
            region_id: u64::MAX,
            from: Some(peer(666, 666)),
            to: Some(peer(667, 1)),
            message: Some(RaftMessage {
                from: 666,
                to: 667,
                term: u64::MAX,
                ..RaftMessage::default()
            }),
            ..Envelope::default()
        }],
    };
    let (foreign, ours) = (frame(cluster ^ 1), frame(cluster));
    let later = Frame {
        format: 2,
        ..ours.clone()
    };
    let framed = |frame: &Frame| {
        let bytes = frame.encode_to_vec();
        let length = u32::try_from(bytes.len()).unwrap().to_be_bytes();
        [&length[..], &bytes].concat()
    };
    let begun = b"YADKV\x01";
    for (begin, sent, words) in [
        (begun, framed(&foreign), "frame of cluster"),
        (begun, framed(&later), "frame format 2 is not known"),
        (begun, b"\0\0\0\x02\xff\xff".to_vec(), "no frame"),
        (begun, b"\xff\xff\xff\xff".to_vec(), "frame size too big"),
        (b"YADKV\x02", framed(&ours), "upgrade it"),
        (b"Yellow", framed(&ours), "upgrade it"),
    ] {
        let heard = say_as_peer(address, &[&begin[..], &sent].concat(), None);
        let heard = String::from_utf8_lossy(&heard);
        assert!(heard.contains(words), "{heard:?} without {words:?}");
    }
    // One that fits is taken: the connection goes on, and a ping after it is answered.
    let sent = [&begun[..], &framed(&ours), &[0; 4]].concat();
    assert_eq!(say_as_peer(address, &sent, Some(4)), [0; 4]);
}

/// What a store answers to another one, to its end or this many bytes.
fn say_as_peer(address: &str, bytes: &[u8], answer_bytes: Option<u64>) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).unwrap();
    let patience = Some(Duration::from_secs(10));
    stream.set_read_timeout(patience).unwrap();
    stream.write_all(bytes).unwrap();
    let mut heard = Vec::new();
    let mut read = stream.take(answer_bytes.unwrap_or(u64::MAX));
    read.read_to_end(&mut heard).unwrap();
    heard
}

/// Sends bytes as they are.
#[derive(Clone, Copy, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}
