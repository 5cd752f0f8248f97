//! The system's resolver: from a node's name to its addresses, and from a client's address to its
//! name.
//!
//! It is getaddrinfo(3) and getnameinfo(3) on bounded threads, and no resolver of our own, although
//! one could drop a question and a thread cannot: what `getent hosts NODE` prints is what is served,
//! by whatever nsswitch.conf names (files, DNS with its search list, SSSD, LDAP, mDNS), and
//! `resolv.conf` is read as everywhere else. The price is that a dead name server holds a thread for
//! as long as the C library is patient, some 5 to 30 s. So there are few of them, however many names
//! are asked for; nobody waits for them, not even a stop: a runtime with such threads is stopped by
//! `shutdown_background`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use dns_lookup::{AddrInfoHints, LookupError, LookupErrorKind, getaddrinfo, getnameinfo};
use futures_util::{Stream, StreamExt, stream};
use tokio::sync::Semaphore;
use tokio::task;

use crate::hosts::is_client;

/// How many names are asked for at a time.
pub const LOOKUPS: usize = 64;

/// How many addresses are asked for at a time: apart, so that neither holds up the other.
pub const REVERSE_LOOKUPS: usize = 32;

/// Over all questions: one that nobody waits for any more keeps its permit until the system answers.
static PERMITS: Semaphore = Semaphore::const_new(LOOKUPS);
static REVERSE_PERMITS: Semaphore = Semaphore::const_new(REVERSE_LOOKUPS);

/// What the resolver made of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup<T> {
    /// The answer.
    Found(T),
    /// There is none: the name, or the address, is not known.
    Unknown,
    /// It could not be asked, for this reason. It may be known all the same.
    Failed(String),
}

/// The addresses of a name that a client can have, at least one, in ascending order.
pub type Addresses = Lookup<Vec<Ipv4Addr>>;

/// Asks for the IPv4 addresses of the names, [`LOOKUPS`] at a time. Answers come in any order.
pub fn addresses(names: Vec<String>) -> impl Stream<Item = (String, Addresses)> {
    stream::iter(names)
        .map(|name| async {
            let asked = name.clone();
            let answer = ask(&PERMITS, move || addresses_of(&asked)).await;
            (name, answer)
        })
        .buffer_unordered(LOOKUPS)
}

/// Asks for the name of an address.
pub async fn name(address: Ipv4Addr) -> Lookup<String> {
    ask(&REVERSE_PERMITS, move || name_of(address)).await
}

async fn ask<T, F>(permits: &'static Semaphore, question: F) -> Lookup<T>
where
    T: Send + 'static,
    F: FnOnce() -> Lookup<T> + Send + 'static,
{
    let stopping = || Lookup::Failed("the program is stopping".to_owned());
    let Ok(permit) = permits.acquire().await else {
        return stopping();
    };
    let answer = task::spawn_blocking(move || {
        let answer = question();
        drop(permit);
        answer
    });
    answer.await.unwrap_or_else(|_| stopping())
}

fn addresses_of(name: &str) -> Addresses {
    let hints = AddrInfoHints {
        address: libc::AF_INET,
        // One kind of socket, for the system gives each address once for every kind.
        socktype: libc::SOCK_DGRAM,
        ..AddrInfoHints::default()
    };
    let found = match getaddrinfo(Some(name), None, Some(hints)) {
        Ok(found) => found,
        Err(error) => return refusal(error),
    };
    let mut addresses: Vec<_> = found
        .filter_map(|entry| match entry.ok()?.sockaddr.ip() {
            IpAddr::V4(address) if is_client(address) => Some(address),
            _ => None,
        })
        .collect();
    addresses.sort_unstable();
    addresses.dedup();
    if addresses.is_empty() {
        Lookup::Unknown
    } else {
        Lookup::Found(addresses)
    }
}

fn name_of(address: Ipv4Addr) -> Lookup<String> {
    match getnameinfo(&SocketAddr::from((address, 0)), libc::NI_NAMEREQD) {
        Ok((name, _)) => Lookup::Found(name),
        Err(error) => refusal(error),
    }
}

fn refusal<T>(error: LookupError) -> Lookup<T> {
    match error.kind() {
        LookupErrorKind::NoName | LookupErrorKind::NoData => Lookup::Unknown,
        LookupErrorKind::Again => {
            Lookup::Failed("the name server does not answer, or refuses to".to_owned())
        }
        _ => Lookup::Failed(std::io::Error::from(error).to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn the_system_is_asked() {
        let names = ["10.1.2.3", "127.0.0.1", "::1", ""].map(str::to_owned);
        let mut answers: Vec<_> = addresses(names.into()).collect().await;
        answers.sort_by(|a, b| a.0.cmp(&b.0));
        let (found, rest): (Vec<_>, Vec<_>) = answers
            .into_iter()
            .map(|(_, answer)| answer)
            .partition(|answer| matches!(answer, Lookup::Found(_)));
        assert_eq!(found, [Lookup::Found(vec![Ipv4Addr::new(10, 1, 2, 3)])]);
        assert_eq!(rest.len(), 3);
        assert_eq!(
            name(Ipv4Addr::LOCALHOST).await,
            Lookup::Found("localhost".to_owned())
        );
    }

    #[test]
    fn a_question_that_hangs_holds_up_nobody() {
        static ONE: Semaphore = Semaphore::const_new(2);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let (hang, never) = std::sync::mpsc::channel::<()>();
        let hangs = async {
            let question = move || {
                let _ = never.recv();
                Lookup::Unknown::<()>
            };
            tokio::time::timeout(Duration::from_millis(20), ask(&ONE, question)).await
        };
        let quick = || async { ask(&ONE, || Lookup::Found(1)).await };
        let (hung, quick) = runtime.block_on(async { tokio::join!(hangs, quick()) });
        assert!(hung.is_err());
        assert_eq!(quick, Lookup::Found(1));
        assert_eq!(ONE.available_permits(), 1, "the other is held");
        runtime.shutdown_background();
        drop(hang);
    }
}
