//! A running daemon: its life, what it serves, its control socket, and what it watches.

use std::path::PathBuf;

use crate::datapath::served_interface::DatapathPlan;
use crate::tables::policy::Policy;
use crate::tables::table::Sources;

pub mod control;
pub mod logging;
mod pid_file;
pub mod port;
mod refresh;
pub mod run;
mod service;
mod systemd;
mod watch;

/// What is to be served, and how.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub struct Settings {
    /// The files.
    pub sources: Sources,
    /// The file of the resolver's last answers.
    pub saved: PathBuf,
    /// What clients are told.
    pub policy: Policy,
    /// The names of the interfaces to serve; none: all that are up with an IPv4 address.
    pub interfaces: Vec<String>,
    /// What is to answer on them.
    pub plan: DatapathPlan,
    /// If this process is killed, the kernel goes on answering.
    pub pins: bool,
    /// At the start, a missing `proxydhcp.cfg` is one without records; else it is to be mended first.
    pub may_lack_config: bool,
    /// The log has each new or changed node's files.
    pub announces: bool,
    /// The files are read again when they have changed.
    pub watch: bool,
    /// The control socket.
    pub socket: PathBuf,
}
