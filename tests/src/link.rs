//! veth pairs between two namespaces.

use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use futures_util::TryStreamExt;
use rtnetlink::packet_route::link::{
    InfoData, InfoVeth, LinkAttribute, LinkMessage, LinkXdp, MacVlanMode, State,
};
use rtnetlink::packet_route::route::{RouteScope, RouteType};
use rtnetlink::{
    Handle, LinkMacVlan, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder,
};

use crate::{Namespace, pass};

/// How long a link may take to come up: far longer than it does, even on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// One end of a veth pair.
#[derive(Debug)]
pub struct End<'a> {
    /// Where the end lives.
    pub namespace: &'a Namespace,
    /// Its interface name there.
    pub interface: &'a str,
    /// Its hardware address.
    pub mac: [u8; 6],
    /// Its address and prefix length.
    pub address: (Ipv4Addr, u8),
}

/// How a veth pair is made.
#[derive(Clone, Debug)]
pub struct LinkOptions {
    /// Whether the far end takes the frames that the near end's XDP program transmits. A veth end
    /// that does not keeps them in silence, which a test may want to see.
    pub takes_xdp: bool,
    /// The MTU of both ends, if other than 1500.
    pub mtu: Option<u32>,
    /// The number of receive and transmit queues of both ends, if other than 1.
    pub queues: Option<u32>,
    /// The kernel's number for the near end, if that is not left to the kernel.
    pub index: Option<u32>,
}

impl Default for LinkOptions {
    fn default() -> Self {
        Self {
            takes_xdp: true,
            mtu: None,
            queues: None,
            index: None,
        }
    }
}

/// Makes a veth pair, gives its ends their addresses, and brings them and the loopbacks up. The
/// far end takes what XDP transmits for as long as the returned descriptor is held.
///
/// # Errors
/// When the kernel refuses a step, which the error names.
pub fn connect(near: &End, far: &End, options: &LinkOptions) -> Result<Option<OwnedFd>> {
    let peer = end_message(LinkMessageBuilder::<LinkUnspec>::new(), far, options)
        .setns_by_fd(far.namespace.as_fd().as_raw_fd())
        .build();
    let mut pair = end_message(LinkVeth::new(near.interface, far.interface), near, options)
        .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)));
    if let Some(index) = options.index {
        pair = pair.index(index);
    }
    let pair = pair.build();
    netlink(near.namespace, async |handle| {
        handle.link().add(pair).execute().await.with_context(|| {
            format!(
                "cannot make the veth pair {} - {}",
                near.interface, far.interface
            )
        })
    })?;
    for end in [near, far] {
        add_address(end.namespace, end.interface, end.address)?;
        set_up(end.namespace, "lo")?;
        set_up(end.namespace, end.interface)?;
    }
    for end in [near, far] {
        wait_until_up(end.namespace, end.interface)?;
    }
    options
        .takes_xdp
        .then(|| pass::attach(far.namespace, far.interface))
        .transpose()
}

fn end_message<T>(
    builder: LinkMessageBuilder<T>,
    end: &End,
    options: &LinkOptions,
) -> LinkMessageBuilder<T> {
    let mut builder = builder.name(end.interface).address(end.mac.to_vec());
    if let Some(mtu) = options.mtu {
        builder = builder.mtu(mtu);
    }
    if let Some(queues) = options.queues {
        builder = builder
            .append_extra_attribute(LinkAttribute::NumTxQueues(queues))
            .append_extra_attribute(LinkAttribute::NumRxQueues(queues));
    }
    builder
}

/// Gives an interface one more address.
///
/// # Errors
/// When there is no such interface, or the kernel refuses the address.
pub fn add_address(
    namespace: &Namespace,
    interface: &str,
    (address, prefix): (Ipv4Addr, u8),
) -> Result<()> {
    netlink(namespace, async |handle| {
        let index = index_of(&handle, interface).await?;
        let request = handle.address().add(index, address.into(), prefix);
        request
            .execute()
            .await
            .with_context(|| format!("cannot give {interface} the address {address}/{prefix}"))
    })
}

