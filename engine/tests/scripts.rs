//! Runs every script of `tests/scripts` on both engines: what is written there is what an engine is.
//!
//! Commands, keys being `FAMILY/KEY`: `put K=V…`, `delete K…`, `delete_range FAMILY A..B…` (one synced batch, or
//! part of the batch begun by `batch` and ended by `commit` or `commit buffered`) · `get K…` · `scan FAMILY A..B
//! [reverse] [limit=N]` · `view NAME` (then `view=NAME` reads there) · in a range `min` and `max` are no bounds · `sync` · `crash` (of the process; the
//! power stays on) · `stage NAME K=V…`, `ingest NAME`, `discard NAME`, `staged` (sets of pairs).
#![allow(clippy::unwrap_used, missing_docs)]

use goldenscript::{Command, Context};
use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write;
use std::ops::ControlFlow;
use yadkv_engine::memory::Memory;
use yadkv_engine::{Direction, Durability, Engine, Family, Intake, Snapshot, WriteBatch};

/// What both engines can do.
trait Both: Engine + Intake {}
impl<T: Engine + Intake> Both for T {}

const FAMILIES: usize = 2;

/// Opens what a crash leaves; engines are leaked, so that views can outlive a crash.
trait Host {
    fn open(&mut self) -> &'static dyn Both;
}

struct MemoryHost(Memory);

impl Host for MemoryHost {
    fn open(&mut self) -> &'static dyn Both {
        self.0.restart();
        Box::leak(Box::new(self.0.clone()))
    }
}

#[cfg(feature = "rocks")]
struct RocksHost(Option<tempfile::TempDir>);

#[cfg(feature = "rocks")]
impl Host for RocksHost {
    /// Opens a copy of the directory: what a killed process would leave, the old one still holding its own.
    fn open(&mut self) -> &'static dyn Both {
        use yadkv_engine::rocks::{BlockCache, FamilyOptions, Options, Rocks};
        let directory = tempfile::tempdir().unwrap();
        if let Some(before) = self.0.take() {
            copy(before.path(), directory.path());
            // The leaked engine goes on writing there.
            std::mem::forget(before);
        }
        let families = (0..FAMILIES).map(|family| FamilyOptions::new(format!("f{family}")));
        let options = Options::new(families.collect(), BlockCache::new(1 << 20)).verified();
        let engine = Rocks::open(directory.path().join("db"), &options).unwrap();
        self.0 = Some(directory);
        Box::leak(Box::new(engine))
    }
}

/// Copies a directory as it is at one moment: the engine in it may take a file away meanwhile, then again.
#[cfg(feature = "rocks")]
fn copy(from: &std::path::Path, to: &std::path::Path) {
    const TRIES: usize = 100;
    for _ in 0..TRIES {
        match try_copy(from, to) {
            Ok(()) => return,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                std::fs::remove_dir_all(to).unwrap();
            }
            Err(error) => panic!("{}: {error}", from.display()),
        }
    }
    panic!("files of {} come and go", from.display());
}

#[cfg(feature = "rocks")]
fn try_copy(from: &std::path::Path, to: &std::path::Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true => try_copy(&entry.path(), &to)?,
            false => drop(std::fs::copy(entry.path(), to)?),
        }
    }
    Ok(())
}

struct Runner<H: Host> {
    host: H,
    engine: &'static dyn Both,
    views: BTreeMap<String, Box<dyn Snapshot + 'static>>,
    batch: Option<WriteBatch>,
}

impl<H: Host> Runner<H> {
    fn new(mut host: H) -> Self {
        let engine = host.open();
        Self {
            host,
            engine,
            views: BTreeMap::new(),
            batch: None,
        }
    }

    fn write(&mut self, fill: impl FnOnce(&mut WriteBatch)) -> Result<(), Box<dyn Error>> {
        match &mut self.batch {
            Some(batch) => fill(batch),
            None => {
                let mut batch = WriteBatch::new();
                fill(&mut batch);
                self.engine.write(batch, Durability::Synced)?;
            }
        }
        Ok(())
    }

    fn get(&self, view: Option<&str>, key: &str) -> Result<String, Box<dyn Error>> {
        let (family, name) = parse(key)?;
        let value = match view {
            Some(view) => self.views[view].get(family, name.as_bytes())?,
            None => self.engine.get(family, name.as_bytes())?,
        };
        Ok(match value {
            Some(value) => format!("{key} = {:?}\n", std::str::from_utf8(&value)?),
            None => format!("{key} absent\n"),
        })
    }
}

fn parse(key: &str) -> Result<(Family, &str), Box<dyn Error>> {
    let (family, key) = key.split_once('/').ok_or("a key is FAMILY/KEY")?;
    Ok((Family(family.parse()?), key))
}

