//! Identities and positions as newtypes, so that an index is never passed where an id is meant.
//!
//! *Place*: used by every crate; the wire and the disk carry the bare `u64`.
//!
//! *Invariants*: 0 is "none" for every id (the protocol's convention); ids are given out by the placement
//! driver once and never again.
//!
//! *Next stop*: [`crate::epoch`].

use std::fmt;

macro_rules! newtype {
    ($(#[$doc:meta])* $name:ident, $show:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl $name {
            /// "None" on the wire.
            pub const NONE: Self = Self(0);
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, concat!($show, "{}"), self.0)
            }
        }
    };
}

newtype!(
    /// A cluster, chosen once by the first placement driver leader; never 0.
    ClusterId, "c"
);
newtype!(
    /// A region: one range of keys and the Raft group that replicates it. 0 is the placement driver's group.
    RegionId, "r"
);
newtype!(
    /// One replica of a region; the node id within its Raft group.
    PeerId, "p"
);
newtype!(
    /// A storage node (or, in the placement driver's group, a member).
    StoreId, "s"
);
newtype!(
    /// A Raft term.
    Term, "t"
);
newtype!(
    /// A position in a Raft log, from 1; 0 is before the first entry.
    Index, "i"
);

impl Index {
    /// The position after this one.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}
