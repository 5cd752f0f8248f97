//! Configuration that makes a DHCP server hand nodes off to proxydhcp.
//!
//! PXE firmware asks UDP port 4011 if the offer it takes has option 60 = `PXEClient` and no boot
//! file. iPXE asks the server identifier (option 54). EDK2 asks siaddr if that is not zero, else
//! option 54 too. So with proxydhcp on the DHCP server's own host the configuration needs no
//! address, and on another host only EDK2 finds it.
//!
//! Each server's configuration is a class of clients that overrides what the site sets for all: PXE
//! clients of the architectures that have a loader, and, if nodes are named, of only these hardware
//! addresses. No other client sees a difference.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, ensure};
use clap::{Args, ValueEnum};

use crate::cli::args::{CONFIG, GroupsArgs, SettingsArgs, range};
use crate::cli::output::{note, print};
use crate::cli::{Context, complete};
use crate::nodes::hardware::{self, Node};
use crate::nodes::selection::Nodes;
use crate::text::{SHOWN, first_of};
use crate::winpe::loaders::Loaders;

mod dnsmasq;
mod isc;
mod kea;

/// Arguments of `dhcp-conf`.
#[derive(Clone, Debug, Args)]
pub struct DhcpConfArgs {
    /// The DHCP server that the configuration is for
    #[arg(value_enum)]
    pub dhcp_server: DhcpServer,
    /// Only these nodes, such as n[01-36],-n05 (see `proxydhcp node --help`) [default: all clients
    /// with a boot loader]
    #[arg(value_name = "RANGE", allow_hyphen_values = true, value_parser = range, add = complete::files::nodes())]
    pub range: Option<String>,
    /// The file of the nodes' hardware addresses, with lines such as "node1 52:54:00:12:34:56", the
    /// other way round, or as `tabdump mac` prints them
    #[arg(
        long,
        value_name = "FILE",
        requires = "range",
        default_value = "/etc/ethers"
    )]
    pub mac: PathBuf,
    /// The host of proxydhcp [default: that of the DHCP server]
    ///
    /// Only UEFI firmware can be sent to another host: iPXE always asks the DHCP server.
    #[arg(long, value_name = "IP")]
    pub server: Option<Ipv4Addr>,
    /// A class of PXE clients that dhcpd.conf defines before what is printed; may be repeated
    ///
    /// ISC dhcpd lets the class win that is defined first. The class gets a second part that leaves
    /// the nodes to proxydhcp.
    #[arg(long = "class", value_name = "NAME", default_value = "pxeclients", value_parser = class)]
    pub classes: Vec<String>,
    /// The configuration that a /REGEX in a RANGE searches; it may be missing
    #[arg(long, value_name = "FILE", default_value = CONFIG)]
    pub config: PathBuf,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub groups: GroupsArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub settings: SettingsArgs,
}

/// The DHCP servers with a generator here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DhcpServer {
    /// ISC dhcpd
    Isc,
    /// Kea's kea-dhcp4
    Kea,
    /// dnsmasq
    Dnsmasq,
}

/// The name of the class, or tag, that contains the nodes.
const CLASS: &str = "proxydhcp";

/// The clients to hand off, and the server that they should ask.
struct HandOff {
    /// The architectures, at least one.
    architectures: Vec<usize>,
    /// The nodes; `None` stands for all clients of these architectures.
    nodes: Option<Vec<Node>>,
    server: Option<Ipv4Addr>,
    /// The classes that would win over ours (ISC dhcpd).
    classes: Vec<String>,
}

/// Parses the name of a class, which stands between quotes.
fn class(name: &str) -> Result<String, String> {
    if name.is_empty()
        || name
            .chars()
            .any(|char| matches!(char, '"' | '\\') || char.is_control())
    {
        return Err("name a class as dhcpd.conf does, without the quotes".to_owned());
    }
    Ok(name.to_owned())
}

/// Prints the configuration.
///
/// # Errors
///
/// If no architecture has a loader, or a node of the range has no hardware address.
pub(super) fn run(args: &DhcpConfArgs, context: &Context) -> Result<ExitCode> {
    let (text, left_out) = configuration(args, &context.loaders)?;
    print(&text);
    if !left_out.is_empty() {
        note(&first_of(&left_out, SHOWN, "\n"));
    }
    Ok(ExitCode::SUCCESS)
}

/// The configuration, and what is left out of the file of hardware addresses.
fn configuration(args: &DhcpConfArgs, loaders: &Loaders) -> Result<(String, Vec<String>)> {
    let indexes = loaders.indexes().iter().enumerate();
    let architectures: Vec<usize> = indexes
        .filter_map(|(architecture, index)| index.map(|_| architecture))
        .collect();
    ensure!(
        !architectures.is_empty(),
        "no architecture has a loader, so no client can be handed off; see [loaders] in the settings"
    );
    let (mut nodes, mut left_out) = (None, Vec::new());
    if let Some(range) = &args.range {
        let names = Nodes::read_if_there(&args.config)?.some_of_range(range, args.groups.file())?;
        let found = hardware::find(&args.mac, &names)?;
        (nodes, left_out) = (Some(found.nodes), found.left_out);
    }
    let hand_off = HandOff {
        architectures,
        nodes,
        server: args.server,
        classes: args.classes.clone(),
    };
    let text = match args.dhcp_server {
        DhcpServer::Isc => isc::text(&hand_off),
        DhcpServer::Kea => kea::text(&hand_off),
        DhcpServer::Dnsmasq => dnsmasq::text(&hand_off),
    };
    Ok((text, left_out))
}

#[cfg(test)]
mod tests;
