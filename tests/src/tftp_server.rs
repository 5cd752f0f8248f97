//! The TFTP servers that sites have: those of Debian's packages.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::debian::{ensure_installed, unpacked};
use crate::{Daemon, Namespace};

/// How long a server may take to open its port.
const PATIENCE: Duration = Duration::from_secs(20);
/// Port 69, as `/proc/net/udp` has it.
const PORT: &str = ":0045 ";

/// A TFTP server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TftpServer {
    /// tftpd-hpa.
    Hpa,
    /// dnsmasq, as a TFTP server and nothing else.
    Dnsmasq,
    /// atftpd.
    Atftpd,
}

impl TftpServer {
    /// All servers.
    pub const ALL: [Self; 3] = [Self::Hpa, Self::Dnsmasq, Self::Atftpd];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hpa => "tftpd-hpa",
            Self::Dnsmasq => "dnsmasq",
            Self::Atftpd => "atftpd",
        }
    }

    /// The program, which is installed if it is missing. atftpd is unpacked into `folder`: its package
    /// and tftpd-hpa's exclude each other.
    ///
    /// # Errors
    /// When it is not to be had.
    pub fn program(self, folder: &Path) -> Result<PathBuf> {
        // Of tftpd-hpa's package comes a library that atftpd needs as well.
        ensure_installed("in.tftpd", "tftpd-hpa")?;
        match self {
            Self::Hpa => Ok("/usr/sbin/in.tftpd".into()),
            Self::Dnsmasq => {
                ensure_installed("dnsmasq", "dnsmasq-base")?;
                Ok("dnsmasq".into())
            }
            Self::Atftpd => unpacked("usr/sbin/atftpd", "atftpd", folder),
        }
    }

    /// The command that serves `root` in the foreground, as root, at this address, with more arguments.
    ///
    /// # Errors
    /// When the program is not to be had; see [`TftpServer::program`].
    pub fn command(
        self,
        folder: &Path,
        root: &Path,
        address: Ipv4Addr,
        more: &[&str],
    ) -> Result<Command> {
        let mut command = Command::new(self.program(folder)?);
        match self {
            Self::Hpa => {
                command.args(["--foreground", "--user", "root", "--secure"]);
                command.arg("--address").arg(format!("{address}:69"));
                command.args(more).arg(root);
            }
            Self::Dnsmasq => {
                command.args(["--keep-in-foreground", "--log-facility=-"]);
                command.args(["--conf-file=/dev/null", "--pid-file=", "--port=0"]);
                command.args(["--user=root", "--group=root", "--enable-tftp"]);
                command.arg(format!("--tftp-root={}", root.display()));
                command.args(more);
            }
            Self::Atftpd => {
                command.args(["--daemon", "--no-fork", "--logfile", "-"]);
                command.args(["--user", "root", "--group", "root", "--bind-address"]);
                command.arg(address.to_string()).args(more).arg(root);
            }
        }
        Ok(command)
    }

    /// Serves `root` in the namespace.
    ///
    /// # Errors
    /// When the server cannot be had or started.
    pub fn start(
        self,
        namespace: &Namespace,
        folder: &Path,
        root: &Path,
        address: Ipv4Addr,
        more: &[&str],
    ) -> Result<Daemon> {
        let command = self.command(folder, root, address, more)?;
        let server = Daemon::spawn(namespace, command)?;
        wait_for_port(namespace, &server)?;
        Ok(server)
    }
}

/// Waits until port 69 is open in the namespace.
///
/// # Errors
/// When it is not in time: with the server's log.
pub fn wait_for_port(namespace: &Namespace, server: &Daemon) -> Result<()> {
    let asked = Instant::now();
    while asked.elapsed() < PATIENCE {
        let sockets = namespace.run(|| Ok(fs::read_to_string("/proc/thread-self/net/udp")?))?;
        if sockets.contains(PORT) {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(10));
    }
    bail!("nobody has opened port 69; the log:\n{}", server.log())
}