fn range(text: &str) -> Result<(&str, &str), Box<dyn Error>> {
    let (start, end) = text.split_once("..").ok_or("a range is A..B")?;
    let start = if start == "min" { "" } else { start };
    let end = if end == "max" { "" } else { end };
    Ok((start, end))
}

fn scan(
    snapshot: &dyn Snapshot,
    family: Family,
    (start, end): (&str, &str),
    direction: Direction,
    limit: usize,
) -> Result<String, Box<dyn Error>> {
    let mut out = String::new();
    let mut left = limit;
    let mut visit = |key: &[u8], value: &[u8]| {
        let (key, value) = (String::from_utf8_lossy(key), String::from_utf8_lossy(value));
        writeln!(out, "{}/{key} = {value:?}", family.0).unwrap();
        left -= 1;
        if left == 0 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    };
    snapshot.scan(
        family,
        start.as_bytes(),
        end.as_bytes(),
        direction,
        &mut visit,
    )?;
    Ok(out)
}

impl<H: Host> goldenscript::Runner for Runner<H> {
    type Command = Command;

    fn run(&mut self, command: &Command, _: &Context) -> Result<String, Box<dyn Error>> {
        let mut args = command.consume_args();
        let view = args.take_key("view");
        let mut out = String::new();
        match command.name.as_str() {
            "batch" => self.batch = Some(WriteBatch::new()),
            "commit" => {
                let durability = match args.next_pos() {
                    Some("buffered") => Durability::Buffered,
                    _ => Durability::Synced,
                };
                let batch = self.batch.take().ok_or("no batch was begun")?;
                self.engine.write(batch, durability)?;
            }
            "put" => {
                while let Some((key, value)) = args.next_key() {
                    let (family, key) = parse(key)?;
                    self.write(|batch| batch.put(family, key.to_owned(), value.to_owned()))?;
                }
            }
            "delete" => {
                while let Some(key) = args.next_pos() {
                    let (family, key) = parse(key)?;
                    self.write(|batch| batch.delete(family, key.to_owned()))?;
                }
            }
            "delete_range" => {
                let family = Family(args.next_pos().ok_or("which family?")?.parse()?);
                while let Some(bounds) = args.next_pos() {
                    let (start, end) = range(bounds)?;
                    self.write(|batch| {
                        batch.delete_range(family, start.to_owned(), end.to_owned());
                    })?;
                }
            }
            "get" => {
                while let Some(key) = args.next_pos() {
                    out += &self.get(view, key)?;
                }
            }
            "scan" => {
                let limit = args.take_key("limit").map_or(Ok(usize::MAX), str::parse)?;
                let family = Family(args.next_pos().ok_or("which family?")?.parse()?);
                let bounds = range(args.next_pos().ok_or("which range?")?)?;
                let direction = match args.next_pos() {
                    Some(_) => Direction::Backward,
                    None => Direction::Forward,
                };
                let fresh = self.engine.snapshot();
                let snapshot = view.map_or(&fresh, |view| &self.views[view]);
                out = scan(&**snapshot, family, bounds, direction, limit)?;
            }
            "view" => {
                let name = args.next_pos().ok_or("which name?")?.to_owned();
                self.views.insert(name, self.engine.snapshot());
            }
            "stage" => {
                let name = args.next_pos().ok_or("which name?")?.to_owned();
                let mut stage = self.engine.stage(&name)?;
                while let Some((key, value)) = args.next_key() {
                    let (family, key) = parse(key)?;
                    stage.put(family, key.as_bytes(), value.as_bytes())?;
                }
                stage.finish()?;
            }
            "ingest" => self.engine.ingest(args.next_pos().ok_or("which name?")?)?,
            "discard" => self.engine.discard(args.next_pos().ok_or("which name?")?)?,
            "staged" => out = format!("{:?}\n", self.engine.staged()?),
            "sync" => self.engine.sync()?,
            "crash" => self.engine = self.host.open(),
            name => return Err(format!("unknown command {name}").into()),
        }
        args.reject_next()?;
        Ok(out)
    }
}

fn run_all<H: Host>(host: impl Fn() -> H) {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scripts");
    let mut scripts: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    scripts.sort();
    for script in scripts {
        goldenscript::run(&mut Runner::new(host()), &script)
            .unwrap_or_else(|error| panic!("{}: {error}", script.display()));
    }
}

#[test]
fn memory() {
    run_all(|| MemoryHost(Memory::new(FAMILIES)));
}

#[cfg(feature = "rocks")]
#[test]
fn rocks() {
    run_all(|| RocksHost(None));
}
