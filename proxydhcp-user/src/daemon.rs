//! A running daemon: its life, what it serves, its control socket, and what it watches.

pub mod control;
pub mod logging;
pub mod pid_file;
pub mod port;
pub(crate) mod refresh;
pub mod run;
pub mod service;
mod systemd;
pub mod watch;
