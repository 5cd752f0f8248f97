//! A guest's network cards, and a cluster outside that boots through one of them.

use std::fs;
use std::net::Ipv4Addr;
use std::ops::ControlFlow;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use proxydhcp_clients::{Client, Firmware, storm};
use proxydhcp_lab::{
    CLIENT_INTERFACE, NETWORK_PREFIX, Namespace, SERVER_ADDRESS, SERVER_MAC, link,
};

use super::guest::Guest;
use super::served::{PATIENCE, Service};
use super::way::{Counts, Way, cells, dropped};

/// The card's name in a guest, where no udev gives it another.
pub(super) const CARD: &str = "eth0";
/// A second card, whose offloads only the host can change.
pub(super) const RIGID: &str = "eth1";
const NODES: u16 = 10_000;
const WINPE: &str = "winboot/new/";
/// The number of frames that the wire holds, more than a whole storm, so that nothing is lost if
/// the guest is slow to take them.
const WIRE: u32 = 40_000;
/// The pause between two looks at what a storm has left to do.
const PAUSE: Duration = Duration::from_millis(500);

/// The arguments that give a guest its cards, both of `virtio_net`. The other end of the first is
/// [`CLIENT_INTERFACE`] in the namespace in which the guest is booted.
///
/// It has twice as many pairs of queues as the guest has processors, because XDP takes another one
/// for each. Without `ctrl_vlan=off`, QEMU keeps tagged frames to itself.
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

/// The daemon and files that serve the cluster.
pub(super) fn service(daemon: &std::path::Path) -> Result<Service> {
    Service::new(daemon, &nodes().collect::<Vec<_>>(), WINPE)
}

/// Brings up both ends of the wire, and sets up the card as an administrator does.
///
/// # Errors
/// If an end does not come up.
pub(super) fn set_up(outside: &Namespace, guest: &mut Guest) -> Result<()> {
    link::set_queue_length(outside, CLIENT_INTERFACE, WIRE)?;
    link::set_up(outside, CLIENT_INTERFACE)?;
    let script = format!(
        "set -e\n\
         modprobe virtio_net\n\
         sysctl -qw net.ipv6.conf.{CARD}.disable_ipv6=1\n\
         ethtool -L {CARD} combined 2\n\
         ip address add {SERVER_ADDRESS}/{NETWORK_PREFIX} dev {CARD}\n\
         ip link set {CARD} up"
    );
    guest.must(&script, PATIENCE).map(drop)
}

/// Serves the card in one way, makes the whole cluster boot, and judges that. Returns the cells of
/// the table, and the fault if there is one.
///
/// # Errors
/// If the daemon does not start, or the storm's own socket fails.
pub(super) fn storm_by(
    way: Way,
    outside: &Namespace,
    guest: &mut Guest,
    service: &Service,
) -> Result<(Vec<String>, Result<()>)> {
    // Only UEFI clients wait a whole second before they ask again.
    let clients = nodes().map(|node| Client::new(Firmware::Uefi, node, WINPE));
    let clients: Vec<Client> = clients.collect();
    service.start(guest, CARD, way.serve)?;
    let (dropped, left) = (drops(guest)?, frames_from_guest(outside)?);
    let go_on = &mut |_| ControlFlow::Continue(());
    let report = storm(outside, CLIENT_INTERFACE, &clients, go_on);
    let report = report.with_context(|| guest.console())?;
    // A guest that is slower than the clients are patient has requests left to answer.
    let deadline = Instant::now() + PATIENCE;
    let (counts, judged) = loop {
        let status = service.status(guest)?;
        let (dropped, left) = (drops(guest)? - dropped, frames_from_guest(outside)? - left);
        let counts = Counts::new(&status, dropped, left)?;
        let judged = way.judge(&report, &counts);
        if judged.is_ok() || Instant::now() > deadline {
            break (counts, judged);
        }
        thread::sleep(PAUSE);
    };
    Service::stop(guest)?;
    Ok((cells(&report, &counts), judged))
}

/// The number of frames that have come from the guest so far. While no IPv6 is spoken there, all of
/// them are replies.
fn frames_from_guest(outside: &Namespace) -> Result<u64> {
    let devices = outside.run(|| Ok(fs::read_to_string("/proc/thread-self/net/dev")?))?;
    let mut lines = devices.lines().filter_map(|line| line.split_once(':'));
    let ours = lines.find(|(name, _)| name.trim() == CLIENT_INTERFACE);
    let packets = ours.and_then(|(_, counts)| counts.split_whitespace().nth(1)?.parse().ok());
    packets.with_context(|| format!("no {CLIENT_INTERFACE} in:\n{devices}"))
}

/// The number of our frames that have been dropped below the daemon so far.
fn drops(guest: &mut Guest) -> Result<u64> {
    let script = format!("ethtool -S {CARD}\ncat /sys/class/net/{CARD}/statistics/tx_dropped");
    let statistics = guest.must(&script, PATIENCE)?;
    dropped(&statistics).with_context(|| format!("no statistics:\n{statistics}"))
}
