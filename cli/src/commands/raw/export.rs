//! `raw export`: the pairs of a range as `KEY<TAB>VALUE` lines, in the order of their keys.
//!
//! *Life of an export into a file*: behind the last whole line that is there already, page after page → at the end a word
//! on what it is.
//!
//! *Invariants*: what was written is what some scan showed; a line that an interruption has cut is taken away.
//!
//! *Limits and failure*: raw keys have no common moment: each page shows the range as it is when it is read, so writes
//! that go on may be in it or not, a later one without an earlier one. Times to live are not exported. An export that is
//! gone on with shows the rest of the range as it is then.
//!
//! *Next stop*: [`super::import`].

use super::tsv::Records;
use crate::failure::{Context, Failure, Outcome};
use crate::output::still_read;
use crate::text::escape;
use futures::StreamExt;
use indicatif::ProgressBar;
use std::fs::File;
use std::io::{BufReader, BufWriter, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::Duration;
use yadkv_client::RawClient;
use yadkv_client::raw::ScanOptions;

/// Pairs between two looks of the progress bar.
const BAR_PAIRS: u64 = 1000;

/// Exports into a file, or to standard output.
pub(super) async fn run(
    raw: &RawClient,
    (start, end): (Vec<u8>, Vec<u8>),
    file: Option<&Path>,
) -> Outcome {
    let bar = ProgressBar::new_spinner();
    bar.enable_steady_tick(Duration::from_millis(200));
    let count = match file {
        None => {
            let out = BufWriter::new(std::io::stdout().lock());
            pour(raw, (start, end), out, &bar, still_read).await?
        }
        Some(file) => {
            let name = file.display().to_string();
            let (opened, next) = go_on(file)?;
            let start = next.unwrap_or(start);
            let written = |written: std::io::Result<()>| written.context(&name).map(|()| true);
            let out = BufWriter::with_capacity(1 << 20, &opened);
            let count = pour(raw, (start, end), out, &bar, written).await?;
            opened.sync_all().context(&name)?;
            count
        }
    };
    bar.finish_and_clear();
    eprintln!(
        "yadkv: {count} records exported; not of one moment: each page is as it was when it was read"
    );
    Ok(())
}

async fn pour(
    raw: &RawClient,
    (start, end): (Vec<u8>, Vec<u8>),
    mut out: impl Write,
    bar: &ProgressBar,
    judge: impl Fn(std::io::Result<()>) -> Outcome<bool>,
) -> Outcome<u64> {
    let mut count = 0;
    let mut pairs = std::pin::pin!(raw.scan(start, end, ScanOptions::default()));
    while let Some(pair) = pairs.next().await {
        let pair = match pair {
            Ok(pair) => pair,
            Err(error) => {
                // What is there already is whole lines, to go on behind.
                judge(out.flush())?;
                return Err(Failure(format!("after {count} records: {error}")));
            }
        };
        let line = writeln!(out, "{}\t{}", escape(&pair.key), escape(&pair.value));
        if !judge(line)? {
            return Ok(count);
        }
        count += 1;
        if count % BAR_PAIRS == 0 {
            bar.set_message(format!("{count} records"));
        }
    }
    judge(out.flush())?;
    Ok(count)
}

/// Opens a file to write behind its last whole line, and says with which key to go on.
fn go_on(file: &Path) -> Outcome<(File, Option<Vec<u8>>)> {
    let name = file.display().to_string();
    let opened = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(file);
    let mut opened = opened.context(&name)?;
    let bytes = opened.metadata().context(&name)?.len();
    let mut records = Records::new(BufReader::new(&opened), name.clone());
    let mut last = None;
    let wrong = loop {
        match records.next() {
            Ok(Some(record)) => last = Some(record.key),
            Ok(None) => break None,
            Err(failure) => break Some(failure),
        }
    };
    let position = records.position().clone();
    let rest = bytes - position.offset;
    if let Some(failure) = wrong {
        // The last line may be cut; another one was never written by an export.
        let mut end = vec![0; usize::try_from(rest).unwrap_or(usize::MAX).min(64 << 20)];
        opened
            .seek(SeekFrom::Start(position.offset))
            .context(&name)?;
        std::io::Read::read_exact(&mut opened, &mut end).context(&name)?;
        if end.contains(&b'\n') {
            return Err(Failure(format!(
                "{failure}: this is no export to go on with: name another file"
            )));
        }
    }
    opened.set_len(position.offset).context(&name)?;
    opened.seek(SeekFrom::End(0)).context(&name)?;
    if last.is_some() {
        let lines = position.line;
        eprintln!("yadkv: {name} has {lines} records: going on behind the last one");
    }
    let next = last.map(|key| [&key[..], &[0]].concat());
    Ok((opened, next))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_line_is_written_again_and_other_files_are_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("out.tsv");
        let at = |text: &str| {
            std::fs::write(&file, text).unwrap();
            let next = go_on(&file).map(|(_, next)| next);
            (next, std::fs::read_to_string(&file).unwrap())
        };
        let (next, left) = at("a\t1\nb\t2\nc\\x0");
        assert_eq!(next.unwrap().unwrap(), b"b\0");
        assert_eq!(left, "a\t1\nb\t2\n");
        let (next, left) = at("a\t1\nsomething else\nmore\n");
        assert!(next.is_err());
        assert_eq!(left, "a\t1\nsomething else\nmore\n");
        assert_eq!(at("").0.unwrap(), None);
    }
}
