//! A TFTP client that trusts no server: whatever comes, it ends in time, keeps only the start of a file,
//! and sends a packet for each that brings it forward, and a few when nothing comes.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt::Ipv4RecvErr};

use super::packet::{Code, Options, Refusal, Sent, acknowledgement, request, sent};

const PORT: u16 = 69;
/// What Windows' boot manager asks for.
const ASKED: Options = Options {
    block_size: Some(1456),
    window: Some(16),
    size: Some(0),
};
/// What holds without options (RFC 1350).
const WITHOUT_OPTIONS: (usize, u16) = (512, 1);
/// The smallest block size that a server may agree to (RFC 2348).
const SMALLEST_BLOCK: u16 = 8;
/// How long to wait for a packet before asking for it again.
const WAIT: Duration = Duration::from_secs(1);
/// How often to ask for a packet.
const TRIES: u32 = 5;
/// How long a transfer may take in all.
const PATIENCE: Duration = Duration::from_mins(1);

/// A file to fetch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    /// The address of this host to ask from.
    pub(crate) from: Ipv4Addr,
    pub(crate) server: Ipv4Addr,
    /// The file's name, as the server is to be asked.
    pub(crate) file: &'a str,
    /// The bytes that are kept.
    pub(crate) kept: usize,
    /// The bytes after which the transfer is broken off.
    pub(crate) enough: u64,
}

/// What has come of a file.
#[derive(Clone, Debug)]
pub(crate) struct Fetched {
    /// Its first bytes.
    pub(crate) head: Vec<u8>,
    /// The bytes that have come.
    pub(crate) bytes: u64,
    /// The length of the whole file in bytes, if it is known.
    pub(crate) size: Option<u64>,
    /// From the request to the last block.
    pub(crate) time: Duration,
}

/// Why a file has not come.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("the server refuses: {message} (error {code})")]
    Refused { code: u16, message: String },
    #[error("the server does not answer")]
    Silent,
    #[error("the server has gone silent after {0} bytes")]
    CutOff(u64),
    #[error("only {0} bytes have come in a minute")]
    Slow(u64),
    #[error("no program listens on port 69 (ICMP port unreachable)")]
    NobodyListens,
    #[error("the server sends nonsense: {0}")]
    Nonsense(String),
    #[error("{0}")]
    Socket(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            // Reported at the next use of the socket, be it for sending.
            ErrorKind::ConnectionRefused => Self::NobodyListens,
            _ => Self::Socket(error),
        }
    }
}

impl Wanted<'_> {
    /// Fetches the file.
    pub(crate) fn fetch(&self) -> Result<Fetched, Failure> {
        let socket = UdpSocket::bind((self.from, 0))?;
        // An unreachable port is reported at once.
        setsockopt(&socket, Ipv4RecvErr, &true).map_err(io::Error::from)?;
        let now = Instant::now();
        let (block_size, window) = WITHOUT_OPTIONS;
        let transfer = Transfer {
            wanted: self,
            socket,
            peer: None,
            started: now,
            last_sent: request(self.file, ASKED),
            block_size,
            window,
            next: 1,
            since: 0,
            has_complained: false,
            fetched: Fetched {
                head: Vec::new(),
                bytes: 0,
                size: None,
                time: Duration::ZERO,
            },
        };
        transfer.run()
    }
}

struct Transfer<'a> {
    wanted: &'a Wanted<'a>,
    socket: UdpSocket,
    /// The port that the server sends from, once it has sent.
    peer: Option<SocketAddrV4>,
    started: Instant,
    last_sent: Vec<u8>,
    block_size: usize,
    window: u16,
    /// The number of the next block.
    next: u64,
    /// The blocks since the last acknowledgement.
    since: u16,
    /// Whether the server has been told of the gap before the next block.
    has_complained: bool,
    fetched: Fetched,
}

