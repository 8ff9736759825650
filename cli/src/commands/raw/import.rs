//! `raw import`: puts the records of a file, and goes on where it was interrupted.
//!
//! *Life of an import*: records become batches of [`BATCH_RECORDS`] → [`IN_FLIGHT_MAX`] batches are under way → the oldest
//! is answered: the mark moves behind it → every [`MARK_INTERVAL`] the mark is written down, in `FILE.progress` → all are
//! in: that file is removed.
//!
//! *Invariants*: everything before the mark is in the store: when a batch fails the mark stays before it, whatever comes
//! of those behind it. Of two records with one key the later one wins: a batch that names a key which is under way waits.
//! A mark counts for the same file up to there (checksum), cluster and key space only.
//!
//! *Limits and failure*: a wrong line or a batch that fails ends the import, after what was under way is known; the message
//! says how much is in, and the same command goes on from there. Standard input cannot be gone on with.
//!
//! *Next stop*: [`super::tsv`].

use super::tsv::{Position, Record, Records};
use crate::failure::{Context, Failure, Outcome};
use crate::output::say;
use bytes::Bytes;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use std::collections::{HashSet, VecDeque};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use yadkv_client::RawClient;

/// Records of a batch. Fewer cost more each, more make the largest entry too large.
const BATCH_RECORDS: usize = 1024;
/// Bytes of keys and values after which a batch is sent.
const BATCH_BYTES: usize = 256 << 10;
/// Batches under way.
const IN_FLIGHT_MAX: usize = 16;
/// Time between two marks on the disk.
const MARK_INTERVAL: Duration = Duration::from_millis(200);
/// Layout of the file with the mark.
const FORMAT: u64 = 1;

/// Where records go.
pub(super) struct Target {
    pub(super) raw: RawClient,
    /// Named in the mark: cluster and key space.
    pub(super) name: String,
}

/// Imports a file, `-` for standard input.
pub(super) async fn run(target: Target, file: &Path) -> Outcome {
    if file == Path::new("-") {
        let records = Records::new(BufReader::new(std::io::stdin()), "standard input".into());
        return Import::new(target, records, None, ProgressBar::no_length())
            .run()
            .await;
    }
    let name = file.display().to_string();
    let opened = File::open(file).context(&name)?;
    let bytes = opened.metadata().context(&name)?.len();
    let mark = Mark::beside(file, target.name.clone());
    let mut records = Records::new(BufReader::with_capacity(1 << 20, opened), name);
    mark.go_on(&mut records)?;
    let bar = ProgressBar::new(bytes).with_position(records.position().offset);
    Import::new(target, records, Some(mark), bar).run().await
}

/// A batch under way.
struct Batch {
    sent: JoinHandle<yadkv_client::Result<()>>,
    keys: Vec<Bytes>,
    first_line: u64,
    /// Behind its last record.
    end: Position,
}

struct Import<R> {
    target: Target,
    records: Records<R>,
    mark: Option<Mark>,
    bar: ProgressBar,
    under_way: VecDeque<Batch>,
    /// Keys of the batches under way.
    keys: HashSet<Bytes>,
    /// Behind the last record that is in, as are all before it.
    reached: Position,
    /// Whether a batch has failed: what comes behind it may be in, but not all before that.
    broken: bool,
    marked_at: Instant,
}

impl<R: BufRead> Import<R> {
    fn new(target: Target, records: Records<R>, mark: Option<Mark>, bar: ProgressBar) -> Self {
        let template = "{bar:40} {bytes}/{total_bytes}, {binary_bytes_per_sec}, {eta} left";
        // The template is a constant of ours; a bar in the default style does as well.
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Self {
            target,
            reached: records.position().clone(),
            records,
            mark,
            bar,
            under_way: VecDeque::new(),
            keys: HashSet::new(),
            broken: false,
            marked_at: Instant::now(),
        }
    }

    async fn run(mut self) -> Outcome {
        let begun = self.reached.line;
        let imported = self.import().await;
        // What is under way may still get in, and then need not be sent again.
        let drained = self.wait_for_all().await;
        self.bar.finish_and_clear();
        let (line, count) = (self.reached.line, self.reached.line - begun);
        match imported.and(drained) {
            Ok(()) => {
                self.mark.as_ref().map_or(Ok(()), Mark::remove)?;
                say(format_args!("{count} records imported"))
            }
            Err(failure) => {
                let next = match &self.mark {
                    Some(mark) => {
                        mark.write(&self.reached)?;
                        "the same command goes on from there"
                    }
                    None => "leave them out next time",
                };
                Err(Failure(format!(
                    "{failure}; the first {line} lines are in, {next}"
                )))
            }
        }
    }

    async fn import(&mut self) -> Outcome {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        loop {
            let record = match self.records.next() {
                Ok(Some(record)) => record,
                Ok(None) => return self.send(batch).await,
                Err(failure) => {
                    self.send(batch).await?;
                    return Err(failure);
                }
            };
            bytes += record.key.len() + record.value.len();
            batch.push(record);
            if batch.len() == BATCH_RECORDS || bytes >= BATCH_BYTES {
                self.send(std::mem::take(&mut batch)).await?;
                bytes = 0;
            }
        }
    }

