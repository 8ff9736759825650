//! Mistakes that random seeds must find, by name; switched on for one thread, one at a time.
//!
//! *Place*: [`crate::run`] plants before a run; the hosts here and the cores consult their switches. Without
//! the feature `planted-bugs` nothing can be planted.
//!
//! | name | mistake | found by |
//! |---|---|---|
//! | `fsync-skipped` | a store's log is written but never synced | lost writes after a power loss |
//! | `clock-before-engine` | a lease read is judged by the clock of the worker's last round | a stale read |
//! | `engine-before-delegate` | a lease read looks at the engine before it loads the delegate | a stale read |
//! | `restarted-voter-votes` | no vote hold after a restart | two leases |
//! | `lease-kept-after-transfer` | the lease resumes while MsgTimeoutNow is under way | two leases |
//! | `vote-before-hard-state` | a vote leaves before it is durable | two leaders in one term |
//! | `tso-bound-read-too-early` | a new leader reads the timestamp bound when it is elected | a timestamp falls |
//! | `lease-renewed-during-split` | a leader that has not applied a committed split renews its lease | two leases |
//! | `epoch-unchecked-at-apply` | a write proposed behind a split reaches the part that was cut off | replicas differ |
//! | `split-not-synced` | a split is forgotten at a power loss, its parts' votes and logs at the next start | lost writes |
//! | `log-truncated-before-flush` | entries leave the log whose effects the data engine may lose | a store cannot open |
//! | `log-kept-on-resume` | an installation that a crash interrupted goes on without the reset of the log | a store cannot open |
//! | `reset-not-synced` | the reset of a log for a snapshot is not synced | a store cannot open |
//! | `snapshot-ahead-of-data` | a snapshot's position is beyond its data | replicas differ |
//! | `old-data-kept` | a snapshot is laid over what the replica held | replicas differ |
//! | `members-under-old-epoch` | members change under the old epoch | replicas differ |
//! | `lease-kept-by-merge` | a leader serves under its lease while its PrepareMerge is committed | two leases |
//! | `check-not-paused` | a check compares what replicas hold some entries behind its own | a check finds a difference |
//! | `merge-not-synced` | a merge is forgotten at a power loss, the log of the source at once | a store cannot open |
//! | `write-past-rows` | apply writes to the data engine past the row cache | a stale read |
//! | `pd-log-truncated-before-sync` | a placement driver's entries leave the log before its state is synced | it cannot open |
//! | `pd-old-state-kept` | a snapshot is laid over what a placement driver held | placement drivers differ |
//! | `pd-log-kept-on-resume` | a placement driver opens with a snapshot's state and its old log | it cannot open |
//! | `rollback-without-proof` | a merge is rolled back that the target may still carry out | two leases |
//! | `damaged-file-discarded-early` | a damaged file is taken away while a replica has keys in it | a stale read |
//! | `damage-read-as-missing` | a read that meets damage answers that there is nothing | a stale read |
//!
//! *Next stop*: [`crate::run`].

