//! A running daemon: its life, what it serves, its control socket, and what it watches.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::daemon::fleet::Fleet;
use crate::datapath::served_interface::DatapathPlan;
use crate::fleet::settings::FleetSettings;
use crate::tables::policy::{Offers, Policy};
use crate::tables::table::Sources;

pub mod control;
pub mod fleet;
pub mod http;
pub mod logging;
mod pid_file;
pub mod port;
mod refresh;
pub mod run;
mod service;
mod storm;
mod systemd;
pub mod tftp;
pub(crate) mod watch;

/// What tables and replies are made by. The source of a fleet may have other settings for it than the host.
#[derive(Clone, Debug)]
pub(crate) struct Configured {
    pub(crate) sources: Sources,
    pub(crate) policy: Policy,
}

/// What the daemon serves, and how.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub struct Settings {
    /// The files that the tables are made from.
    pub sources: Sources,
    /// What the nodes come from instead of `proxydhcp.cfg` and the files beside it, if they do.
    pub fleet: Option<Arc<Fleet>>,
    /// The file in which the resolver's last answers are kept.
    pub saved: PathBuf,
    /// What replies say, and what clients without a record get.
    pub policy: Policy,
    /// Which DISCOVERs get an offer, if any do.
    pub offers: Option<Offers>,
    /// The names of the interfaces to serve. If empty, all that are up and have an IPv4 address.
    pub interfaces: Vec<String>,
    /// The datapath that answers on the interfaces.
    pub plan: DatapathPlan,
    /// Whether the kernel goes on answering if this process is killed.
    pub pins: bool,
    /// How long it goes on answering then; `None`: for ever.
    pub outlive: Option<Duration>,
    /// Whether a `proxydhcp.cfg` that is missing at the start counts as one without records.
    /// Otherwise it is rejected.
    pub may_lack_config: bool,
    /// Whether the files that each new or changed node is sent to are logged.
    pub announces: bool,
    /// Whether the files are read again when they change.
    pub watch: bool,
    /// The share, in percent, of the addresses in service that nodes may lose at once though their
    /// records stay.
    pub allow_loss: u16,
    /// The path of the control socket.
    pub socket: PathBuf,
}

impl Settings {
    /// What tables and replies are made by, with the settings of the fleet.
    pub(crate) fn configured(&self, fleet: &FleetSettings) -> Configured {
        let (mut sources, mut policy) = (self.sources.clone(), self.policy.clone());
        fleet.replace(&mut sources, &mut policy);
        Configured { sources, policy }
    }
}
