//! Sets of pairs as table files beside the database.
//!
//! *Place*: [`super::Rocks`] implements [`Intake`] here.
//!
//! ```text
//! kv/                       the database
//! kv.staged/NAME/FAMILY     one table file a family, while it is written
//! kv.staged/NAME.ready/     a finished set: the folder is renamed when all its files are on the disk
//! ```
//!
//! *Life of a file*: written and synced → linked under a second name → RocksDB moves that name into the database, so
//! nothing is copied and the set can be taken in again.
//!
//! *Limits and failure*: RocksDB flushes first what it has in memory of the same keys. A table whose checksum is wrong
//! is refused.
//!
//! *Source*: RocksDB, `IngestExternalFileOptions` (the file itself is not written to).
//!
//! *Next stop*: `wal`.

use super::Rocks;
use super::place::name_place;
use crate::intake::{Intake, Order, Stage};
use crate::{Error, Family, Result};
use rocksdb::{IngestExternalFileOptions, SstFileWriter};
use std::fs::File;
use std::path::{Path, PathBuf};

const READY: &str = ".ready";
/// The second name of a table while it is taken in.
const LINK: &str = "link";

impl Rocks {
    fn stages(&self) -> PathBuf {
        let mut name = self.directory.clone().into_os_string();
        name.push(".staged");
        name.into()
    }

    fn ready(&self, name: &str) -> PathBuf {
        self.stages().join(format!("{name}{READY}"))
    }

    fn corrupt(place: &Path, reason: impl std::fmt::Display) -> Error {
        Error::Corrupt {
            place: place.display().to_string(),
            reason: reason.to_string(),
        }
    }
}

impl Intake for Rocks {
    fn stage(&self, name: &str) -> Result<Box<dyn Stage + '_>> {
        self.discard(name)?;
        let folder = self.stages().join(name);
        std::fs::create_dir_all(&folder).map_err(|error| cannot(&folder, &error))?;
        Ok(Box::new(Files {
            engine: self,
            name: name.to_owned(),
            folder,
            order: Order::default(),
            table: None,
        }))
    }

    fn ingest(&self, name: &str) -> Result<()> {
        self.check_poison()?;
        let folder = self.ready(name);
        if !folder.is_dir() {
            return Err(Self::corrupt(&folder, "the staged set is missing"));
        }
        let mut options = IngestExternalFileOptions::default();
        options.set_move_files(true);
        for (number, family) in self.families.iter().enumerate() {
            let table = folder.join(number.to_string());
            if !table.exists() {
                continue;
            }
            let link = folder.join(format!("{number}.{LINK}"));
            remove(std::fs::remove_file(&link)).map_err(|error| cannot(&link, &error))?;
            std::fs::hard_link(&table, &link).map_err(|error| cannot(&link, &error))?;
            self.db
                .ingest_external_file_cf_opts(self.handle(family), &options, vec![&link])
                .map_err(|error| match error.kind() {
                    rocksdb::ErrorKind::Corruption => name_place(&folder, &error),
                    _ => self.poison(&error),
                })?;
        }
        Ok(())
    }

    fn discard(&self, name: &str) -> Result<()> {
        for folder in [self.stages().join(name), self.ready(name)] {
            remove(std::fs::remove_dir_all(&folder)).map_err(|error| cannot(&folder, &error))?;
        }
        Ok(())
    }

    fn staged(&self) -> Result<Vec<String>> {
        let folder = self.stages();
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(cannot(&folder, &error)),
        };
        let names = entries.flatten().map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            name.strip_suffix(READY).unwrap_or(&name).to_owned()
        });
        let mut names: Vec<_> = names.collect();
        names.sort();
        names.dedup();
        Ok(names)
    }
}

/// A set in the making.
struct Files<'a> {
    engine: &'a Rocks,
    name: String,
    folder: PathBuf,
    order: Order,
    /// The table of the family that is being written.
    table: Option<(Family, SstFileWriter<'a>)>,
}

impl Files<'_> {
    fn close(&mut self) -> Result<()> {
        let Some((family, mut writer)) = self.table.take() else {
            return Ok(());
        };
        let path = self.folder.join(family.0.to_string());
        writer
            .finish()
            .map_err(|error| cannot(&path, &error))
            .and_then(|()| sync(&path))
    }
}

impl Stage for Files<'_> {
    fn put(&mut self, family: Family, key: &[u8], value: &[u8]) -> Result<()> {
        self.order.follow(family, key)?;
        if self.table.as_ref().is_none_or(|(open, _)| *open != family) {
            self.close()?;
            let path = self.folder.join(family.0.to_string());
            let options = self.engine.table_options.get(usize::from(family.0));
            let Some(options) = options else {
                return Err(Error::Read(format!("there is no family {}", family.0)));
            };
            let writer = SstFileWriter::create(options);
            writer.open(&path).map_err(|error| cannot(&path, &error))?;
            self.table = Some((family, writer));
        }
        match &mut self.table {
            Some((_, writer)) => writer
                .put(key, value)
                .map_err(|error| cannot(&self.folder, &error)),
            None => Ok(()),
        }
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        self.close()?;
        sync(&self.folder)?;
        let ready = self.engine.ready(&self.name);
        std::fs::rename(&self.folder, &ready).map_err(|error| cannot(&ready, &error))?;
        sync(&self.engine.stages())
    }
}

fn sync(path: &Path) -> Result<()> {
    let synced = File::open(path).and_then(|file| file.sync_all());
    synced.map_err(|error| cannot(path, &error))
}

/// Nothing that was acknowledged depends on a staged set: whoever sent it sends it again.
fn cannot(path: &Path, error: &dyn std::fmt::Display) -> Error {
    Error::Read(format!("{}: {error}", path.display()))
}

fn remove(result: std::io::Result<()>) -> std::io::Result<()> {
    match result {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
