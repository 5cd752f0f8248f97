//! Several service nodes on one segment, and etcd on a host of its own.
//!
//! ```text
//! switch (namespace), a bridge ─┬─ etcd            10.77.0.10
//!                               ├─ service node 1  10.77.0.1
//!                               ├─ service node 2  10.77.0.2
//!                               └─ clients         10.77.255.254
//! ```

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use proxydhcp_lab::architecture::UEFI_X64;
use proxydhcp_lab::etcd::{Clients, Etcd};
use proxydhcp_lab::site::Files;
use proxydhcp_lab::{
    CLIENT_ADDRESS, Daemon, Ended, Expected, Namespace, RequestFrame, Tap, binary, bridge,
    check_reply,
};
use serde_json::Value;

use crate::fleet::{PATIENCE, PREFIX, command, revision};

const BRIDGE: &str = "switch";
const ETCD: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 10);
/// How long to wait for a reply that must not come.
const SILENCE: Duration = Duration::from_millis(150);

/// The hosts of a segment.
pub(crate) struct Segment {
    pub(crate) nodes: Vec<ServiceNode>,
    pub(crate) etcd: Etcd,
    pub(crate) head: Namespace,
    tap: Tap,
    pub(crate) switch: Namespace,
    pub(crate) clients: Namespace,
}

/// A service node, with its own files.
pub(crate) struct ServiceNode {
    pub(crate) daemon: Daemon,
    pub(crate) files: Files,
    pub(crate) namespace: Namespace,
    number: u8,
}

impl Segment {
    /// Starts etcd, with as many members, on a segment without service nodes.
    pub(crate) fn new(members: usize) -> Result<Self> {
        let switch = Namespace::new()?;
        bridge::make(&switch, BRIDGE)?;
        let host = |address| -> Result<Namespace> {
            let host = Namespace::new()?;
            bridge::add_host(&switch, BRIDGE, &host, address)?;
            Ok(host)
        };
        let (head, clients) = (host(ETCD)?, host(CLIENT_ADDRESS)?);
        Ok(Self {
            nodes: Vec::new(),
            etcd: Etcd::start_at(&head, ETCD, members, Clients::Users)?,
            tap: Tap::open(&clients, "eth0")?,
            clients,
            head,
            switch,
        })
    }

    /// Pushes the usual nodes.
    pub(crate) fn push_usual(&self) -> Result<()> {
        let files = Files::usual()?;
        let config = files.path("proxydhcp.cfg").display().to_string();
        self.run(&["fleet", "push", &config])?;
        Ok(())
    }

    /// Starts one more service node, with these options. Returns its place among them.
    pub(crate) fn serve(&mut self, options: &[&str]) -> Result<usize> {
        self.serve_among(options, &[])
    }

    /// Starts one with an environment of its own.
    pub(crate) fn serve_among(
        &mut self,
        options: &[&str],
        environment: &[(&str, &str)],
    ) -> Result<usize> {
        let number = u8::try_from(self.nodes.len() + 1)?;
        let namespace = Namespace::new()?;
        bridge::add_host(&self.switch, BRIDGE, &namespace, address(number))?;
        let files = Files::usual()?;
        let mut command = serve(&self.etcd, &files, number, options)?;
        command.envs(environment.iter().copied());
        let daemon = Daemon::start_command(&namespace, command)?;
        self.nodes.push(ServiceNode {
            daemon,
            files,
            namespace,
            number,
        });
        let place = self.nodes.len() - 1;
        self.wait_until(place, |source| source["revision"].as_i64() > Some(0))?;
        Ok(place)
    }

    /// Kills a service node's daemon, as kill -9 does.
    pub(crate) fn crash(&mut self, place: usize) -> Result<()> {
        let node = self.nodes.get_mut(place).context("there is none")?;
        node.daemon.crash()
    }

    /// Starts the daemon of a service node anew, with these options.
    pub(crate) fn serve_again(&mut self, place: usize, options: &[&str]) -> Result<()> {
        let etcd = &self.etcd;
        let node = self.nodes.get_mut(place).context("there is none")?;
        let command = serve(etcd, &node.files, node.number, options)?;
        node.daemon = Daemon::start_command(&node.namespace, command)?;
        Ok(())
    }

    /// Pulls the wire of a host with this last number of its address from the switch, or plugs it in.
    pub(crate) fn plug(&self, number: u8, is_in: bool) -> Result<()> {
        let port = format!("to-0-{number}");
        if is_in {
            bridge::add_port(&self.switch, BRIDGE, &port)
        } else {
            bridge::remove_port(&self.switch, &port)
        }
    }

    /// Waits until a service node has logged this.
    pub(crate) fn wait_for(&mut self, place: usize, text: &str) -> Result<()> {
        let node = self.nodes.get_mut(place).context("there is none")?;
        node.daemon.wait_for(text, PATIENCE)?;
        Ok(())
    }

    /// Waits until `fleet status` ends with 0, and returns what it prints. Until then, it must not say
    /// so.
    pub(crate) fn wait_for_status(&self, text: &str) -> Result<String> {
        let started = Instant::now();
        loop {
            let ended = self.ended(&["fleet", "status"])?;
            if ended.stdout.contains(text) {
                return Ok(ended.stdout);
            }
            ensure!(started.elapsed() < PATIENCE, "{ended:?}");
        }
    }

    /// Waits until a service node has a revision on its disk.
    pub(crate) fn wait_until_kept(&self, place: usize, revision: i64) -> Result<()> {
        let started = Instant::now();
        let file = self.node(place)?.files.path("state/last/origin.json");
        loop {
            let text = std::fs::read(&file).unwrap_or_default();
            let kept: Value = serde_json::from_slice(&text).unwrap_or_default();
            if kept.get("revision").and_then(Value::as_i64) >= Some(revision) {
                return Ok(());
            }
            ensure!(started.elapsed() < PATIENCE, "{kept}");
        }
    }

