//! A guest's network cards, and a cluster that boots from outside through the driver of one.

use std::net::Ipv4Addr;
use std::ops::ControlFlow;

use anyhow::{Context, Result};
use proxydhcp_bench::{Client, Firmware, storm};
use proxydhcp_lab::{
    CLIENT_INTERFACE, NETWORK_PREFIX, Namespace, SERVER_ADDRESS, SERVER_MAC, link,
};

use super::guest::Guest;
use super::served::{PATIENCE, Service};
use super::way::{Figures, Way, dropped};

/// The card's name in a guest, where no udev gives it another.
pub(super) const CARD: &str = "eth0";
/// A second one, whose offloads are the host's alone to change.
pub(super) const RIGID: &str = "eth1";
const NODES: u16 = 10_000;
const WINPE: &str = "winboot/new/";
/// The wire holds a whole storm and more: what the guest does not take at once is not lost.
const WIRE: u32 = 40_000;

/// The arguments that give a guest its cards, both of virtio_net. The other end of the first is
/// [`CLIENT_INTERFACE`] in the namespace that the guest is booted in.
///
/// It has twice as many pairs of queues as the guest has processors: XDP takes one more each.
/// Without `ctrl_vlan=off`, QEMU keeps tagged frames to itself.
pub(super) fn devices() -> Vec<String> {
    let wire = |id: &str, interface: &str| {
        format!("tap,id={id},ifname={interface},script=no,downscript=no")
    };
    let [a, b, c, d, e, f] = SERVER_MAC;
    let mac = format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}");
    let card = |id: &str, more: &str| format!("virtio-net-pci,netdev={id},romfile=,{more}");
    [
        "-netdev".to_owned(),
        wire("card", CLIENT_INTERFACE) + ",queues=4",
        "-device".to_owned(),
        card("card", "mq=on,vectors=10,ctrl_vlan=off,mac=") + &mac,
        "-netdev".to_owned(),
        wire("rigid", "rigid0"),
        "-device".to_owned(),
        card("rigid", "ctrl_guest_offloads=off"),
    ]
    .to_vec()
}

/// The nodes of the cluster.
fn nodes() -> impl Iterator<Item = Ipv4Addr> {
    let first = u32::from(Ipv4Addr::new(10, 77, 4, 0));
    (0..NODES).map(move |n| (first + u32::from(n)).into())
}

/// What serves the cluster.
pub(super) fn service(daemon: &std::path::Path) -> Result<Service> {
    Service::new(daemon, &nodes().collect::<Vec<_>>(), WINPE)
}

/// Brings up both ends of the wire, and sets up the card as an administrator does.
///
/// # Errors
/// When an end does not come up.
pub(super) fn set_up(outside: &Namespace, guest: &mut Guest) -> Result<()> {
    link::set_queue_length(outside, CLIENT_INTERFACE, WIRE)?;
    link::set_up(outside, CLIENT_INTERFACE)?;
    let script = format!(
        "set -e\n\
         modprobe virtio_net\n\
         ethtool -L {CARD} combined 2\n\
         ip address add {SERVER_ADDRESS}/{NETWORK_PREFIX} dev {CARD}\n\
         ip link set {CARD} up"
    );
    guest.must(&script, PATIENCE).map(drop)
}

/// Serves the card in one way, and lets the whole cluster boot.
///
/// # Errors
/// When the daemon does not start, or the storm's own socket fails.
pub(super) fn storm_by(
    way: Way,
    outside: &Namespace,
    guest: &mut Guest,
    service: &Service,
) -> Result<Figures> {
    // Only these do not ask again for a whole second.
    let clients = nodes().map(|node| Client::new(Firmware::Uefi, node, WINPE));
    let clients: Vec<Client> = clients.collect();
    service.start(guest, CARD, way.serve)?;
    let before = drops(guest)?;
    let go_on = &mut |_| ControlFlow::Continue(());
    let report = storm(outside, CLIENT_INTERFACE, &clients, go_on);
    let report = report.with_context(|| guest.console())?;
    let status = service.status(guest)?;
    let dropped = drops(guest)? - before;
    service.stop(guest)?;
    Figures::new(report, &status, dropped)
}

/// How many frames of ours have been dropped below the daemon so far.
fn drops(guest: &mut Guest) -> Result<u64> {
    let script = format!("ethtool -S {CARD}\ncat /sys/class/net/{CARD}/statistics/tx_dropped");
    let statistics = guest.must(&script, PATIENCE)?;
    dropped(&statistics).with_context(|| format!("no statistics:\n{statistics}"))
}
