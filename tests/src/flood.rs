//! Floods: frames as fast as the wire takes them, and how many it took.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::packet::{BATCH, FrameSender};
use crate::{CLIENT_INTERFACE, Namespace};

/// Frames that are sent over and over by the clients of a lab.
#[derive(Debug)]
pub struct Flood {
    sender: FrameSender,
    frames: Vec<Vec<u8>>,
    threads: usize,
    over: AtomicBool,
    sent: AtomicU64,
    unsent: AtomicU64,
}

impl Flood {
    /// Prepares a flood of these frames from the clients' namespace, sent by this many threads.
    ///
    /// # Errors
    /// If the clients' interface cannot be opened.
    pub fn new(clients: &Namespace, frames: Vec<Vec<u8>>, threads: usize) -> Result<Self> {
        Ok(Self {
            sender: FrameSender::open(clients, CLIENT_INTERFACE)?,
            frames,
            threads,
            over: AtomicBool::new(false),
            sent: AtomicU64::new(0),
            unsent: AtomicU64::new(0),
        })
    }

    /// Sends from other threads until `work` has ended.
    ///
    /// # Errors
    /// That of `work`, or that of the wire, unless it was only full for the moment.
    pub fn during<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        self.over.store(false, Relaxed);
        thread::scope(|scope| {
            let senders: Vec<_> = (0..self.threads)
                .map(|_| scope.spawn(|| self.send()))
                .collect();
            let worked = work();
            self.over.store(true, Relaxed);
            for sender in senders {
                let sent = sender.join().ok().context("a sender panicked")?;
                sent.context("the flood has ended early")?;
            }
            worked
        })
    }

    fn send(&self) -> io::Result<()> {
        for batch in self.frames.chunks(BATCH).cycle() {
            if self.over.load(Relaxed) {
                break;
            }
            let sent = match self.sender.send_batch(batch) {
                Ok(sent) => sent,
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => 0,
                Err(error) => {
                    return Err(error);
                }
            };
            self.sent.fetch_add(sent as u64, Relaxed);
            self.unsent.fetch_add((batch.len() - sent) as u64, Relaxed);
        }
        Ok(())
    }

    /// How many frames the wire has taken so far.
    pub fn sent(&self) -> u64 {
        self.sent.load(Relaxed)
    }

    /// How many frames a full wire has not taken so far.
    pub fn unsent(&self) -> u64 {
        self.unsent.load(Relaxed)
    }

    /// Waits until the wire has taken `count` frames more.
    ///
    /// # Errors
    /// If it has not within `patience`.
    pub fn await_more(&self, count: u64, patience: Duration) -> Result<()> {
        let (started, before) = (Instant::now(), self.sent());
        while self.sent() - before < count {
            ensure!(
                started.elapsed() < patience,
                "no flood: {} frames went out in {patience:?}, of which {count} were to",
                self.sent() - before
            );
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::Lab;
    use crate::link;

    const PATIENCE: Duration = Duration::from_secs(20);

    #[test]
    fn what_went_out_is_counted_and_a_wire_that_is_down_is_an_error() {
        let lab = Lab::new().unwrap();
        let flood = Flood::new(&lab.client, vec![vec![0xff; 60]; BATCH], 2).unwrap();
        flood.during(|| flood.await_more(1000, PATIENCE)).unwrap();
        assert!(flood.sent() >= 1000);
        link::set_down(&lab.client, CLIENT_INTERFACE).unwrap();
        let sent = flood.sent();
        flood
            .during(|| flood.await_more(1, Duration::from_millis(200)))
            .unwrap_err();
        assert_eq!(flood.sent(), sent);
    }
}
