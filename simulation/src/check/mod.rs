//! The laws, each checked where it can break.
//!
//! | file | law |
//! |---|---|
//! | [`laws`] | after every step: one leader a term, one lease a region, identical entries, epochs, the map, equal placement drivers |
//! | [`linearizable`] | at the end: every key, over all clients |
//! | [`replicas`] | after the quiet phase: all replicas of a region, and all placement drivers, hold the same |
//!
//! Timestamps are checked as they are given: [`crate::history::History::timestamp`].
//!
//! *Next stop*: [`laws`].

pub mod laws;
pub mod linearizable;
pub mod replicas;
