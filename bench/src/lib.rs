//! Simulated PXE clients.
//!
//! A [`storm`] simulates a cluster that is powered on: all clients ask at the same instant, and
//! again together while they have no answer, because firmware clocks have no jitter. A [`steady`]
//! load asks at a fixed rate and checks that the daemon gives one right answer to each request,
//! which shows what a reload or a restart loses.
//!
//! [`run`] is the benchmark: it runs storms and floods against several responders, storms amid
//! hostile packets, and measures the cost of an answer, reloads and memory. It yields [`results`]
//! and [`plot`]s.
//!
//! All of these send and receive whole frames, so that thousands of clients need neither addresses
//! nor sockets of their own, and all detect whether their own socket has lost frames, for which the
//! daemon is never blamed.

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
