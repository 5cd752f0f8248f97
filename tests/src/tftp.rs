//! A TFTP client (RFC 1350, RFC 2347, 2348, 2349, 7440) that can be clumsy on purpose.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::Namespace;

/// How long the client waits for a packet before it asks for it again.
const WAIT: Duration = Duration::from_millis(500);
/// How often it does so.
const TRIES: u32 = 40;
const PORT: u16 = 69;

/// A file to read, and how.
#[derive(Clone, Debug, Default)]
pub struct Fetch {
    /// Its name.
    pub file: String,
    /// The options to ask for, with their values.
    pub options: Vec<(&'static str, u64)>,
    /// Of so many packets that come or are to go, one is lost; 0: none is.
    pub loses_one_in: usize,
}

/// What a client has received.
#[derive(Debug, Default)]
pub struct Fetched {
    /// The file.
    pub bytes: Vec<u8>,
    /// The options that the server has agreed to.
    pub options: BTreeMap<String, u64>,
}

impl Fetch {
    /// Asks for a file with these options.
    #[must_use]
    pub fn new(file: &str, options: &[(&'static str, u64)]) -> Self {
        Self {
            file: file.to_owned(),
            options: options.to_vec(),
            loses_one_in: 0,
        }
    }

    /// The request.
    #[must_use]
    pub fn request(&self) -> Vec<u8> {
        let mut packet = [b"\0\x01", self.file.as_bytes(), b"\0octet\0"].concat();
        for (name, value) in &self.options {
            packet.extend(format!("{name}\0{value}\0").as_bytes());
        }
        packet
    }

    /// Reads the file from a server, from `address` in the namespace.
    ///
    /// # Errors
    /// What the server says, or what is wrong with what it sends.
    pub fn run(
        &self,
        namespace: &Namespace,
        address: Ipv4Addr,
        server: Ipv4Addr,
    ) -> Result<Fetched> {
        let socket = namespace.run(|| Ok(UdpSocket::bind((address, 0))?))?;
        socket.set_read_timeout(Some(WAIT))?;
        let mut client = Client {
            socket,
            server: SocketAddrV4::new(server, PORT).into(),
            passed: 0,
            loses_one_in: self.loses_one_in,
        };
        client
            .fetch(self)
            .with_context(|| format!("{:?}", self.file))
    }
}

struct Client {
    socket: UdpSocket,
    server: SocketAddr,
    /// Packets that have come or gone.
    passed: usize,
    loses_one_in: usize,
}

impl Client {
    fn fetch(&mut self, fetch: &Fetch) -> Result<Fetched> {
        let mut fetched = Fetched::default();
        let (mut block_size, mut window) = (512, 1);
        // The number of the next block, and how many have come since the last acknowledgement.
        let (mut next, mut since) = (1_u64, 0);
        let mut last_sent = fetch.request();
        self.send(&last_sent)?;
        let mut tries = 0;
        let mut has_complained = false;
        loop {
            let Some(packet) = self.receive()? else {
                tries += 1;
                ensure!(tries < TRIES, "the server is silent at block {next}");
                self.send(&last_sent)?;
                continue;
            };
            let head = *packet.first_chunk().context("a packet is cut off")?;
            let (kind, number, data) = split(head, &packet);
            match kind {
                3 if u64::from(number) == next & 0xffff => {
                    fetched.bytes.extend(data);
                    (tries, has_complained) = (0, false);
                    since += 1;
                    next += 1;
                    let is_last = data.len() < block_size;
                    if is_last || since == window {
                        since = 0;
                        last_sent = acknowledgement(next - 1);
                        self.send(&last_sent)?;
                    }
                    if is_last {
                        return Ok(fetched);
                    }
                }
                // One is missing before it.
                3 if !has_complained => {
                    (has_complained, since) = (true, 0);
                    last_sent = acknowledgement(next - 1);
                    self.send(&last_sent)?;
                }
                5 => {
                    let words = String::from_utf8_lossy(data).into_owned();
                    bail!("error {number}: {}", words.trim_end_matches('\0'));
                }
                6 if next == 1 => {
                    fetched.options = options(packet.get(2..).unwrap_or_default())?;
                    let of = |name: &str, usual: u64| *fetched.options.get(name).unwrap_or(&usual);
                    block_size = usize::try_from(of("blksize", 512))?;
                    window = of("windowsize", 1);
                    last_sent = acknowledgement(0);
                    self.send(&last_sent)?;
                }
                3 | 6 => {}
                other => bail!("a packet of kind {other}"),
            }
        }
    }

    fn is_lost(&mut self) -> bool {
        self.passed += 1;
        self.loses_one_in > 0 && self.passed.is_multiple_of(self.loses_one_in)
    }

    fn send(&mut self, packet: &[u8]) -> Result<()> {
        if !self.is_lost() {
            self.socket.send_to(packet, self.server)?;
        }
        Ok(())
    }

    fn receive(&mut self) -> Result<Option<Vec<u8>>> {
        let mut packet = vec![0; 65_536];
        loop {
            match self.socket.recv_from(&mut packet) {
                Ok((length, from)) => {
                    ensure!(from.ip() == self.server.ip(), "a packet from {from}");
                    if self.is_lost() {
                        continue;
                    }
                    // The server has a port of its own for each transfer.
                    self.server = from;
                    packet.truncate(length);
                    return Ok(Some(packet));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// The kind of a packet, the number behind it, and the rest.
fn split([a, b, c, d]: [u8; 4], packet: &[u8]) -> (u16, u16, &[u8]) {
    let rest = packet.get(4..).unwrap_or_default();
    (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]), rest)
}

fn acknowledgement(block: u64) -> Vec<u8> {
    let [.., high, low] = block.to_be_bytes();
    vec![0, 4, high, low]
}

fn options(packet: &[u8]) -> Result<BTreeMap<String, u64>> {
    let text = str::from_utf8(packet)?;
    let mut words = text.split_terminator('\0');
    let mut options = BTreeMap::new();
    while let (Some(name), Some(value)) = (words.next(), words.next()) {
        options.insert(name.to_owned(), value.parse()?);
    }
    Ok(options)
}
