//! Which node boots which WinPE: `proxydhcp.cfg`, and the ranges that select nodes.

pub mod cfg;
pub(crate) mod hardware;
pub mod noderange;
pub(crate) mod selection;