impl Transfer<'_> {
    fn run(mut self) -> Result<Fetched, Failure> {
        // Room for a block, and for one that is too long to show.
        let mut buffer = [0; 2048];
        let mut tries = 0;
        self.send_again()?;
        let mut until = Instant::now() + WAIT;
        loop {
            if self.started.elapsed() > PATIENCE {
                return Err(Failure::Slow(self.fetched.bytes));
            }
            let Some(length) = self.receive(&mut buffer, until)? else {
                tries += 1;
                if tries == TRIES {
                    return Err(match self.peer {
                        None => Failure::Silent,
                        Some(_) => Failure::CutOff(self.fetched.bytes),
                    });
                }
                self.send_again()?;
                until = Instant::now() + WAIT;
                continue;
            };
            let before = (self.next, self.peer.is_some());
            if self.take(buffer.get(..length).unwrap_or_default())? {
                self.fetched.time = self.started.elapsed();
                return Ok(self.fetched);
            }
            if before != (self.next, true) {
                (tries, until) = (0, Instant::now() + WAIT);
            }
        }
    }

    /// Takes a packet; true if nothing is missing any more.
    fn take(&mut self, packet: &[u8]) -> Result<bool, Failure> {
        let is_first = self.last_sent.first_chunk() == Some(&[0, 1]);
        match sent(packet) {
            Sent::Error(code, message) => Err(Failure::Refused { code, message }),
            Sent::Options(options) if is_first => {
                self.agree(options)?;
                self.acknowledge()?;
                Ok(false)
            }
            Sent::Data(number, data) if u64::from(number) == self.next & 0xffff => self.add(data),
            // One is missing before it. Blocks that have come before are passed over: two answers to
            // each would be two blocks for each of these, and so on.
            Sent::Data(number, _) if self.is_ahead(number) && !self.has_complained => {
                self.has_complained = true;
                self.acknowledge()?;
                Ok(false)
            }
            Sent::Data(..) | Sent::Options(_) | Sent::Other => Ok(false),
        }
    }

    /// A server may lower what it was asked for, and add nothing (RFC 2347).
    fn agree(&mut self, told: Options) -> Result<(), Failure> {
        let most = (ASKED.block_size.unwrap_or(0), ASKED.window.unwrap_or(0));
        let block_size = told.block_size.unwrap_or(512);
        let window = told.window.unwrap_or(1);
        if !(SMALLEST_BLOCK..=most.0).contains(&block_size) || !(1..=most.1).contains(&window) {
            return Err(Failure::Nonsense(format!(
                "blksize {block_size} and windowsize {window}, when it was asked for {} and {}",
                most.0, most.1
            )));
        }
        (self.block_size, self.window) = (block_size.into(), window);
        self.fetched.size = told.size;
        Ok(())
    }

    fn add(&mut self, data: &[u8]) -> Result<bool, Failure> {
        if data.len() > self.block_size {
            return Err(Failure::Nonsense(format!(
                "a block of {} bytes, not {}",
                data.len(),
                self.block_size
            )));
        }
        let Fetched {
            head, bytes, size, ..
        } = &mut self.fetched;
        let room = self.wanted.kept.saturating_sub(head.len());
        head.extend(data.iter().take(room));
        *bytes += data.len() as u64;
        self.next += 1;
        self.since += 1;
        self.has_complained = false;
        if data.len() < self.block_size {
            *size = Some(*bytes);
            self.acknowledge()?;
            return Ok(true);
        }
        if *bytes >= self.wanted.enough {
            // A server that misses this stops by itself.
            let end = Refusal::new(Code::Undefined, "that is enough");
            self.last_sent = end.packet();
            self.send_again()?;
            return Ok(true);
        }
        if self.since == self.window {
            self.acknowledge()?;
        }
        Ok(false)
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "the lowest 16 bits are what a packet has"
    )]
    fn is_ahead(&self, number: u16) -> bool {
        (1..0x8000).contains(&number.wrapping_sub(self.next as u16))
    }

    fn acknowledge(&mut self) -> io::Result<()> {
        self.since = 0;
        self.last_sent = acknowledgement(self.next - 1).to_vec();
        self.send_again()
    }

    fn send_again(&self) -> io::Result<()> {
        let to = self
            .peer
            .unwrap_or_else(|| SocketAddrV4::new(self.wanted.server, PORT));
        self.socket.send_to(&self.last_sent, to).map(drop)
    }

    /// The length of the next packet of the server's, if one comes in time.
    fn receive(&mut self, buffer: &mut [u8], until: Instant) -> Result<Option<usize>, Failure> {
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.socket.set_read_timeout(Some(left))?;
            match self.socket.recv_from(buffer) {
                Ok((length, SocketAddr::V4(from))) if self.is_server(from) => {
                    self.peer = Some(from);
                    return Ok(Some(length));
                }
                Ok(_) => {}
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => {}
                    _ => return Err(error.into()),
                },
            }
        }
    }

    /// Whether a packet from there belongs to this transfer, for which the server has taken a port.
    fn is_server(&self, from: SocketAddrV4) -> bool {
        match self.peer {
            Some(peer) => peer == from,
            None => *from.ip() == self.wanted.server,
        }
    }
}