/// Makes an interface of its own hardware address whose frames come by another, and brings it up.
///
/// # Errors
/// When there is no such interface, or the kernel refuses.
pub fn make_macvlan(namespace: &Namespace, lower: &str, name: &str, mac: [u8; 6]) -> Result<()> {
    netlink(namespace, async |handle| {
        let lower = index_of(&handle, lower).await?;
        let link = LinkMacVlan::new(name, lower, MacVlanMode::Bridge).address(mac.to_vec());
        let added = handle.link().add(link.build()).execute().await;
        added.with_context(|| format!("cannot make the macvlan {name}"))
    })?;
    set_up(namespace, name)
}

/// Lets all that goes to `network` by `interface` go to one router, whose hardware address is
/// known from the start: without one, each address of the network takes a neighbour entry of its
/// own, and the kernel has room for about a thousand.
///
/// # Errors
/// When there is no such interface, or the kernel refuses.
pub fn route_by(
    namespace: &Namespace,
    interface: &str,
    network: (Ipv4Addr, u8),
    router: (Ipv4Addr, [u8; 6]),
) -> Result<()> {
    netlink(namespace, async |handle| {
        let index = index_of(&handle, interface).await?;
        let (address, mac) = router;
        handle
            .neighbours()
            .add(index, address.into())
            .link_layer_address(&mac)
            .replace()
            .execute()
            .await
            .with_context(|| format!("cannot tell {interface} of its neighbour {address}"))?;
        let route = RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(network.0, network.1)
            .gateway(address)
            .output_interface(index)
            .build();
        let (network, prefix) = network;
        let added = handle.route().add(route).execute().await;
        added.with_context(|| format!("cannot route {network}/{prefix} by {address}"))
    })
}

/// Makes all addresses of a network the namespace's own, as a server of many sites has it.
///
/// # Errors
/// When the kernel refuses.
pub fn own_network(namespace: &Namespace, (network, prefix): (Ipv4Addr, u8)) -> Result<()> {
    netlink(namespace, async |handle| {
        let route = RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(network, prefix)
            .output_interface(index_of(&handle, "lo").await?)
            .kind(RouteType::Local)
            .scope(RouteScope::Host)
            .build();
        let added = handle.route().add(route).execute().await;
        added.with_context(|| format!("cannot take all of {network}/{prefix}"))
    })
}

/// Brings an interface up.
///
/// # Errors
/// When there is no such interface, or the kernel refuses.
pub fn set_up(namespace: &Namespace, interface: &str) -> Result<()> {
    change(namespace, interface, LinkMessageBuilder::up).context("cannot bring it up")
}

/// Takes an interface down.
///
/// # Errors
/// When there is no such interface, or the kernel refuses.
pub fn set_down(namespace: &Namespace, interface: &str) -> Result<()> {
    change(namespace, interface, LinkMessageBuilder::down).context("cannot take it down")
}

/// Gives an interface another name.
///
/// # Errors
/// When there is no such interface, or the kernel refuses.
pub fn rename(namespace: &Namespace, interface: &str, name: &str) -> Result<()> {
    change(namespace, interface, |link| link.name(name)).context("cannot rename it")
}

/// Makes an interface hold back this many frames that its other end has not taken yet, instead of
/// dropping them.
///
/// # Errors
/// When there is no such interface, or the kernel refuses.
pub fn set_queue_length(namespace: &Namespace, interface: &str, frames: u32) -> Result<()> {
    let length = LinkAttribute::TxQueueLen(frames);
    change(namespace, interface, |link| {
        link.append_extra_attribute(length)
    })
    .context("cannot lengthen its queue")
}

fn change(
    namespace: &Namespace,
    interface: &str,
    change: impl FnOnce(LinkMessageBuilder<LinkUnspec>) -> LinkMessageBuilder<LinkUnspec> + Send,
) -> Result<()> {
    netlink(namespace, async |handle| {
        let index = index_of(&handle, interface).await?;
        let message = change(LinkMessageBuilder::<LinkUnspec>::new().index(index)).build();
        let changed = handle.link().set(message).execute().await;
        changed.with_context(|| format!("the kernel refuses a change of {interface}"))
    })
}

