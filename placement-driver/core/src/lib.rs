//! The deterministic part of the placement driver.
