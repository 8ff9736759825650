//! Table files with damaged bytes: remembered, kept away from compaction, and taken away in the end.
//!
//! *Life of a damaged file*: a read, a compaction or a flush meets a wrong checksum → its name is written to
//! `DIRECTORY.damaged`, and compactions stop, since one that met it would end all writes → whoever uses the engine moves
//! what lies between its keys elsewhere → [`Engine::discard_damaged`] → compactions go on.
//!
//! *Limits and failure*: a file of level 0 cannot be taken away, since newer ones lie over it: the directory has to be
//! emptied. While compactions stand still, files of level 0 add up, until writes are slowed down and stop.
//!
//! *Source*: RocksDB, `DeleteFilesInRange` (files that lie in the range as a whole, of level 1 and below).
//!
//! *Next stop*: `place`, which finds the name in RocksDB's words.

use super::Rocks;
use super::place::table_in;
use crate::{DamagedFile, Error, Family, Result};
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Names of damaged files of one database.
pub(super) struct Damage {
    list: PathBuf,
    names: Mutex<BTreeSet<String>>,
}

impl Damage {
    /// What earlier lives have found.
    pub(super) fn load(directory: &Path) -> Result<Self> {
        let mut list = directory.to_path_buf().into_os_string();
        list.push(".damaged");
        let list = PathBuf::from(list);
        let names = match fs::read_to_string(&list) {
            Ok(text) => text.lines().map(str::to_owned).collect(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => BTreeSet::new(),
            Err(error) => return Err(cannot(&list, &error)),
        };
        Ok(Self {
            list,
            names: Mutex::new(names),
        })
    }

    /// Whether there is any.
    pub(super) fn is_empty(&self) -> bool {
        self.names.lock().is_empty()
    }

    /// Writes the list down, so that a restart knows it before a compaction does.
    fn save(&self, names: &BTreeSet<String>) -> std::io::Result<()> {
        if names.is_empty() {
            return fs::remove_file(&self.list);
        }
        let lines: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut file = File::create(&self.list)?;
        file.write_all(lines.join("\n").as_bytes())?;
        file.sync_all()
    }
}

fn cannot(list: &Path, error: &std::io::Error) -> Error {
    Error::Open {
        directory: list.display().to_string(),
        reason: error.to_string(),
    }
}

impl Rocks {
    /// Notes the table file that an error names, if it names one.
    pub(super) fn note_damage(&self, error: &rocksdb::Error) {
        let Some(name) = table_in(error.as_ref()) else {
            return;
        };
        let mut names = self.damage.names.lock();
        if names.insert(name) {
            self.set_compactions(false);
            // What cannot be written down is met again after a restart.
            let _ = self.damage.save(&names);
        }
    }

    fn set_compactions(&self, on: bool) {
        let value = if on { "false" } else { "true" };
        for family in &self.families {
            let options = [("disable_auto_compactions", value)];
            // An option that is not taken leaves what was: a compaction may meet the damage, and end all writes.
            let _ = self.db.set_options_cf(self.handle(family), &options);
        }
    }

    pub(super) fn damaged_files(&self) -> Result<Vec<DamagedFile>> {
        let mut names = self.damage.names.lock();
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let live = self
            .db
            .live_files()
            .map_err(|error| self.read_error(&error))?;
        let mut found = Vec::new();
        for file in live {
            let name = file.name.trim_start_matches('/').to_owned();
            let family = self
                .families
                .iter()
                .position(|one| *one == file.column_family_name);
            let (Some(family), true) = (family, names.contains(&name)) else {
                continue;
            };
            found.push(DamagedFile {
                name,
                // Families are a list of at most 256.
                family: Family(u8::try_from(family).unwrap_or(u8::MAX)),
                first: Bytes::from(file.start_key.unwrap_or_default()),
                last: Bytes::from(file.end_key.unwrap_or_default()),
            });
        }
        if found.is_empty() {
            names.clear();
            let _ = self.damage.save(&names);
            self.set_compactions(true);
        }
        Ok(found)
    }

    pub(super) fn discard_file(&self, file: &DamagedFile) -> Result<bool> {
        self.check_poison()?;
        let family = self.family(file.family);
        self.db
            .delete_file_in_range_cf(family, &file.first, &file.last)
            .map_err(|error| Error::Read(error.to_string()))?;
        Ok(!self.damaged_files()?.contains(file))
    }
}
