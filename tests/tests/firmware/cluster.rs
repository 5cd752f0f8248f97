//! A service node with its DHCP server, proxydhcp and TFTP server, and machines that boot from it.
//!
//! ```text
//! service node (namespace)              switch (namespace)
//!   DHCP server, proxydhcp, dnsmasq       bridge ─┬─ tap ─ virtual machine a
//!   px0 ────────────── veth pair ────────── pc0 ──┼─ tap ─ virtual machine b
//!                                                 └─ veth pair ─ another host (namespace)
//! ```
//!
//! A service node has one network card, and a switch is between it and its nodes: so XDP is on the
//! node's end of a wire, and knows nothing of bridges and taps. With offers, the DHCP server may be on
//! another host, and there may be a second service node.

use std::fmt::Write;
use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use proxydhcp_lab::dhcp_server::{DhcpServer, ToPxe, start_proxy};
use proxydhcp_lab::site::{Datapath, Files, serve_args};
use proxydhcp_lab::{
    CLIENT_INTERFACE, Daemon, Lab, Namespace, SERVER_INTERFACE, binary, bridge, capture, client_mac,
};
use serde_json::Value;
use tempfile::TempDir;

use crate::dhcp_server::{PxeClass, configure, mac_file, mac_text};
use crate::discovers::discovers;
use crate::node::Node;
use crate::qemu::{self, Machine};
use crate::root::tftp_root;
use crate::tftp;

const BRIDGE: &str = "switch";
/// Other hosts than the service node: that of the DHCP server, and a second service node.
const DHCP_HOST: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
const SECOND: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 3);

/// How a cluster is served.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manner<'a> {
    pub(crate) dhcp_server: DhcpServer,
    pub(crate) way: Way<'a>,
    pub(crate) datapath: Datapath,
}

/// How machines are led to proxydhcp.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Way<'a> {
    /// The DHCP server sends them, by what `proxydhcp dhcp-conf` prints with these arguments. Files come
    /// from another program.
    HandOff(&'a [&'a str]),
    /// By offers, beside an ordinary DHCP server. Files come from proxydhcp.
    Offers(DhcpHost),
    /// The same, and a second service node has the same files.
    OffersOfTwo,
    /// The same, and dnsmasq as another proxy has other loaders.
    OffersBesideAnother,
}

/// Where the DHCP server is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum DhcpHost {
    Same,
    Other,
}

/// Switches `nodes` on together, and holds each to have run the loader that its record names. All
/// there is to know about a failure is left in a folder, whose path is in the error.
pub(crate) fn boot(manner: &Manner<'_>, nodes: &[Node]) -> Result<()> {
    tftp::install()?;
    qemu::install()?;
    let folder = TempDir::with_prefix("proxydhcp-firmware-")?;
    let mut cluster = Cluster::new(manner, nodes, folder.path())?;
    let booted = cluster.boot(manner, nodes, folder.path());
    booted.or_else(|error| {
        let logs = cluster.keep_logs(folder.path());
        let kept = folder.keep();
        logs.and(Err(error))
            .with_context(|| format!("captures, consoles and logs are in {}", kept.display()))
    })
}

/// Machines first, as they are dropped: then the daemon accounts for all packets by its control
/// socket, which is among the files.
struct Cluster {
    machines: Vec<Machine>,
    servers: Vec<(&'static str, Daemon)>,
    files: Files,
    other_hosts: Vec<Namespace>,
    lab: Lab,
}

impl Cluster {
    /// Starts what the service node has to run.
    fn new(manner: &Manner<'_>, nodes: &[Node], folder: &Path) -> Result<Self> {
        let lab = Lab::new()?;
        bridge::make(&lab.client, BRIDGE)?;
        bridge::add_port(&lab.client, BRIDGE, CLIENT_INTERFACE)?;

        let files = Files::new()?;
        let records: Vec<_> = nodes.iter().map(|node| (node.name, node.winpe)).collect();
        files.write_config(&records)?;
        files.write_hosts(&[])?;
        let root = tftp_root()?;
        let mut cluster = Self {
            machines: Vec::new(),
            servers: Vec::new(),
            files,
            other_hosts: Vec::new(),
            lab,
        };
        match manner.way {
            Way::HandOff(arguments) => {
                cluster.hand_off(manner, arguments, nodes, folder, root)?;
            }
            Way::Offers(host) => cluster.offer(manner, host, nodes, folder, root)?,
            Way::OffersOfTwo => {
                cluster.offer(manner, DhcpHost::Same, nodes, folder, root)?;
                cluster.offer_from_another_host(root)?;
            }
            Way::OffersBesideAnother => {
                cluster.offer(manner, DhcpHost::Same, nodes, folder, root)?;
                cluster.offer_other_loaders(nodes, folder)?;
            }
        }
        Ok(cluster)
    }

