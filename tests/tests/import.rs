//! Files go in and come out again byte for byte, also when somebody pulls the plug in between.
#![allow(clippy::unwrap_used)]

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use yadkv_tests::{Cluster, binary, borders, eventually};

const RECORDS: u64 = 400_000;

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// What a command says when it fails.
fn failure(cluster: &Cluster, args: &[&str]) -> String {
    let output = cluster.yadkv(args);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success(), "{args:?} is taken: {said}");
    said
}

/// Sorted records, some of them with bytes that need an escape, spread over all regions.
fn records() -> String {
    let mut file = String::new();
    for number in 0..RECORDS {
        let first = number * 0x5f / RECORDS + 0x20;
        let first = char::from(first as u8);
        let first = if first == '\\' {
            "\\\\".to_owned()
        } else {
            first.to_string()
        };
        writeln!(file, "{first}k{number:08}\tv\\t\\x00\\xff{number}").unwrap();
    }
    file
}

struct Import {
    cluster: Cluster,
    pd: String,
    file: PathBuf,
}

impl Import {
    fn args(&self) -> [&str; 5] {
        ["raw", "--pd", &self.pd, "import", text(&self.file)]
    }

    /// Kills an import when it has written down how far it is.
    fn interrupt(&self) {
        let mut running = Command::new(binary())
            .args(self.args())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mark = self.file.with_extension("tsv.progress");
        let patience = Duration::from_secs(60);
        let ended = eventually("a mark, or the end", patience, || {
            let ended = running.try_wait().unwrap();
            ended.map(Some).or_else(|| mark.exists().then_some(None))
        });
        assert!(
            ended.is_none(),
            "it was over before it could be interrupted"
        );
        running.kill().unwrap();
        running.wait().unwrap();
        assert!(mark.exists());
    }
}

#[test]
fn what_was_imported_is_exported_byte_for_byte() {
    let cluster = Cluster::start(&[&borders(8)]);
    let import = Import {
        pd: cluster.pd(),
        file: cluster.folder.path().join("in.tsv"),
        cluster,
    };
    let (cluster, pd, file) = (&import.cluster, &import.pd, &import.file);
    let all = records();
    fs::write(file, &all).unwrap();
    import.interrupt();
    let output = cluster.yadkv(&import.args());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("going on from there"), "{said}");
    assert!(!file.with_extension("tsv.progress").exists());

    let out = file.with_file_name("out.tsv");
    cluster.run(&["raw", "--pd", pd, "export", "--out", text(&out)]);
    // The cluster's own first write.
    let own = "ready\t1\n";
    let exported = fs::read_to_string(&out).unwrap();
    assert_eq!(exported.replacen(own, "", 1), all);
    // Cut in the middle of a line, it is gone on with there.
    fs::write(&out, &exported[..exported.len() / 2]).unwrap();
    cluster.run(&["raw", "--pd", pd, "export", "--out", text(&out)]);
    assert_eq!(fs::read_to_string(&out).unwrap(), exported);
    let output = cluster.yadkv(&["raw", "--pd", pd, "export", "zk00199990", "zk00199992"]);
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .contains("not of one moment")
    );
    assert_eq!(output.stdout, b"");
}

#[test]
fn a_wrong_line_is_named_and_the_import_goes_on_behind_what_is_in() {
    let cluster = Cluster::start(&[&borders(2)]);
    let (pd, file) = (cluster.pd(), cluster.folder.path().join("in.tsv"));
    let import = ["raw", "--pd", &pd, "import", text(&file)];
    fs::write(&file, "a\t1\na\t2\nb\t3\t4\nc\t5\n").unwrap();
    let said = failure(&cluster, &import);
    assert!(said.contains("in.tsv, line 3: it has 3 fields"), "{said}");
    assert!(said.contains("the first 2 lines are in"), "{said}");
    let get = |key: &str| cluster.run(&["raw", "--pd", &pd, "get", key]);
    assert_eq!(get("a"), "2\n", "the later line wins");
    // Somebody else wrote meanwhile: what is in is not put again.
    cluster.run(&["raw", "--pd", &pd, "put", "a", "kept"]);
    fs::write(&file, "a\t1\na\t2\nb\t3\nc\t5\n").unwrap();
    assert_eq!(cluster.run(&import), "2 records imported\n");
    assert_eq!(
        (&*get("a"), &*get("b"), &*get("c")),
        ("kept\n", "3\n", "5\n")
    );
    // The part that is in was changed: that is not the same import.
    fs::write(&file, "a\t1\nb\t2\nc\n").unwrap();
    failure(&cluster, &import);
    fs::write(&file, "x\t1\nb\t2\nc\t3\n").unwrap();
    let said = failure(&cluster, &import);
    assert!(said.contains("have changed since"), "{said}");
    // Another key space is another import.
    fs::write(&file, "a\t1\nb\t2\nc\t3\n").unwrap();
    let v1 = ["raw", "--pd", &pd, "--api", "v1", "import", text(&file)];
    let said = failure(&cluster, &v1);
    assert!(said.contains("another cluster or key space"), "{said}");
}

/// A batch that fails in the middle: what comes behind it is in, but an import that goes on must not pass over it.
#[test]
fn nothing_is_passed_over_behind_a_batch_that_failed() {
    let cluster = Cluster::start(&[&borders(2)]);
    let (pd, file) = (cluster.pd(), cluster.folder.path().join("in.tsv"));
    let import = ["raw", "--pd", &pd, "import", text(&file)];
    let many = |value: &str| {
        let mut lines = format!("a\t1\nb\t{value}\n");
        (0..40_000).for_each(|number| writeln!(lines, "k{number}\t{number}").unwrap());
        lines
    };
    fs::write(&file, many(&"v".repeat(9 << 20))).unwrap();
    let said = failure(&cluster, &import);
    assert!(
        said.contains("lines 1 to 2"),
        "{}",
        &said[..said.len().min(400)]
    );
    assert!(
        said.contains("the first 0 lines are in"),
        "{}",
        &said[..said.len().min(400)]
    );
    fs::write(&file, many("2")).unwrap();
    assert_eq!(cluster.run(&import), "40002 records imported\n");
    let get = |key: &str| cluster.run(&["raw", "--pd", &pd, "get", key]);
    assert_eq!(
        (&*get("a"), &*get("b"), &*get("k39999")),
        ("1\n", "2\n", "39999\n")
    );
}
