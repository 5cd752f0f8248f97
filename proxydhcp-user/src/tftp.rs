//! TFTP: what packets say, for the server in `daemon/` and for the client here.

pub(crate) mod client;
pub mod packet;
