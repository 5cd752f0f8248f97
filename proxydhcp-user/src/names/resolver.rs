//! The system's resolver: finds the addresses of a node's name, and the name of a client's address.
//!
//! It calls getaddrinfo(3) and getnameinfo(3) on a bounded number of threads, instead of a resolver
//! of our own, although that could drop a question and a thread cannot. So what `getent hosts NODE`
//! prints is what is served, from any source that nsswitch.conf names (files, DNS with its search
//! list, SSSD, LDAP, mDNS), and `resolv.conf` is read as everywhere else. The price is that a dead
//! name server occupies a thread for as long as the C library waits, some 5 to 30 s. Therefore
//! there are a few hundred threads at most, however many names are asked for, and most are reserved
//! for slow questions, so that these do not delay the others. Nothing waits for a thread, not even
//! a stop: a runtime with such threads is stopped by `shutdown_background`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dns_lookup::{AddrInfoHints, LookupError, LookupErrorKind, getaddrinfo, getnameinfo};
use futures_util::{Stream, StreamExt, stream};
use proxydhcp_common::wire::is_client;
use tokio::sync::Semaphore;
use tokio::task;
use tokio::time::timeout;

mod forms;

use forms::{forms, search_list};

/// The number of names asked for at a time, including slow ones.
const LOOKUPS: usize = 256;

/// Shared by all questions, so that a dead name server occupies no more threads however often it is
/// asked. Names and addresses have separate threads, so that they do not delay each other.
static NAMES: Lanes = Lanes::new(64, LOOKUPS - 64);

static ADDRESSES: Lanes = Lanes::new(32, REVERSE_LOOKUPS - 32);

/// The number of addresses asked for at a time, including slow ones.
pub const REVERSE_LOOKUPS: usize = 128;

/// A question that takes longer counts as a slow one, and makes room for others.
const QUICK: Duration = Duration::from_millis(250);

/// The outcome of a question to the resolver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolution<T> {
    /// The answer.
    Found(T),
    /// There is no answer, because the name or the address is not known.
    Unknown,
    /// The resolver could not be asked, for this reason. The name or address may exist all the
    /// same.
    Failed(String),
}

/// The addresses of a name that a client can have, at least one, in ascending order.
pub type Addresses = Resolution<Vec<Ipv4Addr>>;

/// Asks for the IPv4 addresses of the names, many at a time. Answers come in any order.
pub fn addresses(names: Vec<String>) -> impl Stream<Item = (String, Addresses)> {
    let domains = Arc::new(search_list());
    stream::iter(names)
        .map(move |name| {
            let (asked, domains) = (name.clone(), Arc::clone(&domains));
            async move {
                let answer = NAMES.ask(move || addresses_of(&asked, &domains)).await;
                (name, answer)
            }
        })
        .buffer_unordered(LOOKUPS)
}

/// Asks for the name of an address.
pub async fn name(address: Ipv4Addr) -> Resolution<String> {
    ADDRESSES.ask(move || name_of(address)).await
}

/// The threads that questions may occupy.
struct Lanes {
    quick: Semaphore,
    slow: Semaphore,
}

impl Lanes {
    const fn new(quick: usize, slow: usize) -> Self {
        Self {
            quick: Semaphore::const_new(quick),
            slow: Semaphore::const_new(slow),
        }
    }

