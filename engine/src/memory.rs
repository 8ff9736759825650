//! The crash-faithful engine in memory.
