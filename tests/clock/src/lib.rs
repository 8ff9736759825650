//! A wall clock that a test sets while servers run: loaded into a server before the C library (`LD_PRELOAD`), whose functions
//! of the same names it stands in front of.
//!
//! *Life of a question for the time*: the kernel is asked → for clocks of the day, the file that [`FILE`] names says how many
//! seconds are added. It is read for each question anew, so that a test sets a clock by renaming a file into its place.
//! Clocks that only go forward, by which leases are judged, are left alone, as they are by an operator who sets the time.
//!
//! *Why not libfaketime*: it allocates when it is first asked, and the allocator of the server, which stands behind `malloc`,
//! asks for the time while it starts: both wait for each other. So nothing here may allocate.
//!
//! *Limits*: a wait for a moment of the day is not cut short or drawn out by a clock that is set meanwhile: it takes as long as
//! it seemed to when it began. Every question is a system call, and those for the day read a file. Glibc from 2.30 on.
//!
//! *Failure*: a process whose clock cannot be read ends at once, with status 127 and the reason: a test must not pass with
//! right clocks.
#![cfg(target_os = "linux")]
#![allow(unsafe_code)] // Functions of the C library are what this is.

use libc::{c_int, c_long, c_void, clockid_t, time_t, timespec, timeval};
use std::ffi::CStr;
use std::mem::MaybeUninit;

/// The environment variable with the path of the file.
const FILE: &CStr = c"YADKV_TEST_CLOCK";

/// Longest text of a file.
const TEXT_BYTES_MAX: usize = 32;

const NANOSECONDS_OF_MICROSECOND: c_long = 1000;

fn fail(why: &[u8]) -> ! {
    // SAFETY: the bytes are valid for reads, and a process may end at any time.
    unsafe {
        libc::write(libc::STDERR_FILENO, why.as_ptr().cast(), why.len());
        libc::_exit(127)
    }
}

/// How many seconds the clock is ahead of the time; negative if it is behind.
fn ahead() -> time_t {
    let mut text = [0_u8; TEXT_BYTES_MAX];
    // SAFETY: names are ended by zero, and the buffer is as long as said. The descriptor is closed once, and nobody else has it.
    let length = unsafe {
        let path = libc::getenv(FILE.as_ptr());
        if path.is_null() {
            fail(b"test clock: YADKV_TEST_CLOCK names no file\n");
        }
        let file = libc::open(path, libc::O_RDONLY | libc::O_CLOEXEC);
        if file < 0 {
            fail(b"test clock: the file that YADKV_TEST_CLOCK names cannot be opened\n");
        }
        let length = libc::read(file, text.as_mut_ptr().cast::<c_void>(), text.len());
        libc::close(file);
        length
    };
    let read = usize::try_from(length)
        .ok()
        .and_then(|length| text.get(..length));
    let read = read.and_then(|text| str::from_utf8(text).ok());
    match read.and_then(|text| text.trim_ascii().parse().ok()) {
        Some(seconds) => seconds,
        None => {
            fail(b"test clock: the file that YADKV_TEST_CLOCK names holds no number of seconds\n")
        }
    }
}

/// The time of a clock as a server sees it.
///
/// # Safety
///
/// As for the function of that name in POSIX: `time` points to a place for the answer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(clock: clockid_t, time: *mut timespec) -> c_int {
    // SAFETY: the kernel writes where the caller allows it.
    let status = unsafe { libc::syscall(libc::SYS_clock_gettime, clock, time) };
    if status != 0 {
        return -1;
    }
    if clock == libc::CLOCK_REALTIME || clock == libc::CLOCK_REALTIME_COARSE {
        // SAFETY: the kernel has just written there.
        unsafe { (*time).tv_sec += ahead() };
    }
    0
}

fn now() -> timespec {
    let mut time = MaybeUninit::uninit();
    // SAFETY: it is written before it is read: the kernel knows this clock.
    unsafe {
        clock_gettime(libc::CLOCK_REALTIME, time.as_mut_ptr());
        time.assume_init()
    }
}

/// The time of the day in microseconds.
///
/// # Safety
///
/// As for the function of that name in POSIX: `time` is null or points to a place for the answer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gettimeofday(time: *mut timeval, _zone: *mut c_void) -> c_int {
    let now = now();
    if !time.is_null() {
        // SAFETY: the caller has a place there.
        unsafe {
            time.write(timeval {
                tv_sec: now.tv_sec,
                tv_usec: now.tv_nsec / NANOSECONDS_OF_MICROSECOND,
            });
        }
    }
    0
}

/// The time in seconds.
///
/// # Safety
///
/// As for the function of that name in POSIX: `time` is null or points to a place for the answer too.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn time(time: *mut time_t) -> time_t {
    let seconds = now().tv_sec;
    if !time.is_null() {
        // SAFETY: the caller has a place there.
        unsafe { time.write(seconds) };
    }
    seconds
}

unsafe extern "C" {
    fn pthread_cond_clockwait(
        condition: *mut libc::pthread_cond_t,
        mutex: *mut libc::pthread_mutex_t,
        clock: clockid_t,
        until: *const timespec,
    ) -> c_int;
}

/// Waits for a condition until a moment of the clock that this library shows: RocksDB's timers do. A condition with another
/// clock (`pthread_condattr_setclock`) would be misunderstood; nothing in the servers has one.
///
/// # Safety
///
/// As for the function of that name in POSIX.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pthread_cond_timedwait(
    condition: *mut libc::pthread_cond_t,
    mutex: *mut libc::pthread_mutex_t,
    until: *const timespec,
) -> c_int {
    // SAFETY: the caller's promises are those of the function that is called; the moment is copied.
    unsafe {
        let mut until = until.read();
        until.tv_sec -= ahead();
        pthread_cond_clockwait(condition, mutex, libc::CLOCK_REALTIME, &raw const until)
    }
}
