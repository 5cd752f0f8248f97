//! A service node with its DHCP server, proxydhcp and TFTP server, and machines that boot from it.
//!
//! ```text
//! service node (namespace)              switch (namespace)
//!   DHCP server, proxydhcp, dnsmasq       bridge ─┬─ tap ─ virtual machine a
//!   px0 ────────────── veth pair ────────── pc0 ──┴─ tap ─ virtual machine b
//! ```
//!
//! A service node has one network card, and a switch is between it and its nodes: so XDP is on the
//! node's end of a wire, and knows nothing of bridges and taps.

use std::collections::HashSet;
use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use proxydhcp_lab::site::{Datapath, Files, serve_args};
use proxydhcp_lab::{CLIENT_INTERFACE, Daemon, Lab, binary, bridge, capture, client_mac};
use serde_json::Value;
use tempfile::TempDir;

use crate::dhcp_server::{DhcpServer, PxeClass, mac_file};
use crate::qemu::{self, Firmware, Machine};
use crate::{loader, tftp};

const BRIDGE: &str = "switch";

/// How long a machine may take until its loader runs: emulated, on a busy machine.
const PATIENCE: Duration = Duration::from_mins(5);

/// A node, and the WinPE that its record names.
#[derive(Clone, Copy)]
pub(crate) struct Node {
    pub(crate) name: &'static str,
    pub(crate) address: Ipv4Addr,
    pub(crate) firmware: Firmware,
    pub(crate) winpe: &'static str,
}

impl Node {
    fn loader(&self) -> String {
        let loader = match self.firmware {
            Firmware::Bios => "pxeboot.0",
            Firmware::Uefi => "bootmgfw.efi",
        };
        format!("{}Boot/{loader}", self.winpe)
    }

    /// The firmware's line on the console when it fetches the loader.
    fn report(&self) -> String {
        match self.firmware {
            Firmware::Bios => format!("Filename: {}", self.loader()),
            Firmware::Uefi => format!("NBP filename is {}", self.loader()),
        }
    }
}

/// How a cluster is served.
pub(crate) struct Manner<'a> {
    pub(crate) dhcp_server: DhcpServer,
    /// Further arguments of `proxydhcp dhcp-conf`.
    pub(crate) hand_off: &'a [&'a str],
    pub(crate) datapath: Datapath,
}

/// Switches `nodes` on together, and holds each to have run the loader that its record names. All
/// there is to know about a failure is left in a folder, whose path is in the error.
pub(crate) fn boot(manner: &Manner<'_>, nodes: &[Node]) -> Result<()> {
    tftp::install()?;
    qemu::install()?;
    let folder = TempDir::with_prefix("proxydhcp-firmware-")?;
    let mut cluster = Cluster::new(manner, nodes, folder.path())?;
    let booted = cluster.boot(manner.datapath, nodes, folder.path());
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
        let addresses: Vec<_> = nodes.iter().map(|node| node.address.to_string()).collect();
        let names = nodes.iter().map(|node| node.name);
        let hosts: Vec<_> = addresses.iter().map(String::as_str).zip(names).collect();
        files.write_hosts(&hosts)?;

        let root = folder.join("tftpboot");
        for node in nodes {
            let path = root.join(node.loader());
            fs::create_dir_all(path.parent().context("a loader without a folder")?)?;
            fs::write(path, node.program()?)?;
        }
        let clients: Vec<_> = nodes.iter().map(|node| (node.name, node.address)).collect();
        let macs = folder.join("macs");
        fs::write(&macs, mac_file(&clients))?;
        let macs = macs.display().to_string();
        let mut hand_off = manner.hand_off.to_vec();
        if !hand_off.is_empty() {
            hand_off.extend(["--mac", &macs]);
        }
        let dhcp = manner.dhcp_server;
        dhcp.configure(&lab.server, folder, &clients, &hand_off, PxeClass::None)?;

        let args = serve_args(manner.datapath, &files, &[]);
        let servers = vec![
            ("proxydhcp", Daemon::start(&lab.server, &binary()?, &args)?),
            ("dhcp", dhcp.start(&lab.server, folder)?),
            ("tftp", tftp::start(&lab.server, &root)?),
        ];
        Ok(Self {
            lab,
            files,
            servers,
            machines: Vec::new(),
        })
    }

    fn boot(&mut self, datapath: Datapath, nodes: &[Node], folder: &Path) -> Result<()> {
        for node in nodes {
            let mac = client_mac(node.address);
            let (switch, name) = (&self.lab.client, node.name);
            let machine = qemu::start(switch, BRIDGE, name, node.firmware, mac, folder)?;
            self.machines.push(machine);
        }
        for (node, machine) in nodes.iter().zip(&mut self.machines) {
            node.has_booted(machine)
                .with_context(|| format!("{} ({:?})", node.name, node.firmware))?;
        }
        self.answered_by(datapath, nodes.len())
    }

    /// The datapath under test has answered, and no other.
    fn answered_by(&self, datapath: Datapath, nodes: usize) -> Result<()> {
        let Some((_, daemon)) = self.servers.first() else {
            bail!("nothing runs");
        };
        let socket = self.files.path("control.sock").display().to_string();
        let args = ["status", "--json", "--control", &socket];
        let output = daemon.proxydhcp(&self.lab.server, &args)?;
        let status: Value = serde_json::from_slice(&output.stdout)?;
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

impl Node {
    /// The line that the loader prints, and no other loader.
    fn line(&self) -> String {
        format!("The loader {} runs.", self.loader())
    }

    fn program(&self) -> Result<Vec<u8>> {
        match self.firmware {
            Firmware::Bios => loader::bios(&self.line()),
            Firmware::Uefi => loader::uefi(&self.line()),
        }
    }

    /// Waits until the loader runs, and looks at how it came there.
    fn has_booted(&self, machine: &mut Machine) -> Result<()> {
        machine.console.wait_for(&self.line(), PATIENCE)?;
        machine.console.wait_for(&self.report(), Duration::ZERO)?;
        // The capture ends with the machine.
        machine.console.stop()?;

        let transfers = tftp::transfers(&capture::frames_of(&machine.capture)?)?;
        ensure!(
            transfers.asked == HashSet::from([self.loader()]),
            "the firmware asked for {:?}, and not for {} alone",
            transfers.asked,
            self.loader()
        );
        let program = self.program()?;
        ensure!(
            transfers
                .whole
                .iter()
                .any(|(_, content)| *content == program),
            "no transfer of {} was complete",
            self.loader()
        );
        Ok(())
    }
}
