//! Bridges: a switch between a wire and the interfaces of virtual machines.

use std::net::Ipv4Addr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rtnetlink::{LinkBridge, LinkMessageBuilder, LinkUnspec};

use crate::link::{End, LinkOptions, connect, index, index_of, netlink, set_up};
use crate::{NETWORK_PREFIX, Namespace};

/// How long a virtual machine may take to make its interface.
const PATIENCE: Duration = Duration::from_secs(20);

/// Makes a bridge in `namespace`. Its ports forward from the start: it speaks no spanning tree.
///
/// # Errors
/// When the kernel refuses.
pub fn make(namespace: &Namespace, bridge: &str) -> Result<()> {
    netlink(namespace, async |handle| {
        let link = LinkBridge::new(bridge).build();
        let added = handle.link().add(link).execute().await;
        added.with_context(|| format!("cannot make the bridge {bridge}"))
    })?;
    set_up(namespace, bridge)
}

/// Makes an interface a port of the bridge and brings it up, once it is there.
///
/// # Errors
/// When the interface does not appear, or the kernel refuses.
pub fn add_port(namespace: &Namespace, bridge: &str, port: &str) -> Result<()> {
    let asked = Instant::now();
    while index(namespace, port).is_err() && asked.elapsed() < PATIENCE {
        thread::sleep(Duration::from_millis(5));
    }
    netlink(namespace, async |handle| {
        let controller = index_of(&handle, bridge).await?;
        let link = LinkMessageBuilder::<LinkUnspec>::new()
            .index(index_of(&handle, port).await?)
            .controller(controller)
            .build();
        let set = handle.link().set(link).execute().await;
        set.with_context(|| format!("cannot make {port} a port of {bridge}"))
    })?;
    set_up(namespace, port)
}

/// Plugs a host into a bridge: gives it an interface `eth0` with this address of the lab's network.
///
/// # Errors
/// When the kernel refuses a step.
pub fn add_host(
    namespace: &Namespace,
    bridge: &str,
    host: &Namespace,
    address: Ipv4Addr,
) -> Result<()> {
    let [_, _, high, low] = address.octets();
    let port = format!("to-{high}-{low}");
    let near = End {
        namespace,
        interface: &port,
        mac: [0x02, 0, 1, 0, high, low],
        // A port needs none: one that is in nobody's way.
        address: (Ipv4Addr::new(10, 99, high, low), 32),
    };
    let far = End {
        namespace: host,
        interface: "eth0",
        mac: [0x02, 0, 2, 0, high, low],
        address: (address, NETWORK_PREFIX),
    };
    let options = LinkOptions {
        takes_xdp: false,
        ..LinkOptions::default()
    };
    connect(&near, &far, &options)?;
    add_port(namespace, bridge, &port)
}

/// Takes an interface out of its bridge.
///
/// # Errors
/// When there is no such interface, or the kernel refuses.
pub fn remove_port(namespace: &Namespace, port: &str) -> Result<()> {
    netlink(namespace, async |handle| {
        let link = LinkMessageBuilder::<LinkUnspec>::new()
            .index(index_of(&handle, port).await?)
            .nocontroller()
            .build();
        let set = handle.link().set(link).execute().await;
        set.with_context(|| format!("cannot take {port} out of its bridge"))
    })
}
