//! `cargo xtask run --demo`: 1,000 nodes boot at once, on a wire of their own.

use std::ffi::OsString;
use std::fs;
use std::net::Ipv4Addr;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use proxydhcp_clients::{Client, Firmware, StormReport, storm};
use proxydhcp_lab::config::{cfg_bytes, hosts_text};
use proxydhcp_lab::{
    CLIENT_INTERFACE, Daemon, Lab, SERVER_INTERFACE, describe_reply, require_rights,
};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::storm_table;

const NODES: u16 = 1000;
/// Two named WinPEs and the default one.
const WINPES: [&str; 3] = ["winboot/winpe-a/", "winboot/winpe-b/", ""];
/// The exit code that a shell reports for a program ended by Ctrl-C.
const INTERRUPTED: u8 = 130;

pub(crate) fn run(binary: &Path, serve: &[OsString]) -> Result<ExitCode> {
    require_rights().context("the demo cannot run")?;
    // From here on Ctrl-C only sets a flag, so that everything is taken down in order.
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&interrupted))
            .context("cannot catch signals")?;
    }
    let shown = show(binary, serve, &interrupted);
    if interrupted.load(Ordering::Relaxed) {
        return Ok(ExitCode::from(INTERRUPTED));
    }
    shown.map(|()| ExitCode::SUCCESS)
}

fn show(binary: &Path, serve: &[OsString], interrupted: &AtomicBool) -> Result<()> {
    let lab = Lab::new()?;
    let folder = tempfile::Builder::new()
        .prefix("proxydhcp-demo-")
        .tempdir()
        .context("cannot make a temporary folder")?;
    let nodes: Vec<Node> = (0..NODES).map(Node::new).collect();
    let mut daemon = start(&lab, binary, folder.path(), &nodes, serve)?;
    println!("{}", daemon.ready_line());

    let clients: Vec<Client> = nodes
        .iter()
        .map(|node| Client::new(node.firmware, node.address, node.winpe))
        .collect();
    let report = boot(&lab, &clients, interrupted)
        .with_context(|| format!("the daemon's log:\n{}", daemon.log()))?;
    println!("{}", storm_table::render(&report));
    if let Some(reply) = &report.sample {
        println!("\nThe first reply:\n{}", describe_reply(reply)?);
    }
    if !report.is_flawless() {
        let faults: Vec<&str> = report.faults().collect();
        bail!(
            "not every node had one right answer to its first request\n{}\nthe daemon's log:\n{}",
            faults.join("\n"),
            daemon.log()
        );
    }
    let (status, _) = daemon.stop()?;
    if !status.success() {
        bail!(
            "the daemon stopped with {status}; its log:\n{}",
            daemon.log()
        );
    }
    Ok(())
}

/// One node of the cluster, which mixes BIOS and UEFI machines and the WinPEs.
struct Node {
    name: String,
    address: Ipv4Addr,
    firmware: Firmware,
    winpe: &'static str,
}

impl Node {
    fn new(number: u16) -> Self {
        const PER_SUBNET: u16 = 200;
        let low = |value: u16| value.to_le_bytes()[0];
        Self {
            name: format!("node{:04}", number + 1),
            address: Ipv4Addr::new(
                10,
                77,
                low(number / PER_SUBNET + 1),
                low(number % PER_SUBNET + 1),
            ),
            firmware: if number.is_multiple_of(2) {
                Firmware::Bios
            } else {
                Firmware::Uefi
            },
            winpe: WINPES
                .into_iter()
                .cycle()
                .nth(number.into())
                .unwrap_or_default(),
        }
    }
}

fn start(
    lab: &Lab,
    binary: &Path,
    folder: &Path,
    nodes: &[Node],
    serve: &[OsString],
) -> Result<Daemon> {
    let (config, hosts) = (folder.join("proxydhcp.cfg"), folder.join("hosts"));
    fs::write(
        &config,
        cfg_bytes(nodes.iter().map(|node| (&node.name, node.winpe)))?,
    )?;
    fs::write(
        &hosts,
        hosts_text(nodes.iter().map(|node| (node.address, &node.name))),
    )?;
    // An empty file, because the settings of this machine are for its own daemon.
    let settings = folder.join("proxydhcp.toml");
    fs::write(&settings, "")?;
    let mut command = Command::new(binary);
    command.args(["serve", "-i", SERVER_INTERFACE]);
    // The raw datapath has no such mode.
    if !serve.iter().any(|arg| arg == "raw" || arg == "--path=raw") {
        command.args(["--xdp-mode", "native"]);
    }
    command
        .arg("--config")
        .arg(config)
        .arg("--hosts")
        .arg(hosts);
    command.arg("--control").arg(folder.join("control.sock"));
    command.arg("--settings").arg(settings);
    command.args(serve);
    Daemon::start_command(&lab.server, command)
}

fn boot(lab: &Lab, clients: &[Client], interrupted: &AtomicBool) -> Result<StormReport> {
    // The bar is hidden if the output is not a terminal.
    let bar = ProgressBar::new(NODES.into());
    bar.set_style(ProgressStyle::with_template(
        "{bar:40} {pos}/{len} nodes answered, {elapsed}",
    )?);
    let report = storm(&lab.client, CLIENT_INTERFACE, clients, &mut |progress| {
        bar.set_position(progress.answered as u64);
        if interrupted.load(Ordering::Relaxed) {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    });
    bar.finish_and_clear();
    report
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn nodes_differ_and_every_kind_is_among_them() {
        let nodes: Vec<Node> = (0..NODES).map(Node::new).collect();
        let addresses: HashSet<Ipv4Addr> = nodes.iter().map(|node| node.address).collect();
        assert_eq!(addresses.len(), nodes.len());
        let kinds: HashSet<(bool, &str)> = nodes
            .iter()
            .map(|node| (node.firmware == Firmware::Bios, node.winpe))
            .collect();
        assert_eq!(kinds.len(), 2 * WINPES.len());
    }
}
