//! The policy: what clients are told besides their WinPE, and which of them are answered.

use std::net::Ipv4Addr;

use proxydhcp_common::limit::Limit;

use crate::winpe::loaders::Loaders;

/// What clients are told besides their WinPE, and which of them are answered.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// What becomes of clients without a record.
    pub unknown: Unknown,
    /// The TFTP server; if there is none, it is the address that the client asked.
    pub next_server: Option<Ipv4Addr>,
    /// How replies are laid out.
    pub reply_format: ReplyFormat,
    /// Which loader is for which architecture.
    pub loaders: Loaders,
    /// How often each source is answered.
    pub limit: Limit,
}

/// What becomes of clients without a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unknown {
    /// They get no answer.
    #[default]
    Ignore,
    /// They get the default WinPE.
    Default,
    /// They get no answer, but the names of their addresses are looked up.
    Lookup,
}

/// How replies are laid out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReplyFormat {
    /// All that PXE asks for: options 60 and 97, and at least 300 bytes of BOOTP message.
    #[default]
    Pxe,
    /// The very bytes of xCAT's own daemon: without options 60 and 97, and no longer than need be.
    Xcat,
}