    /// Asks on a thread of its own. A question whose asker has gone keeps its thread until the
    /// system answers.
    async fn ask<T, F>(&'static self, question: F) -> Resolution<T>
    where
        T: Send + 'static,
        F: FnOnce() -> Resolution<T> + Send + 'static,
    {
        let stopping = |_| Resolution::Failed("the program is stopping".to_owned());
        let place = match self.quick.acquire().await {
            Ok(place) => Arc::new(Mutex::new(place)),
            Err(closed) => return stopping(closed.to_string()),
        };
        let held = Arc::clone(&place);
        let mut answer = task::spawn_blocking(move || {
            let answer = question();
            drop(held);
            answer
        });
        if let Ok(answer) = timeout(QUICK, &mut answer).await {
            return answer.unwrap_or_else(|error| stopping(error.to_string()));
        }
        if let Ok(slow) = self.slow.try_acquire() {
            *place.lock().unwrap_or_else(PoisonError::into_inner) = slow;
        }
        drop(place);
        answer
            .await
            .unwrap_or_else(|error| stopping(error.to_string()))
    }
}

/// The addresses of a name. A denial is believed only if every form of the name that the C library
/// tries is denied: the library reports the last result, which may be a denial although the form
/// that exists got no answer.
fn addresses_of(name: &str, domains: &[String]) -> Addresses {
    let denies = |answer: &Addresses| *answer == Resolution::Unknown;
    let answer = ask(name);
    if !denies(&answer) {
        return answer;
    }
    let mut answers = forms(name, domains).map(|form| ask(&form));
    answers.find(|answer| !denies(answer)).unwrap_or(answer)
}

fn ask(name: &str) -> Addresses {
    let hints = AddrInfoHints {
        address: libc::AF_INET,
        // One type of socket, because the system returns each address once for every type.
        socktype: libc::SOCK_DGRAM,
        ..AddrInfoHints::default()
    };
    let found = match getaddrinfo(Some(name), None, Some(hints)) {
        Ok(found) => found,
        Err(error) => return refusal(error),
    };
    let mut addresses: Vec<_> = found
        .filter_map(|entry| match entry.ok()?.sockaddr.ip() {
            IpAddr::V4(address) if is_client(address.octets()) => Some(address),
            _ => None,
        })
        .collect();
    addresses.sort_unstable();
    addresses.dedup();
    if addresses.is_empty() {
        Resolution::Unknown
    } else {
        Resolution::Found(addresses)
    }
}

fn name_of(address: Ipv4Addr) -> Resolution<String> {
    match getnameinfo(&SocketAddr::from((address, 0)), libc::NI_NAMEREQD) {
        Ok((name, _)) => Resolution::Found(name),
        Err(error) => refusal(error),
    }
}

fn refusal<T>(error: LookupError) -> Resolution<T> {
    match error.kind() {
        LookupErrorKind::NoName | LookupErrorKind::NoData => Resolution::Unknown,
        LookupErrorKind::Again => {
            Resolution::Failed("the name server does not answer, or refuses to".to_owned())
        }
        _ => Resolution::Failed(std::io::Error::from(error).to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_system_is_asked() {
        let names = ["10.1.2.3", "127.0.0.1", "::1", ""].map(str::to_owned);
        let mut answers: Vec<_> = addresses(names.into()).collect().await;
        answers.sort_by(|a, b| a.0.cmp(&b.0));
        let (found, rest): (Vec<_>, Vec<_>) = answers
            .into_iter()
            .map(|(_, answer)| answer)
            .partition(|answer| matches!(answer, Resolution::Found(_)));
        assert_eq!(found, [Resolution::Found(vec![Ipv4Addr::new(10, 1, 2, 3)])]);
        assert_eq!(rest.len(), 3);
        assert_eq!(
            name(Ipv4Addr::LOCALHOST).await,
            Resolution::Found("localhost".to_owned())
        );
    }

    #[test]
    fn questions_that_hang_hold_up_neither_others_nor_the_end() {
        static LANES: Lanes = Lanes::new(2, 3);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let (hang, never) = std::sync::mpsc::channel::<()>();
        let never = Arc::new(Mutex::new(never));
        let hang_one = || {
            let never = Arc::clone(&never);
            LANES.ask(move || {
                let _ = never.lock().unwrap().recv();
                Resolution::Unknown::<u32>
            })
        };
        runtime.block_on(async {
            // As many as the slow places, and one that occupies a quick one.
            let hung = [(); 4].map(|()| timeout(QUICK * 6, hang_one()));
            let quick = stream::iter(0..50).then(|n| LANES.ask(move || Resolution::Found(n)));
            let (hung, quick) = tokio::join!(
                futures_util::future::join_all(hung),
                quick.collect::<Vec<_>>()
            );
            assert!(hung.iter().all(Result::is_err));
            assert_eq!(quick, (0..50).map(Resolution::Found).collect::<Vec<_>>());
            let left = (&LANES.quick, &LANES.slow);
            let left = (left.0.available_permits(), left.1.available_permits());
            assert_eq!(left, (1, 0), "abandoned questions hold them");
        });
        runtime.shutdown_background();
        drop(hang);
    }
}
