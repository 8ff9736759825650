//! The data directory: whose it is, who holds it, and the two engines in it.
//!
//! | path | content |
//! |---|---|
//! | `LOCK` | held exclusively while a process uses the directory |
//! | `MEMBER` | TOML: format, this member's id, the members, the cluster id once known |
//! | `kv/` | the replicated state; no log of its own, what was not flushed is replayed from the Raft log |
//! | `raft/` | log and hard state; synced; begins no later than what `kv/` has flushed |
//!
//! *Place*: [`crate::node`] opens it first.
//!
//! *Life of a directory*: engines are created → `MEMBER` is written and synced → only then does the member
//! speak to others. So a directory without `MEMBER` has never promised anything, and one with `MEMBER` but
//! without `raft/` has lost its promises, or without `kv/` what a shortened log no longer tells: both are refused.
//!
//! *Invariants*: a directory belongs to one member of one cluster for ever.
//!
//! *Limits and failure*: damage found while opening ends the process, with file and offset.
//!
//! *Next stop*: `yadkv_engine::rocks`, `yadkv_engine::journal`.

use fs4::fs_std::FileExt;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use yadkv_consensus::{FIRST_INDEX, LogStore, Start};
use yadkv_engine::Engine;
use yadkv_engine::journal::{self, Journal, QUIET};
use yadkv_engine::rocks::{BlockCache, FamilyOptions, Options, Rocks};
use yadkv_placement_core::member::GROUP;
use yadkv_placement_core::{Config, FAMILIES, MemberAddress};
use yadkv_tls::host_and_port;

/// Why a data directory cannot be used; tell the operator.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The operating system refused something.
    #[error("{path}: {source}")]
    Io {
        /// The path.
        path: String,
        /// What it said.
        source: std::io::Error,
    },
    /// Another process has it.
    #[error("{0} is in use by another process: stop it, or choose another --data-dir")]
    InUse(String),
    /// It belongs to another member, or its marker cannot be read.
    #[error("{path}: {reason}: choose another --data-dir, or correct the list of members")]
    Identity {
        /// The path.
        path: String,
        /// What does not match.
        reason: String,
    },
    /// An engine is damaged or locked.
    #[error(transparent)]
    Engine(#[from] yadkv_engine::Error),
    /// The log cannot be opened.
    #[error(transparent)]
    Log(#[from] yadkv_consensus::OpenError),
    /// The log is gone, and with it the votes that this member gave.
    #[error(
        "{0} is gone, this member must not vote again: restore it, or give the cluster a new member"
    )]
    LogGone(String),
    /// The state is gone, which the log alone does not make again.
    #[error(
        "{0} is gone, and the log no longer tells what was in it: restore it; the cluster goes on without this member \
         while the others are a majority"
    )]
    StateGone(String),
}

/// Content of `MEMBER`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Marker {
    /// 1.
    format: u32,
    member_id: u64,
    /// `ID=URL` of every member.
    members: Vec<String>,
    /// 0 until known.
    cluster_id: u64,
}

const MARKER_FORMAT: u32 = 1;
/// One file of the log.
const SEGMENT_BYTES: u64 = 4 << 20;
/// Of its files that are kept for later: it writes little.
const KEPT_BYTES: u64 = 4 * SEGMENT_BYTES;

/// An opened data directory.
pub struct Data {
    /// The replicated state.
    pub kv: Arc<dyn Engine>,
    /// The log.
    pub log: LogStore,
    /// Whether a member ever spoke from here.
    pub start: Start,
    /// Where the cluster's identity is written once it is known.
    pub identity: Identity,
    /// The lock on the directory.
    pub lock: File,
}

/// Keeps `MEMBER` true.
pub struct Identity {
    path: PathBuf,
    marker: Marker,
}

impl Data {
    /// Opens or creates the directory of the member that `config` describes.
    pub fn open(root: &Path, memory_bytes: usize, config: &Config) -> Result<Self, OpenError> {
        fs::create_dir_all(root).map_err(io(root))?;
        let lock = lock(root)?;
        let path = root.join("MEMBER");
        let known = read_marker(&path)?;
        let raft_path = root.join("raft");
        if known.is_some() && !journal::exists(&raft_path) {
            return Err(OpenError::LogGone(raft_path.display().to_string()));
        }
        let kv_path = root.join("kv");
        let kv_existed = kv_path.join("CURRENT").exists();
        let wanted = wanted(config);
        if let Some(known) = &known {
            check_identity(&path, known, &wanted)?;
        }
        let cache = BlockCache::new(memory_bytes / 2);
        let kv = open_state(&kv_path, &cache, memory_bytes / 4)?;
        let options = journal::Options {
            families: yadkv_consensus::FAMILIES.to_vec(),
            segment_bytes: SEGMENT_BYTES,
            kept_bytes: KEPT_BYTES,
            quiet: QUIET,
        };
        let raft = Arc::new(Journal::open(&raft_path, options)?);
        let log = LogStore::open(raft, memory_bytes / 8)?;
        let shortened = log.truncated_index(GROUP)? > Some(FIRST_INDEX);
        if shortened && !kv_existed {
            return Err(OpenError::StateGone(kv_path.display().to_string()));
        }
        let start = if known.is_some() {
            Start::Restart
        } else {
            Start::Bootstrap
        };
        let cluster_id = known.as_ref().map_or(0, |known| known.cluster_id);
        let mut identity = Identity {
            path,
            marker: Marker {
                cluster_id,
                ..wanted
            },
        };
        if known.is_none() {
            identity.write()?;
        }
        identity.marker.cluster_id = cluster_id;
        Ok(Self {
            kv,
            log,
            start,
            identity,
            lock,
        })
    }
}

