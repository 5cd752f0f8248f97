//! DHCP servers of a site, with proxydhcp's configuration in its place.

use std::fmt::Write;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use proxydhcp_lab::debian::ensure_installed;
use proxydhcp_lab::{Daemon, Namespace, SERVER_INTERFACE, binary, client_mac};

/// The boot loader of the site's other clients.
pub(crate) const OTHER_LOADER: &str = "other/pxelinux.0";

/// The boot loader of a class of all PXE clients, as many sites have one.
pub(crate) const PXE_LOADER: &str = "usual/pxelinux.0";

/// Where a site has such a class: nowhere, or before or behind what `proxydhcp dhcp-conf` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PxeClass {
    None,
    Before,
    Behind,
}

/// How long a server may take to begin.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DhcpServer {
    Isc,
    Kea,
    Dnsmasq,
}

/// The clients that a site has addresses for.
pub(crate) type Clients<'a> = &'a [(&'a str, Ipv4Addr)];

impl DhcpServer {
    pub(crate) const ALL: [Self; 3] = [Self::Isc, Self::Kea, Self::Dnsmasq];

    /// Its name in `proxydhcp dhcp-conf`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Isc => "isc",
            Self::Kea => "kea",
            Self::Dnsmasq => "dnsmasq",
        }
    }

    pub(crate) fn install(self) -> Result<()> {
        match self {
            Self::Isc => ensure_installed("dhcpd", "isc-dhcp-server"),
            Self::Kea => ensure_installed("kea-dhcp4", "kea-dhcp4-server"),
            Self::Dnsmasq => ensure_installed("dnsmasq", "dnsmasq-base"),
        }
    }

    /// Writes a site's configuration into `folder`, with what `proxydhcp dhcp-conf` prints for
    /// `arguments`, and has the server's own checker look at it.
    pub(crate) fn configure(
        self,
        namespace: &Namespace,
        folder: &Path,
        clients: Clients<'_>,
        arguments: &[&str],
        pxe_class: PxeClass,
    ) -> Result<()> {
        self.install()?;
        let mut command = Command::new(binary()?);
        command.args(["dhcp-conf", self.name()]).args(arguments);
        let output = namespace.output(command)?;
        ensure!(output.status.success(), "dhcp-conf: {output:?}");
        fs::write(folder.join("hand-off"), output.stdout)?;
        fs::write(folder.join("leases"), "")?;
        let text = match self {
            Self::Isc => isc(folder, clients, pxe_class),
            Self::Kea => kea(folder, clients, pxe_class),
            Self::Dnsmasq => dnsmasq(folder, clients, pxe_class),
        };
        fs::write(folder.join("dhcp.conf"), text)?;

        let mut command = self.command(folder)?;
        match self {
            Self::Isc => command.arg("-t").arg("-cf").arg(folder.join("dhcp.conf")),
            Self::Kea => command.arg("-t").arg(folder.join("dhcp.conf")),
            Self::Dnsmasq => command.arg("--test"),
        };
        let checked = namespace.output(command)?;
        ensure!(checked.status.success(), "{self:?} refuses: {checked:?}");
        // A warning is a fault, too: an administrator would see it at each start.
        let said = String::from_utf8_lossy(&checked.stderr).to_lowercase();
        ensure!(
            !said.contains("warn")
                && !said.contains("dhcp.conf line")
                && !said.contains("hand-off line"),
            "{self:?} is not content: {said}"
        );
        Ok(())
    }

    /// Starts the server with the configuration in `folder`.
    pub(crate) fn start(self, namespace: &Namespace, folder: &Path) -> Result<Daemon> {
        let mut command = self.command(folder)?;
        let ready = match self {
            Self::Isc => {
                command.args(["-4", "-f", "-d", "--no-pid"]);
                command.arg("-cf").arg(folder.join("dhcp.conf"));
                command.arg("-lf").arg(folder.join("leases"));
                command.arg(SERVER_INTERFACE);
                "Server starting service"
            }
            Self::Kea => {
                command.arg("-c").arg(folder.join("dhcp.conf"));
                "DHCP4_STARTED"
            }
            Self::Dnsmasq => {
                command.args(["--keep-in-foreground", "--log-facility=-", "--log-dhcp"]);
                "DHCP, static leases only"
            }
        };
        let mut server = Daemon::spawn(namespace, command)?;
        server.wait_for(ready, PATIENCE)?;
        Ok(server)
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
                command.arg("-C").arg(folder.join("dhcp.conf"));
                command
            }
        };
        Ok(command)
    }
}

