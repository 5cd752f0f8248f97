//! The daemon that answers proxyDHCP requests, and its command line.
//!
//! From the files to the replies:
//!
//! ```text
//! cfg + hosts + names + strangers ──> table ──> generation (with template) ──> kernel: maps
//!                                                                        └───> raw: a thread per interface
//! ```
//!
//! [`names`] and [`strangers`] are what [`resolve`] has said, which the upkeep keeps asking.
//! [`service`] holds the datapaths and reloads them, [`pins`] keeps them in the kernel, [`serve`] is the daemon's life around it,
//! [`rights`] what it may do, [`control`] its socket, [`status`] what it tells, [`tell`] how commands reach it, [`cli`] the
//! commands, whose flags [`settings`] takes from a file too, and [`xcat`] the daemon in place of
//! xCAT's. [`command`] has those on `proxydhcp.cfg`, [`lookup`] tells why a client gets what it gets, [`probe`] asks a daemon as a client
//! does, [`winpe_files`] looks after what clients fetch, and [`shell`] makes completions and man
//! pages. [`dhcp_conf`] tells a DHCP server which clients are to come.

pub mod af_xdp;
mod announce;
pub mod answer;
pub mod arch;
pub mod cfg;
pub mod cli;
pub mod command;
pub mod control;
pub mod dhcp_conf;
pub mod generation;
pub mod hosts;
pub mod interface;
pub mod limits;
pub mod loaders;
pub mod logging;
pub mod lookup;
mod manager;
mod memory;
pub mod names;
pub mod node;
pub mod noderange;
mod nodes;
pub mod output;
mod packet_thread;
pub mod pid_file;
pub mod pins;
pub mod port;
pub mod probe;
pub mod program;
pub mod raw;
pub mod resolve;
mod resolved;
pub mod rights;
pub mod serve;
pub mod served;
pub mod service;
pub mod settings;
pub mod shell;
pub mod status;
pub mod strangers;
pub mod table;
pub mod tell;
pub mod template;
mod upkeep;
pub mod watch;
pub mod winpe;
pub mod winpe_files;
pub mod xcat;
