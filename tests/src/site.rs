//! A site under test: a private network, the files, and the daemon that serves them.
#![allow(
    clippy::missing_errors_doc,
    missing_docs,
    reason = "a test fails by what they say"
)]

use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use crate::architecture::{BIOS, UEFI_X64};
use crate::{
    Daemon, Ended, Expected, Lab, RequestFrame, SERVER_INTERFACE, Tap, binary, check_reply, config,
};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;

/// How the daemon answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Datapath {
    /// XDP in the driver.
    Native,
    /// XDP in the network core.
    Generic,
    /// AF_XDP sockets, which XDP redirects requests to.
    AfXdp,
    /// The ring of a packet socket, without XDP.
    Raw,
}

impl Datapath {
    /// All datapaths.
    pub const ALL: [Self; 4] = [Self::Native, Self::Generic, Self::AfXdp, Self::Raw];

    fn args(self) -> &'static [&'static str] {
        match self {
            Self::Native => &["--path", "kernel", "--xdp-mode", "native"],
            Self::Generic => &["--path", "kernel", "--xdp-mode", "generic"],
            Self::AfXdp => &["--path", "af-xdp"],
            Self::Raw => &["--path", "raw"],
        }
    }

    /// Its name in `status`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Native | Self::Generic => "kernel",
            Self::AfXdp => "af-xdp",
            Self::Raw => "raw",
        }
    }
}

/// How long to wait for a reply that must not come; replies take microseconds.
const SILENCE: Duration = Duration::from_millis(150);

/// The lab, the files and the daemon.
pub struct Site {
    pub lab: Lab,
    pub tap: Tap,
    pub daemon: Daemon,
    pub files: Files,
}

/// The daemon's files, in a folder of their own.
pub struct Files {
    folder: TempDir,
}

impl Files {
    pub fn new() -> Result<Self> {
        let files = Self {
            folder: TempDir::new()?,
        };
        // The settings of this machine are for its own daemon. The few clients of a test ask more
        // often than real ones do.
        files.write_settings("rate-limit = 0\n")?;
        Ok(files)
    }

    /// The files of the usual site.
    pub fn usual() -> Result<Self> {
        let files = Self::new()?;
        files.write_config(&[("a", "winboot/a/"), ("b", "winboot/b"), ("default", "")])?;
        files.write_hosts(&[
            ("10.77.1.1", "a.cluster a"),
            ("10.77.1.2", "b b.cluster"),
            ("10.77.1.3", "default"),
        ])?;
        Ok(files)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// Writes `proxydhcp.cfg` with these nodes and paths.
    pub fn write_config(&self, records: &[(&str, &str)]) -> Result<()> {
        self.write_raw_config(&config::cfg_bytes(records.iter().copied())?)
    }

    pub fn write_raw_config(&self, bytes: &[u8]) -> Result<()> {
        Ok(fs::write(self.path("proxydhcp.cfg"), bytes)?)
    }

    /// Writes the hosts file with these addresses and names.
    pub fn write_hosts(&self, hosts: &[(&str, &str)]) -> Result<()> {
        let hosts: Result<Vec<(Ipv4Addr, &str)>> = hosts
            .iter()
            .map(|(address, names)| Ok((address.parse()?, *names)))
            .collect();
        Ok(fs::write(self.path("hosts"), config::hosts_text(hosts?))?)
    }

    /// Writes the settings file.
    pub fn write_settings(&self, text: &str) -> Result<()> {
        Ok(fs::write(self.path("proxydhcp.toml"), text)?)
    }

    /// The arguments that make the daemon use them.
    pub fn args(&self) -> Vec<String> {
        vec![
            "--config".to_owned(),
            self.text("proxydhcp.cfg"),
            "--hosts".to_owned(),
            self.text("hosts"),
            "--control".to_owned(),
            self.text("control.sock"),
            "--settings".to_owned(),
            self.text("proxydhcp.toml"),
        ]
    }
}

/// The arguments that serve `files` on the lab's interface.
pub fn serve_args(datapath: Datapath, files: &Files, more: &[&str]) -> Vec<String> {
    let usual = ["serve", "-i", SERVER_INTERFACE];
    let args = [&usual, datapath.args(), more].concat();
    let mut args: Vec<String> = args.into_iter().map(str::to_owned).collect();
    args.extend(files.args());
    args
}

/// The nodes of the usual site.
pub const NODE_A: Ipv4Addr = Ipv4Addr::new(10, 77, 1, 1);
pub const NODE_B: Ipv4Addr = Ipv4Addr::new(10, 77, 1, 2);
pub const NODE_DEFAULT: Ipv4Addr = Ipv4Addr::new(10, 77, 1, 3);
pub const STRANGER: Ipv4Addr = Ipv4Addr::new(10, 77, 9, 9);

impl Site {
    /// Serves `winboot/a/` to [`NODE_A`], `winboot/b/` to [`NODE_B`] and the default WinPE to
    /// [`NODE_DEFAULT`].
    pub fn usual(datapath: Datapath) -> Result<Self> {
        Self::with(datapath, &[])
    }

