//! The network interfaces of this host, as netlink tells them.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context, Result};
use futures_util::TryStreamExt;
use rtnetlink::Handle;
use rtnetlink::packet_route::address::AddressAttribute;
use rtnetlink::packet_route::link::{
    InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, LinkXdp, XdpAttached,
};

use crate::program::Mode;

mod changes;

pub use changes::Changes;

/// An interface that may be served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// The kernel's number for it.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its Ethernet address; zeros where it has none.
    pub mac: [u8; 6],
    /// Largest IP packet, in bytes.
    pub mtu: u32,
    /// Its IPv4 addresses.
    pub addresses: Vec<Ipv4Addr>,
    /// Whether it is up and not the loopback.
    pub in_service: bool,
    /// Whether it is one end of a veth pair.
    pub is_veth: bool,
    /// The XDP program attached to it.
    pub xdp: Option<AttachedXdp>,
}

impl Interface {
    /// Whether it is there still, by this name or another.
    pub fn is_there(&self) -> bool {
        nix::net::if_::if_indextoname(self.index).is_ok()
    }
}

/// The XDP program on an interface, whoever has put it there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttachedXdp {
    /// The kernel's number for the program.
    pub program: u32,
    /// How it is attached, if it is one of these two.
    pub mode: Option<Mode>,
}

/// All interfaces of this network namespace.
///
/// # Errors
///
/// Netlink's.
pub async fn list() -> Result<Vec<Interface>> {
    let (connection, handle, _) =
        rtnetlink::new_connection().context("cannot open a netlink socket")?;
    let task = tokio::spawn(connection);
    let interfaces = dump(&handle).await.context("cannot list the interfaces");
    task.abort();
    interfaces
}

async fn dump(handle: &Handle) -> Result<Vec<Interface>> {
    let mut interfaces = Vec::new();
    let mut links = handle.link().get().execute();
    while let Some(link) = links.try_next().await? {
        interfaces.push(interface(&link));
    }
    let mut addresses = handle.address().get().execute();
    while let Some(message) = addresses.try_next().await? {
        let owner = interfaces
            .iter_mut()
            .find(|interface| interface.index == message.header.index);
        let Some(owner) = owner else { continue };
        // The local address, which on point-to-point links is not the plain one.
        let local = message
            .attributes
            .iter()
            .find_map(|attribute| match attribute {
                AddressAttribute::Local(IpAddr::V4(address)) => Some(*address),
                _ => None,
            });
        owner.addresses.extend(local);
    }
    Ok(interfaces)
}

fn interface(link: &LinkMessage) -> Interface {
    let flags = link.header.flags;
    let mut interface = Interface {
        index: link.header.index,
        name: String::new(),
        mac: [0; 6],
        mtu: 0,
        addresses: Vec::new(),
        in_service: flags.contains(LinkFlags::Up) && !flags.contains(LinkFlags::Loopback),
        is_veth: false,
        xdp: None,
    };
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::IfName(name) => interface.name.clone_from(name),
            LinkAttribute::Mtu(mtu) => interface.mtu = *mtu,
            LinkAttribute::Address(mac) => {
                interface.mac = mac.as_slice().try_into().unwrap_or_default();
            }
            LinkAttribute::LinkInfo(infos) => {
                interface.is_veth = infos.contains(&LinkInfo::Kind(InfoKind::Veth));
            }
            LinkAttribute::Xdp(xdp) => interface.xdp = attached(xdp),
            _ => {}
        }
    }
    interface
}

fn attached(attributes: &[LinkXdp]) -> Option<AttachedXdp> {
    let program = attributes.iter().find_map(|attribute| match attribute {
        LinkXdp::ProgId(id) => Some(*id),
        _ => None,
    })?;
    let mode = attributes.iter().find_map(|attribute| match attribute {
        LinkXdp::Attached(XdpAttached::Driver) => Some(Mode::Native),
        LinkXdp::Attached(XdpAttached::SocketBuffer) => Some(Mode::Generic),
        _ => None,
    });
    Some(AttachedXdp { program, mode })
}

/// The interfaces to serve: those named as far as they are there, or else all that are up and have
/// an IPv4 address.
pub fn choose(all: &[Interface], names: &[String]) -> Vec<Interface> {
    let is_wanted = |interface: &&Interface| match names {
        [] => interface.in_service && !interface.addresses.is_empty(),
        names => names.contains(&interface.name),
    };
    let mut wanted: Vec<_> = all.iter().filter(is_wanted).cloned().collect();
    wanted.sort_by_key(|interface| names.iter().position(|name| *name == interface.name));
    wanted
}

/// The addresses that requests may be sent to: all of this host but the loopback's, for a host
/// answers to each of them on every interface.
pub fn local_addresses(all: &[Interface]) -> Vec<Ipv4Addr> {
    all.iter()
        .flat_map(|interface| interface.addresses.iter().copied())
        .filter(|address| !address.is_loopback())
        .collect()
}
