//! The receiving half: chunks are checked and staged beside the data.
//!
//! *Place*: the server's receiving task and the simulation drive it; what comes out goes to the region's worker.
//!
//! *Life*: first chunk → [`Receiving::begin`] → [`Receiving::take`] until the last → [`Receiving::finish`]: the set is
//! durable → [`Received`] → installed or refused, and the sender hears of it.
//!
//! *Invariants*: nothing touches the data before everything arrived and was checked.
//!
//! *Limits and failure*: a chunk out of order, with a wrong checksum, or with keys that the region does not have ends
//! the transfer, and the set is discarded.
//!
//! *Next stop*: [`super::install`].

use super::FORMAT;
use crate::layout;
use crate::view::Directory;
use yadkv_consensus::{ChunkError, Opener};
use yadkv_engine::{Family, Intake, Stage};
use yadkv_proto::id::{ClusterId, StoreId};
use yadkv_proto::key::KeyRange;
use yadkv_proto::metapb::{Peer, Region};
use yadkv_proto::storagepb::AppliedRecord;
use yadkv_proto::yadkvpb::{SnapshotChunk, SnapshotHead, SnapshotPairs};

/// Why a snapshot is not taken. The sender hears the text.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// Not what a correct sender of this cluster sends.
    #[error("{0}")]
    Malformed(String),
    /// It does not fit what is here now; later it may.
    #[error("{0}")]
    Unfit(String),
    /// The set cannot be written.
    #[error(transparent)]
    Engine(#[from] yadkv_engine::Error),
}

impl From<ChunkError> for ReceiveError {
    fn from(error: ChunkError) -> Self {
        Self::Malformed(error.to_string())
    }
}

fn malformed(reason: impl Into<String>) -> ReceiveError {
    ReceiveError::Malformed(reason.into())
}

/// The parts of a head, all there.
#[derive(Clone, Debug)]
pub struct Head {
    /// The receiver.
    pub to: Peer,
    /// The sender's term.
    pub term: u64,
    /// The descriptor.
    pub region: Region,
    /// The position.
    pub applied: AppliedRecord,
    /// Regions that have become part of it.
    pub merged: Vec<u64>,
}

impl Head {
    /// Checks that a snapshot is for this store, and complete.
    pub fn check(
        head: SnapshotHead,
        cluster: ClusterId,
        store: StoreId,
    ) -> Result<Self, ReceiveError> {
        if head.format != FORMAT {
            let reason = format!("snapshot format {} is not known here", head.format);
            return Err(malformed(reason + " (1): upgrade this store"));
        }
        if head.cluster_id != cluster.0 {
            let reason = format!("of cluster {}, this is {cluster}", head.cluster_id);
            return Err(malformed(reason));
        }
        let (Some(to), Some(region), Some(applied)) = (head.to, head.region, head.applied) else {
            return Err(malformed("the head is not complete"));
        };
        if to.store_id != store.0 {
            let reason = format!("for store {}, this is {store}", to.store_id);
            return Err(malformed(reason));
        }
        let member = region.peers.contains(&to);
        let sound = member && region.id != 0 && region.region_epoch.is_some();
        let ordered = region.end_key.is_empty() || region.start_key < region.end_key;
        if !sound || !ordered || applied.index == 0 || applied.term == 0 || applied.term > head.term
        {
            return Err(malformed("the head contradicts itself"));
        }
        Ok(Self {
            to,
            term: head.term,
            region,
            applied,
            merged: head.merged,
        })
    }

    /// A name for its set that no other snapshot has which is staged at the same time.
    pub fn set(&self) -> String {
        let (peer, term, index) = (self.to.id, self.applied.term, self.applied.index);
        format!("{}-{peer}-{term}-{index}", self.region.id)
    }

    /// Refuses early what an installation would refuse: another region that lives here has part of the range, and has not
    /// become part of it.
    pub fn fits(&self, directory: &Directory) -> Result<(), ReceiveError> {
        let range = KeyRange::of(&self.region);
        let views = directory.all();
        let other = views
            .iter()
            .filter(|view| view.region().id != self.region.id && view.range().overlaps(&range))
            .find(|view| !self.merged.contains(&view.region().id));
        match other {
            Some(view) => Err(ReceiveError::Unfit(format!(
                "region {} lives here and has part of the range",
                view.id().0
            ))),
            None => Ok(()),
        }
    }
}

/// A snapshot that is arriving.
pub struct Receiving<'a> {
    range: KeyRange,
    stage: Box<dyn Stage + 'a>,
    opener: Opener,
}

impl<'a> Receiving<'a> {
    /// Begins to stage, after the first chunk.
    pub fn begin(intake: &'a dyn Intake, head: &Head) -> Result<Self, ReceiveError> {
        Ok(Self {
            range: KeyRange::of(&head.region),
            stage: intake.stage(&head.set())?,
            opener: Opener::default(),
        })
    }

    /// Takes the next chunk; true after the last.
    pub fn take(&mut self, chunk: SnapshotChunk) -> Result<bool, ReceiveError> {
        let Some(pairs) = self.opener.open(chunk)? else {
            return Ok(true);
        };
        let family = layout::DATA
            .into_iter()
            .find(|family| u32::from(family.0) == pairs.family);
        let family = family.ok_or_else(|| malformed("pairs of an unknown family"))?;
        self.put(family, &pairs)?;
        Ok(false)
    }

    fn put(&mut self, family: Family, pairs: &SnapshotPairs) -> Result<(), ReceiveError> {
        for pair in &pairs.pairs {
            if !self.range.contains(&pair.key) {
                return Err(malformed("a key outside of the region"));
            }
            self.stage.put(family, &pair.key, &pair.value)?;
        }
        Ok(())
    }

    /// Makes the set durable, after the last chunk.
    pub fn finish(self) -> Result<(), ReceiveError> {
        if !self.opener.is_over() {
            return Err(malformed("the last chunk is missing"));
        }
        Ok(self.stage.finish()?)
    }
}

/// What became of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// It is installed, or needs not be. Its set may be discarded.
    Done,
    /// It is not, and why. Its set may be discarded.
    Refused(String),
    /// The process stops before that is known: its set may be needed at the next start.
    Stopped,
}

impl End {
    /// What the sender is told: empty if all is well.
    pub fn refusal(self) -> String {
        match self {
            Self::Done => String::new(),
            Self::Refused(reason) => reason,
            Self::Stopped => "the store stops".into(),
        }
    }
}

/// Hears what became of a snapshot.
pub type Notify = Box<dyn FnOnce(End) + Send>;

/// A snapshot that is whole. Dropped, the process stops.
pub struct Received {
    /// What it is.
    pub head: Head,
    notify: Option<Notify>,
}

impl std::fmt::Debug for Received {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.head.fmt(formatter)
    }
}

impl Received {
    /// A staged set, and who waits.
    pub fn new(head: Head, notify: Notify) -> Self {
        Self {
            head,
            notify: Some(notify),
        }
    }

    /// It is not installed.
    pub fn refuse(self, reason: String) {
        self.tell(End::Refused(reason));
    }

    /// It is installed, or needs not be.
    pub fn done(self) {
        self.tell(End::Done);
    }

    fn tell(mut self, end: End) {
        if let Some(notify) = self.notify.take() {
            notify(end);
        }
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        if let Some(notify) = self.notify.take() {
            notify(End::Stopped);
        }
    }
}
