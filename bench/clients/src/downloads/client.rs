//! One client, and its place in the file.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::Wanted;
use super::inbox::Inbox;

/// The wait for a packet before the client repeats its own last one; each further wait is twice as long.
const WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(4);
/// The number of waits in a row after which the client gives up: half a minute.
const TRIES: u32 = 9;

const DATA: u16 = 3;
const ACK: u8 = 4;
const ERROR: u16 = 5;
const OPTIONS: u16 = 6;

/// Whether a client goes on.
pub(super) enum Step {
    Goes,
    HasAll,
}

pub(super) struct Client {
    socket: UdpSocket,
    server: SocketAddr,
    /// The server's port for this transfer is known.
    is_connected: bool,
    request: Vec<u8>,
    size: u64,
    block_size: u16,
    window: u16,
    /// The number of the next block, from 1.
    next: u64,
    /// The blocks since the last acknowledgement.
    since: u16,
    /// The server has been told of the gap before the next block.
    has_complained: bool,
    loss: f64,
    random: fastrand::Rng,
    tries: u32,
    due: Instant,
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Client {
    /// A client at this address, in the namespace of this thread.
    pub(super) fn new(address: Ipv4Addr, server: SocketAddr, wanted: &Wanted) -> Result<Self> {
        let socket = UdpSocket::bind((address, 0))?;
        socket.set_nonblocking(true)?;
        let Wanted {
            file,
            size,
            block_size,
            window,
            loss,
        } = *wanted;
        let options = format!("blksize\0{block_size}\0windowsize\0{window}\0");
        Ok(Self {
            socket,
            server,
            is_connected: false,
            request: [b"\0\x01", file.as_bytes(), b"\0octet\0", options.as_bytes()].concat(),
            size,
            block_size,
            window: 1,
            next: 1,
            since: 0,
            has_complained: false,
            loss,
            // Each loses others, in each run the same ones.
            random: fastrand::Rng::with_seed(u32::from(address).into()),
            tries: 0,
            due: Instant::now() + WAIT,
        })
    }

    /// The window that the server has agreed to.
    pub(super) fn window(&self) -> u16 {
        self.window
    }

    /// Sends the request, or the last acknowledgement, again.
    pub(super) fn send_again(&mut self) -> Result<Step> {
        if self.is_connected {
            self.acknowledge()?;
        } else if !self.is_lost() {
            self.socket.send_to(&self.request, self.server)?;
        }
        Ok(Step::Goes)
    }

    /// Sends it if nothing has come in time.
    pub(super) fn look_at_clock(&mut self, now: Instant) -> Result<Step> {
        if now < self.due {
            return Ok(Step::Goes);
        }
        self.tries += 1;
        ensure!(
            self.tries <= TRIES,
            "the server is silent before block {}",
            self.next
        );
        let wait = WAIT * 2_u32.pow(self.tries.min(8));
        self.due = now + wait.min(LONGEST_WAIT);
        self.send_again()
    }

    /// Takes what has come.
    pub(super) fn read(&mut self, inbox: &mut Inbox) -> Result<Step> {
        if !self.is_connected && !self.meet_server()? {
            return Ok(Step::Goes);
        }
        let most = usize::from(self.window).clamp(1, Inbox::MOST);
        inbox.receive(&self.socket, most).context("no answer")?;
        let before = self.next;
        for packet in inbox.packets() {
            if self.is_lost() {
                continue;
            }
            if let Step::HasAll = self.take(packet)? {
                return Ok(Step::HasAll);
            }
        }
        if self.next > before {
            (self.tries, self.due) = (0, Instant::now() + WAIT);
        }
        Ok(Step::Goes)
    }

    /// The first packet tells the server's port, from then on all others come from it.
    fn meet_server(&mut self) -> Result<bool> {
        match self.socket.peek_from(&mut [0; 4]) {
            Ok((_, from)) => {
                self.socket.connect(from)?;
                self.is_connected = true;
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error).context("no answer"),
        }
    }

    fn take(&mut self, packet: &[u8]) -> Result<Step> {
        let (head, data) = packet.split_first_chunk().context("a packet is cut off")?;
        let [a, b, c, d] = *head;
        let number = u16::from_be_bytes([c, d]);
        match u16::from_be_bytes([a, b]) {
            DATA => self.take_block(number, data),
            OPTIONS if self.next == 1 => {
                self.agree(packet.get(2..).unwrap_or_default())?;
                self.acknowledge()?;
                Ok(Step::Goes)
            }
            OPTIONS => Ok(Step::Goes),
            ERROR => bail!("error {number}: {}", data.escape_ascii()),
            other => bail!("a packet of kind {other}"),
        }
    }

    fn take_block(&mut self, number: u16, data: &[u8]) -> Result<Step> {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the lowest 16 bits are sent"
        )]
        let ahead = number.wrapping_sub(self.next as u16);
        match ahead {
            0 => return self.add(data),
            // A block is missing before it.
            1..0x8000 if !self.has_complained => {
                self.has_complained = true;
                self.acknowledge()?;
            }
            // The last one of a window comes again: its acknowledgement was lost.
            u16::MAX if self.since == 0 => self.acknowledge()?,
            _ => {}
        }
        Ok(Step::Goes)
    }

    fn add(&mut self, data: &[u8]) -> Result<Step> {
        let at = (self.next - 1) * u64::from(self.block_size);
        let wanted = self.size.saturating_sub(at).min(self.block_size.into());
        ensure!(
            data.len() as u64 == wanted,
            "{} bytes at {at}, not {wanted}",
            data.len()
        );
        if let Some(first) = data.first_chunk() {
            ensure!(
                u64::from_be_bytes(*first) == at,
                "the bytes at {at} are others"
            );
        }
        self.next += 1;
        self.since += 1;
        self.has_complained = false;
        let is_last = wanted < self.block_size.into();
        if is_last || self.since == self.window {
            self.acknowledge()?;
        }
        Ok(if is_last { Step::HasAll } else { Step::Goes })
    }

    /// Takes up what the server has agreed to. The block size must be what was asked for.
    fn agree(&mut self, options: &[u8]) -> Result<()> {
        let text = str::from_utf8(options)?;
        let mut words = text.split_terminator('\0');
        let mut block_size = 512;
        while let (Some(name), Some(value)) = (words.next(), words.next()) {
            match name {
                "blksize" => block_size = value.parse()?,
                "windowsize" => self.window = value.parse()?,
                _ => bail!("an option {name:?} that was not asked for"),
            }
        }
        ensure!(
            block_size == self.block_size,
            "blocks of {block_size} bytes"
        );
        Ok(())
    }

    fn acknowledge(&mut self) -> Result<()> {
        self.since = 0;
        let [.., high, low] = (self.next - 1).to_be_bytes();
        if !self.is_lost() {
            self.socket.send(&[0, ACK, high, low])?;
        }
        Ok(())
    }

    fn is_lost(&mut self) -> bool {
        self.loss > 0.0 && self.random.f64() < self.loss
    }
}
