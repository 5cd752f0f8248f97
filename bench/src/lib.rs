//! Simulated PXE clients.
//!
//! A [`storm`] is a cluster that is powered on: all clients ask at the same instant and then, as
//! firmware clocks have no jitter, again together while they have no answer. A [`steady`] load asks
//! at a fixed rate and holds the daemon to one right answer for each request, which shows what a
//! reload or a restart loses.
//!
//! Both send and receive whole frames, so that thousands of clients need neither addresses nor
//! sockets of their own, and both know when their own socket has lost frames: the daemon is never
//! blamed for that.

mod client;
mod numbered;
mod report;
mod steady;
mod storm;
#[cfg(test)]
mod toy;
mod wire;

pub use client::{Client, Firmware};
pub use report::{Outcome, StormReport, Summary};
pub use steady::{Load, LoadReport, Reply, steady};
pub use storm::{Progress, storm};
