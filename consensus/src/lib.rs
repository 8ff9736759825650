//! One Raft group around raft-rs: tick, step and propose in, a typed Ready out.
