//! Changes that are not written yet, readable by the conditional writes that come after them.
//!
//! *Place*: between [`super::command`] and the data engine.
//!
//! *Invariants*: [`Staged::get`] answers as if everything staged so far were written.
//!
//! *Limits*: the look-up index is built at the first conditional write of a batch and costs nothing before.
//!
//! *Next stop*: `engine::WriteBatch`.

use crate::layout::META;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;
use yadkv_engine::{Durability, Engine, Family, Operation, WriteBatch};
use yadkv_proto::key::KeyRange;

/// A batch in the making.
pub(super) struct Staged {
    engine: Arc<dyn Engine>,
    batch: WriteBatch,
    index: Option<Index>,
    durability: Durability,
}

/// The newest staged change of each key.
#[derive(Default)]
struct Index {
    /// By key: position in the batch and value (`None`: deleted).
    points: BTreeMap<(Family, Bytes), (usize, Option<Bytes>)>,
    /// Deleted ranges with their positions, oldest first.
    ranges: Vec<(usize, Family, KeyRange)>,
    /// Operations of the batch that are indexed.
    indexed: usize,
}

impl Staged {
    pub(super) fn new(engine: Arc<dyn Engine>) -> Self {
        Self {
            engine,
            batch: WriteBatch::new(),
            index: None,
            durability: Durability::Buffered,
        }
    }

    pub(super) fn put(&mut self, family: Family, key: Bytes, value: Bytes) {
        self.batch.put(family, key, value);
    }

    pub(super) fn delete(&mut self, family: Family, key: Bytes) {
        self.batch.delete(family, key);
    }

    pub(super) fn delete_range(&mut self, family: Family, start: Bytes, end: Bytes) {
        self.batch.delete_range(family, start, end);
    }

    pub(super) fn put_meta(&mut self, key: Bytes, record: Bytes) {
        self.batch.put(META, key, record);
    }

    /// Nobody may hear of what is staged before it is on the disk.
    pub(super) fn must_sync(&mut self) {
        self.durability = Durability::Synced;
    }

    pub(super) fn into_batch(self) -> (WriteBatch, Durability) {
        (self.batch, self.durability)
    }

    /// Where the next change comes.
    pub(super) fn mark(&self) -> usize {
        self.batch.operations().len()
    }

    /// Forgets all changes since a mark.
    pub(super) fn forget_since(&mut self, mark: usize) {
        self.batch.truncate(mark);
        self.index = None;
    }

    /// The value a key would have if everything staged were written.
    pub(super) fn get(
        &mut self,
        family: Family,
        key: &Bytes,
    ) -> yadkv_engine::Result<Option<Bytes>> {
        let index = self.index.get_or_insert_default();
        index.catch_up(self.batch.operations());
        let point = index.points.get(&(family, key.clone()));
        let point_at = point.map(|(position, _)| *position);
        let deleted = index.ranges.iter().rev().any(|(position, of, range)| {
            *of == family && Some(*position) > point_at && range.contains(key)
        });
        match point {
            _ if deleted => Ok(None),
            Some((_, value)) => Ok(value.clone()),
            None => self.engine.get(family, key),
        }
    }
}

impl Index {
    fn catch_up(&mut self, operations: &[Operation]) {
        for (position, operation) in operations.iter().enumerate().skip(self.indexed) {
            match operation {
                Operation::Put(family, key, value) => {
                    self.points
                        .insert((*family, key.clone()), (position, Some(value.clone())));
                }
                Operation::Delete(family, key) => {
                    self.points.insert((*family, key.clone()), (position, None));
                }
                Operation::DeleteRange(family, start, end) => {
                    self.ranges.push((
                        position,
                        *family,
                        KeyRange::new(start.clone(), end.clone()),
                    ));
                }
            }
        }
        self.indexed = operations.len();
    }
}
