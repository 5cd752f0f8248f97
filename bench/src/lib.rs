//! Simulated PXE clients.
//!
//! A [`storm`] is a cluster that is powered on: all clients ask at the same instant and then, as
//! firmware clocks have no jitter, again together while they have no answer. A [`steady`] load asks
//! at a fixed rate and holds the daemon to one right answer for each request, which shows what a
//! reload or a restart loses.
//!
//! [`run`] is the benchmark: storms and floods against several responders, storms amid hostile
//! packets, the cost of an answer, reloads and memory, as [`results`] and as [`plot`]s.
//!
//! All send and receive whole frames, so that thousands of clients need neither addresses nor
//! sockets of their own, and all know when their own socket has lost frames: the daemon is never
//! blamed for that.

mod answer_cost;
mod client;
mod cluster;
mod contender;
mod contest;
mod dnsmasq;
mod flood;
mod generator;
mod machine;
mod memory;
mod numbered;
mod pin;
mod plan;
mod plot;
mod received;
mod reload;
mod report;
pub mod results;
mod run;
mod session;
mod siege;
mod small_xdp;
mod steady;
mod storm;
mod storm_figures;
#[cfg(test)]
mod toy;
mod wire;

pub use client::{Client, Firmware};
pub use contender::Contender;
pub use machine::Machine;
pub use plan::{Figure, Observer, Plan, Progress as RunProgress};
pub use plot::{grouped, plot};
pub use report::{Outcome, StormReport, Summary};
pub use run::run;
pub use steady::{Load, LoadReport, Reply, steady};
pub use storm::{Progress, storm};
