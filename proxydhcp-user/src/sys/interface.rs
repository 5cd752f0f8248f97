//! The network interfaces of this host, as netlink reports them.

use std::fmt;
use std::fs::{self, DirEntry};
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use futures_util::TryStreamExt;
use rtnetlink::Handle;
use rtnetlink::packet_route::address::AddressAttribute;
use rtnetlink::packet_route::link::{
    InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage, LinkXdp, Prop,
    XdpAttached,
};
use serde::{Deserialize, Serialize};

use crate::sys::ethtool::Driver;

mod changes;
mod stack;

pub use changes::Changes;
pub use stack::Kind;

/// An interface that may be served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// The kernel's number for it.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its other names, mostly longer ones that a card keeps wherever it is plugged in.
    pub altnames: Vec<String>,
    /// Its Ethernet address; zeros if it has none.
    pub mac: [u8; 6],
    /// The length of the largest IP packet, in bytes.
    pub mtu: u32,
    /// Its IPv4 addresses.
    pub addresses: Vec<Ipv4Addr>,
    /// Whether it is up and not the loopback.
    pub in_service: bool,
    /// Whether it carries Ethernet frames.
    pub is_ethernet: bool,
    /// Its kind.
    pub kind: Kind,
    /// The number of the interface that its frames pass through, if it is a VLAN or the like.
    pub lower: Option<u32>,
    /// The number of the bond, team or bridge that it is a member of.
    pub controller: Option<u32>,
    /// The XDP program attached to it.
    pub xdp: Option<AttachedXdp>,
}

impl Interface {
    /// Whether it can be served at all.
    ///
    /// # Errors
    ///
    /// If it is not Ethernet.
    pub fn check(&self) -> Result<()> {
        ensure!(
            self.is_ethernet,
            "{} is not Ethernet, and nothing else can be served; leave it out",
            self.name
        );
        Ok(())
    }

    /// Whether this is its name, or one of its other names.
    pub fn is_named(&self, name: &str) -> bool {
        self.name == name || self.altnames.iter().any(|altname| altname == name)
    }

    /// The number of queues that it transmits by, if sysfs has it: drivers do not report queues that
    /// only receive apart from the others.
    pub fn transmit_queues(&self) -> Option<u32> {
        let folder = Path::new("/sys/class/net").join(&self.name);
        let read = |name: &str| fs::read_to_string(folder.join(name)).ok();
        // Another network namespace, whose sysfs it may be, can have an interface of the same name.
        let mac = read("address")?;
        let mac = mac
            .trim()
            .split(':')
            .map(|byte| u8::from_str_radix(byte, 16));
        if read("ifindex")?.trim().parse() != Ok(self.index) || !mac.eq(self.mac.map(Ok)) {
            return None;
        }
        let queues = fs::read_dir(folder.join("queues")).ok()?.flatten();
        let transmit = |queue: &DirEntry| queue.file_name().as_encoded_bytes().starts_with(b"tx-");
        u32::try_from(queues.filter(transmit).count()).ok()
    }

    /// Whether it still exists, by this name or another.
    pub fn is_there(&self) -> bool {
        Driver::of(self.index).is_ok()
    }
}

/// The XDP program on an interface, of this daemon or of another program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttachedXdp {
    /// The kernel's number for the program.
    pub program: u32,
    /// The mode in which it is attached, if it is one of these two.
    pub mode: Option<AttachMode>,
}

/// The mode in which an XDP program is attached to its interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AttachMode {
    /// In the driver, before the kernel allocates a socket buffer.
    Native,
    /// In the network core, on any interface.
    Generic,
}

impl fmt::Display for AttachMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Native => "native",
            Self::Generic => "generic",
        })
    }
}

/// All interfaces of this network namespace.
///
/// # Errors
///
/// If netlink cannot be opened, or does not list the interfaces.
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
        // The local address, which on point-to-point links differs from the plain one.
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
        altnames: Vec::new(),
        mac: [0; 6],
        mtu: 0,
        addresses: Vec::new(),
        in_service: flags.contains(LinkFlags::Up) && !flags.contains(LinkFlags::Loopback),
        is_ethernet: link.header.link_layer_type == LinkLayerType::Ether,
        kind: Kind::Other,
        lower: None,
        controller: None,
        xdp: None,
    };
    let (mut kind, mut lower, mut is_lower_here) = (None, None, true);
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::IfName(name) => interface.name.clone_from(name),
            LinkAttribute::Mtu(mtu) => interface.mtu = *mtu,
            LinkAttribute::Address(mac) => {
                interface.mac = mac.as_slice().try_into().unwrap_or_default();
            }
            LinkAttribute::PropList(list) => {
                let altname = |property: &Prop| match property {
                    Prop::AltIfName(name) => Some(name.clone()),
                    _ => None,
                };
                interface.altnames = list.iter().filter_map(altname).collect();
            }
            LinkAttribute::Controller(index) => interface.controller = Some(*index),
            LinkAttribute::Link(index) => lower = Some(*index),
            // The lower interface is in another namespace, as in a container.
            LinkAttribute::LinkNetNsId(_) => is_lower_here = false,
            LinkAttribute::LinkInfo(infos) => {
                kind = infos.iter().find_map(|info| match info {
                    LinkInfo::Kind(kind) => Some(kind),
                    _ => None,
                });
            }
            LinkAttribute::Xdp(xdp) => interface.xdp = attached(xdp),
            _ => {}
        }
    }
    match kind {
        // The other end of the pair is not a lower interface.
        Some(InfoKind::Veth) => interface.kind = Kind::Veth,
        Some(InfoKind::Bond) => interface.kind = Kind::Bond,
        Some(
            InfoKind::Vlan
            | InfoKind::MacVlan
            | InfoKind::MacVtap
            | InfoKind::IpVlan
            | InfoKind::IpVtap,
        ) => interface.lower = lower.filter(|_| is_lower_here),
        _ => {}
    }
    interface
}

