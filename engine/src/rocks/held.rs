//! A view of one moment that keeps its database open.
//!
//! *Place*: [`crate::Engine::hold`]. RocksDB's snapshots borrow the database; this one owns a share of it.
//!
//! *Next stop*: `view` in [`super`].

use super::{Rocks, View};
use crate::{Direction, Family, Result, Snapshot, Visitor};
use bytes::Bytes;
use self_cell::self_cell;
use std::sync::Arc;

self_cell!(
    struct Held {
        owner: Arc<Rocks>,
        #[not_covariant]
        dependent: View,
    }
);

pub(super) fn hold(engine: Arc<Rocks>) -> Box<dyn Snapshot + Send> {
    Box::new(Held::new(engine, |engine| View::new(engine, false)))
}

impl Snapshot for Held {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>> {
        self.with_dependent(|_, view| view.get(family, key))
    }

    fn scan(
        &self,
        family: Family,
        start: &[u8],
        end: &[u8],
        direction: Direction,
        visit: &mut Visitor<'_>,
    ) -> Result<()> {
        self.with_dependent(|_, view| view.scan(family, start, end, direction, visit))
    }
}
