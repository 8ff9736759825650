//! The operating system's clocks, read here and nowhere below.
//!
//! *Place*: the driver thread calls [`now`]; the core gets the result.
//!
//! *Next stop*: `yadkv_proto::time`.

use rustix::time::{ClockId, Timespec, clock_gettime};
use yadkv_proto::time::{Moment, Now};

/// Both clocks. BOOTTIME also counts while the machine is suspended: a lease must not outlive a suspend.
pub fn now() -> Now {
    Now {
        moment: Moment(nanos(clock_gettime(ClockId::Boottime))),
        wall_ms: nanos(clock_gettime(ClockId::Realtime)) / 1_000_000,
    }
}

fn nanos(time: Timespec) -> u64 {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds
        .saturating_mul(1_000_000_000)
        .saturating_add(u64::try_from(time.tv_nsec).unwrap_or(0))
}
