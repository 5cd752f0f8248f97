//! Determines what a table would take out of service that nobody has asked for.

use std::fmt;
use std::path::Path;

use super::compare::{Change, Comparison, Difference};
use crate::text::Few;

/// The number of names in a message.
const SHOWN: usize = 5;

/// The addresses that nodes would lose whose records stay. Records that are removed, refused or
/// disabled do not count; neither do nodes that move to as many other addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loss {
    /// The number of addresses lost.
    lost: usize,
    /// The number of addresses in service of all nodes whose records stay.
    of: usize,
    nodes: Change,
}

impl Loss {
    /// Notes what a node has lost, if it has and its record stays.
    pub(super) fn note(&mut self, node: &Difference<'_>) {
        if let Some(name) = node.before
            && node.lost > 0
            && node.is_kept
        {
            self.lost += node.lost;
            self.nodes.note(name);
        }
    }

    /// Compares what was noted with all that is in service.
    pub(super) fn compare_with(&mut self, comparison: &Comparison<'_>) {
        if self.lost > 0 {
            self.of = comparison.kept();
        }
    }

    /// Whether it is more than this share in percent.
    pub fn exceeds(&self, percent: u16) -> bool {
        self.lost.saturating_mul(100) > self.of.saturating_mul(percent.into())
    }

    /// Why a table with this loss is not accepted, if more than `percent` is not.
    pub fn refusal(&self, hosts: &Path, percent: u16) -> String {
        format!(
            "{self}, more than the {percent} % that --allow-loss accepts; complete {} or the DNS, or, \
             if these should go, run `proxydhcp reload --allow-loss 100`",
            hosts.display()
        )
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { lost, of, nodes } = self;
        let few = Few {
            first: nodes.examples.iter().take(SHOWN).cloned().collect(),
            count: nodes.count,
        };
        write!(
            f,
            "{lost} of the {of} addresses in service would go, those of {few}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::table::changes;
    use crate::tables::table::tests::table;

    const CONFIG: &[(&str, &str)] = &[("a", ""), ("b", "w"), ("c", "x"), ("d", "x")];
    const HOSTS: &str = "10.0.0.1 a\n10.0.0.2 b\n10.0.0.3 c\n10.0.0.4 d\n10.0.1.4 d-ib d\n";

    fn lost(config: &[(&str, &str)], hosts: &str) -> (usize, usize) {
        let Loss { lost, of, .. } = changes(&table(CONFIG, HOSTS), &table(config, hosts)).loss;
        (lost, of)
    }

    #[test]
    fn addresses_of_nodes_that_stay_are_lost() {
        assert_eq!(lost(CONFIG, HOSTS), (0, 0));
        assert_eq!(lost(CONFIG, "10.0.0.1 a\n10.0.0.2 b\n"), (3, 5));
        assert_eq!(
            lost(CONFIG, "10.0.0.1 a\n10.0.0.2 b\n10.0.0.3 c\n10.0.1.4 d\n"),
            (1, 5)
        );
        // Other addresses, or other names for them.
        assert_eq!(lost(CONFIG, &HOSTS.replace("10.0.", "10.9.")), (0, 0));
        assert_eq!(
            lost(CONFIG, &HOSTS.replace("1 a", "1 b").replace("2 b", "2 a")),
            (0, 0)
        );
    }

    #[test]
    fn what_the_configuration_removes_is_not_lost() {
        assert_eq!(lost(&CONFIG[..1], HOSTS), (0, 0));
        assert_eq!(lost(&CONFIG[..2], "10.0.0.1 a\n"), (1, 2));
        let refused = [CONFIG[0], ("b", ".."), ("c", ".."), ("d", "..")];
        assert_eq!(lost(&refused, "10.0.0.1 a\n"), (0, 0));
    }

    #[test]
    fn a_share_is_exceeded_by_more_than_it() {
        let loss = |lost, of| Loss {
            lost,
            of,
            nodes: Change::default(),
        };
        assert!(!loss(5, 10).exceeds(50) && loss(6, 10).exceeds(50));
        assert!(!loss(0, 0).exceeds(0) && loss(1, 1000).exceeds(0));
        assert!(!loss(9, 9).exceeds(100));
    }

    #[test]
    fn a_refusal_names_what_would_go_and_the_remedy() {
        let loss = changes(&table(CONFIG, HOSTS), &table(CONFIG, "10.0.0.1 a\n")).loss;
        assert_eq!(
            loss.refusal(Path::new("/etc/hosts"), 50),
            "4 of the 5 addresses in service would go, those of b, c, d, more than the 50 % that \
             --allow-loss accepts; complete /etc/hosts or the DNS, or, if these should go, run \
             `proxydhcp reload --allow-loss 100`"
        );
    }
}
