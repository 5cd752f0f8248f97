//! Real DHCP servers: ISC dhcpd, Kea and dnsmasq, with their own programs from Debian's packages.
#![allow(
    clippy::missing_errors_doc,
    missing_docs,
    reason = "a test fails by what they say"
)]

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::debian::ensure_installed;
use crate::{Daemon, Namespace, copy_program};

/// How long a server may take to begin.
const PATIENCE: Duration = Duration::from_secs(20);

/// The addresses that an ordinary server gives: the lab's network, and none of those that tests name.
pub const POOL: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 77, 40, 1), Ipv4Addr::new(10, 77, 60, 254)];

/// A server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DhcpServer {
    Isc,
    Kea,
    Dnsmasq,
}

/// What an ordinary server says to PXE clients besides an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToPxe {
    Nothing,
    /// The boot file pxelinux.0.
    BootFile,
    /// Option 60.
    Option60,
}

impl DhcpServer {
    pub const ALL: [Self; 3] = [Self::Isc, Self::Kea, Self::Dnsmasq];

    pub fn install(self) -> Result<()> {
        match self {
            Self::Isc => ensure_installed("dhcpd", "isc-dhcp-server"),
            Self::Kea => ensure_installed("kea-dhcp4", "kea-dhcp4-server"),
            Self::Dnsmasq => ensure_installed("dnsmasq", "dnsmasq-base"),
        }
    }

    /// Starts an ordinary server on this interface, which gives addresses of [`POOL`]. Its files are in
    /// `folder`.
    pub fn start_ordinary(
        self,
        namespace: &Namespace,
        interface: &str,
        folder: &Path,
        to_pxe: ToPxe,
    ) -> Result<Daemon> {
        let text = match self {
            Self::Isc => isc(to_pxe),
            Self::Kea => kea(interface, to_pxe),
            Self::Dnsmasq => dnsmasq(interface, folder, to_pxe),
        };
        fs::write(conf(folder), text)?;
        self.start(namespace, interface, folder)
    }

    /// Starts the server on this interface, with the configuration [`conf`] and the leases `leases` in
    /// `folder`.
    pub fn start(self, namespace: &Namespace, interface: &str, folder: &Path) -> Result<Daemon> {
        self.install()?;
        fs::write(folder.join("leases"), "")?;
        let mut command = self.command(folder)?;
        let ready = match self {
            Self::Isc => {
                command.args(["-4", "-f", "-d", "--no-pid", "-cf"]);
                command.arg(conf(folder));
                command.arg("-lf").arg(folder.join("leases"));
                command.arg(interface);
                "Server starting service"
            }
            Self::Kea => {
                command.arg("-c").arg(conf(folder));
                "DHCP4_STARTED"
            }
            Self::Dnsmasq => {
                command.args(["--keep-in-foreground", "--log-facility=-", "--log-dhcp"]);
                "DHCP, "
            }
        };
        let mut server = Daemon::spawn(namespace, command)?;
        server.wait_for(ready, PATIENCE)?;
        Ok(server)
    }

    /// Has the server's own checker look at the configuration in `folder`. A warning is a fault, too: an
    /// administrator would see it at each start.
    pub fn check(self, namespace: &Namespace, folder: &Path) -> Result<()> {
        self.install()?;
        let mut command = self.command(folder)?;
        match self {
            Self::Isc => command.arg("-t").arg("-cf").arg(conf(folder)),
            Self::Kea => command.arg("-t").arg(conf(folder)),
            Self::Dnsmasq => command.arg("--test"),
        };
        let checked = namespace.output(command)?;
        ensure!(checked.status.success(), "{self:?} refuses: {checked:?}");
        let said = String::from_utf8_lossy(&checked.stderr).to_lowercase();
        ensure!(
            !said.contains("warn")
                && !said.contains("dhcp.conf line")
                && !said.contains("hand-off line"),
            "{self:?} is not content: {said}"
        );
        Ok(())
    }

    /// The number of DISCOVERs that it has logged.
    pub fn discovers(self, server: &Daemon) -> usize {
        let log = server.log();
        let is_one = |line: &&str| match self {
            Self::Isc => line.contains("DHCPDISCOVER from"),
            Self::Kea => line.contains("DHCP4_PACKET_RECEIVED") && line.contains("DHCPDISCOVER"),
            Self::Dnsmasq => line.contains("DHCPDISCOVER("),
        };
        log.lines().filter(is_one).count()
    }

