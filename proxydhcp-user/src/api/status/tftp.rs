//! What the TFTP server does.

use std::fmt;
use std::net::SocketAddrV4;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What the TFTP server has done since it started, and what it is doing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TftpStatus {
    /// The folder whose files are served.
    pub root: PathBuf,
    /// Transfers of a whole file.
    pub complete: u64,
    /// Transfers that the client ended before its first byte, as those do that want to know a file's
    /// length.
    pub declined: u64,
    /// Transfers that broke off.
    pub failed: u64,
    /// Requests whose sender has never answered. It may be forged.
    pub unbegun: u64,
    /// Requests that were refused, such as those for a file that does not exist.
    pub refused: u64,
    /// Requests that got no answer, because all places were taken, or too many by that client.
    #[serde(default)]
    pub turned_away: u64,
    /// Requests and transfers that had to yield to others: the client had never answered, or had been
    /// silent.
    #[serde(default)]
    pub displaced: u64,
    /// The bytes that clients have acknowledged, in transfers that have ended.
    pub bytes: u64,
    /// The running transfers whose client has answered, the oldest first.
    pub transfers: Vec<TftpTransfer>,
}

/// A file on its way to a client.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TftpTransfer {
    /// The client's address and port.
    pub client: SocketAddrV4,
    /// The file's name below the root.
    pub file: String,
    /// The file's length in bytes.
    pub size: u64,
    /// The bytes that the client has acknowledged.
    pub bytes: u64,
    /// The blocks that were sent more than once.
    pub repeated: u64,
    /// Seconds since it was asked for.
    pub seconds: f64,
}

impl fmt::Display for TftpStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "TFTP: {} complete, {} running, {} failed, {} refused, {} turned away, {} displaced",
            self.complete,
            self.transfers.len(),
            self.failed,
            self.refused,
            self.turned_away,
            self.displaced
        )
    }
}
