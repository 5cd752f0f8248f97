//! The transfers that are running, and how many there may be.

use std::collections::{HashMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::task::AbortHandle;
use tracing::warn;

use super::transfer::Progress;
use crate::sys::descriptors;

/// The most transfers at once.
const MOST: usize = 6144;
/// The most for one client: firmware that gives up and asks anew leaves old ones behind.
const MOST_FOR_ONE: usize = 16;
/// The open files of a transfer: its socket, and the file.
const FILES: u64 = 2;
/// Open files that are for the rest of the daemon.
const RESERVE: u64 = 512;

/// The transfers that are running.
#[derive(Debug)]
pub(super) struct Transfers {
    most: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    running: HashMap<SocketAddrV4, Running>,
    /// Each client's, by the port that it asked from, in the order in which they came.
    of_clients: HashMap<Ipv4Addr, Vec<u16>>,
    /// In the order in which they came; some have ended.
    came: VecDeque<(SocketAddrV4, u64)>,
    next: u64,
    /// Until then, no client is too slow.
    secure_until: Option<Instant>,
}

#[derive(Debug)]
struct Running {
    number: u64,
    progress: Arc<Progress>,
    /// Ends it; missing for the moment between coming and starting.
    task: Option<AbortHandle>,
    file: Arc<str>,
    size: u64,
}

/// A transfer that is running, for the status.
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    pub(crate) client: SocketAddrV4,
    pub(crate) file: Arc<str>,
    pub(crate) size: u64,
    pub(crate) progress: Arc<Progress>,
}

/// A place among the transfers. Dropping it frees it.
#[derive(Debug)]
pub(super) struct Place {
    transfers: Arc<Transfers>,
    client: SocketAddrV4,
    number: u64,
    pub(super) progress: Arc<Progress>,
}

/// A place that was taken.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) place: Place,
    /// The transfer that has yielded to it.
    pub(super) displaced: Option<Shown>,
}

/// Why no place is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoPlace {
    /// The transfer is running already: its request has come again.
    Running,
    /// All places are taken, or too many by this client.
    Full,
}

impl Transfers {
    /// Makes room for as many as this process may have files open.
    pub(super) fn new() -> Self {
        let files = descriptors::provide().unwrap_or_default();
        let most = most_with(files);
        if most < MOST {
            warn!(
                "the limit of {files} open files leaves room for {most} TFTP transfers at once instead \
                 of {MOST}: raise it to {} (LimitNOFILE= of the systemd unit)",
                RESERVE + FILES * MOST as u64
            );
        }
        Self::with_most(most)
    }

    fn with_most(most: usize) -> Self {
        Self {
            most,
            state: Mutex::default(),
        }
    }

    /// Takes a place for a client's transfer. If there is none left, or this client has too many, another
    /// (of this client's) yields: the oldest without a sign of life, as its request may have been forged,
    /// or else the one whose client has been too slow for longest (see [`Progress::secure_until`]).
    ///
    /// # Errors
    ///
    /// If this transfer is running already, or if no place can be had.
    pub(super) fn take_place(self: &Arc<Self>, client: SocketAddrV4) -> Result<Taken, NoPlace> {
        self.take_place_at(client, Instant::now())
    }

    fn take_place_at(
        self: &Arc<Self>,
        client: SocketAddrV4,
        now: Instant,
    ) -> Result<Taken, NoPlace> {
        let mut state = self.state();
        if state.running.contains_key(&client) {
            return Err(NoPlace::Running);
        }
        let of_client = state.of_clients.get(client.ip()).map_or(0, Vec::len);
        let displaced = if of_client >= MOST_FOR_ONE {
            Some(state.end_one_of(*client.ip(), now).ok_or(NoPlace::Full)?)
        } else if state.running.len() >= self.most {
            Some(state.end_one(now).ok_or(NoPlace::Full)?)
        } else {
            None
        };
        state.next += 1;
        let number = state.next;
        let progress = Arc::new(Progress::new());
        let running = Running {
            number,
            progress: Arc::clone(&progress),
            task: None,
            file: Arc::from(""),
            size: 0,
        };
        state.running.insert(client, running);
        let of_client = state.of_clients.entry(*client.ip()).or_default();
        of_client.push(client.port());
        state.came.push_back((client, number));
        state.forget_old(self.most);
        let place = Place {
            transfers: Arc::clone(self),
            client,
            number,
            progress,
        };
        Ok(Taken { place, displaced })
    }