    fn command(self, folder: &Path) -> Result<Command> {
        let command = match self {
            Self::Isc => Command::new(copy("dhcpd", folder)?),
            Self::Kea => {
                let mut command = Command::new(copy("kea-dhcp4", folder)?);
                command.env("KEA_PIDFILE_DIR", folder);
                command.env("KEA_LOCKFILE_DIR", folder);
                command
            }
            Self::Dnsmasq => {
                let mut command = Command::new(copy("dnsmasq", folder)?);
                command.arg("-C").arg(conf(folder));
                command
            }
        };
        Ok(command)
    }
}

/// Starts dnsmasq in its proxy mode on this interface: it offers all PXE clients the loaders `other.0`
/// (BIOS) and `other.efi` (UEFI), and serves the files in `folder` by TFTP.
pub fn start_proxy(namespace: &Namespace, interface: &str, folder: &Path) -> Result<Daemon> {
    let text = format!(
        "{}dhcp-range=10.77.0.0,proxy
pxe-service=x86PC,other,other
pxe-service=X86-64_EFI,other,other.efi
enable-tftp
tftp-root={}
",
        dnsmasq_frame(interface, folder),
        folder.display()
    );
    fs::write(conf(folder), text)?;
    DhcpServer::Dnsmasq.start(namespace, interface, folder)
}

/// The configuration of a server whose files are in `folder`.
pub fn conf(folder: &Path) -> PathBuf {
    folder.join("dhcp.conf")
}

/// What every configuration of Kea's has besides its networks and clients.
pub fn kea_frame(interface: &str, inner: &str) -> String {
    format!(
        r#"{{ "Dhcp4": {{
  "interfaces-config": {{ "interfaces": [ "{interface}" ] }},
  "lease-database": {{ "type": "memfile", "persist": false }},
  {inner},
  "loggers": [
    {{ "name": "kea-dhcp4", "severity": "INFO", "output_options": [ {{ "output": "stdout" }} ] }},
    {{ "name": "kea-dhcp4.packets", "severity": "DEBUG", "debuglevel": 99,
       "output_options": [ {{ "output": "stdout" }} ] }}
  ]
}} }}"#
    )
}

/// What every configuration of dnsmasq has besides its networks and clients.
pub fn dnsmasq_frame(interface: &str, folder: &Path) -> String {
    format!(
        "dhcp-leasefile={}
pid-file=
user=root
group=root
port=0
interface={interface}
no-ping
",
        folder.join("leases").display()
    )
}

fn isc(to_pxe: ToPxe) -> String {
    let [first, last] = POOL;
    format!(
        "ping-check false;
authoritative;
{}
subnet 10.77.0.0 netmask 255.255.0.0 {{ range {first} {last}; }}
",
        match to_pxe {
            ToPxe::Nothing => "",
            ToPxe::BootFile => "filename \"pxelinux.0\";",
            ToPxe::Option60 => "option vendor-class-identifier \"PXEClient\";",
        }
    )
}

fn kea(interface: &str, to_pxe: ToPxe) -> String {
    let [first, last] = POOL;
    let more = match to_pxe {
        ToPxe::Nothing => "",
        ToPxe::BootFile => r#""boot-file-name": "pxelinux.0","#,
        ToPxe::Option60 => {
            r#""option-data": [
    { "name": "vendor-class-identifier", "data": "PXEClient", "always-send": true } ],"#
        }
    };
    kea_frame(
        interface,
        &format!(
            r#"{more}
  "subnet4": [ {{ "id": 1, "subnet": "10.77.0.0/16", "pools": [ {{ "pool": "{first} - {last}" }} ] }} ]"#
        ),
    )
}

fn dnsmasq(interface: &str, folder: &Path, to_pxe: ToPxe) -> String {
    let [first, last] = POOL;
    let more = match to_pxe {
        ToPxe::Nothing => "",
        ToPxe::BootFile => "dhcp-boot=pxelinux.0",
        ToPxe::Option60 => "dhcp-option-force=60,PXEClient",
    };
    let frame = dnsmasq_frame(interface, folder);
    format!("{frame}dhcp-authoritative\ndhcp-range={first},{last},255.255.0.0,1h\n{more}\n")
}

/// A copy of a daemon. Where there is `AppArmor`, its profiles let the original read its own files
/// in /etc alone.
fn copy(daemon: &str, folder: &Path) -> Result<PathBuf> {
    let path = folder.join(daemon);
    if !path.exists() {
        copy_program(&Path::new("/usr/sbin").join(daemon), &path)?;
    }
    Ok(path)
}
