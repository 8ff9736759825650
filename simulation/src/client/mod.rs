//! SDK clients in the simulation: their runtime, and the work they do.
//!
//! *Next stop*: [`runtime`], then [`work`].

pub mod runtime;
pub mod work;
