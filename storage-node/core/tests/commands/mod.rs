//! Commands of the scripts, and how answers are shown.

mod configure;
mod disk;
pub(crate) mod show;
