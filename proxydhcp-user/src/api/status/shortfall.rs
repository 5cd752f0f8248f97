//! Where an interface is served less well than it could be, and the remedy.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The better service that an interface lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    /// The XDP program in the driver.
    Native,
    /// The XDP program at all.
    Kernel,
}

/// Why an interface is served in the second-best way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fallback {
    /// What would be better.
    pub instead_of: Better,
    /// Why that is not possible, in the kernel's words where there are any.
    pub why: String,
    /// The remedy, mostly one command, where one is known. Only the next start shows whether it
    /// helps.
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
    /// The number of replies, since the program began to count. They count as `unsent`.
    pub replies: u64,
    /// What prevents further losses, if there were any.
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
