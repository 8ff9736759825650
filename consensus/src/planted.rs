//! Bugs that the simulation must be able to find, switched on per thread.
//!
//! *Place*: consulted where the protecting rule is; only with the cargo feature `planted-bugs` can anything be
//! switched on, and no shipped binary has it.
//!
//! *Next stop*: [`crate::election`].

/// A bug to plant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planted {
    /// A voter votes at once after a restart, although it may just have confirmed a lease.
    RestartedVoterVotes,
    /// A leader whose transfer timed out takes its lease up again, while its `MsgTimeoutNow` is still under way.
    LeaseKeptAfterTransfer,
    /// A vote leaves before the disk has it; after a crash the replica may vote again in the same term.
    VoteBeforeHardState,
    /// The first state of a group is written over the one it has: its vote and log are forgotten.
    GroupStateReset,
}

#[cfg(feature = "planted-bugs")]
mod switch {
    use super::Planted;
    use std::cell::Cell;

    thread_local! {
        static ACTIVE: Cell<Option<Planted>> = const { Cell::new(None) };
    }

    /// Plants a bug into every node that this thread runs from now on; `None` removes it.
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