fn attached(attributes: &[LinkXdp]) -> Option<AttachedXdp> {
    let program = attributes.iter().find_map(|attribute| match attribute {
        LinkXdp::ProgId(id) => Some(*id),
        _ => None,
    })?;
    let mode = attributes.iter().find_map(|attribute| match attribute {
        LinkXdp::Attached(XdpAttached::Driver) => Some(AttachMode::Native),
        LinkXdp::Attached(XdpAttached::SocketBuffer) => Some(AttachMode::Generic),
        _ => None,
    });
    Some(AttachedXdp { program, mode })
}

/// The interfaces to serve: those named, if they exist, or else all Ethernet interfaces that are up
/// and have an IPv4 address. Of interfaces built on each other, one is served, so that each request
/// gets one answer.
pub fn choose(all: &[Interface], names: &[String]) -> Vec<Interface> {
    let is_wanted = |interface: &&Interface| match names {
        [] => interface.in_service && interface.is_ethernet && !interface.addresses.is_empty(),
        names => names.iter().any(|name| interface.is_named(name)),
    };
    let mut wanted: Vec<_> = all.iter().filter(is_wanted).cloned().collect();
    wanted.sort_by_key(|interface| names.iter().position(|name| interface.is_named(name)));
    let indexes: Vec<_> = wanted.iter().map(|interface| interface.index).collect();
    wanted.retain(|interface| !interface.is_covered(&indexes, all));
    wanted
}

/// The addresses that requests may be sent to: all addresses of this host except the loopback's,
/// because a host answers to each of them on every interface.
pub fn local_addresses(all: &[Interface]) -> Vec<Ipv4Addr> {
    all.iter()
        .flat_map(|interface| interface.addresses.iter().copied())
        .filter(|address| !address.is_loopback())
        .collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// An interface that may be served.
    pub(crate) fn interface(index: u32, name: &str, lower: Option<u32>) -> Interface {
        Interface {
            index,
            name: name.to_owned(),
            altnames: Vec::new(),
            mac: [2, 0, 0, 0, 0, 1],
            mtu: 1500,
            addresses: vec![[10, 0, 0, 1].into()],
            in_service: true,
            is_ethernet: true,
            kind: Kind::Other,
            lower,
            controller: None,
            xdp: None,
        }
    }

    fn chosen(all: &[Interface], names: &[&str]) -> Vec<String> {
        let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
        let chosen = choose(all, &names);
        chosen.into_iter().map(|chosen| chosen.name).collect()
    }

    #[test]
    fn each_request_has_one_interface_to_answer_on() {
        let mut all = vec![
            interface(2, "lan0", None),
            interface(3, "lan0.7", Some(2)),
            interface(4, "mv0", Some(3)),
            interface(5, "mv1", Some(9)),
        ];
        assert_eq!(chosen(&all, &[]), ["lan0", "mv1"]);
        assert_eq!(chosen(&all, &["mv0", "lan0.7"]), ["lan0.7"]);
        assert_eq!(chosen(&all, &["mv0"]), ["mv0"]);
        // The lower interface is not served, because it has no address.
        all[0].addresses.clear();
        assert_eq!(chosen(&all, &[]), ["lan0.7", "mv1"]);
    }

    #[test]
    fn an_interface_that_is_gone_is_not_there() {
        let mut loopback = interface(1, "lo", None);
        assert!(loopback.is_there());
        loopback.index = u32::MAX;
        assert!(!loopback.is_there());
    }

    #[test]
    fn two_names_of_one_interface_serve_it_once() {
        let mut lan0 = interface(2, "lan0", None);
        lan0.altnames = vec!["enp1s0".to_owned(), "enx020000000001".to_owned()];
        let all = [lan0, interface(3, "lan1", None)];
        assert_eq!(chosen(&all, &["enp1s0"]), ["lan0"]);
        assert_eq!(chosen(&all, &["enp1s0", "lan0"]), ["lan0"]);
        assert_eq!(
            chosen(&all, &["lan1", "enx020000000001", "enp1s0"]),
            ["lan1", "lan0"]
        );
    }

    #[test]
    fn what_is_no_ethernet_is_served_by_none() {
        let mut tunnel = interface(2, "wg0", None);
        tunnel.is_ethernet = false;
        let all = [tunnel, interface(3, "lan0", None)];
        assert_eq!(chosen(&all, &[]), ["lan0"]);
        // If it is named, the daemon reports that it cannot be served.
        assert_eq!(chosen(&all, &["wg0"]), ["wg0"]);
    }
}
