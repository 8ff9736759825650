//! Many sorted pairs at once: written beside the data, then taken in.
//!
//! *Place*: a store that receives a snapshot stages it while it arrives and takes it in when it is whole; both engines
//! implement [`Intake`].
//!
//! *Types to know*: [`Intake`], [`Stage`].
//!
//! *Life of a set*: [`Intake::stage`] → [`Stage::put`], family by family, in key order → [`Stage::finish`], durable and
//! still invisible → [`Intake::ingest`], as often as wanted: readers see it, and a crash does not take it back →
//! [`Intake::discard`].
//!
//! *Invariants*: a set that was not finished is never taken in. Pairs taken in are newer than everything written before.
//!
//! *Limits and failure*: what is staged takes the space of the data once more until it is discarded, and none
//! beside the data after. A set that is missing or damaged is [`crate::Error::Corrupt`].
//!
//! *Next stop*: [`crate::memory`].

use crate::{Family, Result};

/// Takes in sets of pairs. The name of a set is one word of ASCII letters, digits and hyphens.
pub trait Intake: Send + Sync {
    /// Begins a set; one of the same name that was not finished is forgotten.
    fn stage(&self, name: &str) -> Result<Box<dyn Stage + '_>>;

    /// Puts a finished set among the data. Not atomic over families: do it again after a crash.
    fn ingest(&self, name: &str) -> Result<()>;

    /// Forgets a set; one that is not there is fine.
    fn discard(&self, name: &str) -> Result<()>;

    /// Names of all sets, finished or not.
    fn staged(&self) -> Result<Vec<String>>;
}

/// A set that is being written. Dropped without [`Stage::finish`], it is worth nothing.
pub trait Stage {
    /// Adds a pair. Families in rising order, keys of a family too, each once: anything else is
    /// [`crate::Error::Read`], since it came from somebody else.
    fn put(&mut self, family: Family, key: &[u8], value: &[u8]) -> Result<()>;

    /// Makes the set durable.
    fn finish(self: Box<Self>) -> Result<()>;
}

/// Checks the order that [`Stage::put`] asks for.
#[derive(Debug, Default)]
pub(crate) struct Order {
    last: Option<(Family, Vec<u8>)>,
}

impl Order {
    /// Accepts the next pair's place.
    pub(crate) fn follow(&mut self, family: Family, key: &[u8]) -> Result<()> {
        if let Some((last_family, last_key)) = &mut self.last {
            if (family, key) <= (*last_family, &last_key[..]) {
                let reason = format!("pairs are out of order: {key:02x?} of family {}", family.0);
                return Err(crate::Error::Read(reason));
            }
            *last_family = family;
            last_key.clear();
            last_key.extend_from_slice(key);
        } else {
            self.last = Some((family, key.to_vec()));
        }
        Ok(())
    }
}
