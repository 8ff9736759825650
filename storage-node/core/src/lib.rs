//! The deterministic part of a storage node.
