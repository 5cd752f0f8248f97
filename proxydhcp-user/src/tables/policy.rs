//! The policy: what replies contain besides the WinPE, and which clients get one.

use std::net::Ipv4Addr;
use std::time::Duration;

use proxydhcp_common::limit::Limit;
use proxydhcp_common::vendor_class::VendorClass;
use serde::{Deserialize, Serialize};

use crate::winpe::loaders::Loaders;

/// What replies contain besides the WinPE, and which clients get one.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// How clients without a record are treated.
    pub unknown: Unknown,
    /// The TFTP server; `None` stands for the address that the client asked.
    pub next_server: Option<Ipv4Addr>,
    /// The layout of replies.
    pub reply_format: ReplyFormat,
    /// The boot loader for each architecture.
    pub loaders: Loaders,
    /// The rate limit for each source address.
    pub limit: Limit,
    /// The vendor classes besides `PXEClient` that are served.
    pub vendor_classes: Vec<VendorClass>,
}

/// Which DISCOVERs get an offer, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offers {
    /// Whether clients without a record are offered the default WinPE, besides the nodes that are known
    /// by their hardware addresses.
    pub to_all: bool,
    /// How long an offer waits before it is sent.
    pub delay: Duration,
}

/// How clients without a record are treated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unknown {
    /// They get no answer.
    #[default]
    Ignore,
    /// They get the default WinPE.
    Default,
    /// They get no answer, but the names of their addresses are looked up.
    Lookup,
    /// The names of their addresses are looked up, and those that turn out to have no record get the
    /// default WinPE.
    LookupDefault,
}

impl Unknown {
    /// Whether names of clients are looked up.
    pub fn is_looked_up(self) -> bool {
        matches!(self, Self::Lookup | Self::LookupDefault)
    }

    /// Whether clients that were looked up, and turn out to have no record, get the default WinPE.
    pub fn serves_looked_up(self) -> bool {
        self == Self::LookupDefault
    }

    /// Whether clients that turn out to have no record get the default WinPE.
    pub fn serves_strangers(self) -> bool {
        matches!(self, Self::Default | Self::LookupDefault)
    }
}

/// The layout of replies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReplyFormat {
    /// Everything that PXE requires: options 60 and 97, and a BOOTP message of at least 300 bytes.
    #[default]
    Pxe,
    /// Byte for byte like xCAT's own daemon: without options 60 and 97, and without padding.
    Xcat,
}
