//! The nodes of a fleet that a service node serves where it does not serve all of them: those of a
//! noderange.

use std::collections::HashSet;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::fleet::content::half;
use crate::nodes::cfg::edit::raw_records;
use crate::nodes::cfg::texts::Texts;
use crate::nodes::selection::Nodes;

/// The nodes that a service node serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Portion {
    /// The noderange.
    pub range: String,
    /// How many nodes of the fleet are in it.
    pub nodes: usize,
    /// The hash of their names: two hosts may have different groups, and thus mean different nodes by
    /// the same noderange.
    pub hash: String,
}

/// The files of the nodes of `range`, of files that have lines of one node each. The others are left out,
/// or, where a client without a record is served, disabled: they are another service node's.
///
/// # Errors
/// If the noderange is wrong, or names a group that there is not.
pub(crate) fn of(texts: &Texts, range: &str, serves_strangers: bool) -> Result<(Texts, Portion)> {
    let nodes = Nodes::of_texts(texts);
    let names = nodes.of_range(range, None).with_context(|| {
        format!("the nodes of fleet-range = {range:?} cannot be told, so nothing new is served")
    })?;
    let names: HashSet<_> = names.iter().map(|name| name.to_ascii_lowercase()).collect();
    let is_chosen = |name: &str| names.contains(&name.to_ascii_lowercase());
    let of_node = |name: Option<&str>| name.is_some_and(is_chosen);

    let mut part = Texts::default();
    for record in raw_records(&texts.records).0 {
        if of_node(str::from_utf8(record.name()).ok()) {
            part.records.extend(record.bytes());
        }
    }
    let lines = texts.disabled.split_inclusive('\n');
    part.disabled = lines.filter(|line| is_chosen(line.trim_end())).collect();
    let lines = texts.hardware.split_inclusive('\n');
    let first = |line: &str| of_node(line.split_whitespace().next());
    part.hardware = lines
        .filter(|line| serves_strangers || first(line))
        .collect();
    for line in texts.hosts.split_inclusive(|&byte| byte == b'\n') {
        let text = str::from_utf8(line).ok();
        let name = text.and_then(|line| line.split_whitespace().nth(1));
        if serves_strangers || of_node(name) {
            part.hosts.extend(line);
        }
    }

    let (mut count, mut hasher) = (0, Sha256::new());
    for name in nodes.names().iter() {
        if is_chosen(name) {
            count += 1;
            hasher.update(name.to_ascii_lowercase().as_bytes());
            hasher.update([0]);
        } else if serves_strangers {
            part.disabled.push_str(name);
            part.disabled.push('\n');
        }
    }
    let portion = Portion {
        range: range.to_owned(),
        nodes: count,
        hash: format!("{:032x}", half(hasher)),
    };
    Ok((part, portion))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::fleet::content::Content;
    use crate::winpe::loaders::Loaders;
    use crate::winpe::path::Rules;

    fn texts() -> Texts {
        let mut content = Content::default();
        for (name, value) in [
            ("n1", r#"{"winpe":"winboot/a","addresses":["10.0.0.1"]}"#),
            (
                "n2",
                r#"{"winpe":"winboot/a","macs":["52:54:00:00:00:02"]}"#,
            ),
            (
                "N3",
                r#"{"winpe":"winboot/a","disabled":true,"addresses":["10.0.0.3"]}"#,
            ),
            ("n4", r#"{"disabled":true}"#),
        ] {
            content.insert(name, value.as_bytes(), 1);
        }
        let rules = Rules {
            tftp_root: Path::new("/tftpboot"),
            loaders: &Loaders::default(),
        };
        content.texts(rules).0
    }

    #[test]
    fn the_nodes_of_a_range_are_left() {
        let all = texts();
        let (part, portion) = of(&all, "n[2-9]", false).unwrap();
        assert_eq!(part.records.len(), 2 * 200);
        assert_eq!(part.disabled, "N3\nn4\n");
        assert_eq!(part.hardware, all.hardware);
        assert_eq!(part.hosts, b"10.0.0.3 N3\n");
        assert_eq!((portion.nodes, portion.range.as_str()), (3, "n[2-9]"));
        let (whole, portion) = of(&all, "all", false).unwrap();
        assert_eq!((whole, portion.nodes), (all.clone(), 4));
        // Groups that come with the nodes are those that count.
        let groups = Some("rack1: n1,N3\n".to_owned());
        let with_groups = Texts {
            groups,
            ..all.clone()
        };
        let (_, portion) = of(&with_groups, "@rack1", false).unwrap();
        assert_eq!(portion.nodes, 2);
        let (none, portion) = of(&all, "m1", false).unwrap();
        assert_eq!((none, portion.nodes), (Texts::default(), 0));
    }

    #[test]
    fn a_node_of_another_range_is_no_stranger() {
        let all = texts();
        let (part, _) = of(&all, "n1", true).unwrap();
        assert_eq!(part.records.len(), 200);
        assert_eq!(part.disabled, "N3\nn2\nn4\n");
        assert_eq!((part.hardware, part.hosts), (all.hardware, all.hosts));
    }

    #[test]
    fn the_same_range_of_other_nodes_has_another_hash() {
        let hash = |range| of(&texts(), range, false).unwrap().1.hash;
        assert_eq!(hash("n1,n2"), hash("n2,n1,m7"));
        assert_ne!(hash("n1,n2"), hash("n1"));
        let error = of(&texts(), "@no-such-group", false).unwrap_err();
        assert!(format!("{error:#}").contains("no-such-group"), "{error:#}");
    }
}
