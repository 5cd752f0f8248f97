//! What has changed of a content since it was taken last, so that a change costs as little as the nodes
//! that it is of.

use std::collections::BTreeMap;

use crate::fleet::content::{Content, Value};
use crate::fleet::item::BadItem;
use crate::nodes::cfg::RECORD;
use crate::nodes::cfg::texts::Texts;
use crate::winpe::path::Rules;

/// The nodes that have changed, as they were before; `None`: there was none.
#[derive(Clone, Debug, Default)]
pub struct Changed(BTreeMap<Box<str>, Option<Value>>);

/// What changed nodes boot now, where that is all that has changed.
#[derive(Debug)]
pub struct Boots {
    /// The records, and which of them are disabled.
    pub texts: Texts,
    /// Those that cannot be served, and are disabled.
    pub bad: Vec<BadItem>,
}

impl Changed {
    /// Notes what a node was, before its first change.
    pub fn note(&mut self, name: &str, before: Option<Value>) {
        // Looked up first: most nodes change once, but a key of its own is made only then.
        if !self.0.contains_key(name) {
            self.0.insert(name.into(), before);
        }
    }

    /// The names of the nodes.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(|name| &**name)
    }

    /// What these nodes of `content` boot, by the rules of this host. `None` if anything else of them
    /// has changed, or one is new, or gone: then all must be joined again.
    pub fn boots(&self, content: &Content, rules: Rules<'_>) -> Option<Boots> {
        let (settings, _) = content.settings();
        let rules = settings.rules(rules);
        let (mut before, mut after) = (Content::default(), Content::default());
        for (name, old) in &self.0 {
            let (old, new) = (old.as_ref()?, content.get(name)?);
            before.insert(name, &old.bytes, old.revision);
            after.insert(name, &new.bytes, new.revision);
        }
        let (before, _) = before.texts(rules);
        let (texts, bad) = after.texts(rules);
        let all_have_records = [&before, &texts]
            .iter()
            .all(|texts| texts.records.len() == self.0.len() * RECORD);
        let is_all =
            all_have_records && before.hardware == texts.hardware && before.hosts == texts.hosts;
        is_all.then_some(Boots { texts, bad })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const BEFORE: &[(&str, &str)] = &[
        ("N3", r#"{"winpe":"a","macs":["52:54:00:00:00:03"]}"#),
        ("n1", r#"{"winpe":"a","addresses":["10.0.0.1"]}"#),
        ("n10", r#"{"winpe":"","disabled":true}"#),
        ("n2", r#"{"winpe":"b"}"#),
        ("n4", r#"{"disabled":true}"#),
        ("n5", r#"{"winpe":"../x"}"#),
    ];

    fn rules() -> Rules<'static> {
        Rules::within(Path::new("/tftpboot"))
    }

    fn content() -> Content {
        let mut content = Content::default();
        for (name, value) in BEFORE {
            content.insert(name, value.as_bytes(), 1);
        }
        content
    }

    /// What becomes of the nodes by these changes: the whole texts, put together, as they are made anew.
    fn changed(changes: &[(&str, Option<&str>)]) -> Option<(Texts, Vec<BadItem>)> {
        let mut content = content();
        let (before, _) = content.texts(rules());
        let mut changed = Changed::default();
        for (name, value) in changes {
            let old = match value {
                Some(value) => content.insert(name, value.as_bytes(), 2),
                None => content.remove(name),
            };
            changed.note(name, old);
        }
        let boots = changed.boots(&content, rules())?;
        let (whole, _) = content.texts(rules());
        let texts = before.with(&boots.texts).unwrap();
        assert_eq!(texts, whole, "{changes:?}");
        Some((texts, boots.bad))
    }

    #[test]
    fn what_nodes_boot_is_put_into_the_texts_as_if_these_were_made_anew() {
        let n1 = r#"{"winpe":"c","addresses":["10.0.0.1"]}"#;
        let disabled = r#"{"winpe":"a","macs":["52:54:00:00:00:03"],"disabled":true}"#;
        for changes in [
            &[("n1", Some(n1))][..],
            &[
                ("n2", Some(r#"{"winpe":"b","disabled":true}"#)),
                ("n1", Some(n1)),
            ],
            &[("N3", Some(disabled)), ("n10", Some(r#"{"winpe":""}"#))],
            &[("n2", Some("{")), ("n2", Some(r#"{"winpe":"d"}"#))],
            &[("n5", Some(r#"{"winpe":"x"}"#))],
            &[],
        ] {
            let (_, bad) = changed(changes).unwrap();
            assert_eq!(bad, [], "{changes:?}");
        }
        let (texts, bad) = changed(&[("n2", Some(r#"{"winpe":"/etc"}"#))]).unwrap();
        assert_eq!(
            (texts.disabled.as_str(), &*bad[0].name),
            ("n10\nn2\nn4\nn5\n", "n2")
        );
    }

    #[test]
    fn whatever_else_changes_is_not_little() {
        for (name, value) in [
            ("n1", Some(r#"{"winpe":"a","addresses":["10.0.0.2"]}"#)),
            ("n1", Some("{")),
            ("N3", Some(r#"{"winpe":"a"}"#)),
            ("n2", Some(r#"{"disabled":true}"#)),
            ("n4", Some(r#"{"winpe":"a"}"#)),
            ("n4", Some("{}")),
            ("new", Some(r#"{"winpe":"a"}"#)),
            ("n2", None),
        ] {
            assert_eq!(changed(&[(name, value)]), None, "{name} {value:?}");
        }
        // Nor is what has come, and gone again.
        let and_back = [("n2", None), ("n2", Some(r#"{"winpe":"b"}"#))];
        assert!(changed(&and_back).is_some());
        assert_eq!(changed(&[("new", Some("{}")), ("new", None)]), None);
    }
}
