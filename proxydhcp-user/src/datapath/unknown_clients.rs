//! Queues clients whose address belongs to no record, so that they are looked up.
//!
//! Packet threads note such a client's address here without ever waiting. As source addresses can
//! be forged, the queue is bounded.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc::{Receiver, Sender, channel};

/// The number of addresses that may wait to be looked up.
const WAITING: usize = 1024;

/// The packet threads' end of the queue.
#[derive(Debug)]
pub struct UnknownClients {
    waiting: Sender<Ipv4Addr>,
    dropped: AtomicU64,
}

impl UnknownClients {
    /// Creates both ends of the queue.
    pub fn new() -> (Self, Receiver<Ipv4Addr>) {
        let (waiting, receiver) = channel(WAITING);
        let dropped = AtomicU64::new(0);
        (Self { waiting, dropped }, receiver)
    }

    /// Notes that a client has asked. If the queue is full, the request is only counted.
    pub(crate) fn note(&self, address: Ipv4Addr) {
        if self.waiting.try_send(address).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The number of requests whose address was not noted because the queue was full.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_finds_no_room_is_counted() {
        let address = |last| Ipv4Addr::new(10, 0, 0, last);
        let (clients, mut waiting) = UnknownClients::new();
        for _ in 0..WAITING + 3 {
            clients.note(address(1));
        }
        assert_eq!(clients.dropped(), 3);
        assert_eq!(waiting.try_recv(), Ok(address(1)));
        clients.note(address(2));
        assert_eq!(clients.dropped(), 3);
    }
}
