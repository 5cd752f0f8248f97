//! What a service node says about itself, with a lease: it goes when the service node does.

use serde::{Deserialize, Serialize};

use crate::fleet::portion::Portion;
use crate::fleet::wire::parsed;

/// A service node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Serving {
    /// The program's version.
    pub version: String,
    /// The revision of the manifest in service.
    pub revision: i64,
    /// The hash of the nodes in service.
    pub hash: String,
    /// The number of tables installed since the start.
    pub generation: u64,
    /// The nodes that it serves, if it does not serve all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<Portion>,
    /// The number of addresses served.
    pub nodes: usize,
    /// The number of replies since the start.
    pub answered: u64,
    /// The number of nodes that are bad.
    #[serde(default)]
    pub bad: usize,
    /// Why the newest revision is not in service, if it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejected: Option<String>,
    /// When this was, in seconds since 1970, by its own clock.
    pub at: f64,
}

impl Serving {
    /// Parses the value of its key.
    ///
    /// # Errors
    /// If it is none: why.
    pub fn parse(value: &[u8]) -> Result<Self, String> {
        parsed(value)
    }
}
