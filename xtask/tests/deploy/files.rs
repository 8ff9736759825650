//! Reads the files under test, and runs programs that judge them if they are installed.
//!
//! *Limits and failure*: YAML with a key twice in one mapping is refused, as Kubernetes would take the last.
//!
//! *Next stop*: [`crate::kubernetes`].

use serde_json::Value;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_path_buf()
}

/// A file's text, by its path from the root.
pub(crate) fn text(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// All documents of a YAML text, without empty ones.
pub(crate) fn documents(place: &str, text: &str) -> Vec<Value> {
    let all: Vec<Value> =
        serde_saphyr::from_multiple(text).unwrap_or_else(|error| panic!("{place}: {error}"));
    all.into_iter().filter(|one| !one.is_null()).collect()
}

/// All documents of a YAML file.
pub(crate) fn yaml(path: &str) -> Vec<Value> {
    documents(path, &text(path))
}

/// The only document of a YAML file.
pub(crate) fn one_yaml(path: &str) -> Value {
    let mut all = yaml(path);
    assert_eq!(all.len(), 1, "{path}: one document");
    all.remove(0)
}

/// Files below a folder, from the root, sorted.
pub(crate) fn below(folder: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_string()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(root().join(&folder)).unwrap() {
            let entry = entry.unwrap();
            let path = format!("{folder}/{}", entry.file_name().to_string_lossy());
            match entry.file_type().unwrap().is_dir() {
                true => folders.push(path),
                false => found.push(path),
            }
        }
    }
    found.sort();
    found
}

/// The text at a place in a value; panics with the place if there is none.
pub(crate) fn string<'a>(value: &'a Value, pointer: &str) -> &'a str {
    let found = value.pointer(pointer).and_then(Value::as_str);
    found.unwrap_or_else(|| panic!("{pointer}: no text in {value}"))
}

/// The texts of a list; none if there is no list.
pub(crate) fn strings(value: Option<&Value>) -> Vec<String> {
    let list = value.and_then(Value::as_array);
    let texts = list.into_iter().flatten().filter_map(Value::as_str);
    texts.map(str::to_string).collect()
}

/// The workspace's own `Cargo.toml`, or that of a crate.
pub(crate) fn manifest(path: &str) -> toml::Table {
    text(path)
        .parse()
        .unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The version of everything here.
pub(crate) fn version() -> String {
    manifest("Cargo.toml")["workspace"]["package"]["version"]
        .as_str()
        .unwrap()
        .to_string()
}

/// Runs a program from the root. None, said loudly, if it is not installed.
pub(crate) fn run(program: &str, arguments: &[&str], what: &str) -> Option<Output> {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(root())
        .output();
    match output {
        Ok(output) => Some(output),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            skipped(what, &format!("{program} is not installed"));
            None
        }
        Err(error) => panic!("{program}: {error}"),
    }
}

/// Says that something was not judged; past the test harness, which would hide it.
pub(crate) fn skipped(what: &str, why: &str) {
    let line = format!("SKIPPED: {what}: {why}\n");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
}

/// Everything that a program said.
pub(crate) fn said(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!(
        "{}{}",
        String::from_utf8_lossy(out),
        String::from_utf8_lossy(err)
    )
}

#[test]
fn every_yaml_file_can_be_read() {
    let mut read = 0;
    for path in below("deploy") {
        let template = path.contains("/templates/");
        if !template && (path.ends_with(".yaml") || path.ends_with(".yml")) {
            assert!(!yaml(&path).is_empty(), "{path}: empty");
            read += 1;
        }
    }
    assert!(read >= 9, "{read} files: some are not found");
}

#[test]
fn a_key_that_comes_twice_is_seen() {
    let read: Result<Vec<Value>, _> = serde_saphyr::from_multiple("a: 1\nb: 2\na: 3\n");
    assert!(read.is_err());
}