    /// The DHCP server gives nodes the addresses that are theirs, and sends them to proxydhcp.
    fn hand_off(
        &mut self,
        manner: &Manner<'_>,
        arguments: &[&str],
        nodes: &[Node],
        folder: &Path,
        root: &Path,
    ) -> Result<()> {
        let addresses: Vec<_> = nodes.iter().map(|node| node.address.to_string()).collect();
        let names = nodes.iter().map(|node| node.name);
        let hosts: Vec<_> = addresses.iter().map(String::as_str).zip(names).collect();
        self.files.write_hosts(&hosts)?;
        let clients: Vec<_> = nodes.iter().map(|node| (node.name, node.address)).collect();
        let macs = folder.join("macs");
        fs::write(&macs, mac_file(&clients))?;
        let macs = macs.display().to_string();
        let mut arguments = arguments.to_vec();
        if !arguments.is_empty() {
            arguments.extend(["--mac", &macs]);
        }
        let dhcp = manner.dhcp_server;
        let server = &self.lab.server;
        configure(dhcp, server, folder, &clients, &arguments, PxeClass::None)?;

        let args = serve_args(manner.datapath, &self.files, &[]);
        self.servers = vec![
            ("proxydhcp", Daemon::start(server, &binary()?, &args)?),
            ("dhcp", dhcp.start(server, SERVER_INTERFACE, folder)?),
            ("tftp", tftp::start(server, root)?),
        ];
        Ok(())
    }

    /// The DHCP server gives nodes whatever addresses it has, and knows nothing of proxydhcp.
    fn offer(
        &mut self,
        manner: &Manner<'_>,
        host: DhcpHost,
        nodes: &[Node],
        folder: &Path,
        root: &Path,
    ) -> Result<()> {
        let mut known = String::new();
        for node in nodes {
            writeln!(known, "{} mac={}", node.name, mac_text(node.address))?;
        }
        fs::write(self.files.path("proxydhcp.cfg.hardware"), known)?;
        let root = root.display().to_string();
        let more = ["--offers", "known", "--tftp", "--tftp-root", &root];
        let args = serve_args(manner.datapath, &self.files, &more);
        let daemon = Daemon::start(&self.lab.server, &binary()?, &args)?;
        self.servers.push(("proxydhcp", daemon));
        let start = |namespace: &Namespace, interface| {
            let server = manner.dhcp_server;
            server.start_ordinary(namespace, interface, folder, ToPxe::Nothing)
        };
        let dhcp = match host {
            DhcpHost::Same => start(&self.lab.server, SERVER_INTERFACE)?,
            DhcpHost::Other => start(self.other_host(DHCP_HOST)?, "eth0")?,
        };
        self.servers.push(("dhcp", dhcp));
        Ok(())
    }

    /// A second proxydhcp that serves the same files.
    fn offer_from_another_host(&mut self, root: &Path) -> Result<()> {
        let [config, hosts, settings] = ["proxydhcp.cfg", "hosts", "proxydhcp.toml"]
            .map(|file| self.files.path(file).display().to_string());
        let control = self.files.path("second.sock").display().to_string();
        let root = root.display().to_string();
        let args = [
            &["serve", "-i", "eth0", "--offers", "known", "--tftp"][..],
            &["--tftp-root", &root, "--config", &config, "--hosts", &hosts],
            &["--settings", &settings, "--control", &control],
        ]
        .concat();
        let daemon = Daemon::start(self.other_host(SECOND)?, &binary()?, &args)?;
        self.servers.push(("second-proxydhcp", daemon));
        Ok(())
    }

    /// dnsmasq as another proxy, with loaders of its own.
    fn offer_other_loaders(&mut self, nodes: &[Node], folder: &Path) -> Result<()> {
        let folder = folder.join("other");
        fs::create_dir(&folder)?;
        for node in nodes {
            let program = node.firmware.other_program()?;
            fs::write(folder.join(node.firmware.other_loader()), program)?;
        }
        let proxy = start_proxy(self.other_host(SECOND)?, "eth0", &folder)?;
        self.servers.push(("another-proxy", proxy));
        Ok(())
    }

    fn other_host(&mut self, address: Ipv4Addr) -> Result<&Namespace> {
        let host = Namespace::new()?;
        bridge::add_host(&self.lab.client, BRIDGE, &host, address)?;
        self.other_hosts.push(host);
        self.other_hosts.last().context("there is none")
    }

