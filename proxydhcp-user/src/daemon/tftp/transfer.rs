//! One client reads one file: windows of blocks, each acknowledged (RFC 1350, RFC 7440).

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::net::UdpSocket;
use tokio::time::timeout_at;

use super::blocks::Blocks;
use crate::tftp::packet::{Agreed, Code, Refusal, Reply, reply};

/// How long to wait for an acknowledgement before it is known how fast the client is.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const SHORTEST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(8);
/// How often something is sent before the client's first sign of life. The source of its request may
/// be forged, and whoever it belongs to must not be flooded.
const TRIES_OF_A_STRANGER: u32 = 3;
/// How often it is sent later: for half a minute.
const TRIES: u32 = 8;
/// The slowest client whose place nobody else may have, in bytes a second: a fifth of what each has where
/// 6,000 share a gigabit, and less than a block of 512 bytes for each round trip of 100 ms.
pub(super) const SLOWEST: u64 = 4096;
/// How long a client may be slower than that: one whose packets get lost answers sooner, even if it has
/// asked for the longest `timeout`.
pub(super) const GRACE: Duration = Duration::from_secs(10);
const UNREADABLE: Refusal = Refusal::new(Code::Undefined, "the file cannot be read");
/// An acknowledgement, or the beginning of an error.
const REPLY_LEN: usize = 16;

/// What a transfer has done so far.
#[derive(Debug)]
pub(crate) struct Progress {
    /// When it was asked for.
    since: Instant,
    /// The client has shown that the request was its own.
    begun: AtomicBool,
    /// Until when its place is its own, in microseconds after that.
    secure: AtomicU64,
    /// The bytes that it has.
    bytes: AtomicU64,
    /// The blocks that were sent again.
    repeated: AtomicU64,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self {
            since: Instant::now(),
            begun: AtomicBool::new(false),
            secure: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            repeated: AtomicU64::new(0),
        }
    }

    /// The client has the first `bytes` of the file.
    pub(super) fn moves(&self, bytes: u64) {
        self.moves_at(bytes, Instant::now());
    }

    /// What a client acknowledges buys the time that the slowest one would take for it, and no more than
    /// [`GRACE`] in advance.
    pub(super) fn moves_at(&self, bytes: u64, now: Instant) {
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let now = micros(now.saturating_duration_since(self.since));
        let most = now.saturating_add(micros(GRACE));
        let secure = if self.has_begun() {
            let more = bytes.saturating_sub(self.bytes());
            let earned = more.saturating_mul(1_000_000) / SLOWEST;
            let secure = self.secure.load(Ordering::Relaxed).max(now);
            secure.saturating_add(earned).min(most)
        } else {
            most
        };
        self.secure.store(secure, Ordering::Relaxed);
        self.bytes.store(bytes, Ordering::Relaxed);
        self.begun.store(true, Ordering::Relaxed);
    }

    /// When it was asked for.
    pub(super) fn since(&self) -> Instant {
        self.since
    }

    /// Until when its place is its own; later on, another client may have it. Before the client's first
    /// sign of life: when it asked for the file.
    pub(super) fn secure_until(&self) -> Instant {
        self.since + Duration::from_micros(self.secure.load(Ordering::Relaxed))
    }

    pub(super) fn has_begun(&self) -> bool {
        self.begun.load(Ordering::Relaxed)
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(super) fn repeated(&self) -> u64 {
        self.repeated.load(Ordering::Relaxed)
    }
}

/// How a transfer has ended.
#[derive(Debug)]
pub(super) enum End {
    /// The client has the whole file.
    Complete,
    /// The client has sent an error, as those do that only want to know a file's length; or its
    /// system has, because nobody listens there any more.
    Declined,
    /// The client is silent.
    Silent,
    /// The file cannot be read, or nothing can be sent.
    Failed(io::Error),
}

/// A transfer that is running.
pub(super) struct Transfer<'a> {
    socket: UdpSocket,
    blocks: Blocks,
    /// The packet that comes before the first block, until it is acknowledged.
    options: Option<&'a [u8]>,
    window: u64,
    wait: Wait,
    progress: &'a Progress,
    /// The number of the last block that the client has acknowledged.
    acknowledged: u64,
    /// The number of the last block that was ever sent.
    sent: u64,
}

impl<'a> Transfer<'a> {
    /// Will send the file to the peer of the socket, and report its progress.
    pub(super) fn new(
        socket: UdpSocket,
        mut blocks: Blocks,
        agreed: &'a Agreed,
        progress: &'a Progress,
    ) -> Self {
        blocks.prepare(&socket);
        Self {
            socket,
            blocks,
            options: agreed.acknowledgement.as_deref(),
            window: agreed.window.into(),
            wait: Wait::new(agreed.timeout),
            progress,
            acknowledged: 0,
            sent: 0,
        }
    }

    /// Sends it all.
    pub(super) async fn run(&mut self) -> End {
        match self.send_all().await {
            Ok(end) => end,
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => End::Declined,
            Err(error) => {
                let _ = self.socket.try_send(&UNREADABLE.packet());
                End::Failed(error)
            }
        }
    }

    async fn send_all(&mut self) -> io::Result<End> {
        while self.options.is_some() || self.acknowledged < self.blocks.last() {
            if let Some(end) = self.until_acknowledged().await? {
                return Ok(end);
            }
        }
        Ok(End::Complete)
    }

