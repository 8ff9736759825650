//! Futures on virtual time: spawn, sleep, and the loop that polls what was woken.
//!
//! *Place*: SDK clients and the stores' companions are tasks; [`crate::world::World`] polls them after each
//! event.
//!
//! *Invariants*: woken tasks are polled in the order of their waking; a task dies with its process.
//!
//! *Next stop*: [`crate::store`].

use crate::sky::{Event, Machine, Shared};
use futures::future::BoxFuture;
use futures::task::{ArcWake, waker};
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

type Ready = Arc<Mutex<VecDeque<u64>>>;

struct Bell {
    task: u64,
    ready: Ready,
}

impl ArcWake for Bell {
    fn wake_by_ref(this: &Arc<Self>) {
        let mut ready = this.ready.lock();
        if !ready.contains(&this.task) {
            ready.push_back(this.task);
        }
    }
}

struct Task {
    machine: Machine,
    future: BoxFuture<'static, ()>,
    bell: Arc<Bell>,
}

/// All tasks.
#[derive(Default)]
pub struct Tasks {
    tasks: BTreeMap<u64, Task>,
    ready: Ready,
    next: u64,
}

impl Tasks {
    /// Polls everything that was woken or spawned, until nothing more is.
    pub fn run(&mut self, sky: &Shared) {
        loop {
            for (machine, future) in std::mem::take(&mut sky.lock().spawned) {
                self.next += 1;
                let bell = Arc::new(Bell {
                    task: self.next,
                    ready: self.ready.clone(),
                });
                self.tasks.insert(
                    self.next,
                    Task {
                        machine,
                        future,
                        bell,
                    },
                );
                self.ready.lock().push_back(self.next);
            }
            let Some(id) = self.ready.lock().pop_front() else {
                return;
            };
            let Some(task) = self.tasks.get_mut(&id) else {
                continue;
            };
            let waker = waker(task.bell.clone());
            let mut context = Context::from_waker(&waker);
            if task.future.as_mut().poll(&mut context).is_ready() {
                self.tasks.remove(&id);
            }
        }
    }

    /// Ends the tasks of a machine.
    pub fn kill(&mut self, machine: Machine) {
        self.tasks.retain(|_, task| task.machine != machine);
    }
}

/// A sleeping task's alarm.
#[derive(Debug, Default)]
pub struct Timer {
    fired: bool,
    waker: Option<Waker>,
}

impl Timer {
    /// Time is up.
    pub fn fire(&mut self) {
        self.fired = true;
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// Completes after a time of the virtual clock.
pub fn sleep(sky: &Shared, machine: Machine, duration: Duration) -> Sleep {
    let timer = {
        let mut sky = sky.lock();
        let timer = sky.id();
        sky.timers.insert(timer, Timer::default());
        sky.after(duration, Event::Wake(machine, timer));
        timer
    };
    Sleep {
        sky: sky.clone(),
        timer,
    }
}

/// The future of [`sleep`].
pub struct Sleep {
    sky: Shared,
    timer: u64,
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut sky = self.sky.lock();
        match sky.timers.get_mut(&self.timer) {
            Some(timer) if !timer.fired => {
                timer.waker = Some(context.waker().clone());
                Poll::Pending
            }
            _ => Poll::Ready(()),
        }
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.sky.lock().timers.remove(&self.timer);
    }
}
