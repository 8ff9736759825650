//! A list of changes that an engine applies atomically.
//!
//! *Place*: cores fill it, [`crate::LogEngine::write`] takes it.
//!
//! *Invariants*: operations apply in order; a later one on the same key wins.
//!
//! *Limits*: the batch holds what it is given; whoever fills it bounds it by [`WriteBatch::bytes`].
//!
//! *Next stop*: [`crate::memory`].

use crate::Family;
use bytes::Bytes;

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Sets a key.
    Put(Family, Bytes, Bytes),
    /// Removes a key; absent is fine.
    Delete(Family, Bytes),
    /// Removes every key in `[start, end)`; an empty end is plus infinity.
    DeleteRange(Family, Bytes, Bytes),
}

/// Changes that take effect together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriteBatch {
    operations: Vec<Operation>,
    bytes: usize,
}

impl Operation {
    /// The family that it changes.
    pub fn family(&self) -> Family {
        match self {
            Self::Put(family, ..) | Self::Delete(family, _) | Self::DeleteRange(family, ..) => {
                *family
            }
        }
    }

    /// Bytes of keys and values held.
    fn bytes(&self) -> usize {
        match self {
            Self::Put(_, key, value) => key.len() + value.len(),
            Self::Delete(_, key) => key.len(),
            Self::DeleteRange(_, start, end) => start.len() + end.len(),
        }
    }
}

impl WriteBatch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a key.
    pub fn put(&mut self, family: Family, key: impl Into<Bytes>, value: impl Into<Bytes>) {
        self.push(Operation::Put(family, key.into(), value.into()));
    }

    /// Removes a key.
    pub fn delete(&mut self, family: Family, key: impl Into<Bytes>) {
        self.push(Operation::Delete(family, key.into()));
    }

    /// Removes `[start, end)`; an empty end is plus infinity.
    pub fn delete_range(&mut self, family: Family, start: impl Into<Bytes>, end: impl Into<Bytes>) {
        self.push(Operation::DeleteRange(family, start.into(), end.into()));
    }

    /// Appends everything of `other`.
    pub fn append(&mut self, mut other: Self) {
        self.bytes += other.bytes;
        self.operations.append(&mut other.operations);
    }

    /// Keeps the first `len` operations and forgets those behind them.
    pub fn truncate(&mut self, len: usize) {
        self.operations.truncate(len);
        self.bytes = self.operations.iter().map(Operation::bytes).sum();
    }

    /// The changes in order.
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// Bytes of keys and values held.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether nothing would change.
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    fn push(&mut self, operation: Operation) {
        self.bytes += operation.bytes();
        self.operations.push(operation);
    }
}
