//! Clients that are two nodes.

use std::fmt;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::text::count;

/// A client that is not answered, because its address is one node's, and its hardware address or UUID
/// another's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfusedClient {
    /// The address that it asks from.
    pub address: Ipv4Addr,
    /// The node that has this address by the tables in service, if one still has.
    pub address_of: Option<String>,
    /// Its hardware address, or its UUID.
    pub hardware: Option<String>,
    /// The node that has this hardware address by the tables in service, if one still has.
    pub hardware_of: Option<String>,
    /// The number of its requests.
    pub requests: u64,
    /// Seconds since the last of them.
    pub ago: u64,
}

impl fmt::Display for ConfusedClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |name: &Option<String>| {
            name.clone()
                .unwrap_or_else(|| "no node any longer".to_owned())
        };
        write!(
            f,
            "identity: {} is an address of {}, but {} is of {}: neither is booted ({}, the last {} s \
             ago); correct the DHCP server's leases or the nodes' hardware addresses",
            self.address,
            name(&self.address_of),
            self.hardware.as_deref().unwrap_or("the machine"),
            name(&self.hardware_of),
            count(
                usize::try_from(self.requests).unwrap_or(usize::MAX),
                "request"
            ),
            self.ago,
        )
    }
}
