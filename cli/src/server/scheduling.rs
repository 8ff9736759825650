//! How the kernel chooses when a store's threads run.
//!
//! *Why*: a thread that hands something over wakes another one, which the kernel may let run at once in its place. On a
//! machine with more work than cores each hand-over costs a change of threads then, with little in it. Threads of the batch
//! policy let the one that runs go on, so more waits for each when it is its turn: larger entries, fewer writes
//! (`benches/EXPERIMENTS.md` has the figures). Where a core is free they run as soon as any others; where programs of
//! others take all cores, they wait longer than these.
//!
//! *Limits and failure*: threads that somebody has put under another policy than the usual one stay under it. Without leave
//! the store goes on as it is. The policy outlasts an `exec`: a store that starts itself again keeps it.
//!
//! *Source*: sched(7), `SCHED_BATCH`.
//!
//! *Next stop*: [`super::store`].

use std::fs;
use std::io;

/// The threads of this process.
const THREADS: &str = "/proc/self/task";

/// Puts the threads that there are, and so those that they will start, under the batch policy. An error means that some are
/// not.
pub(crate) fn batch() -> io::Result<()> {
    for thread in fs::read_dir(THREADS)? {
        let name = thread?.file_name();
        let number = name.to_str().and_then(|name| name.parse().ok());
        let number = number.ok_or(io::ErrorKind::InvalidData)?;
        if policy(number) != libc::SCHED_OTHER {
            continue;
        }
        match set_policy(number, libc::SCHED_BATCH) {
            // It has ended meanwhile.
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
            set => set?,
        }
    }
    Ok(())
}

/// The policy of a thread, by its number or 0 for the one that asks; negative if it has ended.
#[allow(unsafe_code)]
fn policy(thread: libc::pid_t) -> libc::c_int {
    // SAFETY: it reads nothing but its argument.
    unsafe { libc::sched_getscheduler(thread) }
}

#[allow(unsafe_code)]
fn set_policy(thread: libc::pid_t, policy: libc::c_int) -> io::Result<()> {
    // SAFETY: plain numbers, for which zeros are values; 0 is the priority that policies without one ask for.
    let parameters: libc::sched_param = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a value that lives until the call has returned.
    match unsafe { libc::sched_setscheduler(thread, policy, &raw const parameters) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;
    use std::thread;

    const ITSELF: libc::pid_t = 0;

    #[test]
    fn usual_threads_come_under_it_with_all_they_start_and_others_stay() {
        let (begun, done) = (Barrier::new(3), Barrier::new(3));
        thread::scope(|scope| {
            let usual = scope.spawn(|| {
                let before = set_policy(ITSELF, libc::SCHED_OTHER).is_ok();
                begun.wait();
                done.wait();
                let later = thread::spawn(|| policy(ITSELF)).join();
                (before, policy(ITSELF), later.expect("it returns"))
            });
            let idle = scope.spawn(|| {
                let before = set_policy(ITSELF, libc::SCHED_IDLE).is_ok();
                begun.wait();
                done.wait();
                (before, policy(ITSELF))
            });
            begun.wait();
            let set = batch();
            done.wait();
            set.expect("everybody may");
            let usual = usual.join().expect("it returns");
            assert_eq!(usual, (true, libc::SCHED_BATCH, libc::SCHED_BATCH));
            assert_eq!(idle.join().ok(), Some((true, libc::SCHED_IDLE)));
        });
    }
}
