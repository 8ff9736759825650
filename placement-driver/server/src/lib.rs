//! The placement driver server.
