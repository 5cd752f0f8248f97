//! A site of many nodes that all boot the same WinPE.

use std::fmt::Write;
use std::fs;
use std::net::Ipv4Addr;

use anyhow::Result;
use proxydhcp_lab::architecture::{BIOS, UEFI_X64};
use proxydhcp_lab::config::cfg_bytes;
use proxydhcp_lab::site::{Datapath, Files, Site};
use proxydhcp_lab::{RequestFrame, Tap};

/// The nodes: `n0`, `n1` and so on.
pub(crate) struct Cluster {
    nodes: Vec<(String, Ipv4Addr)>,
}

impl Cluster {
    pub(crate) fn new(count: u16) -> Self {
        let first = u32::from(Ipv4Addr::new(10, 77, 4, 0));
        let nodes = (0..count).map(|n| (format!("n{n}"), (first + u32::from(n)).into()));
        Self {
            nodes: nodes.collect(),
        }
    }

    /// Serves the nodes, with the daemon's own rate limit, to a great many senders: a tap on the wire
    /// would fill its socket.
    pub(crate) fn site(&self, datapath: Datapath, winpe: &str) -> Result<Site> {
        let files = Files::new()?;
        files.write_settings("")?;
        self.start(files, datapath, winpe, &[])
    }

    /// The same without a rate limit, by a daemon with these arguments.
    pub(crate) fn unlimited(
        &self,
        datapath: Datapath,
        winpe: &str,
        arguments: &[&str],
    ) -> Result<Site> {
        self.start(Files::new()?, datapath, winpe, arguments)
    }

    fn start(
        &self,
        files: Files,
        datapath: Datapath,
        winpe: &str,
        arguments: &[&str],
    ) -> Result<Site> {
        self.write_hosts(&files)?;
        self.write_config(&files, winpe)?;
        let mut site = Site::start(datapath, files, arguments)?;
        // On the wire, the tap would take a copy of each frame from now on.
        site.tap = Tap::open(&site.lab.client, "lo")?;
        Ok(site)
    }

    pub(crate) fn write_hosts(&self, files: &Files) -> Result<()> {
        let mut text = String::new();
        for (name, address) in &self.nodes {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{address} {name}.cluster {name}");
        }
        Ok(fs::write(files.path("hosts"), text)?)
    }

    /// Puts a whole new `proxydhcp.cfg` in place of the old one.
    pub(crate) fn write_config(&self, files: &Files, winpe: &str) -> Result<()> {
        let next = files.path("proxydhcp.cfg.next");
        let records = self.nodes.iter().map(|(name, _)| (name, winpe));
        fs::write(&next, cfg_bytes(records)?)?;
        Ok(fs::rename(next, files.path("proxydhcp.cfg"))?)
    }

    /// Each node's request, with its architecture: UEFI and BIOS by turns.
    pub(crate) fn requests(&self) -> Vec<(RequestFrame, u16)> {
        let nodes = self.nodes.iter().enumerate();
        nodes
            .map(|(n, (_, address))| match n % 2 {
                0 => (RequestFrame::edk2(*address, UEFI_X64), UEFI_X64),
                _ => (RequestFrame::ipxe(*address, BIOS), BIOS),
            })
            .collect()
    }
}
