//! The container image as far as it can be judged unbuilt, the health check inside it, and all shell scripts.
//!
//! *Next stop*: none; the walk ends here.

use crate::files::{below, manifest, root, run, said, text, version};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;

const DOCKERFILE: &str = "deploy/docker/Dockerfile";
const HEALTHCHECK: &str = "deploy/docker/healthcheck";

/// Instructions of the last stage, a line each, without comments.
fn last_stage(dockerfile: &str) -> Vec<String> {
    let lines = dockerfile.lines().filter(|line| !line.starts_with('#'));
    let joined = lines.collect::<Vec<_>>().join("\n").replace("\\\n", " ");
    let all: Vec<_> = joined.lines().map(str::to_string).collect();
    let from = all.iter().rposition(|line| line.starts_with("FROM "));
    all[from.unwrap_or(0)..].to_vec()
}

/// What is wrong with a Dockerfile.
fn complaints(dockerfile: &str) -> Vec<String> {
    let stage = last_stage(dockerfile);
    let mut found = Vec::new();
    let mut check = |ok: bool, what: String| {
        if !ok {
            found.push(what);
        }
    };
    let argument = format!("ARG VERSION={}", version());
    for line in [
        "USER 10001:10001",
        "STOPSIGNAL SIGTERM",
        "ENTRYPOINT [\"yadkv\"]",
        argument.as_str(),
    ] {
        let there = stage.iter().any(|one| one == line);
        check(there, format!("{line}: is missing"));
    }
    let health = stage.iter().any(|one| one.starts_with("HEALTHCHECK "));
    check(health, "no health check".into());
    let rust = &manifest("Cargo.toml")["workspace"]["package"]["rust-version"];
    let rust = format!("ARG RUST_VERSION={}\n", rust.as_str().unwrap());
    check(dockerfile.contains(&rust), "another Rust".into());
    let ignored = text(".dockerignore");
    let copies = stage.iter().filter(|line| line.starts_with("COPY "));
    for copy in copies.filter(|line| !line.contains("--from=")) {
        let mut words = copy.split_whitespace().skip(1);
        let from = words.find(|word| !word.starts_with("--")).unwrap_or("");
        check(root().join(from).exists(), format!("{from}: is not there"));
        let folder = from.split('/').next().unwrap_or("");
        let kept = !ignored.lines().any(|line| line == folder)
            || ignored.lines().any(|line| line == format!("!{from}"));
        check(kept, format!("{from}: is ignored"));
    }
    found
}

#[test]
fn the_image_is_sound() {
    assert_eq!(complaints(&text(DOCKERFILE)), [""; 0]);
    if let Some(output) = run("hadolint", &[DOCKERFILE], "hadolint's rules") {
        assert!(output.status.success(), "{}", said(&output));
    }
}

#[test]
fn everything_that_is_built_reaches_the_builder() {
    let ignored = text(".dockerignore");
    let manifest = manifest("Cargo.toml");
    for member in manifest["workspace"]["members"].as_array().unwrap() {
        let folder = member.as_str().unwrap().split('/').next().unwrap();
        assert!(ignored.lines().all(|line| line != folder), "{folder}");
    }
}

#[test]
fn mistakes_in_the_image_are_seen() {
    let dockerfile = text(DOCKERFILE);
    for (of, by) in [
        ("USER 10001:10001", "USER root"),
        ("STOPSIGNAL SIGTERM", "STOPSIGNAL SIGKILL"),
        ("COPY LICENSE", "COPY LICENCE"),
        ("deploy/docker/healthcheck /", "deploy/README.md /"),
    ] {
        assert!(dockerfile.contains(of), "{of}");
        assert_eq!(complaints(&dockerfile.replace(of, by)).len(), 1, "{by}");
    }
}

/// What the health check makes of one answer: whether it is content, and what was asked.
fn checked(answer: &'static str) -> (bool, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut asked = Vec::new();
        let mut byte = [0];
        while !asked.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() > 0 {
            asked.push(byte[0]);
        }
        stream.write_all(answer.as_bytes()).unwrap();
        String::from_utf8(asked).unwrap()
    });
    let output = Command::new(root().join(HEALTHCHECK)).arg(&port).output();
    // Lets the server end if nobody came.
    drop(TcpStream::connect(format!("127.0.0.1:{port}")));
    let asked = server.join().unwrap();
    let first = asked.lines().next().unwrap_or_default().to_string();
    (output.unwrap().status.success(), first)
}

#[test]
fn the_health_check_tells_good_from_bad() {
    let good = checked("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    assert_eq!(good, (true, "GET /ready HTTP/1.1".into()));
    assert!(!checked("HTTP/1.1 503 Service Unavailable\r\n\r\n").0);
    assert!(!checked("").0);
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = nobody.local_addr().unwrap().port().to_string();
    drop(nobody);
    let output = Command::new(root().join(HEALTHCHECK)).arg(port).output();
    assert!(!output.unwrap().status.success());
}

#[test]
fn shell_scripts_are_clean() {
    let mut scripts = below("deploy/debian");
    scripts.extend(below("scripts"));
    scripts.extend([HEALTHCHECK.into(), ".ci/run".into()]);
    let arguments: Vec<_> = scripts.iter().map(String::as_str).collect();
    let Some(output) = run("shellcheck", &arguments, "shell scripts") else {
        return;
    };
    assert!(output.status.success(), "{}", said(&output));
    let broken = format!("{}/broken.sh", env!("CARGO_TARGET_TMPDIR"));
    std::fs::write(&broken, "#!/bin/sh\ncd /nowhere\nrm -r ./*\n").unwrap();
    let output = run("shellcheck", &[&broken], "shell scripts").unwrap();
    assert!(said(&output).contains("SC2164"), "{}", said(&output));
}
