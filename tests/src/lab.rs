//! The usual lab: a server and its clients on one wire.

use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;

use anyhow::Result;

use crate::link::{End, LinkOptions, connect};
use crate::namespace::Namespace;
use crate::tap::Tap;

/// The interface that the daemon serves.
pub const SERVER_INTERFACE: &str = "px0";
/// The other end of the wire.
pub const CLIENT_INTERFACE: &str = "pc0";
/// The daemon's address.
pub const SERVER_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// The address of the client namespace itself; simulated clients have others of the same network.
pub const CLIENT_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 255, 254);
/// The prefix length of the lab's network.
pub const NETWORK_PREFIX: u8 = 16;
/// The hardware address of the server's interface.
pub const SERVER_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x01];
/// The hardware address of the client interface itself.
pub const CLIENT_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x02];

/// The hardware address that the lab gives the simulated client with this address.
pub fn client_mac(address: Ipv4Addr) -> [u8; 6] {
    let [_, net, high, low] = address.octets();
    [0x52, 0x54, 0x00, net, high, low]
}

/// Two namespaces joined by a veth pair: `px0` for the server, `pc0` for the clients.
#[derive(Debug)]
pub struct Lab {
    /// Where the daemon runs.
    pub server: Namespace,
    /// Where the clients are.
    pub client: Namespace,
    /// Held, so that the clients take what XDP transmits.
    takes_xdp: Option<OwnedFd>,
}

impl Lab {
    /// Makes the usual lab.
    ///
    /// # Errors
    /// When this process lacks the rights, which the error names, or the kernel refuses a step.
    pub fn new() -> Result<Self> {
        Self::with(&LinkOptions::default())
    }

    /// Makes a lab whose wire is out of the ordinary.
    ///
    /// # Errors
    /// As [`Lab::new`].
    pub fn with(options: &LinkOptions) -> Result<Self> {
        let mut lab = Self {
            server: Namespace::new()?,
            client: Namespace::new()?,
            takes_xdp: None,
        };
        let server = End {
            namespace: &lab.server,
            interface: SERVER_INTERFACE,
            mac: SERVER_MAC,
            address: (SERVER_ADDRESS, NETWORK_PREFIX),
        };
        let client = End {
            namespace: &lab.client,
            interface: CLIENT_INTERFACE,
            mac: CLIENT_MAC,
            address: (CLIENT_ADDRESS, NETWORK_PREFIX),
        };
        lab.takes_xdp = connect(&server, &client, options)?;
        Ok(lab)
    }

    /// Joins one more pair of interfaces: `px1` and `pc1`, with 10.78.0.1/16 for the server, for
    /// number 1. What is returned is to be held as long as the clients are to take what XDP sends.
    ///
    /// # Errors
    /// When the kernel refuses a step.
    pub fn one_more_wire(&self, number: u8) -> Result<Option<OwnedFd>> {
        self.one_more_wire_with(number, &LinkOptions::default())
    }

    /// Joins one more pair of interfaces that is out of the ordinary; see [`Lab::one_more_wire`].
    ///
    /// # Errors
    /// As [`Lab::one_more_wire`].
    pub fn one_more_wire_with(&self, number: u8, options: &LinkOptions) -> Result<Option<OwnedFd>> {
        let network = |low| Ipv4Addr::from([10, 77_u8.wrapping_add(number), low, low.max(1)]);
        let near = End {
            namespace: &self.server,
            interface: &format!("px{number}"),
            mac: [0x02, 0, 0, 0, number, 0x01],
            address: (network(0), NETWORK_PREFIX),
        };
        let far = End {
            namespace: &self.client,
            interface: &format!("pc{number}"),
            mac: [0x02, 0, 0, 0, number, 0x02],
            address: (network(254), NETWORK_PREFIX),
        };
        connect(&near, &far, options)
    }

    /// Opens a tap on the clients' end of the wire.
    ///
    /// # Errors
    /// When a packet socket cannot be opened.
    pub fn tap(&self) -> Result<Tap> {
        Tap::open(&self.client, CLIENT_INTERFACE)
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_two_ends_talk() {
        let lab = Lab::with(&LinkOptions {
            takes_xdp: false,
            mtu: Some(4000),
            queues: Some(2),
            index: None,
        })
        .unwrap();
        let bind = |address| move || Ok(UdpSocket::bind((address, 4011))?);
        let server = lab.server.run(bind(SERVER_ADDRESS)).unwrap();
        let client = lab.client.run(bind(CLIENT_ADDRESS)).unwrap();
        server
            .set_read_timeout(Some(Duration::from_secs(2)))
            .unwrap();
        client.send_to(&[7; 3900], (SERVER_ADDRESS, 4011)).unwrap();
        let mut buffer = [0; 4000];
        assert_eq!(
            server.recv_from(&mut buffer).unwrap(),
            (3900, (CLIENT_ADDRESS, 4011).into())
        );
    }
}
