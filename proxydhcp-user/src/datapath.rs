//! What answers on an interface: the XDP program in the kernel, and the threads beside it.

pub mod af_xdp;
pub mod answer;
pub mod buckets;
mod losses;
mod modes;
mod packet_thread;
pub mod raw;
pub mod served_interface;
pub mod xdp;
