//! Remembers the last clients whose address is one node's, and whose hardware address is another's, for
//! the status.

use std::sync::{Mutex, TryLockError};
use std::time::Instant;

use proxydhcp_common::slow_path::Identity;

/// The number of clients that are remembered.
const REMEMBERED: usize = 16;

/// A client that was not answered, because it is two nodes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Confused {
    pub(crate) identity: Identity,
    /// The number of its requests.
    pub(crate) requests: u64,
    /// When the last one came.
    pub(crate) last: Instant,
}

/// The last such clients.
#[derive(Debug, Default)]
pub struct ConfusedClients(Mutex<Vec<Confused>>);

impl ConfusedClients {
    /// Notes that such a client has asked. A packet thread waits for nobody: while another thread is
    /// here, the request is only counted elsewhere.
    pub(crate) fn note(&self, identity: Identity) {
        let mut clients = match self.0.try_lock() {
            Ok(clients) => clients,
            Err(TryLockError::Poisoned(clients)) => clients.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        let last = Instant::now();
        if let Some(known) = clients.iter_mut().find(|it| it.identity == identity) {
            known.requests += 1;
            known.last = last;
            return;
        }
        if clients.len() == REMEMBERED {
            clients.remove(0);
        }
        clients.push(Confused {
            identity,
            requests: 1,
            last,
        });
    }

    /// The last such clients, the newest last.
    pub(crate) fn all(&self) -> Vec<Confused> {
        let clients = self.0.lock();
        clients
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_clients_are_remembered_each_once() {
        let client = |last| Identity {
            address: [10, 0, 0, last],
            mac: None,
            uuid: None,
        };
        let clients = ConfusedClients::default();
        for last in (0..20).chain([19]) {
            clients.note(client(last));
        }
        let all = clients.all();
        assert_eq!((all.len(), all[0].identity), (REMEMBERED, client(4)));
        assert_eq!((all[15].identity, all[15].requests), (client(19), 2));
    }
}
