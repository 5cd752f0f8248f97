//! Where an interface is served less well than it could be, and what mends that.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What an interface is not served by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    /// By the XDP program, in the driver.
    Native,
    /// By the XDP program at all.
    Kernel,
}

/// Why an interface is served by the second best.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fallback {
    /// What would be better.
    pub instead_of: Better,
    /// Why it is not so, with what the kernel says of it.
    pub why: String,
    /// What mends that, mostly one command, where it is known. The next start finds out.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub remedy: Option<String>,
}

impl fmt::Display for Fallback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { why, .. } = self;
        match self.instead_of {
            Better::Native => write!(f, "in generic mode, not native: {why}")?,
            Better::Kernel => write!(f, "by the raw datapath instead of the kernel: {why}")?,
        }
        match &self.remedy {
            Some(remedy) => write!(f, "; remedy, for the next start: {remedy}"),
            None => Ok(()),
        }
    }
}

/// Replies that the driver dropped.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    /// How many, since the program began to count. They count as `unsent`.
    pub replies: u64,
    /// What keeps it from dropping more, where it has dropped any.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub remedy: Option<String>,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the driver has lost {} replies of the XDP program",
            self.replies
        )?;
        match &self.remedy {
            Some(remedy) => write!(f, "; to lose no more: {remedy}"),
            None => Ok(()),
        }
    }
}
