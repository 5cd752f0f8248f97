//! The transfers that are running, and how many there may be.

use std::collections::{HashMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::task::AbortHandle;

use super::transfer::Progress;

/// The most transfers at once.
const MOST: usize = 6144;
/// The most for one client: firmware that gives up and asks anew leaves old ones behind.
const MOST_FOR_ONE: usize = 16;
/// A client that has acknowledged nothing new for this long gives way to others: one whose packets get
/// lost answers sooner, even if it has asked for the longest `timeout`.
const SILENT: Duration = Duration::from_secs(10);
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
    /// Until then, no client will have been silent for long.
    lively_until: Option<Instant>,
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
pub(super) struct Shown {
    pub(super) client: SocketAddrV4,
    pub(super) file: Arc<str>,
    pub(super) size: u64,
    pub(super) progress: Arc<Progress>,
}

/// A place among the transfers. Dropping it frees it.
#[derive(Debug)]
pub(super) struct Place {
    transfers: Arc<Transfers>,
    client: SocketAddrV4,
    number: u64,
    pub(super) progress: Arc<Progress>,
}

impl Transfers {
    /// Makes room for as many as this process may have files open.
    pub(super) fn new() -> Self {
        let limit = getrlimit(Resource::Nofile);
        let raised = Rlimit {
            current: limit.maximum,
            ..limit
        };
        let _ = setrlimit(Resource::Nofile, raised);
        let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let most = files.saturating_sub(RESERVE) / FILES;
        Self::with_most(usize::try_from(most).unwrap_or(MOST).clamp(1, MOST))
    }

    fn with_most(most: usize) -> Self {
        Self {
            most,
            state: Mutex::default(),
        }
    }

    /// Takes a place for a client's transfer. If there is none left, or this client has too many, another
    /// (of this client's) yields: the oldest without a sign of life, as its request may have been forged,
    /// or else the one whose client has been silent for longest, if that is long. `None` if this
    /// transfer is running already, or if no place can be had.
    pub(super) fn take_place(self: &Arc<Self>, client: SocketAddrV4) -> Option<Place> {
        self.take_place_at(client, Instant::now())
    }

    fn take_place_at(self: &Arc<Self>, client: SocketAddrV4, now: Instant) -> Option<Place> {
        let mut state = self.state();
        if state.running.contains_key(&client) {
            return None;
        }
        let of_client = state.of_clients.get(client.ip()).map_or(0, Vec::len);
        if of_client >= MOST_FOR_ONE {
            state.end_one_of(*client.ip(), now)?;
        }
        if state.running.len() >= self.most {
            state.end_one(now)?;
        }
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
        Some(Place {
            transfers: Arc::clone(self),
            client,
            number,
            progress,
        })
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
        let shown = begun.map(|(client, running)| Shown {
            client: *client,
            file: Arc::clone(&running.file),
            size: running.size,
            progress: Arc::clone(&running.progress),
        });
        let mut shown: Vec<Shown> = shown.collect();
        shown.sort_by_key(|it| it.progress.since());
        shown
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Ends the oldest transfer whose client has not shown a sign of life, or else the one whose client
    /// has been silent for longest, if it may be ended.
    fn end_one(&mut self, now: Instant) -> Option<()> {
        while let Some((client, number)) = self.came.pop_front() {
            let is_it = |it: &Running| it.number == number && !it.progress.has_begun();
            if self.running.get(&client).is_some_and(is_it) {
                self.end(client);
                return Some(());
            }
        }
        if self.lively_until.is_some_and(|until| now < until) {
            return None;
        }
        let moved = |it: &Running| it.progress.moved();
        let all = self.running.iter().map(|(client, it)| (moved(it), *client));
        let (moved, client) = all.min_by_key(|(moved, _)| *moved)?;
        if now < moved + SILENT {
            self.lively_until = Some(moved + SILENT);
            return None;
        }
        self.end(client);
        Some(())
    }

    /// The same for those of one client's address.
    fn end_one_of(&mut self, client: Ipv4Addr, now: Instant) -> Option<()> {
        let ports = self.of_clients.get(&client).into_iter().flatten();
        let transfers = ports.filter_map(|port| {
            let client = SocketAddrV4::new(client, *port);
            Some((client, &self.running.get(&client)?.progress))
        });
        let (client, progress) = transfers.min_by_key(|(_, it)| (it.has_begun(), it.moved()))?;
        let may_end = !progress.has_begun() || now >= progress.moved() + SILENT;
        may_end.then(|| self.end(client))
    }

    /// Ends a transfer before its time.
    fn end(&mut self, client: SocketAddrV4) {
        let Some(running) = self.running.get(&client) else {
            return;
        };
        if let Some(task) = &running.task {
            task.abort();
        }
        let number = running.number;
        self.remove(client, number);
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
mod tests {
    use super::*;

    fn client(host: u8, port: u16) -> SocketAddrV4 {
        SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, host), port)
    }

    /// Has clients show a sign of life.
    fn begin(transfers: &Transfers, is_it: impl Fn(&SocketAddrV4) -> bool) {
        let mut state = transfers.state();
        let running = state.running.iter_mut().filter(|(client, _)| is_it(client));
        running.for_each(|(_, it)| it.progress.moves(1));
    }

    #[test]
    fn a_request_that_comes_twice_is_one() {
        let transfers = Arc::new(Transfers::with_most(8));
        let first = transfers.take_place(client(1, 1000)).unwrap();
        assert!(transfers.take_place(client(1, 1000)).is_none());
        drop(first);
        assert!(transfers.take_place(client(1, 1000)).is_some());
    }

    #[test]
    fn one_client_does_not_take_all_places() {
        let transfers = Arc::new(Transfers::with_most(100));
        let places: Vec<_> = (0..50)
            .filter_map(|n| transfers.take_place(client(1, 1000 + n)))
            .collect();
        assert_eq!(places.len(), 50, "strangers yield to those that came later");
        assert_eq!(transfers.state().running.len(), MOST_FOR_ONE);
        begin(&transfers, |_| true);
        assert!(transfers.take_place(client(1, 2000)).is_none());
        assert!(transfers.take_place(client(2, 1000)).is_some());
    }

    #[test]
    fn forged_requests_keep_no_client_out() {
        let transfers = Arc::new(Transfers::with_most(100));
        let forged: Vec<_> = (0..16)
            .filter_map(|n| transfers.take_place(client(1, 1000 + n)))
            .collect();
        begin(&transfers, |it| it.port() == 1000);
        let own = transfers.take_place(client(1, 2000));
        assert!(own.is_some());
        let has = |port| transfers.state().running.contains_key(&client(1, port));
        assert_eq!(
            [1000, 1001, 1002, 2000].map(has),
            [true, false, true, true],
            "the oldest stranger yields"
        );
        drop(forged);
        assert_eq!([1000, 1002, 2000].map(has), [false, false, true]);
    }

    #[test]
    fn strangers_yield_the_oldest_first_and_others_do_not() {
        let transfers = Arc::new(Transfers::with_most(3));
        let mut places: Vec<_> = (1..=3)
            .filter_map(|n| transfers.take_place(client(n, 1000)))
            .collect();
        begin(&transfers, |it| *it == client(1, 1000));
        places.push(transfers.take_place(client(4, 1000)).unwrap());
        let has = |n| transfers.state().running.contains_key(&client(n, 1000));
        assert_eq!([1, 2, 3, 4].map(has), [true, false, true, true]);
        // The place of number 2 is dropped when its task has ended, and nobody else's goes with it.
        places.remove(1);
        assert_eq!([1, 2, 3, 4].map(has), [true, false, true, true]);
    }

    #[test]
    fn when_all_have_begun_a_newcomer_waits() {
        let transfers = Arc::new(Transfers::with_most(2));
        let places: Vec<_> = (1..=2)
            .filter_map(|n| transfers.take_place(client(n, 1000)))
            .collect();
        begin(&transfers, |_| true);
        assert!(transfers.take_place(client(3, 1000)).is_none());
        drop(places);
        assert!(transfers.take_place(client(3, 1000)).is_some());
        // What has ended is forgotten in time.
        for n in 0..1000 {
            drop(transfers.take_place(client(3, n)));
        }
        assert!(transfers.state().came.len() <= 5);
    }

    #[test]
    fn the_client_that_has_been_silent_for_longest_yields() {
        let transfers = Arc::new(Transfers::with_most(3));
        let places: Vec<_> = (1..=3)
            .filter_map(|n| transfers.take_place(client(n, 1000)))
            .collect();
        for n in [3, 2, 1] {
            // The clock that counts them has a millisecond's resolution.
            std::thread::sleep(Duration::from_millis(5));
            begin(&transfers, |it| *it == client(n, 1000));
        }
        let soon = places[2].progress.moved() + SILENT;
        let has = |n| transfers.state().running.contains_key(&client(n, 1000));
        let before = soon - Duration::from_millis(1);
        assert!(transfers.take_place_at(client(4, 1000), before).is_none());
        let _fourth = transfers.take_place_at(client(4, 1000), soon).unwrap();
        assert_eq!([1, 2, 3, 4].map(has), [true, true, false, true]);
    }

    #[test]
    fn what_a_client_has_left_behind_keeps_it_out_for_seconds_only() {
        let transfers = Arc::new(Transfers::with_most(100));
        let _places: Vec<_> = (0..16)
            .filter_map(|n| transfers.take_place(client(1, 1000 + n)))
            .collect();
        begin(&transfers, |_| true);
        let now = Instant::now();
        assert!(transfers.take_place_at(client(1, 2000), now).is_none());
        let late = now + SILENT;
        assert!(transfers.take_place_at(client(1, 2000), late).is_some());
    }
}
