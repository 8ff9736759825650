//! SDK clients in the simulation: their runtime, and the work they do.
//!
//! *Next stop*: [`work`].

pub mod insider;
pub mod runtime;
pub mod session;
pub mod work;
