//! `proxydhcp probe`: sends a request as a client would.

use std::fmt::Write;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use proxydhcp_common::PORT;
use serde::Serialize;

use crate::cli::output::print;
use crate::cli::runtime::block_on;
use crate::sys::interface::{self, Interface};
use crate::tables::client_message::{self, Answer, Asked};
use crate::text::count;
use crate::winpe::architecture::Architecture;

mod follow;
mod remedy;
mod socket;

use socket::Socket;

/// When requests are sent, in twelfths of the time limit. The ratio is that of the first three
/// tries of UEFI firmware, which sends at 0, 1, 3 and 6 s.
const TRIES: [u32; 3] = [0, 2, 6];
const LAST: u32 = 12;

/// Arguments of `probe`.
#[derive(Clone, Debug, Args)]
pub struct ProbeArgs {
    /// The daemon's address
    #[arg(value_name = "IP")]
    pub server: Ipv4Addr,
    /// The firmware to ask as: bios, uefi (on x64), arm64, ia32, or an architecture's number
    #[arg(long, value_name = "ARCH", default_value = "uefi")]
    pub arch: Architecture,
    /// The address of this host to ask from [default: the one that the route uses]
    #[arg(long, value_name = "IP")]
    pub from: Option<Ipv4Addr>,
    /// How long to wait; three requests are sent in the first half of this time
    #[arg(long, value_name = "S", default_value = "3", value_parser = seconds)]
    pub timeout: Duration,
    /// Fetch the files by TFTP as well, as firmware and Windows' boot manager do
    #[arg(long)]
    pub follow: bool,
    /// With --follow: fetch every byte of the image, not only its first 4 MiB
    #[arg(long, requires = "follow")]
    pub all: bool,
    /// Print the reply as JSON
    #[arg(long)]
    pub json: bool,
}

pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    text.parse()
        .ok()
        .filter(|seconds| (0.1..=3600.0).contains(seconds))
        .map(Duration::from_secs_f64)
        .ok_or_else(|| "it is a number of seconds, 0.1 to 3600".to_owned())
}

/// A reply, and how it was obtained.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Probed {
    /// The address that was asked.
    pub server: Ipv4Addr,
    /// The address that asked.
    pub client: Ipv4Addr,
    /// The UDP port that asked.
    pub port: u16,
    /// The architecture in the request.
    pub arch: Architecture,
    /// The number of requests sent until the reply came.
    pub tries: usize,
    /// The time from the last of them to the reply, in milliseconds.
    pub milliseconds: f64,
    /// The contents of the reply.
    #[serde(flatten)]
    pub answer: Answer,
    /// With --follow: what has come of each file, up to the first that a client cannot use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files: Option<Vec<follow::Line>>,
}

/// Sends requests, and prints the reply, and with --follow what comes of the files.
///
/// # Errors
///
/// If there is no reply, it is malformed, or a file does not come.
pub(super) fn run(args: &ProbeArgs) -> Result<ExitCode> {
    let mut probed = probe(args)?;
    if args.follow && probed.answer.faults.is_empty() {
        probed.files = Some(follow::follow(&probed, args.all));
    }
    print(&if args.json {
        serde_json::to_string_pretty(&probed)?
    } else {
        describe(&probed)
    });
    if !probed.answer.faults.is_empty() {
        bail!(
            "the reply is malformed, and clients may not take it: {}",
            probed.answer.faults.join("; ")
        )
    }
    match probed.files.iter().flatten().find_map(follow::Line::fault) {
        Some(fault) => bail!(fault),
        None => Ok(ExitCode::SUCCESS),
    }
}

fn probe(args: &ProbeArgs) -> Result<Probed> {
    let interfaces = block_on(interface::list())??;
    refuse_own(args.server, &interfaces)?;
    let client = match args.from {
        Some(from) => from,
        None => route(args.server)?,
    };
    let mac = interfaces
        .iter()
        .find(|interface| interface.addresses.contains(&client))
        .with_context(|| format!("{client} is not an address of this host; see `ip address`"))?
        .mac;
    let socket = Socket::open(client, args)?;
    let (xid, request) = client_message::request(client, mac, args.arch.0)?;
    let asked = Asked {
        xid,
        client,
        server: args.server,
        mac,
    };
    exchange(&socket, &request, &asked, args)
}

/// Refuses to ask this host itself: such a request goes through the loopback, where no datapath
/// sees it.
fn refuse_own(server: Ipv4Addr, interfaces: &[Interface]) -> Result<()> {
    let owner = interfaces
        .iter()
        .find(|interface| interface.addresses.contains(&server));
    let (whose, asked) = match owner {
        // It means this host to each host, and to each network namespace.
        _ if server.is_loopback() => (
            "a loopback address".to_owned(),
            "an address that nodes reach this host by".to_owned(),
        ),
        Some(interface) => (
            format!("an address of this host itself, on {}", interface.name),
            server.to_string(),
        ),
        None => return Ok(()),
    };
    bail!(
        "{server} is {whose}: what a host sends to itself crosses no interface, so neither the XDP \
         program nor a packet socket there sees it, and nobody would answer. Probe {asked} from \
         another host, or from a network namespace on the same wire (`ip netns exec NAME proxydhcp \
         probe ...`); `proxydhcp status` and `proxydhcp lookup` work here"
    )
}

