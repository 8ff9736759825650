//! A task that whoever feeds it may carry on at once, in his own thread.
//!
//! *Place*: [`super::Outgoing`] runs the sending end of each pair of stores in one.
//!
//! *Why*: what a worker hands to a task waits until a thread of the runtime wakes up. A put of one client waits for that
//! twice, on a machine with time to spare; writing to the socket itself costs the worker less than waking another thread.
//!
//! *Life of a feeding*: the feeder hands something over, which would wake the task → it does not, for this feeder → he
//! polls the task until it has to wait. Whatever it waits for then wakes it in the runtime, as ever. If the runtime polls
//! it at the moment, it is woken once more.
//!
//! *Invariants*: one thread polls at a time. A wake that is swallowed is followed by a poll or another wake. Nobody carries on
//! what the runtime has dropped: when it shuts down, the task is over for its feeders too.
//!
//! *Next stop*: [`super::outgoing`].

use futures::future::BoxFuture;
use futures::task::AtomicWaker;
use parking_lot::Mutex;
use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::ptr;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use tokio::runtime::Handle;

thread_local! {
    /// Which task this thread feeds.
    static FEEDS: Cell<*const Driven> = const { Cell::new(ptr::null()) };
}

/// A task of a runtime.
pub(super) struct Driven {
    /// None once it has ended.
    future: Mutex<Option<BoxFuture<'static, ()>>>,
    runtime: Handle,
    /// Has it polled by the runtime.
    task: AtomicWaker,
}

impl Driven {
    /// Starts a task.
    pub(super) fn spawn(
        runtime: Handle,
        future: impl Future<Output = ()> + Send + 'static,
    ) -> Arc<Self> {
        let driven = Arc::new(Self {
            future: Mutex::new(Some(Box::pin(future))),
            runtime,
            task: AtomicWaker::new(),
        });
        driven.runtime.spawn(Task(driven.clone()));
        driven
    }

    /// Hands something over and carries the task on.
    pub(super) fn feed<T>(self: &Arc<Self>, give: impl FnOnce() -> T) -> T {
        FEEDS.set(Arc::as_ptr(self));
        let given = give();
        FEEDS.set(ptr::null());
        match self.future.try_lock() {
            Some(mut future) => {
                let _runtime = self.runtime.enter();
                if self.poll(&mut future).is_ready() {
                    self.task.wake();
                }
            }
            None => self.task.wake(),
        }
        given
    }

    fn poll(self: &Arc<Self>, future: &mut Option<BoxFuture<'static, ()>>) -> Poll<()> {
        let waker = Waker::from(self.clone());
        let polled = future.as_mut().map_or(Poll::Ready(()), |future| {
            future.as_mut().poll(&mut Context::from_waker(&waker))
        });
        if polled.is_ready() {
            *future = None;
        }
        polled
    }
}

impl Wake for Driven {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if FEEDS.get() != Arc::as_ptr(self) {
            self.task.wake();
        }
    }
}

/// The runtime's hold on it.
struct Task(Arc<Driven>);

impl Future for Task {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let driven = &self.0;
        driven.task.register(context.waker());
        driven.poll(&mut driven.future.lock())
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        *self.0.future.lock() = None;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::mpsc as std_mpsc;
    use std::thread;
    use std::time::Duration;
    use tokio::runtime::Builder;
    use tokio::sync::{mpsc, oneshot};

    const PATIENCE: Duration = Duration::from_secs(20);

    #[test]
    fn who_feeds_it_carries_it_on_and_wakes_nobody() {
        let runtime = Builder::new_current_thread().build().unwrap();
        let run = || {
            runtime.block_on(async {
                for _ in 0..10 {
                    tokio::task::yield_now().await;
                }
            });
        };
        let (sender, mut receiver) = mpsc::channel(8);
        let (told, heard) = std_mpsc::channel();
        let polls = Arc::new(AtomicU32::new(0));
        let polled = polls.clone();
        let driven = Driven::spawn(
            runtime.handle().clone(),
            std::future::poll_fn(move |context| {
                polled.fetch_add(1, Ordering::Relaxed);
                while let Poll::Ready(Some(number)) = receiver.poll_recv(context) {
                    told.send(number).unwrap();
                }
                Poll::<()>::Pending
            }),
        );
        run();
        for number in 0..100 {
            driven.feed(|| sender.try_send(number).unwrap());
            assert_eq!(heard.try_recv().unwrap(), number);
            run();
        }
        assert_eq!(polls.load(Ordering::Relaxed), 101);
        sender.try_send(100).unwrap();
        run();
        assert_eq!(heard.try_recv().unwrap(), 100, "others wake it");
    }

