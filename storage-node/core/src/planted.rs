//! Bugs that tests must be able to find, switched on per thread.
//!
//! *Place*: consulted where the protecting rule is; only with the cargo feature `planted-bugs` can anything
//! be switched on, and no shipped binary has it.
//!
//! *Next stop*: [`crate::peer`].

/// A bug to plant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planted {
    /// A leader renews its lease while a split is committed that it has not applied.
    LeaseRenewedDuringSplit,
    /// The epoch of a command is checked when it is proposed, and not again when it is applied; writes do not wait
    /// for a split either.
    EpochUncheckedAtApply,
    /// The data engine is not synced before the replicas that a split made start.
    SplitNotSynced,
    /// Entries leave the log before the data engine holds durably what they did.
    LogTruncatedBeforeFlush,
    /// An interrupted installation goes on without the reset of the log.
    LogKeptOnResume,
    /// A snapshot's position is that of a moment after its data.
    SnapshotAheadOfData,
    /// A snapshot is laid over what the replica held.
    OldDataKept,
    /// The reset of the log for a snapshot may be lost at a power loss, when the data is there already.
    ResetNotSynced,
    /// Members change under the old epoch.
    MembersUnderOldEpoch,
    /// A leader serves under its lease while its PrepareMerge is committed.
    LeaseKeptByMerge,
    /// The data engine is not synced before the log of a region that was taken in goes.
    MergeNotSynced,
    /// A region that waits for a merge goes on although its target may still take it in.
    RollbackWithoutProof,
    /// What comes behind a check's entry is in the data that is compared.
    CheckNotPaused,
    /// A damaged file is taken away while a replica that lives has keys in it.
    DamagedFileDiscardedEarly,
    /// A read that meets damage answers that there is nothing.
    DamageReadAsMissing,
}

#[cfg(feature = "planted-bugs")]
mod switch {
    use super::Planted;
    use std::cell::Cell;

    thread_local! {
        static ACTIVE: Cell<Option<Planted>> = const { Cell::new(None) };
    }

    /// Plants a bug into every store that this thread runs from now on; `None` removes it.
    pub fn set(bug: Option<Planted>) {
        ACTIVE.set(bug);
    }

    pub(crate) fn is(bug: Planted) -> bool {
        ACTIVE.get() == Some(bug)
    }
}

#[cfg(feature = "planted-bugs")]
pub(crate) use switch::is;
#[cfg(feature = "planted-bugs")]
pub use switch::set;

#[cfg(not(feature = "planted-bugs"))]
pub(crate) const fn is(_bug: Planted) -> bool {
    false
}
