//! A host with etcd, and service nodes that reach it by a switch, each with a wire to clients of its own.

use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;
use proxydhcp_lab::etcd::{Clients, Etcd};
use proxydhcp_lab::{
    CLIENT_INTERFACE, Daemon, Lab, Namespace, SERVER_INTERFACE, bridge, link, xdp,
};

use crate::plan::Plan;
use crate::session::routed_lab;
use crate::small_xdp;

/// The members of etcd.
pub(super) const MEMBERS: usize = 3;
/// The number of service nodes.
const SERVICE_NODES: u8 = 10;
/// What the keys begin with.
pub(super) const PREFIX: &str = "bench";
const SWITCH: &str = "switch";
/// The address of the host with etcd, on the switch.
const ETCD: Ipv4Addr = Ipv4Addr::new(10, 98, 0, 1);
/// As many requests as clients send are within it.
const LIMIT: &str = "10000";

/// All hosts.
pub(super) struct Site {
    // Declared first, so that they stop before etcd does.
    service_nodes: Vec<ServiceNode>,
    pub(super) etcd: Etcd,
    pub(super) head: Namespace,
    binary: PathBuf,
    folder: PathBuf,
}

struct ServiceNode {
    daemon: Option<Daemon>,
    folder: PathBuf,
    lab: Lab,
    /// The program at the clients' end: a veth end accepts what XDP transmits only if it has one.
    _receiver: OwnedFd,
}

impl Site {
    /// Starts etcd, on hosts whose service nodes do not run yet.
    pub(super) fn start(plan: &Plan) -> Result<Self> {
        let head = Namespace::new()?;
        link::set_up(&head, "lo")?;
        bridge::make(&head, SWITCH)?;
        link::add_address(&head, SWITCH, (ETCD, 16))?;
        let mut service_nodes = Vec::new();
        for number in 1..=SERVICE_NODES {
            let lab = routed_lab()?;
            let address = Ipv4Addr::new(10, 98, 1, number);
            bridge::add_host(&head, SWITCH, &lab.server, address)?;
            service_nodes.push(ServiceNode {
                daemon: None,
                folder: plan.folder.join(format!("sn{number}")),
                _receiver: xdp::attach(&lab.client, CLIENT_INTERFACE, small_xdp::pass()?)?,
                lab,
            });
        }
        Ok(Self {
            etcd: Etcd::start_at(&head, ETCD, MEMBERS, Clients::Users)?,
            service_nodes,
            head,
            binary: plan.binary.clone(),
            folder: plan.folder.clone(),
        })
    }

    /// Starts all service nodes, which know nothing yet, and does not wait for them.
    pub(super) fn start_service_nodes(&mut self) -> Result<()> {
        let hosts = self.folder.join("hosts");
        fs::write(&hosts, "127.0.0.1 localhost\n")?;
        for (number, node) in (1..).zip(&mut self.service_nodes) {
            let _ = fs::remove_dir_all(&node.folder);
            fs::create_dir_all(&node.folder)?;
            // An empty file, because the settings of this machine are for its own daemon.
            let settings = node.folder.join("proxydhcp.toml");
            File::create(&settings)?;
            let mut command = Command::new(&self.binary);
            command.args(["serve", "-i", SERVER_INTERFACE]);
            command.args([
                "--xdp-mode",
                "native",
                "--rate-limit",
                LIMIT,
                "--burst",
                LIMIT,
            ]);
            command.arg("--hosts").arg(&hosts);
            command.arg("--settings").arg(&settings);
            command
                .arg("--control")
                .arg(node.folder.join("control.sock"));
            command.arg("--fleet-state").arg(node.folder.join("state"));
            command.args(["--fleet-name", &format!("sn{number}")]);
            command.args(self.etcd.options(PREFIX));
            node.daemon = Some(Daemon::spawn(&node.lab.server, command)?);
        }
        Ok(())
    }

    /// Stops those that run.
    pub(super) fn stop_service_nodes(&mut self) -> Result<()> {
        for node in &mut self.service_nodes {
            if let Some(mut daemon) = node.daemon.take() {
                daemon.stop()?;
            }
        }
        Ok(())
    }

    /// The clients' ends of all wires.
    pub(super) fn wires(&self) -> Result<Vec<Namespace>> {
        let nodes = self.service_nodes.iter();
        nodes.map(|node| node.lab.client.try_clone()).collect()
    }

    /// The process numbers of the daemons.
    pub(super) fn daemons(&self) -> impl Iterator<Item = u32> {
        let nodes = self.service_nodes.iter();
        nodes.filter_map(|node| Some(node.daemon.as_ref()?.pid()))
    }

    /// The process numbers of the members of etcd.
    pub(super) fn members(&self) -> impl Iterator<Item = u32> {
        self.etcd.pids()
    }

    /// What all daemons have logged.
    pub(super) fn logs(&self) -> String {
        let nodes = self.service_nodes.iter();
        let logs = nodes.filter_map(|node| Some(node.daemon.as_ref()?.log()));
        logs.collect::<Vec<_>>().join("\n")
    }
}