    /// Sends the options, or else the next window, until the client acknowledges something of it.
    /// Returns the transfer's end, if it does not.
    async fn until_acknowledged(&mut self) -> io::Result<Option<End>> {
        let mut tries = 0;
        // The client misses the beginning of the window, and has said so.
        let mut has_complained = false;
        loop {
            tries += 1;
            let sent_at = Instant::now();
            match self.options {
                Some(options) => drop(self.socket.send(options).await?),
                None => self.send_window().await?,
            }
            let deadline = sent_at + self.wait.after(tries, self.progress.has_begun());
            loop {
                let Some(reply) = self.reply_until(deadline).await? else {
                    break;
                };
                let Reply::Ack(number) = reply else {
                    if reply == Reply::Error {
                        return Ok(Some(End::Declined));
                    }
                    continue;
                };
                if self.take(number) {
                    // After a repetition nobody knows what was acknowledged.
                    if tries == 1 {
                        self.wait.learn(sent_at.elapsed());
                    }
                    return Ok(None);
                }
                let is_last_one = self.distance(number) == 0;
                if self.options.is_none() && is_last_one && !has_complained {
                    has_complained = true;
                    break;
                }
            }
            let most = if self.progress.has_begun() {
                TRIES
            } else {
                TRIES_OF_A_STRANGER
            };
            if tries >= most {
                return Ok(Some(End::Silent));
            }
        }
    }

    /// Whether a number acknowledges what was sent, which is recorded then.
    fn take(&mut self, number: u16) -> bool {
        let distance = self.distance(number);
        let is_right = if self.options.is_some() {
            distance == 0
        } else {
            distance > 0 && distance <= self.sent - self.acknowledged
        };
        if is_right {
            self.options = None;
            self.acknowledged += distance;
            self.progress.moves(self.blocks.bytes(self.acknowledged));
        }
        is_right
    }

    /// How many blocks after the last acknowledged one a number is.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the lowest 16 bits are sent"
    )]
    fn distance(&self, number: u16) -> u64 {
        number.wrapping_sub(self.acknowledged as u16).into()
    }

    /// Sends the window after the last acknowledged block.
    async fn send_window(&mut self) -> io::Result<()> {
        let mut next = self.acknowledged + 1;
        let end = self.blocks.last().min(self.acknowledged + self.window) + 1;
        let again = end.min(self.sent + 1).saturating_sub(next);
        self.progress.repeated.fetch_add(again, Ordering::Relaxed);
        loop {
            next += self.blocks.send(&self.socket, next..end)?;
            self.sent = self.sent.max(next - 1);
            if next == end {
                return Ok(());
            }
            self.socket.writable().await?;
        }
    }

    /// The client's next packet; `None` if none has come by the deadline.
    async fn reply_until(&self, deadline: Instant) -> io::Result<Option<Reply>> {
        let mut packet = [0; REPLY_LEN];
        let received = match timeout_at(deadline.into(), self.socket.recv(&mut packet)).await {
            // A client that has all of the file closes its port, and what is sent to it once more is refused:
            // that is reported before the acknowledgement that lies there.
            Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
                self.socket.try_recv(&mut packet).map_err(|_| error)?
            }
            Ok(received) => received?,
            Err(_) => return Ok(None),
        };
        Ok(Some(reply(packet.get(..received).unwrap_or_default())))
    }
}

/// How long to wait for an acknowledgement: by what the client has asked for (RFC 2349), or by the time
/// that it takes as a rule (RFC 6298, section 2).
#[derive(Debug)]
struct Wait {
    asked: Option<Duration>,
    /// The mean of the times it took, and how far they are from it.
    mean: Duration,
    deviation: Duration,
}

impl Wait {
    const fn new(asked: Option<Duration>) -> Self {
        Self {
            asked,
            mean: Duration::ZERO,
            deviation: Duration::ZERO,
        }
    }

    fn learn(&mut self, took: Duration) {
        if self.mean.is_zero() {
            (self.mean, self.deviation) = (took, took / 2);
        } else {
            self.deviation = (self.deviation * 3 + self.mean.abs_diff(took)) / 4;
            self.mean = (self.mean * 7 + took) / 8;
        }
    }

    /// The wait after this many tries; each is twice as long as the one before, unless the client has
    /// asked for another. Before its first sign of life the request may be forged, and asks for nothing:
    /// a long wait would keep its place from others.
    fn after(&self, tries: u32, has_begun: bool) -> Duration {
        if let Some(asked) = self.asked.filter(|_| has_begun) {
            return asked;
        }
        let first = if self.mean.is_zero() {
            FIRST_WAIT
        } else {
            (self.mean + self.deviation * 4).clamp(SHORTEST_WAIT, FIRST_WAIT)
        };
        first
            .saturating_mul(1 << (tries - 1).min(8))
            .min(LONGEST_WAIT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn a_slow_client_is_waited_for_and_a_fast_one_is_not() {
        let mut wait = Wait::new(None);
        assert_eq!(
            [1, 2, 3, 4, 9].map(|tries| wait.after(tries, true)),
            [1, 2, 4, 8, 8].map(Duration::from_secs)
        );
        wait.learn(MS(1));
        assert_eq!(
            [1, 2, 3].map(|tries| wait.after(tries, true)),
            [200, 400, 800].map(MS)
        );
        for _ in 0..50 {
            wait.learn(MS(300));
        }
        assert!(
            wait.after(1, true) >= MS(300) && wait.after(1, true) < MS(400),
            "{wait:?}"
        );
        let asked = Wait::new(Some(MS(3000)));
        assert_eq!(
            [1, 2].map(|tries| asked.after(tries, true)),
            [3000, 3000].map(MS)
        );
    }

    #[test]
    fn what_a_stranger_asks_for_makes_no_wait_longer() {
        let wait = Wait::new(Some(Duration::from_secs(255)));
        assert_eq!(
            [1, 2, 3].map(|tries| wait.after(tries, false)),
            [1, 2, 4].map(Duration::from_secs)
        );
    }
}
