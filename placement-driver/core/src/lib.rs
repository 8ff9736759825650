//! The deterministic part of the placement driver.
pub mod border;
pub mod cluster;
pub mod config;
pub mod ids;
pub mod pending;
pub mod record;
pub mod region_map;
pub mod tso;
