//! Where a region may be cut, and where it is cut when it has grown too large. Pure functions.
//!
//! *Place*: who splits regions, by size or by hand, asks here; nothing here proposes or writes.
//!
//! *Types to know*: [`check::Checked`], what a region holds and where to cut it; [`border::Unfit`], why it cannot be
//! cut where somebody asked.
//!
//! *Life of a cut by size*: [`check::check`] measures the families → a key after every full part →
//! [`border::legal_inside`] moves it down to where no rows are torn apart.
//!
//! *Invariants*: all families of a region are cut at the same borders, and every border is legal
//! (`yadkv_proto::codec::is_legal_border`).
//!
//! *Limits*: [`border::CUTS_MAX`] cuts at once.
//!
//! *Source*: `proto/README.md`, Which keys travel where.
//!
//! *Next stop*: [`border`], [`check`].

pub mod border;
pub mod check;
