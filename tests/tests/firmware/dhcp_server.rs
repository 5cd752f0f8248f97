//! The configurations of DHCP servers that send their clients to proxydhcp.

use std::fmt::Write;
use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use proxydhcp_lab::dhcp_server::{DhcpServer, conf, dnsmasq_frame, kea_frame};
use proxydhcp_lab::{Namespace, SERVER_INTERFACE, binary, client_mac};

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

/// The clients that a site has addresses for.
pub(crate) type Clients<'a> = &'a [(&'a str, Ipv4Addr)];

/// Writes a site's configuration into `folder`, with what `proxydhcp dhcp-conf` prints for
/// `arguments`, and has the server's own checker look at it.
pub(crate) fn configure(
    server: DhcpServer,
    namespace: &Namespace,
    folder: &Path,
    clients: Clients<'_>,
    arguments: &[&str],
    pxe_class: PxeClass,
) -> Result<()> {
    let name = match server {
        DhcpServer::Isc => "isc",
        DhcpServer::Kea => "kea",
        DhcpServer::Dnsmasq => "dnsmasq",
    };
    let mut command = Command::new(binary()?);
    command.args(["dhcp-conf", name]).args(arguments);
    let output = namespace.output(command)?;
    ensure!(output.status.success(), "dhcp-conf: {output:?}");
    fs::write(folder.join("hand-off"), output.stdout)?;
    let text = match server {
        DhcpServer::Isc => isc(folder, clients, pxe_class),
        DhcpServer::Kea => kea(folder, clients, pxe_class),
        DhcpServer::Dnsmasq => dnsmasq(folder, clients, pxe_class),
    };
    fs::write(conf(folder), text)?;
    server.check(namespace, folder)
}

/// The hardware address of the client with this address.
pub(crate) fn mac_text(address: Ipv4Addr) -> String {
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
    kea_frame(
        SERVER_INTERFACE,
        &format!(
            r#""client-classes": [ {} ],
  "subnet4": [ {{
    "id": 1,
    "subnet": "10.77.0.0/16",
    "boot-file-name": "{OTHER_LOADER}",
    "reservations": [ {} ]
  }} ]"#,
            classes.join(", "),
            reservations.join(", ")
        ),
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
        "{}dhcp-range=10.77.0.0,static,255.255.0.0
dhcp-boot={OTHER_LOADER}
{}",
        dnsmasq_frame(SERVER_INTERFACE, folder),
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
