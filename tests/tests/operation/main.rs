//! The daemon in an administrator's hands, in private networks: reloads, bad files, stops and
//! starts, and the commands.
//!
//! These tests need root, and the binary that `cargo xtask test` builds. With `--nocapture` they
//! tell the times and rates that they have seen.

use proxydhcp_lab::site::Datapath;

mod alone;
mod cluster;
mod come_and_go;
mod commands;
mod conflicts;
mod control;
mod crowd;
mod ended;
mod explain;
mod files;
mod flood;
mod interfaces;
mod kept;
mod lookup;
mod mid_storm;
mod names;
mod node;
mod node_files;
mod node_prune;
mod probe;
mod reader;
mod ready;
mod records;
mod reload;
mod reload_under_load;
mod resolved;
mod rights;
mod settings;
mod stop;
mod stuck;
mod suffix;
mod survival;
mod unit;
mod watch;
mod watchdog;

/// Each way that a request can be answered.
const DATAPATHS: [Datapath; 4] = [
    Datapath::Native,
    Datapath::Generic,
    Datapath::AfXdp,
    Datapath::Raw,
];
