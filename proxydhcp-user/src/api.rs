//! The messages between the daemon and its clients.

pub mod activity;
pub mod client;
pub mod control;
pub mod metrics;
pub mod status;
pub mod storm;
pub mod xcat;
