//! Values of the load: the same for every target.
//!
//! *Invariants*: values are slices of one random pool, so no compressor gains from them.
//!
//! *Next stop*: [`crate::load`].

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng, RngCore, SeedableRng};

/// Slack of the pool: that many different offsets.
const OFFSETS: usize = 1 << 20;
const SEED: u64 = 0x0079_6164_6b76;

/// Where values come from.
#[derive(Clone, Debug)]
pub(crate) struct Values {
    pool: Bytes,
    bytes: usize,
}

impl Values {
    /// Values of `bytes` bytes.
    pub(crate) fn new(bytes: usize) -> Self {
        let mut pool = vec![0; OFFSETS + bytes];
        StdRng::seed_from_u64(SEED).fill_bytes(&mut pool);
        Self {
            pool: pool.into(),
            bytes,
        }
    }

    /// One of about a million values.
    pub(crate) fn pick(&self, random: &mut StdRng) -> Bytes {
        let offset = random.random_range(0..OFFSETS);
        self.pool.slice(offset..offset + self.bytes)
    }
}
