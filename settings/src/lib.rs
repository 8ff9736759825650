//! Settings of the servers: how they are written, shown, and changed while a server runs.
//!
//! *Place*: `cli` reads files and `--set` with [`written`]; both servers keep what is in force in a [`live::Live`] and show it
//! on a [`page`]; `yadkv ctl config` asks for it.
//!
//! *Types to know*: [`live::Live`], [`live::Changeable`], [`near::Near`].
//!
//! *Life of a change*:
//! ```text
//! region.split_size=1MiB ─▶ a setting that may change? ─▶ read as the file is ─▶ all settings validated together
//!   ─▶ whoever goes by them is told ─▶ in force, until the process starts anew: the file is the operator's
//! ```
//!
//! *Invariants*: several settings of one change are taken all, or none; what a server would not start with it does not
//! take online either.
//!
//! *Next stop*: [`written`].

pub mod live;
pub mod near;
pub mod page;
pub mod size;
pub mod written;