/// A mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planted {
    /// The store's host writes its log without a sync.
    FsyncSkipped,
    /// The store's host judges a lease by a clock that was read before the engine, and before the request came:
    /// that of the worker's last round, as a cached coarse clock would be.
    ///
    /// A clock of the request's own, read before the engine, cannot be seen today. Let the read be called at c,
    /// load delegate D of term T at b, read the clock at t and the engine at e: c ≤ b ≤ t ≤ e; D's lease covers t and
    /// D is published still after e.
    /// - Not too old: D is published only after an entry of T is applied here, so at b the engine holds every write
    ///   that an earlier term ever acknowledges; those of T are acknowledged after they are applied here; and no
    ///   later term has a leader before the lease ends. So at e ≥ t the engine holds all that any leader acknowledged
    ///   or showed by t, hence by c.
    /// - Not too new: as long as D is published nothing of a later term was handed to apply, and every later leader
    ///   applies all of T before it shows anything.
    ///
    /// What has to be excluded is a clock from before c. (400 seeds with the request's own clock found nothing of the kind. The
    /// order engine, clock stays the rule: it needs neither c nor an engine that only moves on, which one that
    /// installs a snapshot does not. Reads of any replica may be ahead of the leader's in either order.)
    ClockBeforeEngine,
    /// The store's host reads the engine before it loads the delegate: apply of a new leader may reach its own
    /// term in between, and the check passes for what was read too early.
    EngineBeforeDelegate,
    /// In `consensus`.
    RestartedVoterVotes,
    /// In `consensus`.
    LeaseKeptAfterTransfer,
    /// In `consensus`.
    VoteBeforeHardState,
    /// In the placement driver.
    TsoBoundReadTooEarly,
    /// In the storage core.
    LeaseRenewedDuringSplit,
    /// In the storage core.
    EpochUncheckedAtApply,
    /// In the storage core, which does not sync, and `consensus`, which writes over what it finds.
    SplitNotSynced,
    /// In the storage core.
    LogTruncatedBeforeFlush,
    /// In the storage core.
    LogKeptOnResume,
    /// In the storage core.
    ResetNotSynced,
    /// In the storage core.
    SnapshotAheadOfData,
    /// In the storage core.
    OldDataKept,
    /// In the storage core.
    MembersUnderOldEpoch,
    /// In the storage core.
    LeaseKeptByMerge,
    /// In the storage core.
    MergeNotSynced,
    /// In the storage core.
    RollbackWithoutProof,
    /// In the storage core.
    CheckNotPaused,
    /// In the storage core.
    DamagedFileDiscardedEarly,
    /// In the storage core.
    DamageReadAsMissing,
    /// The store's host writes to the data engine past the rows in front of it.
    WritePastRows,
    /// In the placement driver.
    PdLogTruncatedBeforeSync,
    /// In the placement driver.
    PdOldStateKept,
    /// In the placement driver.
    PdLogKeptOnResume,
}

impl Planted {
    /// All of them.
    pub const ALL: [Self; 26] = [
        Self::FsyncSkipped,
        Self::ClockBeforeEngine,
        Self::EngineBeforeDelegate,
        Self::RestartedVoterVotes,
        Self::LeaseKeptAfterTransfer,
        Self::VoteBeforeHardState,
        Self::TsoBoundReadTooEarly,
        Self::LeaseRenewedDuringSplit,
        Self::EpochUncheckedAtApply,
        Self::SplitNotSynced,
        Self::LogTruncatedBeforeFlush,
        Self::LogKeptOnResume,
        Self::ResetNotSynced,
        Self::SnapshotAheadOfData,
        Self::OldDataKept,
        Self::MembersUnderOldEpoch,
        Self::LeaseKeptByMerge,
        Self::MergeNotSynced,
        Self::RollbackWithoutProof,
        Self::CheckNotPaused,
        Self::DamagedFileDiscardedEarly,
        Self::DamageReadAsMissing,
        Self::WritePastRows,
        Self::PdLogTruncatedBeforeSync,
        Self::PdOldStateKept,
        Self::PdLogKeptOnResume,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::FsyncSkipped => "fsync-skipped",
            Self::ClockBeforeEngine => "clock-before-engine",
            Self::EngineBeforeDelegate => "engine-before-delegate",
            Self::RestartedVoterVotes => "restarted-voter-votes",
            Self::LeaseKeptAfterTransfer => "lease-kept-after-transfer",
            Self::VoteBeforeHardState => "vote-before-hard-state",
            Self::TsoBoundReadTooEarly => "tso-bound-read-too-early",
            Self::LeaseRenewedDuringSplit => "lease-renewed-during-split",
            Self::EpochUncheckedAtApply => "epoch-unchecked-at-apply",
            Self::SplitNotSynced => "split-not-synced",
            Self::LogTruncatedBeforeFlush => "log-truncated-before-flush",
            Self::LogKeptOnResume => "log-kept-on-resume",
            Self::ResetNotSynced => "reset-not-synced",
            Self::SnapshotAheadOfData => "snapshot-ahead-of-data",
            Self::OldDataKept => "old-data-kept",
            Self::MembersUnderOldEpoch => "members-under-old-epoch",
            Self::LeaseKeptByMerge => "lease-kept-by-merge",
            Self::MergeNotSynced => "merge-not-synced",
            Self::RollbackWithoutProof => "rollback-without-proof",
            Self::CheckNotPaused => "check-not-paused",
            Self::DamagedFileDiscardedEarly => "damaged-file-discarded-early",
            Self::DamageReadAsMissing => "damage-read-as-missing",
            Self::WritePastRows => "write-past-rows",
            Self::PdLogTruncatedBeforeSync => "pd-log-truncated-before-sync",
            Self::PdOldStateKept => "pd-old-state-kept",
            Self::PdLogKeptOnResume => "pd-log-kept-on-resume",
        }
    }

    /// The mistake of a name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|bug| bug.name() == name)
    }
}

