//! Simulated PXE clients.
//!
//! A [`storm`] simulates a cluster that is powered on: all clients ask at the same instant, and
//! again together while they have no answer, because firmware clocks have no jitter. A [`steady`]
//! load asks at a fixed rate and checks that the daemon gives one right answer to each request,
//! which shows what a reload or a restart loses; [`on_wires`] does so for many daemons at once.
//!
//! [`converse`] simulates clients that ask for an offer first, and [`download`] those that fetch a file by
//! TFTP.
//!
//! All but the last send and receive whole frames, so that thousands of clients need neither addresses nor
//! sockets of their own, and they detect whether their own socket has lost frames, for which the
//! daemon is never blamed.

mod client;
mod conversations;
mod downloads;
mod numbered;
mod report;
mod steady;
mod storm;
#[cfg(test)]
mod toy;
mod wire;
mod wires;

pub use client::{Client, Firmware};
pub use conversations::{Conversation, ConversationReport, Conversed, converse};
pub use downloads::{Downloads, Wanted, content, download};
pub use report::{Outcome, StormReport, Summary, percentile};
pub use steady::{Load, LoadReport, Reply, steady};
pub use storm::{Progress, storm};
pub use wire::now;
pub use wires::{Heard, WiresReport, on_wires};
