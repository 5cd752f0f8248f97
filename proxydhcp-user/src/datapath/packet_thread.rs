//! The threads that wait for packets: how they are stopped, and how they show that they are alive.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use rustix::event::{EventfdFlags, eventfd};

/// A thread that waits for packets. Dropping it stops the thread and waits for its end.
#[derive(Debug)]
pub(crate) struct PacketThread {
    orders: Arc<Orders>,
    /// `None` once it has been joined.
    thread: Option<JoinHandle<()>>,
}

/// Orders to the thread, which waits for them along with the packets.
#[derive(Debug)]
pub(crate) struct Orders {
    event: OwnedFd,
    stop: AtomicBool,
    /// How often the thread was asked for a sign of life, and the last request it has seen.
    asked: AtomicU64,
    seen: AtomicU64,
}

impl PacketThread {
    /// Starts a thread, which must call [`Orders::stop`] whenever there are orders.
    ///
    /// # Errors
    ///
    /// If the event descriptor or the thread cannot be created.
    pub(crate) fn start(
        name: String,
        work: impl FnOnce(&Orders) + Send + 'static,
    ) -> io::Result<Self> {
        let orders = Arc::new(Orders {
            event: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            stop: AtomicBool::new(false),
            asked: AtomicU64::new(0),
            seen: AtomicU64::new(0),
        });
        let told = Arc::clone(&orders);
        let thread = thread::Builder::new().name(name);
        Ok(Self {
            thread: Some(thread.spawn(move || work(&told))?),
            orders,
        })
    }

    /// Orders the thread to stop, without waiting for it.
    pub(crate) fn stop(&self) {
        self.orders.stop.store(true, Ordering::Release);
        self.orders.tell();
    }

    /// Asks the thread for a sign of life; false if it has not given one since the last call. A
    /// thread that is never asked pays nothing for this.
    pub(crate) fn is_alive(&self) -> bool {
        let Orders { asked, seen, .. } = &*self.orders;
        let is_alive = seen.load(Ordering::Acquire) == asked.load(Ordering::Acquire);
        if is_alive {
            asked.fetch_add(1, Ordering::AcqRel);
            self.orders.tell();
        }
        is_alive
    }

    /// The thread's name.
    pub(crate) fn name(&self) -> &str {
        let thread = self.thread.as_ref().map(JoinHandle::thread);
        thread.and_then(|thread| thread.name()).unwrap_or_default()
    }
}

impl Drop for PacketThread {
    fn drop(&mut self) {
        self.stop();
        if let Some(thread) = self.thread.take() {
            // If it has panicked, the panic was logged.
            let _ = thread.join();
        }
    }
}

impl Orders {
    /// Takes pending orders; returns whether the thread should stop.
    pub(crate) fn stop(&self) -> bool {
        // There may be no order; then the read fails.
        let _ = rustix::io::read(&self.event, &mut [0; 8]);
        self.seen
            .store(self.asked.load(Ordering::Acquire), Ordering::Release);
        self.stop.load(Ordering::Acquire)
    }

    /// Whether the thread should stop, for a thread in the midst of its work.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    fn tell(&self) {
        // Writing to an open event descriptor does not fail.
        let _ = rustix::io::write(&self.event, &1_u64.to_ne_bytes());
    }
}

impl AsFd for Orders {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use rustix::event::{PollFd, PollFlags, poll};

    use super::*;

    fn wait(orders: &Orders) {
        poll(&mut [PollFd::new(orders, PollFlags::IN)], None).unwrap();
    }

    /// Waits until the thread has taken its orders.
    fn until_alive(thread: &PacketThread) {
        let started = Instant::now();
        while !thread.is_alive() {
            assert!(started.elapsed() < Duration::from_secs(10));
            thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn a_thread_that_waits_is_alive_until_it_is_dropped() {
        let thread = PacketThread::start("waits".to_owned(), |orders| {
            while !orders.stop() {
                wait(orders);
            }
        })
        .unwrap();
        assert_eq!(thread.name(), "waits");
        for _ in 0..100 {
            until_alive(&thread);
        }
        let orders = Arc::clone(&thread.orders);
        drop(thread);
        assert_eq!(Arc::strong_count(&orders), 1, "the thread has ended");
    }

    #[test]
    fn a_thread_that_is_stuck_or_has_ended_is_not() {
        let (go_on, stuck) = std::sync::mpsc::channel::<()>();
        let thread = PacketThread::start("stuck".to_owned(), move |orders| {
            let _ = stuck.recv();
            orders.stop();
        })
        .unwrap();
        assert!(thread.is_alive(), "it was not asked before");
        for _ in 0..3 {
            assert!(!thread.is_alive());
        }
        go_on.send(()).unwrap();
        until_alive(&thread);
        for _ in 0..3 {
            assert!(!thread.is_alive());
        }
    }
}
