//! A site under test: a private network, the files, and the daemon that serves them.

use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Output;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use proxydhcp_lab::{
    Daemon, Expected, Lab, RequestFrame, SERVER_INTERFACE, Tap, binary, check_reply, config,
};
use serde_json::Value;
use tempfile::TempDir;

/// How the daemon answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Datapath {
    /// XDP by the driver.
    Native,
    /// XDP by the network core.
    Generic,
    /// The packet ring alone.
    Raw,
}

impl Datapath {
    /// Each way that a request can go.
    pub(crate) const ALL: [Self; 3] = [Self::Native, Self::Generic, Self::Raw];

    fn args(self) -> &'static [&'static str] {
        match self {
            Self::Native => &["--path", "kernel", "--xdp-mode", "native"],
            Self::Generic => &["--path", "kernel", "--xdp-mode", "generic"],
            Self::Raw => &["--path", "raw"],
        }
    }

    /// Its name in `status`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Native | Self::Generic => "kernel",
            Self::Raw => "raw",
        }
    }
}

/// A request that nobody answers is waited for this long; replies take microseconds.
const SILENCE: Duration = Duration::from_millis(150);

/// The lab, the files and the daemon.
pub(crate) struct Site {
    pub(crate) lab: Lab,
    pub(crate) tap: Tap,
    pub(crate) daemon: Daemon,
    pub(crate) files: Files,
}

/// The daemon's files, in a folder of their own.
pub(crate) struct Files {
    folder: TempDir,
}

impl Files {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            folder: TempDir::new()?,
        })
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// Writes `proxydhcp.cfg` with these nodes and paths.
    pub(crate) fn write_config(&self, records: &[(&str, &str)]) -> Result<()> {
        self.write_raw_config(&config::cfg_bytes(records.iter().copied())?)
    }

    pub(crate) fn write_raw_config(&self, bytes: &[u8]) -> Result<()> {
        Ok(fs::write(self.path("proxydhcp.cfg"), bytes)?)
    }

    /// Writes the hosts file with these addresses and names.
    pub(crate) fn write_hosts(&self, hosts: &[(&str, &str)]) -> Result<()> {
        let hosts: Result<Vec<(Ipv4Addr, &str)>> = hosts
            .iter()
            .map(|(address, names)| Ok((address.parse()?, *names)))
            .collect();
        Ok(fs::write(self.path("hosts"), config::hosts_text(hosts?))?)
    }

    /// The arguments that make the daemon use them.
    pub(crate) fn args(&self) -> Vec<String> {
        vec![
            "--config".to_owned(),
            self.text("proxydhcp.cfg"),
            "--hosts".to_owned(),
            self.text("hosts"),
            "--control".to_owned(),
            self.text("control.sock"),
        ]
    }
}

/// The nodes of the usual site.
pub(crate) const NODE_A: Ipv4Addr = Ipv4Addr::new(10, 77, 1, 1);
pub(crate) const NODE_B: Ipv4Addr = Ipv4Addr::new(10, 77, 1, 2);
pub(crate) const NODE_DEFAULT: Ipv4Addr = Ipv4Addr::new(10, 77, 1, 3);
pub(crate) const STRANGER: Ipv4Addr = Ipv4Addr::new(10, 77, 9, 9);

impl Site {
    /// Serves `winboot/a/` to [`NODE_A`], `winboot/b/` to [`NODE_B`] and the default WinPE to
    /// [`NODE_DEFAULT`].
    pub(crate) fn usual(datapath: Datapath) -> Result<Self> {
        Self::with(datapath, &[])
    }

    /// The same with more arguments to `serve`.
    pub(crate) fn with(datapath: Datapath, more: &[&str]) -> Result<Self> {
        let files = Files::new()?;
        files.write_config(&[("a", "winboot/a/"), ("b", "winboot/b"), ("default", "")])?;
        files.write_hosts(&[
            ("10.77.1.1", "a.cluster a"),
            ("10.77.1.2", "b b.cluster"),
            ("10.77.1.3", "default"),
        ])?;
        Self::start(datapath, files, more)
    }

    /// Serves `files`.
    pub(crate) fn start(datapath: Datapath, files: Files, more: &[&str]) -> Result<Self> {
        let lab = Lab::new()?;
        let mut args = vec![
            "serve".to_owned(),
            "-i".to_owned(),
            SERVER_INTERFACE.to_owned(),
        ];
        args.extend(datapath.args().iter().map(|&arg| arg.to_owned()));
        args.extend(more.iter().map(|&arg| arg.to_owned()));
        args.extend(files.args());
        let daemon = Daemon::start(&lab.server, &binary()?, &args)?;
        let tap = lab.tap()?;
        Ok(Self {
            lab,
            tap,
            daemon,
            files,
        })
    }

    /// Asks, checks the reply in every field, and returns it.
    pub(crate) fn ask(
        &mut self,
        request: &RequestFrame,
        winpe: &str,
        arch: u16,
    ) -> Result<Vec<u8>> {
        let reply = self.tap.ask(request).with_context(|| self.describe())?;
        check_reply(&request.bytes(), &reply, &Expected::new(winpe, arch))?;
        Ok(reply)
    }

    /// Sends a frame that must not be answered, and returns the daemon's counters after it.
    pub(crate) fn stays_silent(&mut self, frame: &[u8]) -> Result<()> {
        while self.tap.reply(Duration::ZERO)?.is_some() {}
        self.tap.send(frame)?;
        let reply = self.tap.reply(SILENCE)?;
        ensure!(reply.is_none(), "answered by {reply:02x?}");
        Ok(())
    }

    /// What the daemon can tell about a failure.
    pub(crate) fn describe(&self) -> String {
        let counters = self
            .counters()
            .map_or_else(|error| error.to_string(), |c| c.to_string());
        format!("{}\ncounters: {counters}", self.daemon.log())
    }

    /// Runs the command line in the daemon's namespace, with its control socket.
    pub(crate) fn command(&self, args: &[&str]) -> Result<Output> {
        let socket = self.files.text("control.sock");
        let mut args = args.to_vec();
        args.extend(["--control", &socket]);
        self.daemon.proxydhcp(&self.lab.server, &args)
    }

    /// `proxydhcp status --json`.
    pub(crate) fn status(&self) -> Result<Value> {
        let output = self.command(&["status", "--json"])?;
        ensure!(output.status.success(), "{output:?}");
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// The counters of the one interface, of all its datapaths together.
    pub(crate) fn counters(&self) -> Result<Value> {
        Ok(self.status()?["interfaces"][0]["counters"].clone())
    }
}
