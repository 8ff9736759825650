//! Processor time of the load generator and of the servers.
//!
//! *Source*: proc(5), `/proc/PID/stat`.
//!
//! *Next stop*: [`crate::report`].

/// Kernel ticks a second in `/proc/PID/stat`, the same on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// Seconds that some processes have used so far; none of one that is gone.
pub(crate) fn seconds(processes: &[u32]) -> f64 {
    let stat = |process| std::fs::read_to_string(format!("/proc/{process}/stat"));
    let used = processes
        .iter()
        .map(|process| ticks(&stat(process).unwrap_or_default()));
    used.sum::<f64>() / TICKS_PER_SECOND
}

/// Fields 14 and 15; the name before them, in parentheses, may hold spaces.
fn ticks(stat: &str) -> f64 {
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let fields = fields.split_whitespace().skip(11).take(2);
    fields.filter_map(|field| field.parse::<f64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_process_does_not_matter() {
        let stat = "7 (a (b) c 1 2 3) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 9 9 20 0 1 0 300";
        assert_eq!(ticks(stat), 300.0);
        assert_eq!(ticks(""), 0.0);
    }
}
