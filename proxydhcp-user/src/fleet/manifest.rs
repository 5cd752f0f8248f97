//! What names the content in force.

use serde::{Deserialize, Serialize};

use crate::fleet::content::Content;
use crate::fleet::wire::parsed;

/// The manifest of a fleet. Fields of later versions are passed over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The id of the content in force.
    pub content: String,
    /// The number of its nodes.
    pub nodes: usize,
    /// The hash of its nodes: [`super::content::Content::hash`].
    pub hash: String,
    /// Who has written it, such as `root@head`.
    #[serde(default)]
    pub by: String,
    /// When that was, as RFC 3339 has it.
    #[serde(default)]
    pub at: String,
    /// What was done.
    #[serde(default)]
    pub what: String,
}

impl Manifest {
    /// Parses the value of its key.
    ///
    /// # Errors
    /// If it is no manifest: why.
    pub fn parse(value: &[u8]) -> Result<Self, String> {
        let manifest: Self = parsed(value)?;
        let id = &manifest.content;
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if id.is_empty() || id.len() > 64 || !id.bytes().all(is_part) {
            return Err(format!("{id:?} is no id of a content"));
        }
        Ok(manifest)
    }

    /// Whether these are the nodes that it says.
    pub fn is_of(&self, content: &Content) -> bool {
        self.nodes == content.len() && self.hash == content.hash()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::wire::LONGEST_VALUE;

    #[test]
    fn a_manifest_names_a_content() {
        let value = br#"{"content":"1f-7","nodes":2,"hash":"00","later":[1]}"#;
        let manifest = Manifest::parse(value).unwrap();
        assert_eq!((manifest.content.as_str(), manifest.nodes), ("1f-7", 2));
        let again = serde_json::to_vec(&manifest).unwrap();
        assert_eq!(Manifest::parse(&again), Ok(manifest));
    }

    #[test]
    fn what_names_none_is_refused() {
        for value in [
            "",
            "{}",
            r#"{"content":"","nodes":0,"hash":""}"#,
            r#"{"content":"a/nodes","nodes":0,"hash":""}"#,
            r#"{"content":"a","nodes":-1,"hash":""}"#,
        ] {
            assert!(Manifest::parse(value.as_bytes()).is_err(), "{value}");
        }
        let long = format!(
            r#"{{"content":"a","nodes":0,"hash":"{}"}}"#,
            "x".repeat(LONGEST_VALUE)
        );
        assert!(Manifest::parse(long.as_bytes()).is_err());
    }
}
