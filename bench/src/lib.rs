//! The benchmark: it runs boot storms and floods of [simulated clients](proxydhcp_clients) against
//! several responders, storms amid hostile packets, offers and downloads, and measures the cost of an
//! answer, reloads, memory, and the making of a WinPE. It yields [`results`] and [`plot`]s.

mod answer_cost;
mod cluster;
mod contender;
mod contest;
mod conversations;
mod dnsmasq;
mod fleet;
mod flood;
mod generator;
mod machine;
mod memory;
mod pin;
mod plan;
mod plot;
mod received;
mod reload;
mod responder;
pub mod results;
mod run;
mod session;
mod siege;
mod small_xdp;
mod storm_figures;
mod tftp;
mod winpe;

pub use contender::Contender;
pub use machine::Machine;
pub use plan::{Figure, Observer, Plan, Progress};
pub use plot::{grouped, plot};
pub use run::run;
