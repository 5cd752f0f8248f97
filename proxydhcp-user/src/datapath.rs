//! What answers on an interface: the XDP program in the kernel, and the threads beside it.

use arc_swap::ArcSwap;

use crate::tables::generation::Generation;

pub mod af_xdp;
mod answer;
pub mod buckets;
mod losses;
mod modes;
mod packet_thread;
pub mod raw;
pub mod served_interface;
pub mod unknown_clients;
pub mod xdp;

use buckets::Limits;
use unknown_clients::UnknownClients;

/// What all packet threads of the daemon answer by.
#[derive(Debug, Default)]
pub struct Shared {
    /// The tables in service.
    pub tables: ArcSwap<Generation>,
    /// The buckets of the sources.
    pub limits: Limits,
    /// Where clients are noted whose names are to be looked up, if that is the policy.
    pub unknown_clients: Option<UnknownClients>,
}