/// The source address that the kernel selects for requests to the server.
fn route(server: Ipv4Addr) -> Result<Ipv4Addr> {
    let address = || -> io::Result<SocketAddr> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.connect((server, PORT))?;
        socket.local_addr()
    };
    match address() {
        Ok(SocketAddr::V4(address)) => Ok(*address.ip()),
        Ok(SocketAddr::V6(_)) => bail!("no IPv4 address leads to {server}"),
        Err(error) => {
            Err(error).with_context(|| format!("no route to {server}; see `ip route get {server}`"))
        }
    }
}

/// Asks port 4011 of `server` once from this host's address `from`, as the client with this hardware address
/// would. Fails with [`ErrorKind::ConnectionRefused`] if nobody listens there; one that answers nodes
/// alone may say nothing.
pub(super) fn ask_once(
    server: Ipv4Addr,
    from: Ipv4Addr,
    mac: [u8; 6],
    arch: Architecture,
) -> Result<Answer> {
    const PATIENCE: Duration = Duration::from_secs(1);
    let args = ProbeArgs {
        server,
        arch,
        from: Some(from),
        timeout: PATIENCE,
        follow: false,
        all: false,
        json: false,
    };
    let socket = Socket::open(from, &args)?;
    let (xid, request) = client_message::request(from, mac, arch.0)?;
    socket.send(&request)?;
    let mut buffer = [0; 2048];
    let length = socket.receive(&mut buffer, PATIENCE)?;
    let asked = Asked {
        xid,
        client: from,
        server,
        mac,
    };
    let bytes = buffer.get(..length).unwrap_or_default();
    Ok(client_message::read(bytes, &asked))
}

fn exchange(socket: &Socket, request: &[u8], asked: &Asked, args: &ProbeArgs) -> Result<Probed> {
    let started = Instant::now();
    let ends = TRIES.iter().skip(1).chain([&LAST]);
    let mut buffer = [0; 2048];
    let mut strange = 0;
    for (tries, end) in (1..).zip(ends) {
        let sent = Instant::now();
        socket
            .send(request)
            .map_err(|error| unreachable(&error, args))?;
        let until = started + args.timeout * *end / LAST;
        while let Some(left) = until
            .checked_duration_since(Instant::now())
            .filter(|left| !left.is_zero())
        {
            let length = match socket.receive(&mut buffer, left) {
                Ok(length) => length,
                Err(error) if is_late(&error) => continue,
                Err(error) => return Err(unreachable(&error, args)),
            };
            let milliseconds = sent.elapsed().as_secs_f64() * 1e3;
            let bytes = buffer.get(..length).unwrap_or_default();
            if client_message::xid(bytes).is_some_and(|xid| xid != asked.xid) {
                strange += 1;
                continue;
            }
            return Ok(Probed {
                server: args.server,
                client: asked.client,
                port: socket.port(),
                arch: args.arch,
                tries,
                milliseconds,
                answer: client_message::read(bytes, asked),
                files: None,
            });
        }
    }
    let mut error = no_reply(asked.client, args);
    if strange > 0 {
        let _ = write!(
            error,
            "; {} came with an xid that was not asked for",
            count(strange, "reply")
        );
    }
    bail!(error)
}

fn is_late(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
    )
}

fn no_reply(client: Ipv4Addr, args: &ProbeArgs) -> String {
    let ProbeArgs {
        server,
        arch,
        timeout,
        ..
    } = args;
    format!(
        "no reply from {server} to {client} ({arch}) within {timeout:?}, to {} requests. Is this \
         host's address in a record, with a loader for the architecture? Run \
         `proxydhcp lookup {client} --arch {}` on {server}, and `proxydhcp status` before and \
         after a probe, which tells what became of it. Is there a firewall or NAT between?",
        TRIES.len(),
        arch.0
    )
}

fn unreachable(error: &io::Error, args: &ProbeArgs) -> anyhow::Error {
    let server = args.server;
    match error.kind() {
        ErrorKind::ConnectionRefused => anyhow::anyhow!(
            "no program listens on {server}, port {PORT} (ICMP port unreachable): start \
             `proxydhcp serve` there; if it runs, a firewall rejects the request"
        ),
        ErrorKind::HostUnreachable => anyhow::anyhow!(
            "{server} is not there (host unreachable): no such machine answers on the wire, or \
             a router knows no way to it; is the address right, and the machine up?"
        ),
        ErrorKind::NetworkUnreachable => {
            anyhow::anyhow!("no route to {server}; see `ip route get {server}`")
        }
        ErrorKind::PermissionDenied => anyhow::anyhow!(
            "a firewall of this host, or on the way, forbids requests to {server}, port {PORT}"
        ),
        _ => anyhow::anyhow!("cannot ask {}: {error}", SocketAddrV4::new(server, PORT)),
    }
}

fn describe(probed: &Probed) -> String {
    let Probed {
        server,
        client,
        port,
        arch,
        tries,
        milliseconds,
        answer,
        files,
    } = probed;
    let shown = |text: &Option<String>| text.clone().unwrap_or_else(|| "none".to_owned());
    let address = |address: Option<Ipv4Addr>| shown(&address.map(|address| address.to_string()));
    format!(
        "{server} answered {client}, port {port} ({arch}) in {milliseconds:.2} ms, at try {tries}\n\
         loader        {} (file)\n\
         BCD           {} (option 252)\n\
         next server   {} (siaddr: where both are fetched by TFTP)\n\
         server id     {} (option 54)\n\
         vendor class  {} (option 60){}",
        shown(&answer.loader),
        shown(&answer.bcd),
        address(answer.next_server),
        address(answer.server_id),
        shown(&answer.vendor_class),
        files.as_deref().map(follow::table).unwrap_or_default(),
    )
}