    async fn send(&mut self, batch: Vec<Record>) -> Outcome {
        if batch.is_empty() {
            return Ok(());
        }
        let named_twice = |keys: &HashSet<Bytes>| batch.iter().any(|one| keys.contains(&one.key));
        while self.under_way.len() >= IN_FLIGHT_MAX || named_twice(&self.keys) {
            self.wait_for_one().await?;
        }
        let keys: Vec<_> = batch.iter().map(|record| record.key.clone()).collect();
        self.keys.extend(keys.iter().cloned());
        let end = self.records.position().clone();
        let first_line = end.line - batch.len() as u64 + 1;
        let raw = self.target.raw.clone();
        let put = async move {
            let pairs = batch.into_iter().map(|record| (record.key, record.value));
            raw.batch_put(pairs).await
        };
        self.under_way.push_back(Batch {
            sent: tokio::spawn(put),
            keys,
            first_line,
            end,
        });
        Ok(())
    }

    /// Waits for what is under way; the first failure.
    async fn wait_for_all(&mut self) -> Outcome {
        let mut all = Ok(());
        while !self.under_way.is_empty() {
            all = all.and(self.wait_for_one().await);
        }
        all
    }

    /// Waits for the oldest batch.
    async fn wait_for_one(&mut self) -> Outcome {
        let Some(batch) = self.under_way.pop_front() else {
            return Ok(());
        };
        let place = format!("lines {} to {}", batch.first_line, batch.end.line);
        let put = match batch.sent.await {
            Ok(put) => put.context(place),
            Err(error) => Err(error).context(place),
        };
        self.broken |= put.is_err();
        put?;
        for key in &batch.keys {
            self.keys.remove(key);
        }
        if self.broken {
            return Ok(());
        }
        self.reached = batch.end;
        self.bar.set_position(self.reached.offset);
        if let Some(mark) = &self.mark
            && self.marked_at.elapsed() >= MARK_INTERVAL
        {
            mark.write(&self.reached)?;
            self.marked_at = Instant::now();
        }
        Ok(())
    }
}

/// Where an import that was interrupted goes on.
struct Mark {
    path: PathBuf,
    target: String,
}

impl Mark {
    fn beside(file: &Path, target: String) -> Self {
        let mut path = OsString::from(file);
        path.push(".progress");
        let path = path.into();
        Self { path, target }
    }

    /// Passes over what is in already.
    fn go_on<R: BufRead>(&self, records: &mut Records<R>) -> Outcome {
        let name = self.path.display().to_string();
        let text = match fs::read_to_string(&self.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            text => text.context(&name)?,
        };
        let read: Value = serde_json::from_str(&text).unwrap_or_default();
        let number = |field: &str| read[field].as_u64();
        let fields = (number("line"), number("offset"), number("sum"));
        let anew = format!("remove {name} to begin anew");
        let (Some(line), Some(offset), Some(sum)) = fields else {
            return Err(Failure(format!("{name} is damaged: {anew}")));
        };
        if number("format") != Some(FORMAT) || read["target"] != self.target {
            let reason = "is of an import into another cluster or key space, or by another release";
            return Err(Failure(format!("{name} {reason}: {anew}")));
        }
        records.skip(line, offset)?;
        let here = records.position();
        if here.offset != offset || u64::from(here.sum()) != sum {
            let reason = format!("the first {line} lines, which are in, have changed since");
            return Err(Failure(format!("{name}: {reason}: {anew}")));
        }
        eprintln!("yadkv: the first {line} lines are in: going on from there");
        Ok(())
    }

    /// Renamed into its place: one that is cut would be of no use.
    fn write(&self, reached: &Position) -> Outcome {
        let mark = json!({
            "format": FORMAT,
            "target": self.target,
            "line": reached.line,
            "offset": reached.offset,
            "sum": reached.sum(),
        });
        let mut new = OsString::from(&self.path);
        new.push(".new");
        fs::write(&new, mark.to_string()).context(self.path.display())?;
        fs::rename(&new, &self.path).context(self.path.display())
    }

    fn remove(&self) -> Outcome {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            removed => removed.context(self.path.display()),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const TEXT: &[u8] = b"a\t1\nb\t2\nc\t3\n";

    fn records() -> Records<&'static [u8]> {
        Records::new(TEXT, "f".into())
    }

    #[test]
    fn a_mark_counts_for_its_own_file_and_target_only() {
        let folder = tempfile::tempdir().unwrap();
        let mark = Mark::beside(&folder.path().join("f"), "cluster 7".into());
        let mut whole = records();
        mark.go_on(&mut whole).unwrap();
        assert_eq!(whole.position().line, 0, "there is no mark yet");
        whole.next().unwrap();
        mark.write(whole.position()).unwrap();
        let mut again = records();
        mark.go_on(&mut again).unwrap();
        assert_eq!(&*again.next().unwrap().unwrap().key, b"b");
        let mut changed = Records::new(&b"A\t1\nb\t2\n"[..], "f".into());
        assert!(mark.go_on(&mut changed).is_err());
        let mut short = Records::new(&b"a"[..], "f".into());
        assert!(mark.go_on(&mut short).is_err());
        let other = Mark::beside(&folder.path().join("f"), "cluster 8".into());
        assert!(other.go_on(&mut records()).is_err());
        fs::write(&mark.path, "{").unwrap();
        let said = mark.go_on(&mut records()).unwrap_err().to_string();
        assert!(said.contains("remove"), "{said}");
        mark.remove().unwrap();
        mark.go_on(&mut records()).unwrap();
    }
}
