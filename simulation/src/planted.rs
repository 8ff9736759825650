//! Mistakes that random seeds must find, by name; switched on for one thread, one at a time.
//!
//! *Place*: [`crate::run`] plants before a run; the hosts here and the cores consult their switches. Without
//! the feature `planted-bugs` nothing can be planted.
//!
//! | name | mistake | found by |
//! |---|---|---|
//! | `fsync-skipped` | a store's log is written but never synced | lost writes after a power loss |
//! | `clock-before-engine` | a lease read looks at the clock before the engine | a stale read |
//! | `restarted-voter-votes` | no vote hold after a restart | two leases |
//! | `lease-kept-after-transfer` | the lease resumes while MsgTimeoutNow is under way | two leases |
//! | `vote-before-hard-state` | a vote leaves before it is durable | two leaders in one term |
//! | `tso-bound-read-too-early` | a new leader reads the timestamp bound when it is elected | a timestamp falls |
//!
//! *Next stop*: [`crate::run`].

/// A mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planted {
    /// The store's host writes its log without a sync.
    FsyncSkipped,
    /// The store's host reads the clock before the engine.
    ClockBeforeEngine,
    /// In `consensus`.
    RestartedVoterVotes,
    /// In `consensus`.
    LeaseKeptAfterTransfer,
    /// In `consensus`.
    VoteBeforeHardState,
    /// In the placement driver.
    TsoBoundReadTooEarly,
}

impl Planted {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::FsyncSkipped,
        Self::ClockBeforeEngine,
        Self::RestartedVoterVotes,
        Self::LeaseKeptAfterTransfer,
        Self::VoteBeforeHardState,
        Self::TsoBoundReadTooEarly,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::FsyncSkipped => "fsync-skipped",
            Self::ClockBeforeEngine => "clock-before-engine",
            Self::RestartedVoterVotes => "restarted-voter-votes",
            Self::LeaseKeptAfterTransfer => "lease-kept-after-transfer",
            Self::VoteBeforeHardState => "vote-before-hard-state",
            Self::TsoBoundReadTooEarly => "tso-bound-read-too-early",
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
            _ => None,
        });
        let early = bug == Some(Planted::TsoBoundReadTooEarly);
        placement::set(early.then_some(Placement::TsoBoundReadTooEarly));
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
