//! Bugs that tests must be able to find, switched on per thread.
//!
//! *Place*: consulted where the protecting rule is; only with the cargo feature `planted-bugs` can anything
//! be switched on, and no shipped binary has it.
//!
//! *Next stop*: [`crate::member`].

/// A bug to plant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planted {
    /// A new leader reads the timestamp bound when it is elected, before it has applied an entry of its own
    /// term: an older leader's last raise may still be unapplied.
    TsoBoundReadTooEarly,
    /// Entries leave the log whose effects the state engine may lose.
    LogTruncatedBeforeFlush,
    /// A snapshot is laid over what the member held.
    OldStateKept,
    /// An installation that a crash interrupted goes on without the reset of the log.
    LogKeptOnResume,
}

#[cfg(feature = "planted-bugs")]
mod switch {
    use super::Planted;
    use std::cell::Cell;

    thread_local! {
        static ACTIVE: Cell<Option<Planted>> = const { Cell::new(None) };
    }

    /// Plants a bug into every member that this thread runs from now on; `None` removes it.
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
