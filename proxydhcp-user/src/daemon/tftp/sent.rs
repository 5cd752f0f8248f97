//! The lines about files that were sent: a client that fetches one again and again does not fill the log.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::info;

/// The most lines about one client in a minute. A WinPE takes some 20 files.
const MOST: u64 = 100;
const A_MINUTE: Duration = Duration::from_mins(1);

/// What was sent within the last minute or so.
#[derive(Debug, Default)]
pub(super) struct SentFiles(Mutex<Recent>);

#[derive(Debug, Default)]
struct Recent {
    clients: HashMap<Ipv4Addr, Minute>,
    /// When those whose minute is over were last looked for.
    cleared: Option<Instant>,
}

/// What one client has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Minute {
    began: Instant,
    files: u64,
    /// Those without a line of their own, and their bytes.
    left_out: u64,
    bytes: u64,
}

impl SentFiles {
    /// Whether there is to be a line about one more file for this client. What was left out before is
    /// logged.
    pub(super) fn is_logged(&self, client: Ipv4Addr, bytes: u64) -> bool {
        let (is_logged, over) = self.add(client, bytes, Instant::now());
        for (
            client,
            Minute {
                left_out, bytes, ..
            },
        ) in over
        {
            info!(%client, bytes, "sent {left_out} more files within a minute");
        }
        is_logged
    }

    /// Adds a file. Returns whether it gets a line, and whose minute is over with some left out.
    fn add(&self, client: Ipv4Addr, bytes: u64, now: Instant) -> (bool, Vec<(Ipv4Addr, Minute)>) {
        let mut recent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let over = recent.clear(now);
        let minute = recent.clients.entry(client).or_insert(Minute {
            began: now,
            files: 0,
            left_out: 0,
            bytes: 0,
        });
        minute.files += 1;
        let is_logged = minute.files <= MOST;
        if !is_logged {
            minute.left_out += 1;
            minute.bytes += bytes;
        }
        (is_logged, over)
    }
}

impl Recent {
    /// Forgets those whose minute is over, once a second. Returns those with some files left out.
    fn clear(&mut self, now: Instant) -> Vec<(Ipv4Addr, Minute)> {
        let is_early = |cleared| now.duration_since(cleared) < Duration::from_secs(1);
        if self.cleared.is_some_and(is_early) {
            return Vec::new();
        }
        self.cleared = Some(now);
        let is_over = |_: &Ipv4Addr, it: &mut Minute| now.duration_since(it.began) >= A_MINUTE;
        let over = self.clients.extract_if(is_over);
        over.filter(|(_, it)| it.left_out > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_gets_so_many_lines_a_minute_and_one_about_the_others() {
        let [one, other] = [1, 2].map(|n| Ipv4Addr::new(10, 0, 0, n));
        let (sent, now) = (SentFiles::default(), Instant::now());
        let lines = (0..1000).filter(|_| sent.add(one, 7, now).0).count();
        assert_eq!(lines, 100);
        assert_eq!(sent.add(other, 7, now), (true, Vec::new()));
        let (is_logged, over) = sent.add(other, 7, now + A_MINUTE);
        assert!(is_logged);
        let [(client, minute)] = over[..] else {
            panic!("{over:?}")
        };
        assert_eq!((client, minute.left_out, minute.bytes), (one, 900, 6300));
        assert_eq!(sent.add(one, 7, now + A_MINUTE), (true, Vec::new()));
    }
}