    /// Serves the usual files, with more arguments to `serve`.
    pub fn with(datapath: Datapath, more: &[&str]) -> Result<Self> {
        Self::start(datapath, Files::usual()?, more)
    }

    /// Serves `files`.
    pub fn start(datapath: Datapath, files: Files, more: &[&str]) -> Result<Self> {
        Self::start_in(Lab::new()?, datapath, files, more)
    }

    /// Serves `files` in a lab that is out of the ordinary.
    pub fn start_in(lab: Lab, datapath: Datapath, files: Files, more: &[&str]) -> Result<Self> {
        let args = serve_args(datapath, &files, more);
        let daemon = Daemon::start(&lab.server, &binary()?, &args)?;
        Self::of(lab, daemon, files)
    }

    /// The site of a daemon that serves `files` in `lab` already.
    pub fn of(lab: Lab, daemon: Daemon, files: Files) -> Result<Self> {
        let tap = lab.tap()?;
        Ok(Self {
            lab,
            tap,
            daemon,
            files,
        })
    }

    /// Asks, checks the reply in every field, and returns it.
    pub fn ask(&mut self, request: &RequestFrame, winpe: &str, arch: u16) -> Result<Vec<u8>> {
        let reply = self.tap.ask(request).with_context(|| self.describe())?;
        check_reply(&request.bytes(), &reply, &Expected::new(winpe, arch))?;
        Ok(reply)
    }

    /// Asks as EDK2 does on an x64 machine of this address, checks the reply in every field, and
    /// returns it.
    pub fn ask_uefi(&mut self, client: Ipv4Addr, winpe: &str) -> Result<Vec<u8>> {
        self.ask(&RequestFrame::edk2(client, UEFI_X64), winpe, UEFI_X64)
    }

    /// Asks as iPXE does on a machine of this address that has a BIOS, checks the reply in every
    /// field, and returns it.
    pub fn ask_bios(&mut self, client: Ipv4Addr, winpe: &str) -> Result<Vec<u8>> {
        self.ask(&RequestFrame::ipxe(client, BIOS), winpe, BIOS)
    }

    /// Sends a frame that must not be answered.
    pub fn stays_silent(&mut self, frame: &[u8]) -> Result<()> {
        while self.tap.reply(Duration::ZERO)?.is_some() {}
        self.tap.send(frame)?;
        let reply = self.tap.reply(SILENCE)?;
        ensure!(reply.is_none(), "answered by {reply:02x?}");
        Ok(())
    }

    /// Asks as EDK2 does on an x64 machine of this address, which must not be answered.
    pub fn stays_silent_to(&mut self, client: Ipv4Addr) -> Result<()> {
        self.stays_silent(&RequestFrame::edk2(client, UEFI_X64).bytes())
    }

    /// The log and the counters, for the message of a failed test.
    pub fn describe(&self) -> String {
        let counters = self
            .counters()
            .map_or_else(|error| error.to_string(), |c| c.to_string());
        format!("{}\ncounters: {counters}", self.daemon.log())
    }

    /// Runs the command line in the daemon's namespace, with its control socket.
    pub fn command(&self, args: &[&str]) -> Result<Ended> {
        let socket = self.files.text("control.sock");
        let mut args = args.to_vec();
        args.extend(["--control", &socket]);
        Ok(self.daemon.proxydhcp(&self.lab.server, &args)?.into())
    }

    /// `proxydhcp status --json`.
    pub fn status(&self) -> Result<Value> {
        let output = self.command(&["status", "--json"])?;
        // 2: not all that should be in service is.
        ensure!(matches!(output.code, Some(0 | 2)), "{output:?}");
        Ok(serde_json::from_str(&output.stdout)?)
    }

    /// The counters of the one interface, of all its datapaths together.
    pub fn counters(&self) -> Result<Value> {
        let status = self.status()?;
        let counters = status.pointer("/interfaces/0/counters");
        counters.cloned().context("the status has no counters")
    }
}
