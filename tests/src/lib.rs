//! The lab: what the system tests, the demo and the benchmarks share.
//!
//! A [`Lab`] is two anonymous network namespaces joined by a veth pair, one for the daemon and one
//! for its clients. A [`Daemon`] runs in the first; a [`Tap`] puts crafted frames on the wire in
//! the second and takes what comes back. [`RequestFrame`] writes requests and [`check_reply`]
//! judges replies from the RFCs alone: neither shares a line with the code under test, so that a
//! misreading in the one shows up against the other.

pub mod accounts;
mod alone;
pub mod architecture;
pub mod bpf;
pub mod bridge;
pub mod browser;
pub mod capture;
mod checksum;
pub mod config;
pub mod corpus;
mod daemon;
pub mod datagram;
pub mod debian;
mod describe;
pub mod dhcp_server;
pub mod discover;
mod ended;
pub mod etcd;
mod filter;
pub mod flood;
mod frame;
pub mod hostile;
mod lab;
pub mod link;
pub mod medium;
mod namespace;
mod offer;
pub mod offload;
pub mod packet;
mod pass;
mod reply;
pub mod resolver;
mod shapes;
pub mod site;
pub mod stack;
mod tap;
pub mod tftp;
pub mod tftp_server;
pub mod top;
pub mod xdp;

pub use alone::alone;
pub use checksum::internet_checksum;
pub use daemon::{Daemon, binary, copy_program};
pub use describe::describe_reply;
pub use ended::Ended;
pub use filter::udp_from_port;
pub use frame::{Checksum, RequestFrame, VlanTag};
pub use lab::{
    CLIENT_ADDRESS, CLIENT_INTERFACE, CLIENT_MAC, Lab, NETWORK_PREFIX, SERVER_ADDRESS,
    SERVER_INTERFACE, SERVER_MAC, client_mac,
};
pub use link::LinkOptions;
pub use namespace::{Namespace, require_rights};
pub use offer::check_offer;
pub use reply::{Expected, check_reply, read_leniently};
pub use tap::Tap;
