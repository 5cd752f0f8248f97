//! Downloads by TFTP: the embedded server beside those that sites have, each on a wire of its own, in
//! turn.

use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use proxydhcp_clients::{Downloads, Wanted, content, download, percentile};
use proxydhcp_lab::tftp::Fetch;
use proxydhcp_lab::tftp_server::{TftpServer, wait_for_port};
use proxydhcp_lab::{Daemon, Lab, SERVER_ADDRESS, SERVER_INTERFACE, link, xdp};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::cluster::Files;
use crate::memory::memory;
use crate::pin::Cores;
use crate::plan::{Observer, Plan, Progress, tell};
use crate::results::{Download, Results, Unacknowledged};
use crate::session::routed_lab;
use crate::small_xdp;
use crate::storm_figures::milliseconds;

pub(crate) mod crowd;

use crowd::{Crowd, OURS};

/// The addresses of the clients. In the lab's network, so that they are behind its router.
const CLIENTS: (Ipv4Addr, u8) = (Ipv4Addr::new(10, 77, 128, 0), 18);
/// What fits an Ethernet frame with room for a VLAN tag and `PPPoE`; WinPE's boot manager asks for it.
const BLOCK_SIZE: u16 = 1456;
/// The number of requests that nobody acknowledges.
const STRANGERS: u32 = 10_000;
/// A round that takes longer is not repeated.
const LONG: Duration = Duration::from_secs(30);

/// Measures all servers.
pub(crate) fn downloads(
    plan: &Plan,
    cores: Cores,
    results: &mut Results,
    observer: &mut Observer,
) -> Result<()> {
    raise_limit()?;
    let root = plan.folder.join("tftp");
    fs::create_dir_all(&root)?;
    for crowd in Crowd::all(OURS, plan.quick) {
        fs::write(
            root.join(crowd.file()),
            content(usize::try_from(crowd.size)?),
        )?;
    }
    let servers = [
        Server::ours(plan, &root, cores, Wire::Plain)?,
        Server::ours(plan, &root, cores, Wire::WithXdp)?,
        Server::other(TftpServer::Dnsmasq, plan, &root, cores, Wire::Plain)?,
        Server::other(TftpServer::Dnsmasq, plan, &root, cores, Wire::WithXdp)?,
        Server::other(TftpServer::Hpa, plan, &root, cores, Wire::Plain)?,
    ];
    tell(observer, Progress::Step("requests without acknowledgement"))?;
    results.unacknowledged = Some(unacknowledged(&servers)?);
    let mut measured: Vec<(&Server, Crowd, Vec<Downloads>)> = servers
        .iter()
        .flat_map(|server| {
            Crowd::all(server.name, plan.quick)
                .into_iter()
                .map(move |crowd| (server, crowd, Vec::new()))
        })
        .collect();
    // In turn, so that whatever else the machine does meets all of them.
    for _ in 0..plan.download_rounds() {
        for (server, crowd, rounds) in &mut measured {
            let is_slow = rounds.iter().any(|round| round.took > LONG);
            if is_slow {
                continue;
            }
            tell(
                observer,
                Progress::Step(&format!("{}: {}", server.describe(), crowd.describe())),
            )?;
            rounds.push(server.meets(*crowd, observer)?);
        }
    }
    for (server, crowd, rounds) in measured {
        results.download.push(figures(server, crowd, rounds)?);
    }
    Ok(())
}

/// Makes room for the sockets of all clients, here and in the servers.
fn raise_limit() -> Result<()> {
    const FILES: u64 = 16_384;
    let limit = getrlimit(Resource::Nofile);
    ensure!(
        limit.maximum.is_none_or(|most| most >= FILES),
        "{FILES} open files are needed; this process may have fewer (ulimit -Hn)"
    );
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            ..limit
        },
    )
    .context("cannot raise the limit of open files")
}

/// What the server's end of the wire has. A veth end with an XDP program takes each packet that comes in
/// another way, and copies it, whatever the program does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wire {
    Plain,
    WithXdp,
}

/// A TFTP server that runs.
struct Server {
    name: &'static str,
    wire: Wire,
    /// Declared first, so that it stops before the wire is removed.
    daemon: Daemon,
    /// A program that passes everything, for a server that has none of its own.
    _program: Option<OwnedFd>,
    lab: Lab,
}

impl Server {
    fn ours(plan: &Plan, root: &Path, cores: Cores, wire: Wire) -> Result<Self> {
        let path = match wire {
            Wire::Plain => "raw",
            Wire::WithXdp => "kernel",
        };
        let files = Files::write(&plan.folder.join(format!("tftp-server-{path}")), 1)?;
        let mut command = Command::new(&plan.binary);
        command.args(["serve", "-i", SERVER_INTERFACE, "--path", path]);
        command.arg("--tftp").arg("--tftp-root").arg(root);
        command.args(files.arguments());
        cores.pin_responder(&mut command);
        let lab = lab()?;
        let daemon = Daemon::start_command(&lab.server, command)?;
        Ok(Self {
            name: OURS,
            wire,
            daemon,
            _program: None,
            lab,
        })
    }

