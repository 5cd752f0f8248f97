//! Which node boots which WinPE: `proxydhcp.cfg`, the ranges that select nodes, and what xCAT's
//! tables say about them.

pub mod cfg;
pub mod hardware;
pub mod noderange;
pub(crate) mod selection;
pub(crate) mod xcat;

/// The most bytes that a node's name may have: the length of its field in a record.
pub const NAME: usize = 50;
