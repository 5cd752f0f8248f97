//! Finds the remedy for a refusal of native XDP in the kernel's message.
//!
//! The messages are those of the drivers of Linux 5.10 to 6.12. An unknown one is shown without a
//! remedy.

use std::thread;

use crate::sys::ethtool::{Driver, Setting};
use crate::sys::interface::Interface;

/// What prevents native XDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Obstacle {
    /// The host of this virtual machine performs offloads that cannot be switched off from within.
    Host,
    /// The driver merges segments (LRO).
    LargeReceive,
    /// Frames of this MTU do not fit into a page.
    Mtu,
    /// XDP transmits through queues of its own, and too few are left besides those in use.
    Channels,
    /// The other end of a veth pair, which may be in any namespace.
    Peer,
}

/// Parts of the messages, in lower case. The first match counts.
const KNOWN: [(&str, Obstacle); 11] = [
    // virtio_net, of GRO_HW/CSUM and, before Linux 5.15, of LRO/CSUM.
    ("while host is implementing", Obstacle::Host),
    ("peer", Obstacle::Peer),
    // vmxnet3, netvsc, mtk_eth_soc.
    ("lro", Obstacle::LargeReceive),
    // ena, funeth, i40e, ice, mana, mvpp2, nfp, netvsc, virtio_net, vmxnet3 and more.
    ("mtu", Obstacle::Mtu),
    // igc, netsec, stmmac.
    ("jumbo frames", Obstacle::Mtu),
    // ena.
    ("enough space for allocating xdp queues", Obstacle::Channels),
    // virtio_net before Linux 5.14.
    ("too few free tx rings", Obstacle::Channels),
    // ice.
    ("not enough tx resources", Obstacle::Channels),
    // nfp.
    ("insufficient number of tx rings", Obstacle::Channels),
    // enetc.
    ("xdp txqs leaves under", Obstacle::Channels),
    // funeth.
    ("failed to set queues for xdp", Obstacle::Channels),
];

fn obstacle(text: &str) -> Option<Obstacle> {
    let text = text.to_lowercase();
    let known = KNOWN.iter().find(|(part, _)| text.contains(part));
    known.map(|&(_, obstacle)| obstacle)
}

/// The remedy, mostly one command, if XDP is refused for `interface`, whose drivers run it on
/// `carriers`, with this message of the kernel.
pub(super) fn of(text: &str, interface: &Interface, carriers: &[Interface]) -> Option<String> {
    let each = |command: &dyn Fn(&Interface) -> Option<String>| {
        let commands: Vec<_> = carriers.iter().filter_map(command).collect();
        (!commands.is_empty()).then(|| commands.join(" && "))
    };
    match obstacle(text)? {
        Obstacle::Host => Some(format!(
            "on the host, give the virtual interface {} ctrl_guest_offloads=on, or guest_csum, guest_tso4, \
             guest_tso6, guest_ecn and guest_ufo off",
            interface.name
        )),
        Obstacle::LargeReceive => {
            each(&|carrier| Some(format!("ethtool -K {} lro off", carrier.name)))
        }
        // The members of a bond have its MTU.
        Obstacle::Mtu => (interface.mtu > ORDINARY)
            .then(|| format!("ip link set dev {} mtu {ORDINARY}", interface.name)),
        Obstacle::Channels => each(&|carrier| {
            let channels = Driver::of(carrier.index).and_then(|driver| driver.channels());
            let fewer = fewer(channels.ok()?, cpus())?;
            Some(format!("ethtool -L {} combined {fewer}", carrier.name))
        }),
        Obstacle::Peer => None,
    }
}

/// The MTU of ordinary Ethernet, in bytes, which every driver supports.
const ORDINARY: u32 = 1500;

fn cpus() -> u32 {
    let cpus = thread::available_parallelism().map_or(1, usize::from);
    u32::try_from(cpus).unwrap_or(u32::MAX)
}

