//! The responders that take part in a benchmark.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use proxydhcp_lab::{Daemon, Lab, SERVER_INTERFACE, xdp};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::cluster::Files;
use crate::pin::Cores;
use crate::{dnsmasq, small_xdp};

/// A responder that takes part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contender {
    name: String,
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    /// proxydhcp, with one of its datapaths.
    Proxydhcp(Settings),
    Dnsmasq,
    /// An XDP program that only exchanges the addresses.
    Reflector,
    /// A shell command.
    Peer(String),
}

/// The settings of the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Settings {
    path: &'static str,
    /// `None` for the raw datapath, which has no program.
    xdp_mode: Option<&'static str>,
    /// Answers to one source per second, and at once; `None` stands for the default of an installed
    /// daemon.
    limit: Option<&'static str>,
    /// Whether nodes that are known by their hardware addresses get offers.
    offers: bool,
}

/// The rate limit in floods and loads, which come from fewer clients than requests: each request is
/// charged, and none exceeds the limit.
const HIGH_LIMIT: Option<&str> = Some("10000");

impl Contender {
    /// The names of the contenders that need no command.
    pub const USUAL: [&str; 5] = ["kernel", "af-xdp", "raw", "dnsmasq", "reflector"];

    /// The contender with one of the usual names.
    ///
    /// # Errors
    /// If there is none of this name.
    pub fn usual(name: &str) -> Result<Self> {
        let proxydhcp = |path| {
            Kind::Proxydhcp(Settings {
                path,
                xdp_mode: (path != "raw").then_some("native"),
                limit: HIGH_LIMIT,
                offers: false,
            })
        };
        let kind = match name {
            "kernel" => proxydhcp("kernel"),
            "af-xdp" => proxydhcp("af-xdp"),
            "raw" => proxydhcp("raw"),
            "dnsmasq" => Kind::Dnsmasq,
            "reflector" => Kind::Reflector,
            _ => bail!(
                "there is no contender {name:?}; there are {}, and --peer NAME=COMMAND",
                Self::USUAL.join(", ")
            ),
        };
        Ok(Self {
            name: name.to_owned(),
            kind,
        })
    }

    /// proxydhcp with its default rate limit, with each datapath.
    pub(crate) fn as_installed() -> [Self; 4] {
        [
            ("kernel (native)", "kernel", Some("native")),
            ("kernel (generic)", "kernel", Some("generic")),
            ("af-xdp", "af-xdp", Some("native")),
            ("raw", "raw", None),
        ]
        .map(|(name, path, xdp_mode)| Self {
            name: name.to_owned(),
            kind: Kind::Proxydhcp(Settings {
                path,
                xdp_mode,
                limit: None,
                offers: false,
            }),
        })
    }

    /// The same, with offers; `None` for one that makes none.
    pub(crate) fn offering(&self) -> Option<Self> {
        let kind = match &self.kind {
            Kind::Proxydhcp(settings) => Kind::Proxydhcp(Settings {
                offers: true,
                ..*settings
            }),
            Kind::Dnsmasq => Kind::Dnsmasq,
            Kind::Reflector | Kind::Peer(_) => return None,
        };
        Some(Self {
            name: self.name.clone(),
            kind,
        })
    }

    /// Any other daemon for port 4011, as `NAME=COMMAND`.
    ///
    /// # Errors
    /// If the text does not have this form.
    pub fn peer(text: &str) -> Result<Self> {
        match text.split_once('=') {
            Some((name, command)) if !name.is_empty() && !command.trim().is_empty() => Ok(Self {
                name: name.to_owned(),
                kind: Kind::Peer(command.to_owned()),
            }),
            _ => bail!("a peer is given as NAME=COMMAND, not as {text:?}"),
        }
    }

    /// The contender's name in the results.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether every field of its replies is known, and checked.
    pub(crate) fn is_checked(&self) -> bool {
        matches!(self.kind, Kind::Proxydhcp(_))
    }

    /// Makes sure that the contender can run at all.
    ///
    /// # Errors
    /// If something is missing; the error names it.
    pub fn prepare(&self) -> Result<()> {
        match self.kind {
            Kind::Dnsmasq => dnsmasq::ensure_installed(),
            _ => Ok(()),
        }
    }

    /// Starts the contender on the lab's server.
    pub(crate) fn start(&self, lab: &Lab, at: &Start) -> Result<Responder> {
        let command = match &self.kind {
            Kind::Reflector => {
                let program = small_xdp::reflector()?;
                let link = xdp::attach(&lab.server, SERVER_INTERFACE, program)?;
                return Ok(Responder::Xdp(link));
            }
            Kind::Proxydhcp(settings) => {
                return start_proxydhcp(settings, lab, at).map(Responder::Daemon);
            }
            Kind::Dnsmasq => dnsmasq::command(),
            Kind::Peer(command) => shell(command),
        };
        let log = at.folder.join(format!("{}.log", self.name));
        Process::start(lab, at.cores, command, log).map(Responder::Process)
    }
}

fn start_proxydhcp(settings: &Settings, lab: &Lab, at: &Start) -> Result<Daemon> {
    let mut command = Command::new(at.binary);
    command.args(["serve", "-i", SERVER_INTERFACE]);
    command.args(["--path", settings.path]);
    if let Some(mode) = settings.xdp_mode {
        command.args(["--xdp-mode", mode]);
    }
    if let Some(limit) = settings.limit {
        command.args(["--rate-limit", limit, "--burst", limit]);
    }
    if settings.offers {
        command.args(["--offers", "known"]);
    }
    command.args(at.files.arguments());
    at.cores.pin_responder(&mut command);
    Daemon::start_command(&lab.server, command)
}

/// What contenders need to start.
#[derive(Clone, Copy)]
pub(crate) struct Start<'a> {
    pub(crate) binary: &'a Path,
    pub(crate) files: &'a Files,
    pub(crate) folder: &'a Path,
    pub(crate) cores: Cores,
}

/// A running contender. Dropping it stops it.
pub(crate) enum Responder {
    Daemon(Daemon),
    Process(Process),
    /// Held, but not used.
    Xdp(#[expect(dead_code, reason = "holds the program attached")] OwnedFd),
}

impl Responder {
    /// The contender's output so far.
    pub(crate) fn log(&self) -> String {
        match self {
            Self::Daemon(daemon) => daemon.log(),
            Self::Process(process) => process.log(),
            Self::Xdp(_) => String::new(),
        }
    }
}

/// A process and its descendants.
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    fn start(lab: &Lab, cores: Cores, mut command: Command, log: PathBuf) -> Result<Self> {
        use std::os::unix::process::CommandExt;
        let file = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .process_group(0);
        cores.pin_responder(&mut command);
        let child = lab.server.spawn(command)?;
        Ok(Self { child, log })
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It need not shut down in order, because its network is removed with it.
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        let _ = self.child.wait();
    }
}

fn shell(script: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("sh");
    command.arg("-c").arg(script);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contenders_go_by_their_names() {
        for name in Contender::USUAL {
            assert_eq!(Contender::usual(name).unwrap().name(), name);
        }
        assert!(Contender::usual("Kernel").is_err());
        let peer = Contender::peer("perl=proxydhcp --port=4011").unwrap();
        assert_eq!(peer.name(), "perl");
        assert_eq!(peer.kind, Kind::Peer("proxydhcp --port=4011".to_owned()));
        for wrong in ["perl", "=x", "perl= "] {
            assert!(Contender::peer(wrong).is_err(), "{wrong}");
        }
    }
}
