//! What a daemon says about the source of its fleet.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::age;
use crate::fleet::item::BadItem;
use crate::fleet::portion::Portion;
use crate::text::{Few, count};

/// The source of a fleet, and what of it is in service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SourceStatus {
    /// Where it is.
    pub address: String,
    /// The revision in service; 0: none.
    pub revision: i64,
    /// The newest that is known; another one, if that was rejected.
    pub newest: i64,
    /// The hash of the nodes in service.
    pub hash: String,
    /// The number of nodes in service, bad ones included.
    pub nodes: usize,
    /// The nodes that this host serves of them, if it does not serve all.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub range: Option<Portion>,
    /// What of it is bad: nodes that get no answer, and groups and settings that do not count.
    pub bad: Few<BadItem>,
    /// Since when what is in service may not be the newest, in seconds since 1970, if that is so.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub stale_since: Option<f64>,
    /// How many seconds ago that was.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub stale_for: Option<f64>,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub why: Option<String>,
}

impl fmt::Display for SourceStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nodes = count(self.nodes, "node");
        write!(
            f,
            "source {}: revision {} with {nodes} is in service",
            self.address, self.revision
        )?;
        match (self.stale_for, &self.why) {
            (Some(seconds), why) => write!(
                f,
                ", and STALE: it was the newest {} ago ({})",
                age(Duration::try_from_secs_f64(seconds).unwrap_or_default()),
                why.as_deref().unwrap_or("nobody knows why")
            )?,
            _ if self.newest != self.revision => write!(f, ", and NOT the newest")?,
            _ => write!(f, ", the newest")?,
        }
        if let Some(Portion { range, nodes, .. }) = &self.range {
            let nodes = count(*nodes, "node");
            write!(f, "\nthis host serves {range} of it: {nodes}")?;
        }
        for bad in &self.bad.first {
            write!(f, "\n{bad}")?;
        }
        if self.bad.more() > 0 {
            write!(f, "\nand {} more are refused", self.bad.more())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::item::Kind;

    #[test]
    fn a_stale_source_says_since_when_and_why() {
        let mut status = SourceStatus {
            address: "etcds://a:2379/p".to_owned(),
            revision: 7,
            newest: 7,
            hash: String::new(),
            nodes: 2,
            range: None,
            bad: Few::of(
                [BadItem {
                    kind: Kind::Node,
                    name: "n1".to_owned(),
                    why: "it has a '..'".to_owned(),
                }]
                .into_iter(),
            ),
            stale_since: None,
            stale_for: None,
            why: None,
        };
        assert_eq!(
            status.to_string(),
            "source etcds://a:2379/p: revision 7 with 2 nodes is in service, the newest\n\
             node n1 is refused: it has a '..'"
        );
        status.range = Some(Portion {
            range: "n[1-9]".to_owned(),
            nodes: 1,
            hash: String::new(),
        });
        let text = status.to_string();
        assert!(
            text.contains("the newest\nthis host serves n[1-9] of it: 1 node\n"),
            "{text}"
        );
        status.newest = 8;
        let text = status.to_string();
        assert!(
            text.contains("is in service, and NOT the newest\n"),
            "{text}"
        );
        status.stale_since = Some(1e9);
        status.stale_for = Some(600.0);
        status.why = Some("a:2379: no answer within 5 s".to_owned());
        let text = status.to_string();
        assert!(
            text.contains("STALE: it was the newest 10 minutes ago (a:2379: no answer"),
            "{text}"
        );
    }
}
