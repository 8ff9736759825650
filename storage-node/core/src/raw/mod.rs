//! The raw commands as pure functions: a request becomes a command for the log, or is read from a snapshot.
//!
//! *Place*: [`crate::front`] calls [`mod@write`] and [`keys`]; [`crate::read`] calls [`read`];
//! [`crate::apply`] judges the commands.
//!
//! *Types to know*: [`keys::KeySpace`] maps a caller's keys into the family that holds them.
//!
//! *Invariants*: one key space never sees another's keys; an empty value is a value.
//!
//! *Limits*: keys of point requests at most 8 KiB, a write at most one entry.
//!
//! *Source*: `proto/README.md`, Raw calls.
//!
//! *Next stop*: [`keys`], [`mod@write`], [`read`].

pub mod keys;
pub mod read;
pub mod write;