/// Removes an interface; that of a veth pair with its other end.
///
/// # Errors
/// When there is no such interface, or the kernel refuses.
pub fn delete(namespace: &Namespace, interface: &str) -> Result<()> {
    netlink(namespace, async |handle| {
        let index = index_of(&handle, interface).await?;
        let deleted = handle.link().del(index).execute().await;
        deleted.with_context(|| format!("cannot remove {interface}"))
    })
}

/// Waits until an interface that was set up carries what is sent. An end that is up before its peer
/// hears of its carrier by a worker of the kernel's, and drops all frames in silence until then.
///
/// # Errors
/// When there is no such interface, or it does not come up.
pub fn wait_until_up(namespace: &Namespace, interface: &str) -> Result<()> {
    let up = LinkAttribute::OperState(State::Up);
    let asked = Instant::now();
    while asked.elapsed() < PATIENCE {
        let link = netlink(namespace, async |handle| find(&handle, interface).await)?;
        if link.attributes.contains(&up) {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(1));
    }
    bail!("{interface} has not come up within {PATIENCE:?}");
}

/// The id of the XDP program that is attached to an interface, if there is one.
///
/// # Errors
/// When there is no such interface.
pub fn xdp_program(namespace: &Namespace, interface: &str) -> Result<Option<u32>> {
    let link = netlink(namespace, async |handle| find(&handle, interface).await)?;
    let xdp = link
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            LinkAttribute::Xdp(xdp) => Some(xdp),
            _ => None,
        });
    Ok(xdp.into_iter().flatten().find_map(|xdp| match xdp {
        LinkXdp::ProgId(id) => Some(*id),
        _ => None,
    }))
}

/// Attaches an XDP program that passes every frame on, as somebody else's would be, until the
/// returned descriptor is dropped.
///
/// # Errors
/// When there is no such interface, or the kernel refuses.
pub fn occupy_xdp(namespace: &Namespace, interface: &str) -> Result<OwnedFd> {
    pass::attach(namespace, interface)
}

/// The kernel's number for an interface.
///
/// # Errors
/// When there is no such interface.
pub fn index(namespace: &Namespace, interface: &str) -> Result<u32> {
    netlink(namespace, async |handle| index_of(&handle, interface).await)
}

pub(crate) async fn index_of(handle: &Handle, interface: &str) -> Result<u32> {
    Ok(find(handle, interface).await?.header.index)
}

async fn find(handle: &Handle, interface: &str) -> Result<LinkMessage> {
    let missing = || format!("there is no interface {interface} in the namespace");
    let mut found = handle.link().get().match_name(interface).execute();
    found
        .try_next()
        .await
        .with_context(missing)?
        .with_context(missing)
}

/// Runs one exchange with the kernel on a netlink socket that is opened inside `namespace`.
pub(crate) fn netlink<T: Send>(
    namespace: &Namespace,
    work: impl AsyncFnOnce(Handle) -> Result<T> + Send,
) -> Result<T> {
    namespace.run(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()?;
        runtime.block_on(async {
            let (connection, handle, _) =
                rtnetlink::new_connection().context("cannot open a netlink socket")?;
            tokio::spawn(connection);
            work(handle).await
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::architecture::UEFI_X64;
    use crate::frame::RequestFrame;
    use crate::lab::{Lab, SERVER_INTERFACE};
    use crate::tap::Tap;

    #[test]
    fn a_new_wire_loses_nothing() {
        for _ in 0..20 {
            let lab = Lab::new().unwrap();
            let near = Tap::open(&lab.server, SERVER_INTERFACE).unwrap();
            let mut far = lab.tap().unwrap();
            let frame = RequestFrame::edk2([10, 77, 1, 1].into(), UEFI_X64).bytes();
            near.send(&frame).unwrap();
            let arrived = far.reply(Duration::from_secs(2)).unwrap();
            assert_eq!(arrived, Some(frame));
        }
    }
}