#[cfg(feature = "planted-bugs")]
mod switch {
    use super::Planted;
    use std::cell::Cell;
    use yadkv_consensus::planted::{self as consensus, Planted as Consensus};
    use yadkv_placement_core::planted::{self as placement, Planted as Placement};
    use yadkv_storage_core::planted::{self as storage, Planted as Storage};

    thread_local! {
        static ACTIVE: Cell<Option<Planted>> = const { Cell::new(None) };
    }

    /// Plants a mistake into everything that this thread runs from now on; `None` removes it.
    pub fn set(bug: Option<Planted>) {
        ACTIVE.set(bug);
        consensus::set(match bug {
            Some(Planted::RestartedVoterVotes) => Some(Consensus::RestartedVoterVotes),
            Some(Planted::LeaseKeptAfterTransfer) => Some(Consensus::LeaseKeptAfterTransfer),
            Some(Planted::VoteBeforeHardState) => Some(Consensus::VoteBeforeHardState),
            Some(Planted::SplitNotSynced) => Some(Consensus::GroupStateReset),
            _ => None,
        });
        storage::set(match bug {
            Some(Planted::LeaseRenewedDuringSplit) => Some(Storage::LeaseRenewedDuringSplit),
            Some(Planted::EpochUncheckedAtApply) => Some(Storage::EpochUncheckedAtApply),
            Some(Planted::SplitNotSynced) => Some(Storage::SplitNotSynced),
            Some(Planted::LogTruncatedBeforeFlush) => Some(Storage::LogTruncatedBeforeFlush),
            Some(Planted::LogKeptOnResume) => Some(Storage::LogKeptOnResume),
            Some(Planted::ResetNotSynced) => Some(Storage::ResetNotSynced),
            Some(Planted::SnapshotAheadOfData) => Some(Storage::SnapshotAheadOfData),
            Some(Planted::OldDataKept) => Some(Storage::OldDataKept),
            Some(Planted::MembersUnderOldEpoch) => Some(Storage::MembersUnderOldEpoch),
            Some(Planted::LeaseKeptByMerge) => Some(Storage::LeaseKeptByMerge),
            Some(Planted::MergeNotSynced) => Some(Storage::MergeNotSynced),
            Some(Planted::RollbackWithoutProof) => Some(Storage::RollbackWithoutProof),
            Some(Planted::CheckNotPaused) => Some(Storage::CheckNotPaused),
            Some(Planted::DamagedFileDiscardedEarly) => Some(Storage::DamagedFileDiscardedEarly),
            Some(Planted::DamageReadAsMissing) => Some(Storage::DamageReadAsMissing),
            _ => None,
        });
        placement::set(match bug {
            Some(Planted::TsoBoundReadTooEarly) => Some(Placement::TsoBoundReadTooEarly),
            Some(Planted::PdLogTruncatedBeforeSync) => Some(Placement::LogTruncatedBeforeFlush),
            Some(Planted::PdOldStateKept) => Some(Placement::OldStateKept),
            Some(Planted::PdLogKeptOnResume) => Some(Placement::LogKeptOnResume),
            _ => None,
        });
    }

    /// The mistake that is planted.
    pub fn active() -> Option<Planted> {
        ACTIVE.get()
    }

    pub(crate) fn is(bug: Planted) -> bool {
        active() == Some(bug)
    }
}

#[cfg(feature = "planted-bugs")]
pub(crate) use switch::is;
#[cfg(feature = "planted-bugs")]
pub use switch::{active, set};

#[cfg(not(feature = "planted-bugs"))]
pub(crate) const fn is(_bug: Planted) -> bool {
    false
}

/// The mistake that is planted: none without the feature.
#[cfg(not(feature = "planted-bugs"))]
pub const fn active() -> Option<Planted> {
    None
}