/// A copy of a daemon. Where there is `AppArmor`, its profiles let the original read its own files
/// in /etc alone.
fn copy(daemon: &str, folder: &Path) -> Result<PathBuf> {
    let path = folder.join(daemon);
    if !path.exists() {
        let original = Path::new("/usr/sbin").join(daemon);
        fs::copy(&original, &path)
            .with_context(|| format!("cannot copy {}", original.display()))?;
    }
    Ok(path)
}

fn mac_text(address: Ipv4Addr) -> String {
    client_mac(address)
        .map(|byte| format!("{byte:02x}"))
        .join(":")
}

/// The file for `--mac`.
pub(crate) fn mac_file(clients: Clients<'_>) -> String {
    let mut text = String::new();
    for (name, address) in clients {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{} {name}", mac_text(*address));
    }
    text
}

fn isc(folder: &Path, clients: Clients<'_>, pxe_class: PxeClass) -> String {
    let class = format!(
        "class \"pxeclients\" {{
  match if substring(option vendor-class-identifier, 0, 9) = \"PXEClient\";
  filename \"{PXE_LOADER}\";
  option bootfile-name \"{PXE_LOADER}\";
  option vendor-encapsulated-options 01:04:00:00:00:00:ff;
  next-server 10.77.0.8;
}}
"
    );
    let include = format!("include \"{}\";\n", folder.join("hand-off").display());
    let mut text = format!(
        "authoritative;
{}subnet 10.77.0.0 netmask 255.255.0.0 {{
  filename \"{OTHER_LOADER}\";
}}
",
        match pxe_class {
            PxeClass::None => include,
            PxeClass::Before => class + &include,
            PxeClass::Behind => include + &class,
        }
    );
    for (name, address) in clients {
        let mac = mac_text(*address);
        let _ = writeln!(
            text,
            "host {name} {{ hardware ethernet {mac}; fixed-address {address}; }}"
        );
    }
    text
}

fn kea(folder: &Path, clients: Clients<'_>, pxe_class: PxeClass) -> String {
    let reservations: Vec<String> = clients
        .iter()
        .map(|(_, address)| {
            let mac = mac_text(*address);
            format!(r#"{{ "hw-address": "{mac}", "ip-address": "{address}" }}"#)
        })
        .collect();
    let include = format!(r#"<?include "{}"?>"#, folder.join("hand-off").display());
    let class = format!(
        r#"{{ "name": "pxeclients", "test": "substring(option[60].hex, 0, 9) == 'PXEClient'",
             "boot-file-name": "{PXE_LOADER}" }}"#
    );
    let classes = match pxe_class {
        PxeClass::None => vec![include],
        PxeClass::Before => vec![class, include],
        PxeClass::Behind => vec![include, class],
    };
    format!(
        r#"{{ "Dhcp4": {{
  "interfaces-config": {{ "interfaces": [ "{SERVER_INTERFACE}" ] }},
  "lease-database": {{ "type": "memfile", "persist": false }},
  "client-classes": [ {} ],
  "subnet4": [ {{
    "id": 1,
    "subnet": "10.77.0.0/16",
    "boot-file-name": "{OTHER_LOADER}",
    "reservations": [ {} ]
  }} ],
  "loggers": [ {{
    "name": "kea-dhcp4", "severity": "INFO", "output_options": [ {{ "output": "stdout" }} ]
  }} ]
}} }}"#,
        classes.join(", "),
        reservations.join(", ")
    )
}

fn dnsmasq(folder: &Path, clients: Clients<'_>, pxe_class: PxeClass) -> String {
    let include = format!("conf-file={}\n", folder.join("hand-off").display());
    let class = format!(
        "dhcp-vendorclass=set:pxe,PXEClient
dhcp-match=set:efi-x64,option:client-arch,7
dhcp-boot=tag:pxe,{PXE_LOADER},,10.77.0.8
dhcp-boot=tag:efi-x64,{PXE_LOADER},,10.77.0.8
"
    );
    let mut text = format!(
        "dhcp-leasefile={}
pid-file=
user=root
group=root
port=0
interface={SERVER_INTERFACE}
no-ping
dhcp-range=10.77.0.0,static,255.255.0.0
dhcp-boot={OTHER_LOADER}
{}",
        folder.join("leases").display(),
        match pxe_class {
            PxeClass::None => include,
            PxeClass::Before => class + &include,
            PxeClass::Behind => include + &class,
        }
    );
    for (_, address) in clients {
        let _ = writeln!(text, "dhcp-host={},{address}", mac_text(*address));
    }
    text
}
