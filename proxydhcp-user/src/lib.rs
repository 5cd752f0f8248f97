//! The daemon that answers proxyDHCP requests, and its command line.
//!
//! From the files to the replies:
//!
//! ```text
//! cfg + hosts + resolver ──> table ──> generation (with templates) ──> kernel: maps
//!                                                                └───> raw, af-xdp: threads
//! ```
//!
//! A folder imports only from those below it (`tests/layers.rs` has the list):
//!
//! ```text
//! xcat      runs the daemon under the name of xCAT's own, which it replaces
//! cli       the commands, a file each
//! daemon    a running daemon: its service, its control socket, what it watches
//! datapath  the datapaths that answer on an interface: the XDP program, AF_XDP, a packet socket
//! api       what the daemon and its clients say to each other
//! tables    what is served
//! fleet     the nodes of many service nodes, in etcd
//! nodes     which node boots which WinPE
//! tftp      what TFTP packets say, and a client of it
//! names     which address belongs to which name
//! winpe     the WinPEs and their loaders
//! sys       the operating system: files, interfaces, privileges, memory
//!
//! text      lists and numbers in messages, for all of them
//! ```

pub mod api;
pub mod cli;
pub mod daemon;
pub mod datapath;
pub mod fleet;
pub mod names;
pub mod nodes;
pub mod sys;
pub mod tables;
pub mod text;
pub mod tftp;
pub mod winpe;
pub mod xcat;