impl Identity {
    /// The cluster's identity is known: writes it down, or says that it is another than the directory's.
    pub fn note(&mut self, cluster_id: u64) -> Result<(), OpenError> {
        match self.marker.cluster_id {
            known if known == cluster_id => Ok(()),
            0 => {
                self.marker.cluster_id = cluster_id;
                self.write()
            }
            known => Err(OpenError::Identity {
                path: self.path.display().to_string(),
                reason: format!(
                    "it belongs to cluster {known}, the state beside it to {cluster_id}"
                ),
            }),
        }
    }

    /// Writes a new file, syncs it, and puts it in the place of the old one.
    fn write(&self) -> Result<(), OpenError> {
        let text =
            toml::to_string(&self.marker).expect("a flat table of numbers and strings is TOML");
        let fresh = self.path.with_extension("new");
        let mut file = File::create(&fresh).map_err(io(&fresh))?;
        file.write_all(text.as_bytes()).map_err(io(&fresh))?;
        file.sync_all().map_err(io(&fresh))?;
        fs::rename(&fresh, &self.path).map_err(io(&self.path))?;
        let parent = self.path.parent().unwrap_or(Path::new("."));
        File::open(parent)
            .and_then(|directory| directory.sync_all())
            .map_err(io(parent))
    }
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> OpenError {
    let path = path.display().to_string();
    move |source| OpenError::Io { path, source }
}

fn lock(root: &Path) -> Result<File, OpenError> {
    let path = root.join("LOCK");
    let lock = File::create(&path).map_err(io(&path))?;
    match lock.try_lock_exclusive().map_err(io(&path))? {
        true => Ok(lock),
        false => Err(OpenError::InUse(root.display().to_string())),
    }
}

fn wanted(config: &Config) -> Marker {
    let members = config.members.iter();
    // Whether members speak TLS is no part of who they are: a cluster may begin to.
    let url = |member: &MemberAddress| format!("http://{}", host_and_port(&member.client_url));
    Marker {
        format: MARKER_FORMAT,
        member_id: config.member.0,
        members: members
            .map(|member| format!("{}={}", member.id.0, url(member)))
            .collect(),
        cluster_id: 0,
    }
}

fn read_marker(path: &Path) -> Result<Option<Marker>, OpenError> {
    let identity = |reason: String| OpenError::Identity {
        path: path.display().to_string(),
        reason,
    };
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io(path)(error)),
    };
    let marker: Marker =
        toml::from_str(&text).map_err(|error| identity(error.message().to_owned()))?;
    match marker.format {
        MARKER_FORMAT => Ok(Some(marker)),
        other => Err(identity(format!(
            "format {other}, this release knows {MARKER_FORMAT}"
        ))),
    }
}

fn check_identity(path: &Path, known: &Marker, wanted: &Marker) -> Result<(), OpenError> {
    if (known.member_id, &known.members) == (wanted.member_id, &wanted.members) {
        return Ok(());
    }
    Err(OpenError::Identity {
        path: path.display().to_string(),
        reason: format!(
            "it belongs to member {} of {}, this is member {} of {}",
            known.member_id,
            known.members.join(","),
            wanted.member_id,
            wanted.members.join(",")
        ),
    })
}

fn open_state(
    path: &Path,
    cache: &BlockCache,
    write_buffer_bytes: usize,
) -> Result<Arc<dyn Engine>, yadkv_engine::Error> {
    let families = FAMILIES
        .iter()
        .map(|name| FamilyOptions::new(*name))
        .collect();
    let mut options = Options::new(families, cache.clone()).unlogged();
    options.write_buffer_bytes = write_buffer_bytes;
    Ok(Arc::new(Rocks::open(path, &options)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use yadkv_proto::id::PeerId;

    #[test]
    fn a_member_that_begins_to_speak_tls_is_the_same_one() {
        let marker = |scheme: &str| {
            let url = format!("{scheme}://10.0.0.1:2379");
            let member = MemberAddress {
                id: PeerId(1),
                name: "pd-1".into(),
                client_url: url.clone(),
                peer_url: url,
            };
            wanted(&Config::new(PeerId(1), vec![member], 1, 1))
        };
        let (plain, encrypted) = (marker("http"), marker("https"));
        assert_eq!(plain.members, ["1=http://10.0.0.1:2379"]);
        assert!(check_identity(Path::new("MEMBER"), &plain, &encrypted).is_ok());
    }
}
