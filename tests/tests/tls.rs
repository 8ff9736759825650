//! A cluster whose every port speaks TLS, and asks who connects.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;
use tikv_client::{Config, RawClient};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use yadkv_client::{Client, Options, TlsFiles};
use yadkv_tests::certificates::{Certificates, authority};
use yadkv_tests::load::Load;
use yadkv_tests::{Cluster, Setup, binary, eventually};
use yadkv_tls::admit::PROBES;
use yadkv_tls::{Settings, Tls};

const PATIENCE: Duration = Duration::from_secs(60);

fn start() -> Cluster {
    Cluster::start_as(Setup {
        tls: true,
        ..Setup::default()
    })
}

fn options(files: TlsFiles) -> Options {
    Options {
        tls: Some(files),
        ..Options::default()
    }
}

fn certificates(cluster: &mut Cluster) -> &mut Certificates {
    cluster.certificates.as_mut().unwrap()
}

/// What a command with nothing in its environment says when it fails; `None` if it does not.
fn refusal(args: &[&str], flags: &[String]) -> Option<String> {
    let output = Command::new(binary())
        .args(args)
        .args(flags)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (!output.status.success()).then_some(said)
}

#[tokio::test]
async fn everybody_talks_with_certificates() {
    let cluster = start();
    let files = cluster.certificates.as_ref().unwrap().files("client");
    let client = Client::connect(cluster.endpoints.clone(), options(files.clone())).await;
    let raw = client.unwrap().raw();
    raw.put("a", "1").await.unwrap();
    let (cert, key) = files.identity.clone().unwrap();
    let config = Config::default().with_default_keyspace();
    let config = config.with_security(files.ca, cert, key);
    let published = RawClient::new_with_config(cluster.endpoints.clone(), config).await;
    let published = published.unwrap();
    assert_eq!(published.get("a".to_owned()).await.unwrap().unwrap(), b"1");
    published.put("b".to_owned(), "2").await.unwrap();
    assert_eq!(raw.get("b").await.unwrap().as_deref(), Some(&b"2"[..]));

    let members = cluster.rows(&["member"]).unwrap();
    for member in &members {
        let url = member["client_urls"][0].as_str().unwrap();
        assert!(url.starts_with("https://"), "{url}");
    }
    let whole = cluster.rows(&["cluster"]).unwrap();
    assert_eq!(
        whole[0]["pd_unreachable"].as_array().unwrap().len(),
        0,
        "{whole:?}"
    );
    // Each member is asked: all but one pass the question on.
    for member in &cluster.endpoints {
        let stores = cluster.run(&["ctl", "--json", "--pd", member, "store"]);
        assert_eq!(stores.lines().count(), 3, "{stores}");
    }
    // The stores' status ports are asked for every peer.
    let regions = cluster.rows(&["region"]).unwrap();
    let id = regions[0]["id"].to_string();
    let region = cluster.rows(&["region", &id]).unwrap();
    for peer in region[0]["peers"].as_array().unwrap() {
        assert!(
            peer["unreachable"].is_null() && peer["error"].is_null(),
            "{peer}"
        );
    }
    let bench = [
        "bench",
        "--pd",
        &cluster.pd(),
        "--seconds",
        "1",
        "--records",
        "100",
    ];
    let measured = cluster.run(&[&bench[..], &["--clients", "4"]].concat());
    assert!(measured.contains(" 0 errors"), "{measured}");
    cluster.nobody_crashed();
}

#[test]
fn who_cannot_prove_itself_is_told_so() {
    let cluster = start();
    let certificates = cluster.certificates.as_ref().unwrap();
    let pd = cluster.pd();
    let stranger = certificates.pair(&authority("another CA"));
    let stranger = certificates.write("stranger", &stranger);
    let expired = certificates.authority();
    let expired = expired
        .issue_expired("late", &["127.0.0.1"], PATIENCE)
        .unwrap();
    let expired = certificates.write("expired", &expired);
    let nobody = TlsFiles {
        identity: None,
        ..stranger.clone()
    };
    let get = ["raw", "--pd", &pd, "get", "a"];
    let ctl = ["ctl", "--pd", &pd, "store"];
    let cases = [
        (
            &get[..],
            Certificates::flags(&stranger),
            "refuses our certificate: it is not signed by the CA there",
        ),
        (
            &get,
            Certificates::flags(&nobody),
            "asks for a certificate and we have none",
        ),
        (&get, Vec::new(), "speaks TLS only"),
        (
            &get,
            Certificates::flags(&expired),
            "expired.pem: the certificate expired on",
        ),
        (
            &ctl,
            Certificates::flags(&stranger),
            "refuses our certificate: it is not signed by the CA there",
        ),
        (
            &ctl,
            Certificates::flags(&nobody),
            "asks for a certificate and we have none",
        ),
        (&ctl, Vec::new(), "speaks TLS only"),
    ];
    // Side by side: the SDK goes on trying for a while.
    std::thread::scope(|scope| {
        for (args, flags, words) in &cases {
            scope.spawn(move || {
                let said = refusal(args, flags).unwrap();
                assert!(
                    said.contains(words),
                    "{args:?} {flags:?}: {said:?} without {words:?}"
                );
            });
        }
    });
    a_server_says_what_is_wrong(&cluster, &stranger, &expired);
    assert!(cluster.succeeds_within(&["raw", "--pd", &pd, "put", "a", "1"], PATIENCE));
}

