//! Commands of the scripts, and how answers are shown.

mod disk;
pub(crate) mod show;
