//! Who is let in, who is not, and what those are told.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::{Duration, Instant};
use support::{DAY, Place, authority, pair, serve, talk, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use yadkv_tls::authority::Authority;
use yadkv_tls::{ClientAuth, PEERS_FIRST, Settings, Speaks, Tls};

#[tokio::test]
async fn those_of_one_ca_talk() {
    let (place, ca) = (Place::new(), authority());
    let settings = place.settings("server", &ca.pem(), Some(&pair(&ca)));
    let server = Tls::server(&settings).unwrap();
    let address = serve(&server).await;
    let client = place.client("client", &ca.pem(), Some(&pair(&ca)));
    talk(&client, address).await.unwrap();
    talk(&client, format!("localhost:{}", address.port()))
        .await
        .unwrap();
    talk(&server, address).await.unwrap();
    let open = Settings {
        client_auth: ClientAuth::None,
        ..settings
    };
    let address = serve(&Tls::server(&open).unwrap()).await;
    let nobody = place.client("nobody", &ca.pem(), None);
    talk(&nobody, address).await.unwrap();
    let plain = serve(&Tls::off()).await;
    talk(&Tls::off(), plain).await.unwrap();
}

#[tokio::test]
async fn who_cannot_be_trusted_hears_why() {
    let (place, ca, other) = (
        Place::new(),
        authority(),
        Authority::new("another CA", DAY).unwrap(),
    );
    // Only its signature tells it from ours.
    let double = authority();
    let server = place.settings("server", &ca.pem(), Some(&pair(&ca)));
    let address = serve(&Tls::server(&server).unwrap()).await;
    let elsewhere = ca.issue("somebody", &["db.example.net"], DAY).unwrap();
    let elsewhere = place.settings("elsewhere", &ca.pem(), Some(&elsewhere));
    let elsewhere = serve(&Tls::server(&elsewhere).unwrap()).await;
    let ours = || Some(pair(&ca));
    let cases = [
        (
            address,
            other.pem(),
            ours(),
            "the certificate of 127.0.0.1:PORT is not signed by our CA",
        ),
        (
            address,
            double.pem(),
            ours(),
            "the certificate of 127.0.0.1:PORT is not signed by our CA",
        ),
        (
            elsewhere,
            ca.pem(),
            ours(),
            "the certificate of 127.0.0.1:PORT is for other names: DnsName(\"db.example.net\")",
        ),
        (
            address,
            ca.pem(),
            None,
            "127.0.0.1:PORT asks for a certificate and we have none",
        ),
        (
            address,
            ca.pem(),
            Some(pair(&other)),
            "127.0.0.1:PORT refuses our certificate: it is not signed by the CA there",
        ),
        (
            address,
            ca.pem(),
            Some(pair(&double)),
            "127.0.0.1:PORT refuses our certificate: it is not signed by the CA there",
        ),
    ];
    for (number, (address, ca, pair, words)) in cases.into_iter().enumerate() {
        let client = place.client(&format!("client-{number}"), &ca, pair.as_ref());
        let refused = talk(&client, address).await.unwrap_err();
        let words = words.replace("PORT", &address.port().to_string());
        assert!(refused.contains(&words), "{refused:?} without {words:?}");
    }
}

#[tokio::test]
async fn who_is_of_the_past_hears_it() {
    let (place, ca) = (Place::new(), authority());
    let soon = || {
        ca.issue("somebody", &["127.0.0.1"], Duration::from_secs(2))
            .unwrap()
    };
    let lasting = place.settings("lasting", &ca.pem(), Some(&pair(&ca)));
    let lasting = Tls::server(&lasting).unwrap();
    let fading = place.settings("fading", &ca.pem(), Some(&soon()));
    let fading = Tls::server(&fading).unwrap();
    let client = place.client("client", &ca.pem(), Some(&soon()));
    let (here, there) = (serve(&lasting).await, serve(&fading).await);
    let says = |words: &'static str| {
        move |result: &Result<(), String>| {
            result
                .as_ref()
                .is_err_and(|refused| refused.contains(words))
        }
    };
    until(
        &client,
        here,
        says("refuses our certificate: it is expired"),
    )
    .await;
    until(&lasting, there, says("is expired: it needs a new one")).await;
}

#[tokio::test]
async fn plain_text_and_tls_do_not_wait_for_each_other() {
    let (place, ca) = (Place::new(), authority());
    let settings = place.settings("server", &ca.pem(), Some(&pair(&ca)));
    let tls = Tls::server(&settings).unwrap();
    let address = serve(&tls).await;
    let refused = talk(&Tls::off(), address).await.unwrap_err();
    assert!(refused.contains("speaks TLS only"), "{refused}");
    for (answer, words) in [
        (
            &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
            "speaks plain text, no TLS",
        ),
        (
            b"\0\0\x06\x04\0\0\0\0\0\0\0\0\0\0\0",
            "speaks plain text, no TLS",
        ),
        (b"", "hung up in the TLS handshake"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let answering = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = [0; 4096];
            assert!(stream.read(&mut asked).await.unwrap() > 0);
            stream.write_all(answer).await.unwrap();
            stream.shutdown().await.unwrap();
        };
        let (refused, ()) = tokio::join!(talk(&tls, address), answering);
        let refused = refused.unwrap_err();
        assert!(refused.contains(words), "{refused}");
    }
}

#[tokio::test]
async fn who_says_nothing_holds_up_nobody_and_is_given_up() {
    let (place, ca) = (Place::new(), authority());
    let settings = place.settings("server", &ca.pem(), Some(&pair(&ca)));
    let tls = Tls::server(&settings).unwrap();
    let address = serve(&tls).await;
    let mut silent = Vec::new();
    for _ in 0..100 {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    let begun = Instant::now();
    talk(&tls, address).await.unwrap();
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
    for mut stream in silent {
        let mut byte = [0];
        let read = tokio::time::timeout(support::PATIENCE, stream.read(&mut byte));
        assert!(matches!(read.await.unwrap(), Ok(0) | Err(_)));
    }
    talk(&tls, address).await.unwrap();
}

/// A port for gRPC takes peers too, and tells them from clients; who says nothing holds up neither.
#[tokio::test]
async fn peers_and_clients_come_to_one_port() {
    let (place, ca) = (Place::new(), authority());
    let settings = place.settings("server", &ca.pem(), Some(&pair(&ca)));
    for tls in [Tls::server(&settings).unwrap(), Tls::off()] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut incoming = tls.incoming(listener, Speaks::Grpc);
        let address = incoming.local_addr().unwrap().to_string();
        let _silent = TcpStream::connect(&address).await.unwrap();
        for (connector, first, of_peer) in [
            (tls.peers(), PEERS_FIRST, true),
            (tls.connector(), b'P', false),
        ] {
            let dialling = async {
                let mut connection = connector.dial(&address).await.unwrap();
                connection.write_all(&[first]).await.unwrap();
                connection.flush().await.unwrap();
                connection
            };
            let (_dialled, (mut came, _)) = tokio::join!(dialling, incoming.accept());
            assert_eq!(came.is_of_peer(), of_peer, "{tls:?}");
            // A look at it has taken nothing away.
            assert_eq!(came.read_u8().await.unwrap(), first);
        }
    }
}