    fn boot(&mut self, manner: &Manner<'_>, nodes: &[Node], folder: &Path) -> Result<()> {
        for node in nodes {
            let mac = client_mac(node.address);
            let (switch, name) = (&self.lab.client, node.name);
            let machine = qemu::start(switch, BRIDGE, name, node.firmware, mac, folder)?;
            self.machines.push(machine);
        }
        for (node, machine) in nodes.iter().zip(&mut self.machines) {
            let booted = match manner.way {
                Way::OffersBesideAnother => node.has_booted_something(machine).map(|is_its_own| {
                    println!("{}: its own loader: {is_its_own}", node.name);
                }),
                _ => node.has_booted(machine),
            };
            booted.with_context(|| format!("{} ({:?})", node.name, node.firmware))?;
        }
        match manner.way {
            Way::OffersOfTwo => self.both_have_offered(nodes.len()),
            // Either may have answered.
            Way::OffersBesideAnother => Ok(()),
            Way::HandOff(_) => self.answered_by(manner.datapath, nodes.len()),
            Way::Offers(_) => {
                self.answered_by(manner.datapath, nodes.len())?;
                self.has_sent_loaders(nodes.len())?;
                self.all_received_every_discover(manner.dhcp_server, nodes)
            }
        }
    }

    /// The DHCP server has received every DISCOVER that was sent, and proxydhcp a copy of each.
    fn all_received_every_discover(&self, dhcp_server: DhcpServer, nodes: &[Node]) -> Result<()> {
        let mut sent = 0;
        for (node, machine) in nodes.iter().zip(&self.machines) {
            let frames = capture::frames_of(&machine.capture)?;
            sent += discovers(&frames, client_mac(node.address));
        }
        let dhcp = self.servers.iter().find(|(name, _)| *name == "dhcp");
        let (_, dhcp) = dhcp.context("there is no DHCP server")?;
        let received = dhcp_server.discovers(dhcp);
        let offered = self
            .status()?
            .pointer("/interfaces/0/offers/answered")
            .cloned();
        ensure!(
            received == sent && offered == Some(sent.into()) && sent > 0,
            "of {sent} DISCOVERs, the DHCP server received {received}, and {offered:?} got an offer"
        );
        Ok(())
    }

    /// Each of the two service nodes has answered the DISCOVERs of every machine.
    fn both_have_offered(&self, nodes: usize) -> Result<()> {
        for socket in ["control.sock", "second.sock"] {
            let status = self.status_at(socket)?;
            let offered = status.pointer("/interfaces/0/offers/answered");
            let offered = offered.and_then(Value::as_u64);
            ensure!(offered >= Some(nodes as u64), "{socket}: {status}");
        }
        Ok(())
    }

    fn status(&self) -> Result<Value> {
        self.status_at("control.sock")
    }

    fn status_at(&self, socket: &str) -> Result<Value> {
        let (_, daemon) = self.servers.first().context("nothing runs")?;
        let socket = self.files.path(socket).display().to_string();
        let args = ["status", "--json", "--control", &socket];
        let output = daemon.proxydhcp(&self.lab.server, &args)?;
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// The TFTP server has, by its own accounts, sent a whole file to each machine.
    fn has_sent_loaders(&self, nodes: usize) -> Result<()> {
        let status = self.status()?;
        let complete = status.pointer("/tftp/complete").and_then(Value::as_u64);
        ensure!(complete >= Some(nodes as u64), "{status}");
        Ok(())
    }

    /// The datapath under test has answered, and no other.
    fn answered_by(&self, datapath: Datapath, nodes: usize) -> Result<()> {
        let status = self.status()?;
        let by = |who: &str| {
            let answered = status.pointer(&format!("/interfaces/0/{who}/answered"));
            answered.and_then(Value::as_u64).unwrap_or(0)
        };
        let who = match datapath {
            Datapath::Native | Datapath::Generic => "program",
            Datapath::AfXdp => "af_xdp",
            Datapath::Raw => "raw",
        };
        ensure!(
            by(who) >= nodes as u64 && by(who) == by("counters"),
            "not all was answered by {who}: {status}"
        );
        Ok(())
    }

    fn keep_logs(&self, folder: &Path) -> Result<()> {
        for (name, server) in &self.servers {
            fs::write(folder.join(format!("{name}.log")), server.log())?;
        }
        for (number, machine) in (1..).zip(&self.machines) {
            let console = folder.join(format!("console-{number}.log"));
            fs::write(console, machine.console.log())?;
        }
        Ok(())
    }
}
