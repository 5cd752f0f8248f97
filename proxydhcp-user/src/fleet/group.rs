//! A group of nodes as a fleet's source has it: a JSON object, the value of the group's key.

use serde::{Deserialize, Serialize};

use crate::fleet::wire::parsed;
use crate::nodes::noderange::Groups;

/// A group. It has nothing that a line of the groups file could not have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// The noderanges of its lines.
    pub ranges: Vec<String>,
}

impl Group {
    /// Parses the value of a group's key. Noderanges are not checked before they are used, as those of
    /// the groups file.
    ///
    /// # Errors
    /// If it is no such object: why.
    pub fn parse(value: &[u8]) -> Result<Self, String> {
        // Without names, serde takes a list for the fields in their order.
        if value.trim_ascii_start().first() == Some(&b'[') {
            return Err("it is a list, and should be an object".to_owned());
        }
        parsed(value)
    }

    /// The lines of the groups file that say the same.
    ///
    /// # Errors
    /// If there are none, as with a comment in a noderange: why.
    pub fn lines(&self, name: &str) -> Result<String, String> {
        let line = |range: &str| format!("{name}: {range}\n");
        let lines: String = match &*self.ranges {
            [] => line(""),
            ranges => ranges.iter().map(|range| line(range)).collect(),
        };
        let read = Groups::parse("", &lines).map_err(|_| wrong_name())?;
        let is_read_back = read.names().eq([name]) && read.ranges(name).eq(&self.ranges);
        if !is_read_back {
            return Err("the groups file cannot have it; write plain noderanges".to_owned());
        }
        Ok(lines)
    }

    /// The value of the group's key.
    pub fn value(&self) -> Vec<u8> {
        // An object of texts has no reason to fail.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

fn wrong_name() -> String {
    "no group can have this name; use letters, digits, '-', '_' and '.'".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(name: &str, value: &str) -> Result<String, String> {
        Group::parse(value.as_bytes()).and_then(|group| group.lines(name))
    }

    #[test]
    fn a_group_is_lines_of_the_groups_file() {
        let value = r#"{"ranges":["n[1-9]","@rack2"]}"#;
        assert_eq!(
            lines("rack1", value).unwrap(),
            "rack1: n[1-9]\nrack1: @rack2\n"
        );
        let group = Group::parse(value.as_bytes()).unwrap();
        assert_eq!(group.value(), value.as_bytes());
        assert_eq!(lines("none", r#"{"ranges":[]}"#).unwrap(), "none: \n");
    }

    #[test]
    fn what_no_line_can_have_is_refused() {
        for (name, value, why) in [
            ("g", r#"["n1"]"#, "should be an object"),
            ("g", r#"{"ranges":"n1"}"#, "invalid type"),
            ("g", r#"{"ranges":["n1"],"path":"/"}"#, "unknown field"),
            ("g", "{", "EOF"),
            ("g h", r#"{"ranges":["n1"]}"#, "this name"),
            ("", r#"{"ranges":["n1"]}"#, "this name"),
            ("g", r#"{"ranges":["n1 # n2"]}"#, "plain"),
            ("g", "{\"ranges\":[\"n1\\nh: n2\"]}", "plain"),
            ("g", r#"{"ranges":[""]}"#, "plain"),
            ("g: n1\nh", r#"{"ranges":["n2"]}"#, "plain"),
        ] {
            let error = lines(name, value).unwrap_err();
            assert!(error.contains(why), "{name:?} {value}: {error}");
        }
    }
}
