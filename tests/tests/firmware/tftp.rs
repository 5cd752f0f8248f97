//! The TFTP server, and the files that a client got from it (RFC 1350, RFC 2348).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use proxydhcp_lab::datagram::Datagram;
use proxydhcp_lab::debian::ensure_installed;
use proxydhcp_lab::{Daemon, Namespace};

const READ_REQUEST: u16 = 1;
const DATA: u16 = 3;
const ACKNOWLEDGEMENT: u16 = 4;

pub(crate) fn install() -> Result<()> {
    ensure_installed("dnsmasq", "dnsmasq-base")
}

/// dnsmasq as a TFTP server and nothing else.
pub(crate) fn start(namespace: &Namespace, root: &Path) -> Result<Daemon> {
    let mut command = Command::new("dnsmasq");
    command.args([
        "--keep-in-foreground",
        "--log-facility=-",
        "--conf-file=/dev/null",
    ]);
    // As another user it would outlive this process.
    command.args([
        "--pid-file=",
        "--user=root",
        "--group=root",
        "--port=0",
        "--enable-tftp",
    ]);
    command.arg(format!("--tftp-root={}", root.display()));
    let mut server = Daemon::spawn(namespace, command)?;
    server.wait_for("TFTP root is", Duration::from_secs(20))?;
    Ok(server)
}

/// The files that a client asked for, and those that it got whole.
#[derive(Debug, Default)]
pub(crate) struct Transfers {
    pub(crate) asked: HashSet<String>,
    pub(crate) whole: Vec<(String, Vec<u8>)>,
}

/// Reads the transfers off what passed a client's network card.
pub(crate) fn transfers(frames: &[Vec<u8>]) -> Result<Transfers> {
    let datagrams = || {
        frames
            .iter()
            .filter_map(|frame| Datagram::parse(frame).ok())
    };
    let mut transfers = Transfers::default();
    // A transfer is known by the client's port; a read request begins it.
    let mut files: HashMap<u16, String> = HashMap::new();
    for request in datagrams().filter(|datagram| datagram.destination_port == 69) {
        if let Some((READ_REQUEST, rest)) = opcode(request.payload) {
            let name = rest.split(|byte| *byte == 0).next().unwrap_or_default();
            let name = str::from_utf8(name).context("a file name that is no text")?;
            transfers.asked.insert(name.to_owned());
            files.insert(request.source_port, name.to_owned());
        }
    }
    for (port, name) in files {
        let mut blocks: BTreeMap<u16, &[u8]> = BTreeMap::new();
        let mut acknowledged = 0;
        for datagram in datagrams() {
            let Some((operation, rest)) = opcode(datagram.payload) else {
                continue;
            };
            match (operation, opcode(rest)) {
                (DATA, Some((number, data))) if datagram.destination_port == port => {
                    blocks.insert(number, data);
                }
                (ACKNOWLEDGEMENT, Some((number, _))) if datagram.source_port == port => {
                    acknowledged = acknowledged.max(number);
                }
                _ => {}
            }
        }
        let (first, last) = (blocks.first_key_value(), blocks.last_key_value());
        if let (Some((1, first)), Some((&count, last))) = (first, last)
            && acknowledged == count
            && usize::from(count) == blocks.len()
            && (count == 1 || last.len() < first.len())
        {
            let content = blocks.into_values().flatten().copied().collect();
            transfers.whole.push((name, content));
        }
    }
    Ok(transfers)
}

/// The 16-bit number at the start, and the rest.
fn opcode(payload: &[u8]) -> Option<(u16, &[u8])> {
    let (number, rest) = payload.split_first_chunk()?;
    Some((u16::from_be_bytes(*number), rest))
}