/// The number of channels that leaves room for XDP's own: as many again (ena), or one for each CPU
/// (`virtio_net`). `None` if no more are in use already, or there is no room at all.
fn fewer(channels: Setting, cpus: u32) -> Option<u32> {
    let fewer = (channels.most / 2).min(channels.most.saturating_sub(cpus));
    (1..channels.now).contains(&fewer).then_some(fewer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::interface::tests::interface;

    #[test]
    fn what_drivers_say_is_understood() {
        for (text, expected) in [
            (
                "virtio_net: Can't set XDP while host is implementing GRO_HW/CSUM, disable GRO_HW/CSUM \
                 first",
                Some(Obstacle::Host),
            ),
            (
                "virtio_net: Can't set XDP while host is implementing LRO/CSUM, disable LRO/CSUM first",
                Some(Obstacle::Host),
            ),
            (
                "virtio_net: MTU too large to enable XDP without frags",
                Some(Obstacle::Mtu),
            ),
            (
                "virtio_net: Too few free TX rings available",
                Some(Obstacle::Channels),
            ),
            (
                "virtio_net: XDP expects header/data in single page, any_header_sg required",
                None,
            ),
            (
                "ena: Failed to set xdp program, there is no enough space for allocating XDP queues, \
                 Check the dmesg for more info",
                Some(Obstacle::Channels),
            ),
            (
                "ena: Failed to set xdp program, the current MTU is larger than the maximum allowed \
                 MTU. Check the dmesg for more info",
                Some(Obstacle::Mtu),
            ),
            (
                "vmxnet3: LRO is not supported with XDP",
                Some(Obstacle::LargeReceive),
            ),
            (
                "hv_netvsc: XDP: not support LRO",
                Some(Obstacle::LargeReceive),
            ),
            ("igc: Jumbo frames not supported", Some(Obstacle::Mtu)),
            (
                "ice: Not enough Tx resources for XDP",
                Some(Obstacle::Channels),
            ),
            (
                "veth: Peer MTU is too large to set XDP",
                Some(Obstacle::Peer),
            ),
            (
                "Underlying driver does not support XDP in native mode",
                None,
            ),
            ("anything else", None),
        ] {
            assert_eq!(obstacle(text), expected, "{text}");
        }
    }

    #[test]
    fn the_remedy_is_one_command_for_each_that_needs_it() {
        let mut bond = interface(2, "bond0", None);
        let both = [interface(3, "eth0", None), interface(4, "eth1", None)];
        let one = &both[0];
        let lro = "vmxnet3: LRO is not supported with XDP";
        let remedy = of(lro, one, &both[..1]);
        assert_eq!(remedy.as_deref(), Some("ethtool -K eth0 lro off"));
        let remedy = of(lro, &bond, &both);
        assert_eq!(
            remedy.as_deref(),
            Some("ethtool -K eth0 lro off && ethtool -K eth1 lro off")
        );
        bond.mtu = 9000;
        let mtu = "ena: the current MTU is larger than the maximum allowed MTU";
        let remedy = of(mtu, &bond, &both);
        assert_eq!(remedy.as_deref(), Some("ip link set dev bond0 mtu 1500"));
        // A smaller MTU would not help.
        assert_eq!(of(mtu, one, &both[..1]), None);
        assert_eq!(of("anything else", one, &both), None);
    }

    #[test]
    fn as_many_channels_are_left_as_xdp_needs() {
        let of = |now, most| fewer(Setting { now, most }, 4);
        assert_eq!(of(8, 8), Some(4));
        assert_eq!(of(32, 32), Some(16));
        assert_eq!(of(6, 6), Some(2));
        // The number is small enough already, or cannot be made so.
        assert_eq!(of(4, 8), None);
        assert_eq!(of(4, 4), None);
        assert_eq!(of(1, 1), None);
        assert_eq!(of(0, 0), None);
    }
}