    #[test]
    fn nothing_gets_lost_between_two_feeders_and_the_runtime() {
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .build()
            .unwrap();
        let (sender, mut receiver) = mpsc::channel(1024);
        let (told, heard) = std_mpsc::channel();
        let driven = Driven::spawn(runtime.handle().clone(), async move {
            while let Some(number) = receiver.recv().await {
                told.send(number).unwrap();
            }
        });
        let begun = AtomicU32::new(0);
        thread::scope(|scope| {
            let start = |feeds: bool| {
                let (go, gone) = std_mpsc::channel();
                let (driven, sender, begun) = (&driven, &sender, &begun);
                scope.spawn(move || {
                    for number in gone {
                        // All three at once.
                        while begun.load(Ordering::Relaxed) < number {
                            thread::yield_now();
                        }
                        if feeds {
                            driven.feed(|| sender.try_send(number)).unwrap();
                        } else {
                            sender.try_send(number).unwrap();
                        }
                    }
                });
                go
            };
            let threads = [true, true, false].map(start);
            // What is lost in a round is not made good by the next: that waits for it.
            for round in 0..5_000 {
                for go in &threads {
                    go.send(round).unwrap();
                }
                begun.store(round, Ordering::Relaxed);
                for _ in &threads {
                    assert_eq!(heard.recv_timeout(PATIENCE), Ok(round));
                }
            }
        });
    }

    #[test]
    fn what_is_fed_while_the_runtime_polls_is_seen() {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .build()
            .unwrap();
        let (polls, polled) = std_mpsc::channel();
        let (go, gone) = std_mpsc::channel();
        let (sender, mut receiver) = mpsc::channel(8);
        let driven = Driven::spawn(
            runtime.handle().clone(),
            std::future::poll_fn(move |context| {
                let seen = receiver.poll_recv(context).is_ready();
                polls.send(seen).unwrap();
                if !seen {
                    // It has looked, and is still at it.
                    gone.recv_timeout(PATIENCE).unwrap();
                }
                if seen { Poll::Ready(()) } else { Poll::Pending }
            }),
        );
        assert!(!polled.recv_timeout(PATIENCE).unwrap());
        driven.feed(|| sender.try_send(())).unwrap();
        go.send(()).unwrap();
        assert!(polled.recv_timeout(PATIENCE).unwrap());
    }

    #[test]
    fn timers_work_in_any_thread_and_an_end_is_an_end() {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_time()
            .build()
            .unwrap();
        let (go, gone) = oneshot::channel::<()>();
        let (ends, ended) = std_mpsc::channel();
        let driven = Driven::spawn(runtime.handle().clone(), async move {
            gone.await.unwrap();
            // It is made in the feeder's thread, and goes off in the runtime's.
            tokio::time::sleep(Duration::from_millis(1)).await;
            ends.send(thread::current().id()).unwrap();
        });
        driven.feed(|| go.send(()).unwrap());
        let thread = ended.recv_timeout(PATIENCE).unwrap();
        assert_ne!(thread, thread::current().id());
        driven.feed(|| ());
    }

    #[test]
    fn a_runtime_that_shuts_down_takes_its_tasks_along() {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_time()
            .build()
            .unwrap();
        let (sender, mut receiver) = mpsc::channel(8);
        let driven = Driven::spawn(runtime.handle().clone(), async move {
            while let Some(()) = receiver.recv().await {
                // Without a runtime there would be no timer.
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        driven.feed(|| sender.try_send(())).unwrap();
        drop(runtime);
        let given = driven.feed(|| sender.try_send(()));
        assert!(given.is_err(), "the task is gone");
        let spawned = Driven::spawn(driven.runtime.clone(), std::future::pending());
        assert!(spawned.future.lock().is_none());
    }
}