    /// Records how the transfer with this number can be ended.
    pub(super) fn runs_as(&self, client: SocketAddrV4, number: u64, task: AbortHandle) {
        let mut state = self.state();
        let running = state.running.get_mut(&client);
        if let Some(running) = running.filter(|it| it.number == number) {
            running.task = Some(task);
        }
    }

    /// Those that have begun.
    pub(super) fn shown(&self) -> Vec<Shown> {
        let state = self.state();
        let begun = state
            .running
            .iter()
            .filter(|(_, it)| it.progress.has_begun());
        let shown = begun.map(|(client, running)| running.shown(*client));
        let mut shown: Vec<Shown> = shown.collect();
        shown.sort_by_key(|it| it.progress.since());
        shown
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many there may be, if this many files may be open.
fn most_with(files: u64) -> usize {
    let most = files.saturating_sub(RESERVE) / FILES;
    usize::try_from(most).unwrap_or(MOST).clamp(1, MOST)
}

impl Running {
    fn shown(&self, client: SocketAddrV4) -> Shown {
        Shown {
            client,
            file: Arc::clone(&self.file),
            size: self.size,
            progress: Arc::clone(&self.progress),
        }
    }
}

impl State {
    /// Ends the oldest transfer whose client has not shown a sign of life, or else the one whose client
    /// has been too slow for longest.
    fn end_one(&mut self, now: Instant) -> Option<Shown> {
        while let Some((client, number)) = self.came.pop_front() {
            let is_it = |it: &Running| it.number == number && !it.progress.has_begun();
            if self.running.get(&client).is_some_and(is_it) {
                return self.end(client);
            }
        }
        if self.secure_until.is_some_and(|until| now < until) {
            return None;
        }
        let secure = |it: &Running| it.progress.secure_until();
        let all = self
            .running
            .iter()
            .map(|(client, it)| (secure(it), *client));
        let (secure, client) = all.min_by_key(|(secure, _)| *secure)?;
        if now < secure {
            self.secure_until = Some(secure);
            return None;
        }
        self.end(client)
    }

    /// The same for those of one client's address.
    fn end_one_of(&mut self, client: Ipv4Addr, now: Instant) -> Option<Shown> {
        let ports = self.of_clients.get(&client).into_iter().flatten();
        let transfers = ports.filter_map(|port| {
            let client = SocketAddrV4::new(client, *port);
            Some((client, &self.running.get(&client)?.progress))
        });
        let (client, progress) =
            transfers.min_by_key(|(_, it)| (it.has_begun(), it.secure_until()))?;
        let may_end = now >= progress.secure_until();
        may_end.then(|| self.end(client))?
    }

    /// Ends a transfer before its time.
    fn end(&mut self, client: SocketAddrV4) -> Option<Shown> {
        let running = self.running.get(&client)?;
        if let Some(task) = &running.task {
            task.abort();
        }
        let (shown, number) = (running.shown(client), running.number);
        self.remove(client, number);
        Some(shown)
    }

    fn remove(&mut self, client: SocketAddrV4, number: u64) {
        if self
            .running
            .get(&client)
            .is_none_or(|it| it.number != number)
        {
            return;
        }
        self.running.remove(&client);
        if let Some(ports) = self.of_clients.get_mut(client.ip()) {
            ports.retain(|port| *port != client.port());
            if ports.is_empty() {
                self.of_clients.remove(client.ip());
            }
        }
    }

    /// Keeps the list of those that came from growing for ever.
    fn forget_old(&mut self, most: usize) {
        if self.came.len() <= 2 * most {
            return;
        }
        let running = &self.running;
        self.came.retain(|(client, number)| {
            let is_it = |it: &Running| it.number == *number && !it.progress.has_begun();
            running.get(client).is_some_and(is_it)
        });
    }
}

impl Place {
    /// The client whose place it is.
    pub(super) fn client(&self) -> SocketAddrV4 {
        self.client
    }

    /// Its number, which no other has had.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Records what is sent.
    pub(super) fn sends(&self, file: &str, size: u64) {
        let mut state = self.transfers.state();
        let running = state.running.get_mut(&self.client);
        if let Some(running) = running.filter(|it| it.number == self.number) {
            (running.file, running.size) = (Arc::from(file), size);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.transfers.state().remove(self.client, self.number);
    }
}

#[cfg(test)]
mod tests;