/// One with a foreign certificate waits and says why, one with an expired one does not start.
fn a_server_says_what_is_wrong(cluster: &Cluster, stranger: &TlsFiles, expired: &TlsFiles) {
    let data = cluster.folder.path().join("stray").display().to_string();
    let pd = cluster.pd();
    let store = [
        "store",
        "--addr",
        "127.0.0.1:0",
        "--set",
        "store.status_addr=",
        "--pd",
        &pd,
    ];
    let store = [&store[..], &["--data-dir", &data]].concat();
    let said = refusal(&store, &Certificates::flags(expired)).unwrap();
    assert!(
        said.contains("expired.pem: the certificate expired on"),
        "{said}"
    );
    let lacking = ["--tls-ca".to_owned(), stranger.ca.display().to_string()];
    let said = refusal(&store, &lacking).unwrap();
    assert!(said.contains("tls.cert"), "{said}");
    let log = cluster.folder.path().join("stray.log");
    let mut waiting = Command::new(binary())
        .args(&store)
        .args(Certificates::flags(stranger))
        .stdin(Stdio::null())
        .stderr(std::fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    eventually("the store says why it waits", PATIENCE, || {
        let log = std::fs::read_to_string(&log).unwrap();
        log.contains("refuses our certificate: it is not signed by the CA there")
            .then_some(())
    });
    waiting.kill().unwrap();
    waiting.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_exchanged_under_load() {
    let mut cluster = start();
    let files = certificates(&mut cluster).files("client");
    let client = Client::connect(cluster.endpoints.clone(), options(files.clone())).await;
    let raw = client.unwrap().raw();
    let load = Load::start(&raw, 4, |writer, number| format!("{writer}/{number}"));
    load.goes_on(100, "at first");

    // Both CAs are trusted, then there are new certificates, then the old CA is forgotten.
    let next = authority("the next CA");
    let all = certificates(&mut cluster);
    all.trust(&[all.authority(), &next]);
    let old = TlsFiles {
        ca: files.ca.clone(),
        ..all.write("old", &all.pair(all.authority()))
    };
    let new = all.write("new", &all.pair(&next));
    let only_next = cluster.folder.path().join("next.pem");
    std::fs::write(&only_next, next.pem()).unwrap();
    let demanding = TlsFiles {
        ca: only_next,
        ..new.clone()
    };
    everybody_takes(
        &cluster,
        &new,
        &[&cluster.endpoints[..], &cluster.status[..]].concat(),
    );
    load.goes_on(100, "while both are trusted");
    let all = certificates(&mut cluster);
    let _first = all.succeed(next);
    all.issue("server");
    all.issue("client");
    everybody_takes(
        &cluster,
        &demanding,
        &[&cluster.endpoints[..], &cluster.status[..]].concat(),
    );
    load.goes_on(100, "with new certificates");
    let all = certificates(&mut cluster);
    all.trust(&[all.authority()]);
    let pd = cluster.endpoints[0].clone();
    eventually("the old CA is forgotten", PATIENCE, || {
        refusal(&["ctl", "--pd", &pd, "store"], &Certificates::flags(&old))
    });

    // What begins anew knows nothing but the new ones.
    for number in 0..3 {
        cluster.stores[number].kill();
        cluster.stores[number].start();
        load.goes_on(100, "after a store began anew");
        cluster.pds[number].kill();
        cluster.pds[number].start();
        load.goes_on(100, "after a placement driver began anew");
    }
    load.stop().await;
    cluster.nobody_crashed();
}

/// Waits until each of these addresses answers a client with such certificates.
fn everybody_takes(cluster: &Cluster, files: &TlsFiles, addresses: &[String]) {
    for address in addresses {
        let what = format!("{address} takes {files:?}");
        eventually(&what, PATIENCE, || {
            let args = ["ctl", "log", address];
            refusal(&args, &Certificates::flags(files))
                .is_none()
                .then_some(())
        });
    }
    cluster.nobody_crashed();
}

/// The code of a page, asked for without a certificate.
async fn page(tls: &Tls, address: &str, path: &str) -> String {
    let mut connection = tls.pages().dial(address).await.unwrap();
    let asked = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n");
    connection.write_all(asked.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    answer.split(' ').nth(1).unwrap().to_owned()
}

/// Waits until all is well. A store that was given a replica just now is not ready, which is an answer too.
async fn becomes_well(tls: &Tls, address: &str, path: &str) {
    loop {
        match (page(tls, address, path).await.as_str(), path) {
            ("200", _) => return,
            ("503", "/ready") => {}
            (code, _) => panic!("{code} of {address}{path}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn probes_are_answered_without_a_certificate_and_nothing_else_is() {
    let cluster = Cluster::start_as(Setup {
        tls: true,
        settings: &["tls.client_auth=except-probes"],
        ..Setup::default()
    });
    let nobody = TlsFiles {
        identity: None,
        ..cluster.certificates.as_ref().unwrap().files("client")
    };
    let settings = Settings {
        ca: nobody.ca.clone(),
        ..Settings::default()
    };
    let tls = Tls::client(&settings).unwrap();
    for address in [&cluster.endpoints[..], &cluster.status[..]].concat() {
        for path in PROBES {
            let well = timeout(PATIENCE, becomes_well(&tls, &address, path)).await;
            well.unwrap_or_else(|_| panic!("{address}{path} is never well"));
        }
        for path in [
            "/config",
            "/debug/pprof/heap",
            "/pd/api/v1/stores",
            "/regions",
        ] {
            assert_eq!(page(&tls, &address, path).await, "401", "{address}{path}");
        }
    }
    let pd = cluster.pd();
    let flags = Certificates::flags(&nobody);
    let said = refusal(&["ctl", "--pd", &pd, "store"], &flags).unwrap();
    assert!(said.contains("set tls.cert and tls.key"), "{said}");
    // A store's own port has no pages: it does not even talk.
    let store = cluster.stores[0].address();
    let dialled = tls.connector().dial(store).await;
    let heard = match dialled {
        Ok(mut connection) => connection.read_u8().await.unwrap_err().to_string(),
        Err(error) => error.to_string(),
    };
    assert!(heard.contains("asks for a certificate"), "{heard}");
    assert!(cluster.succeeds_within(&["raw", "--pd", &pd, "put", "a", "1"], PATIENCE));
    cluster.nobody_crashed();
}

#[test]
fn a_playground_makes_its_own_certificates_and_says_how_they_are_used() {
    let mut playground = Command::new(binary())
        .args(["playground", "--tls", "--port-base", "0"])
        .args(["--pd", "1", "--stores", "1"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let out = BufReader::new(playground.stdout.take().unwrap());
    let mut lines = out.lines().map(Result::unwrap);
    let ready = lines.next().unwrap();
    let pd = ready.strip_prefix("ready: pd=").unwrap();
    let usage = lines.next().unwrap();
    let (_, told) = usage.split_once(": yadkv raw ").unwrap();
    let told: Vec<&str> = told
        .split(' ')
        .map(|word| word.trim_matches('\''))
        .collect();
    let flags = told.strip_suffix(&["get", "KEY"]).unwrap();
    let raw = |args: &[&str]| {
        let command = Command::new(binary())
            .arg("raw")
            .args(flags)
            .args(args)
            .output();
        let output = command.unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{errors}");
        String::from_utf8(output.stdout).unwrap()
    };
    raw(&["put", "a", "1"]);
    assert_eq!(raw(&["get", "a"]), "1\n");
    let said = refusal(&["ctl", "--pd", pd, "store"], &[]).unwrap();
    assert!(said.contains("speaks TLS only"), "{said}");
    let id = playground.id().to_string();
    let stopped = Command::new("kill").args(["-INT", &id]).status();
    assert!(stopped.unwrap().success());
    assert!(playground.wait().unwrap().success());
}
