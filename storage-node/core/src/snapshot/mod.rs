//! Snapshots: the state of a region goes from its leader's store to a replica that has nothing, or too little.
//!
//! *Place*: [`crate::peer`] names who needs one; the server and the simulation carry chunks from [`send`] to
//! [`receive`]; the worker of the receiving store gives its replica up and [`install`] makes the new one.
//!
//! *Life of a snapshot*:
//! ```text
//! leader                                   receiving store
//! peer lags behind the log ─▶ SendTask
//! head and chunks of one engine view ────▶ checked and staged beside the data, chunk by chunk
//!                                          worker: newer than what is here? the replica ends
//!                                          apply: everything handed over before is applied
//!                                          mark → reset the log → take in → normal → forget the set
//! report to Raft ◀──────────────────────── answered; the replica starts
//! ```
//!
//! *Invariants*: the replica that is installed is a new life: its node never sees the snapshot, and begins at its
//! position. Nothing that was acknowledged is given up: a log that holds the snapshot's position stays. Each step of an
//! installation is durable before the next; what a crash leaves is done again from the mark.
//!
//! *Limits and failure*: chunks of [`send::CHUNK_BYTES`]; how many travel at once, and how fast, is the server's to
//! limit. A chunk that is damaged or out of order ends the transfer; the leader is asked again.
//!
//! *Source*: Raft paper section 7; `ARCHITECTURE.md`, How data would be lost.
//!
//! *Next stop*: [`send`].

pub mod install;
pub mod receive;
pub mod send;

/// Wire format of a snapshot.
pub const FORMAT: u32 = 1;

#[cfg(test)]
mod tests;
