//! The datapaths that answer on an interface: the XDP program in the kernel, and the threads beside
//! it.

use arc_swap::ArcSwap;

use crate::tables::generation::Generation;
use crate::tables::policy::Offers;

pub mod activity;
pub mod af_xdp;
mod answer;
pub mod buckets;
mod confused;
mod losses;
pub mod modes;
mod packet_thread;
pub mod raw;
pub mod served_interface;
pub mod unknown_clients;
pub mod xdp;

use activity::Activity;
use buckets::Limits;
use confused::ConfusedClients;
use unknown_clients::UnknownClients;

/// What all packet threads of the daemon share.
#[derive(Debug, Default)]
pub struct Shared {
    /// The tables in service.
    pub tables: ArcSwap<Generation>,
    /// The rate-limit buckets of source addresses.
    pub limits: Limits,
    /// Receives clients whose names should be looked up, if that is the policy.
    pub unknown_clients: Option<UnknownClients>,
    /// Clients whose address and hardware address are those of different nodes.
    pub confused: ConfusedClients,
    /// What the nodes have done.
    pub activity: Activity,
    /// Which offers are made, if any are.
    pub offers: Option<Offers>,
}
