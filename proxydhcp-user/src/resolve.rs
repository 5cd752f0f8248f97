//! The system resolver, for names that the hosts file lacks.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use tokio::sync::Semaphore;
use tokio::task;
use tokio::time::timeout;

use crate::hosts::is_client;

/// How many names are asked for at a time.
pub const LOOKUPS: usize = 64;

/// Over all resolutions: a look-up cannot be stopped, so one that was given up on keeps its permit
/// until the system answers. A dead name server thus holds 64 threads, however often it is asked.
static PERMITS: Semaphore = Semaphore::const_new(LOOKUPS);

/// What the resolver made of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// Its addresses that a client can have, at least one.
    Found(Vec<Ipv4Addr>),
    /// It has none, or the resolver failed.
    Unknown,
    /// The time was up before the resolver answered.
    OutOfTime,
}

/// Asks the system resolver (getaddrinfo) for the IPv4 addresses of `names`, 64 at a time, and
/// returns after `limit` at the latest. The answers are in the order of the names.
///
/// Look-ups run on blocking threads that outlive this call when they are out of time: a runtime
/// with such threads is stopped by `shutdown_background`.
pub async fn resolve(names: Vec<String>, limit: Duration) -> Vec<Lookup> {
    resolve_by(names, limit, |name| {
        Ok((name, 0).to_socket_addrs()?.collect())
    })
    .await
}

async fn resolve_by<F>(names: Vec<String>, limit: Duration, resolver: F) -> Vec<Lookup>
where
    F: Fn(&str) -> io::Result<Vec<SocketAddr>> + Copy + Send + 'static,
{
    let mut answers = vec![Lookup::OutOfTime; names.len()];
    // A timeout polls its future first, which would ask even in no time at all.
    if limit.is_zero() {
        return answers;
    }
    let mut lookups = stream::iter(names.into_iter().enumerate())
        .map(|(index, name)| async move { (index, lookup(name, resolver).await) })
        // In any order: a slow answer must not keep the names after it waiting.
        .buffer_unordered(LOOKUPS);
    let collect = async {
        while let Some((index, lookup)) = lookups.next().await {
            if let Some(answer) = answers.get_mut(index) {
                *answer = lookup;
            }
        }
    };
    // Out of time is what the answers say already.
    let _ = timeout(limit, collect).await;
    answers
}

async fn lookup<F>(name: String, resolver: F) -> Lookup
where
    F: Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + 'static,
{
    let Ok(permit) = PERMITS.acquire().await else {
        return Lookup::Unknown;
    };
    let answer = task::spawn_blocking(move || {
        let answer = resolver(&name);
        drop(permit);
        answer
    });
    let Ok(Ok(answer)) = answer.await else {
        return Lookup::Unknown;
    };
    let mut addresses: Vec<_> = answer
        .iter()
        .filter_map(|address| match address.ip() {
            IpAddr::V4(address) if is_client(address) => Some(address),
            _ => None,
        })
        .collect();
    // The system gives each address once for every socket type.
    addresses.sort_unstable();
    addresses.dedup();
    if addresses.is_empty() {
        Lookup::Unknown
    } else {
        Lookup::Found(addresses)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Instant;

    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    #[tokio::test]
    async fn the_system_resolver_is_asked() {
        let names = names(&["10.1.2.3", "127.0.0.1", "::1", ""]);
        let answers = resolve(names, Duration::from_secs(20)).await;
        assert_eq!(answers[0], Lookup::Found(vec![Ipv4Addr::new(10, 1, 2, 3)]));
        assert_eq!(
            answers[1..],
            [Lookup::Unknown, Lookup::Unknown, Lookup::Unknown]
        );
    }

    #[tokio::test]
    async fn answers_keep_the_order_of_the_names() {
        let names: Vec<_> = (1..=250).map(|host| format!("10.0.0.{host}")).collect();
        let answers = resolve_by(names, Duration::from_secs(20), |name| {
            thread::sleep(Duration::from_millis(u64::from(name.len() % 2 == 0)));
            Ok(vec![SocketAddr::new(name.parse().unwrap(), 0); 3])
        });
        for (host, answer) in (1..).zip(answers.await) {
            assert_eq!(answer, Lookup::Found(vec![Ipv4Addr::new(10, 0, 0, host)]));
        }
    }

    #[test]
    fn a_resolver_that_hangs_is_given_up_on() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let started = Instant::now();
        let answers = runtime.block_on(resolve_by(
            names(&["quick", "slow"]),
            Duration::from_millis(300),
            |name| {
                thread::sleep(Duration::from_secs(if name == "slow" { 3 } else { 0 }));
                Ok(vec![SocketAddr::from(([10, 0, 0, 1], 0))])
            },
        ));
        runtime.shutdown_background();
        assert!(started.elapsed() < Duration::from_secs(2));
        assert_eq!(
            answers,
            [
                Lookup::Found(vec![Ipv4Addr::new(10, 0, 0, 1)]),
                Lookup::OutOfTime
            ]
        );
    }

    #[tokio::test]
    async fn no_time_asks_nobody() {
        let answers = resolve_by(names(&["a", "b"]), Duration::ZERO, |_| unreachable!());
        assert_eq!(answers.await, [Lookup::OutOfTime, Lookup::OutOfTime]);
    }
}