    fn other(
        server: TftpServer,
        plan: &Plan,
        root: &Path,
        cores: Cores,
        wire: Wire,
    ) -> Result<Self> {
        // Its default is 50 transfers.
        let more: &[&str] = match server {
            TftpServer::Dnsmasq => &["--tftp-max=2000"],
            _ => &[],
        };
        let root = PathBuf::from(root);
        let mut command = server.command(&plan.folder, &root, SERVER_ADDRESS, more)?;
        cores.pin_responder(&mut command);
        let lab = lab()?;
        let program = match wire {
            Wire::Plain => None,
            Wire::WithXdp => Some(xdp::attach(
                &lab.server,
                SERVER_INTERFACE,
                small_xdp::pass()?,
            )?),
        };
        let daemon = Daemon::spawn(&lab.server, command)?;
        wait_for_port(&lab.server, &daemon)?;
        Ok(Self {
            name: server.name(),
            wire,
            daemon,
            _program: program,
            lab,
        })
    }

    fn describe(&self) -> String {
        let wire = match self.wire {
            Wire::Plain => "",
            Wire::WithXdp => " beside XDP",
        };
        format!("{}{wire}", self.name)
    }

    fn meets(&self, crowd: Crowd, observer: &mut Observer) -> Result<Downloads> {
        let addresses: Vec<Ipv4Addr> = (0..crowd.clients).map(address).collect();
        let wanted = Wanted {
            file: &crowd.file(),
            size: crowd.size,
            block_size: BLOCK_SIZE,
            window: crowd.window,
            loss: crowd.loss,
        };
        download(
            &self.lab.client,
            &addresses,
            SERVER_ADDRESS,
            &wanted,
            &mut |ended| observer(Progress::Detail(&format!("{ended} ended"))),
        )
        .with_context(|| format!("{}; its log:\n{}", self.name, self.daemon.log()))
    }
}

/// A lab whose clients' end has all of their addresses.
fn lab() -> Result<Lab> {
    let lab = routed_lab()?;
    link::own_network(&lab.client, CLIENTS)?;
    Ok(lab)
}

fn address(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(CLIENTS.0).wrapping_add(1 + number))
}

/// The figures of the round whose speed is the median.
fn figures(server: &Server, crowd: Crowd, mut rounds: Vec<Downloads>) -> Result<Download> {
    rounds.sort_unstable_by_key(|round| round.took);
    let failed = rounds.iter().map(|round| round.failures.len()).sum();
    let failure = rounds
        .iter()
        .find_map(|round| round.failures.first().cloned());
    let number = rounds.len();
    let median = rounds.into_iter().nth(number / 2).context("no round")?;
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let bytes = (median.times.len() as u64 * crowd.size) as f64;
    let percent = |percent| percentile(&median.times, percent).map(milliseconds);
    Ok(Download {
        server: server.name.to_owned(),
        xdp: server.wire == Wire::WithXdp,
        clients: median.times.len() + median.failures.len(),
        size: crowd.size,
        window: median.window,
        loss: crowd.loss,
        rounds: number,
        failed,
        failure,
        bytes_per_second: bytes / median.took.as_secs_f64(),
        p50_ms: percent(50),
        p99_ms: percent(99),
        max_ms: percent(100),
    })
}

/// What requests cost that nobody acknowledges, each from an address of its own, and how a client fares
/// that comes after them.
fn unacknowledged(servers: &[Server]) -> Result<Unacknowledged> {
    let server = servers.first().context("no server")?;
    let crowd = Crowd {
        clients: 1,
        size: 1 << 20,
        window: 16,
        loss: 0.0,
    };
    let request = Fetch::new(
        &crowd.file(),
        &[("blksize", BLOCK_SIZE.into()), ("windowsize", 16)],
    );
    let request = request.request();
    let before = memory(server.daemon.pid())?.resident;
    // Held, as a closed port would be reported to the server.
    let _strangers: Vec<UdpSocket> = server.lab.client.run(|| {
        let strangers = (1..=STRANGERS).map(|number| {
            let socket = UdpSocket::bind((address(number), 0))?;
            socket.send_to(&request, (SERVER_ADDRESS, 69))?;
            Ok(socket)
        });
        strangers.collect()
    })?;
    let asked = Instant::now();
    let fresh = server.meets(crowd, &mut |_| std::ops::ControlFlow::Continue(()))?;
    ensure!(
        fresh.failures.is_empty(),
        "a client failed: {:?}",
        fresh.failures
    );
    let served = asked.elapsed();
    // Until the first of them are given up.
    let mut most = before;
    while asked.elapsed() < Duration::from_secs(6) {
        most = most.max(memory(server.daemon.pid())?.resident);
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(Unacknowledged {
        requests: STRANGERS as usize,
        bytes: most.saturating_sub(before),
        fresh_ms: milliseconds(served),
    })
}
