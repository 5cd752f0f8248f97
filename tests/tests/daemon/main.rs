//! The daemon's life in private networks: start, reload, files, names, load, survival and stop.
//!
//! These tests need root, and the binary that `cargo xtask test` builds. With `--nocapture` they
//! print the times and rates that they have seen.

mod activity;
mod amid_load;
mod cluster;
mod come_and_go;
mod conflicts;
mod control;
mod conversations;
mod crowd;
mod discover;
mod files;
mod flood;
mod forged;
mod hardware;
mod interfaces;
mod kept;
mod logs;
mod loss;
mod metrics;
mod mid_storm;
mod names;
mod offers;
mod offers_beside;
mod one_program;
mod page;
mod port;
mod queues;
mod reader;
mod ready;
mod records;
mod reload;
mod reload_under_load;
mod renamed;
mod resolved;
mod rights;
mod second_best;
mod settings;
mod stop;
mod strangers;
mod stuck;
mod suffix;
mod survival;
mod tftp;
mod unit;
mod watch;
mod watchdog;