    /// Runs a command of `fleet` or `node` on the host of etcd.
    pub(crate) fn ended(&self, args: &[&str]) -> Result<Ended> {
        Ok(self.head.output(command(&self.etcd, args)?)?.into())
    }

    /// Runs one that must succeed. Returns what it prints.
    pub(crate) fn run(&self, args: &[&str]) -> Result<String> {
        let ended = self.ended(args)?;
        ensure!(ended.code == Some(0), "{args:?}: {ended:?}");
        Ok(ended.stdout)
    }

    /// Sets a node's WinPE. Returns the revision.
    pub(crate) fn write(&self, node: &str, winpe: &str) -> Result<i64> {
        revision(&self.run(&["node", "set", node, &format!("winpepath={winpe}")])?)
    }

    /// Runs a command that puts a revision into force, and waits until all service nodes have it. Returns the
    /// revision.
    pub(crate) fn change(&self, args: &[&str]) -> Result<i64> {
        let revision = revision(&self.run(args)?)?;
        self.run(&["fleet", "wait", &revision.to_string()])?;
        Ok(revision)
    }

    /// Sets a node's WinPE, and waits until all service nodes have that revision, which it returns.
    pub(crate) fn set(&self, node: &str, winpe: &str) -> Result<i64> {
        self.change(&["node", "set", node, &format!("winpepath={winpe}")])
    }

    /// Asks a service node as EDK2 does, and checks the reply in every field.
    pub(crate) fn ask(&mut self, place: usize, client: Ipv4Addr, winpe: &str) -> Result<()> {
        self.ask_for(place, client, Expected::new(winpe, UEFI_X64))
    }

    /// The same, for what is expected of a server at whatever address.
    pub(crate) fn ask_for(
        &mut self,
        place: usize,
        client: Ipv4Addr,
        expected: Expected,
    ) -> Result<()> {
        let (request, server) = self.request(place, client)?;
        let reply = self.tap.ask(&request).with_context(|| self.log(place))?;
        let expected = Expected {
            siaddr: server,
            ..expected
        };
        check_reply(&request.bytes(), &reply, &expected)
    }

    /// Sends a request again and again, as a client does, until there is a reply.
    pub(crate) fn ask_until_answered(&mut self, request: &RequestFrame) -> Result<()> {
        let started = Instant::now();
        loop {
            self.tap.send(&request.bytes())?;
            if self.tap.reply(SILENCE)?.is_some() {
                return Ok(());
            }
            ensure!(started.elapsed() < PATIENCE, "no reply");
        }
    }

    /// Asks a service node, which must not answer.
    pub(crate) fn stays_silent(&mut self, place: usize, client: Ipv4Addr) -> Result<()> {
        while self.tap.reply(Duration::ZERO)?.is_some() {}
        let (request, _) = self.request(place, client)?;
        self.tap.send(&request.bytes())?;
        let reply = self.tap.reply(SILENCE)?;
        ensure!(reply.is_none(), "answered by {reply:02x?}");
        Ok(())
    }

    pub(crate) fn request(
        &self,
        place: usize,
        client: Ipv4Addr,
    ) -> Result<(RequestFrame, Ipv4Addr)> {
        let number = self.node(place)?.number;
        let mut request = RequestFrame::edk2(client, UEFI_X64);
        request.destination_mac = [0x02, 0, 2, 0, 0, number];
        request.destination = address(number);
        Ok((request, address(number)))
    }

    pub(crate) fn node(&self, place: usize) -> Result<&ServiceNode> {
        self.nodes.get(place).context("there is none")
    }

    fn log(&self, place: usize) -> String {
        self.node(place)
            .map_or_else(|error| error.to_string(), |node| node.daemon.log())
    }

    /// `proxydhcp status`, on a service node.
    pub(crate) fn status(&self, place: usize, args: &[&str]) -> Result<Ended> {
        let node = self.node(place)?;
        let control = node.files.path("control.sock").display().to_string();
        let args = [&["status", "--control", &control], args].concat();
        Ok(node.daemon.proxydhcp(&node.namespace, &args)?.into())
    }

    /// Waits until what the status of a service node says of the source is so.
    pub(crate) fn wait_until(&self, place: usize, is_so: impl Fn(&Value) -> bool) -> Result<()> {
        let started = Instant::now();
        loop {
            let ended = self.status(place, &["--json"])?;
            let status: Value = serde_json::from_str(&ended.stdout)?;
            if is_so(status.get("source").unwrap_or(&Value::Null)) {
                return Ok(());
            }
            ensure!(
                started.elapsed() < PATIENCE,
                "{status:#}\n{}",
                self.log(place)
            );
        }
    }
}

/// The address of a service node.
pub(crate) fn address(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, number)
}

fn serve(
    etcd: &Etcd,
    files: &Files,
    number: u8,
    options: &[&str],
) -> Result<std::process::Command> {
    let mut command = std::process::Command::new(binary()?);
    command.args(["serve", "-i", "eth0", "--path", "raw"]);
    command.args(["--fleet-name", &format!("sn{number}")]);
    for (option, file) in [
        ("--hosts", "hosts"),
        ("--control", "control.sock"),
        ("--settings", "proxydhcp.toml"),
        ("--fleet-state", "state"),
    ] {
        command.arg(option).arg(files.path(file));
    }
    command.args(etcd.options(PREFIX)).args(options);
    Ok(command)
}
