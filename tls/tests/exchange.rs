//! Files that change while a server runs, and files that are of no use.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;
use support::{DAY, Place, authority, pair, serve, talk, until};
use yadkv_tls::Tls;
use yadkv_tls::authority::Authority;

#[tokio::test]
async fn one_ca_takes_the_place_of_another() {
    let (place, old, new) = (
        Place::new(),
        authority(),
        Authority::new("the next CA", DAY).unwrap(),
    );
    let both = old.pem() + &new.pem();
    let settings = place.settings("server", &old.pem(), Some(&pair(&old)));
    let server = Tls::server(&settings).unwrap();
    let address = serve(&server).await;
    let before = place.client("before", &both, Some(&pair(&old)));
    let after = place.client("after", &both, Some(&pair(&new)));
    let demanding = place.client("demanding", &new.pem(), Some(&pair(&new)));
    talk(&before, address).await.unwrap();
    assert!(
        talk(&after, address)
            .await
            .unwrap_err()
            .contains("refuses our certificate")
    );
    // First everybody trusts both.
    place.write("server-ca.pem", &both);
    until(&after, address, Result::is_ok).await;
    assert!(
        talk(&demanding, address)
            .await
            .unwrap_err()
            .contains("not signed by our CA")
    );
    // Then there are new certificates.
    pair(&new).write(&settings.cert, &settings.key).unwrap();
    until(&demanding, address, Result::is_ok).await;
    talk(&before, address).await.unwrap();
    // Then the old one is forgotten.
    place.write("server-ca.pem", &new.pem());
    until(&before, address, Result::is_err).await;
    talk(&after, address).await.unwrap();
}

#[tokio::test]
async fn what_is_of_no_use_changes_nothing() {
    let (place, ca, new) = (
        Place::new(),
        authority(),
        Authority::new("the next CA", DAY).unwrap(),
    );
    let settings = place.settings("server", &ca.pem(), Some(&pair(&ca)));
    let address = serve(&Tls::server(&settings).unwrap()).await;
    let old = place.client("old", &ca.pem(), Some(&pair(&ca)));
    let next = place.client("next", &(ca.pem() + &new.pem()), Some(&pair(&new)));
    let expired = ca.issue_expired("somebody", &["127.0.0.1"], DAY).unwrap();
    let good = pair(&ca);
    // The CA file is fine each time, and would let the next client in.
    place.write("server-ca.pem", &(ca.pem() + &new.pem()));
    for (cert, key) in [
        ("no certificate", &good.key),
        (&*expired.cert, &expired.key),
        (&*good.cert, &pair(&ca).key),
    ] {
        place.write("server.pem", cert);
        place.write("server-key.pem", key);
        // Each word is a look: the files are old enough by then.
        for _ in 0..20 {
            tokio::time::sleep(settings.reload_interval).await;
            talk(&old, address).await.unwrap();
            assert!(
                talk(&next, address)
                    .await
                    .unwrap_err()
                    .contains("refuses our certificate")
            );
        }
    }
    std::fs::remove_file(&settings.key).unwrap();
    talk(&old, address).await.unwrap();
    good.write(&settings.cert, &settings.key).unwrap();
    until(&next, address, Result::is_ok).await;
}

#[test]
fn files_of_no_use_are_named() {
    let (place, ca) = (Place::new(), authority());
    let good = place.settings("good", &ca.pem(), Some(&pair(&ca)));
    let other = place.settings("other", &ca.pem(), Some(&pair(&ca)));
    let expired = ca
        .issue_expired("somebody", &["127.0.0.1"], Duration::from_secs(5))
        .unwrap();
    let expired = place.settings("expired", &ca.pem(), Some(&expired));
    place.write("text.pem", "certificates are elsewhere");
    place.write(
        "broken.pem",
        "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n",
    );
    place.write(
        "empty.pem",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    );
    let (text, broken, empty) = (
        place.file("text.pem"),
        place.file("broken.pem"),
        place.file("empty.pem"),
    );
    let missing = place.file("missing.pem");
    let with =
        |ca: &std::path::Path, cert: &std::path::Path, key: &std::path::Path| yadkv_tls::Settings {
            ca: ca.into(),
            cert: cert.into(),
            key: key.into(),
            ..good.clone()
        };
    for (settings, words) in [
        (
            with(&missing, &good.cert, &good.key),
            "missing.pem: No such file",
        ),
        (
            with(&text, &good.cert, &good.key),
            "text.pem: there is no certificate in it",
        ),
        (with(&broken, &good.cert, &good.key), "broken.pem: "),
        (with(&empty, &good.cert, &good.key), "empty.pem: "),
        (
            with(&good.ca, &text, &good.key),
            "text.pem: there is no certificate in it",
        ),
        (with(&good.ca, &empty, &good.key), "empty.pem: "),
        (
            with(&good.ca, &good.cert, &good.cert),
            "good.pem: there is no private key",
        ),
        (with(&good.ca, &good.cert, &other.key), "good.pem"),
        (
            with(&good.ca, &good.cert, &other.key),
            "other-key.pem does not fit",
        ),
        (expired.clone(), "expired.pem: the certificate expired on"),
        (
            with(&good.ca, &good.cert, std::path::Path::new("")),
            "tls.key is not set",
        ),
    ] {
        let refused = Tls::server(&settings).unwrap_err().to_string();
        assert!(refused.contains(words), "{refused:?} without {words:?}");
    }
    assert!(Tls::server(&good).unwrap().is_on());
    assert!(
        !Tls::server(&yadkv_tls::Settings::default())
            .unwrap()
            .is_on()
    );
}
