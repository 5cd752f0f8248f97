//! The nodes that a benchmark simulates, and the files that make a daemon serve them.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use proxydhcp_clients::{Client, Firmware};
use proxydhcp_lab::config::{NAME_LENGTH, PATH_LENGTH};
use proxydhcp_lab::{CLIENT_MAC, RequestFrame, client_mac};

/// The number of WinPEs, about as many as a real cluster has, however large it is.
const WINPES: u32 = 12;
/// The number of nodes with addresses in the lab's own network, which exceeds any storm.
const ON_THE_WIRE: u32 = 50_000;
const PER_SUBNET: u32 = 250;

/// One node of the cluster, by its number, from 0.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Node(pub(crate) u32);

impl Node {
    /// All nodes of a cluster.
    pub(crate) fn all(count: u32) -> impl Iterator<Item = Self> {
        (0..count).map(Self)
    }

    /// The address it asks from, which is unique to the node.
    pub(crate) fn address(self) -> Ipv4Addr {
        const LAB: Ipv4Addr = Ipv4Addr::new(10, 77, 1, 1);
        const BEYOND: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);
        let (first, offset) = if self.0 < ON_THE_WIRE {
            (LAB, self.0 / PER_SUBNET * 256 + self.0 % PER_SUBNET)
        } else {
            (BEYOND, self.0 - ON_THE_WIRE)
        };
        Ipv4Addr::from(u32::from(first).wrapping_add(offset))
    }

    pub(crate) fn name(self) -> String {
        format!("node{:07}", self.0 + 1)
    }

    pub(crate) fn winpe(self) -> String {
        self.winpe_after(0)
    }

    /// Its WinPE after this many changes.
    fn winpe_after(self, changes: u32) -> String {
        format!("winboot/winpe-{:02}/", (self.0 + changes) % WINPES)
    }

    /// The node as a UEFI machine behind a router, which its frames come from, so that the size of
    /// the kernel's neighbour table limits no contender.
    pub(crate) fn client(self) -> Client {
        let mut client = Client::new(Firmware::Uefi, self.address(), &self.winpe());
        client.request.source_mac = CLIENT_MAC;
        client
    }

    pub(crate) fn request(self) -> RequestFrame {
        self.client().request
    }
}

/// The `proxydhcp.cfg` and hosts file of the first nodes of the cluster.
#[derive(Debug)]
pub(crate) struct Files {
    pub(crate) config: PathBuf,
    pub(crate) hosts: PathBuf,
    pub(crate) control: PathBuf,
    settings: PathBuf,
    count: u32,
}

impl Files {
    /// Writes them to `folder`.
    pub(crate) fn write(folder: &Path, count: u32) -> Result<Self> {
        let files = Self {
            config: folder.join("proxydhcp.cfg"),
            hosts: folder.join("hosts"),
            control: folder.join("control.sock"),
            settings: folder.join("proxydhcp.toml"),
            count,
        };
        fs::create_dir_all(folder)?;
        files
            .fill()
            .with_context(|| format!("cannot write files for {count} nodes"))?;
        Ok(files)
    }

    /// Writes the hardware addresses of these nodes.
    pub(crate) fn know_hardware(&self, count: u32) -> Result<()> {
        let mut hardware = self.config.clone().into_os_string();
        hardware.push(".hardware");
        let lines = Node::all(count).map(|node| {
            let [a, b, c, d, e, f] = client_mac(node.address());
            let name = node.name();
            format!("{name} mac={a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}\n")
        });
        fs::write(&hardware, lines.collect::<String>())
            .with_context(|| format!("cannot write {}", hardware.display()))
    }

    fn fill(&self) -> Result<()> {
        self.change(0, self.count)?;
        let mut hosts = BufWriter::new(File::create(&self.hosts)?);
        for node in Node::all(self.count) {
            writeln!(hosts, "{} {}", node.address(), node.name())?;
        }
        // An empty file, because the settings of this machine are for its own daemon.
        File::create(&self.settings)?;
        Ok(hosts.flush()?)
    }

    /// Has all nodes but the first ones, which stay as they are, boot what they do after this many changes.
    pub(crate) fn change(&self, changes: u32, first: u32) -> Result<()> {
        let mut config = BufWriter::new(File::create(&self.config)?);
        for node in Node::all(self.count) {
            let changes = if node.0 < first { 0 } else { changes };
            let fields = [
                (node.name(), NAME_LENGTH),
                (node.winpe_after(changes), PATH_LENGTH),
            ];
            for (text, length) in fields {
                let mut field = text.into_bytes();
                field.resize(length, 0);
                config.write_all(&field)?;
            }
        }
        Ok(config.flush()?)
    }

    /// Adds a line to the hosts file that is of no node.
    pub(crate) fn add_host(&self) -> Result<()> {
        let mut hosts = File::options().append(true).open(&self.hosts)?;
        Ok(writeln!(hosts, "10.64.0.1 no-node")?)
    }

    /// The arguments that make the daemon use these files.
    pub(crate) fn arguments(&self) -> [&std::ffi::OsStr; 8] {
        [
            "--config".as_ref(),
            self.config.as_os_str(),
            "--hosts".as_ref(),
            self.hosts.as_os_str(),
            "--control".as_ref(),
            self.control.as_os_str(),
            "--settings".as_ref(),
            self.settings.as_os_str(),
        ]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proxydhcp_lab::{CLIENT_ADDRESS, SERVER_ADDRESS};

    use super::*;

    #[test]
    fn every_node_has_an_address_of_its_own() {
        let addresses: HashSet<Ipv4Addr> = Node::all(200_000).map(Node::address).collect();
        assert_eq!(addresses.len(), 200_000);
        assert!(!addresses.contains(&SERVER_ADDRESS) && !addresses.contains(&CLIENT_ADDRESS));
        let storm = Node::all(ON_THE_WIRE).map(|node| node.address().octets());
        assert!(storm.into_iter().all(|[a, b, ..]| (a, b) == (10, 77)));
    }

    #[test]
    fn the_files_have_a_record_and_a_line_for_each_node() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::write(folder.path(), 30).unwrap();
        let config = fs::read(&files.config).unwrap();
        assert_eq!(config.len(), 30 * 200);
        assert!(config[200..].starts_with(b"node0000002\0"));
        assert!(config[250..].starts_with(b"winboot/winpe-01/\0"));
        let hosts = fs::read_to_string(&files.hosts).unwrap();
        assert_eq!(hosts.lines().nth(1), Some("10.77.1.2 node0000002"));
    }
}
