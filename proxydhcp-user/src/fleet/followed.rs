//! A content that follows the events of a watch.

use crate::fleet::changed::Changed;
use crate::fleet::client::Client;
use crate::fleet::content::{Content, Value};
use crate::fleet::item::Item;
use crate::fleet::keys::{Key, Keys};
use crate::fleet::store::{self, Held, Snapshot, StoreError};
use crate::fleet::wire::{Event, WatchResponse};

/// What a service node knows of etcd.
#[derive(Debug, Default)]
pub struct Followed {
    snapshot: Snapshot,
    /// Whether the nodes that are known are those of the manifest.
    is_whole: bool,
    /// What has changed since it was taken last; `None`: everything may have.
    changed: Option<Changed>,
    /// A content that is being written, and may be in force next, so that nothing of it has to be read
    /// again then.
    next: Option<(Box<str>, Content)>,
}

/// What answers of a watch have changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct News {
    /// Whether nodes, or the manifest, are others now.
    pub is_any: bool,
    /// Whether the rest of a revision is yet to come.
    pub is_part: bool,
    /// Whether a content is in force whose nodes are not known: it must be loaded.
    pub must_load: bool,
}

impl Followed {
    /// Loads what is in force.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn load(client: &mut Client, keys: &Keys) -> Result<Self, StoreError> {
        Ok(Self {
            snapshot: store::load(client, keys, None).await?,
            is_whole: true,
            ..Self::default()
        })
    }

    /// The nodes.
    pub fn content(&self) -> &Content {
        &self.snapshot.content
    }

    /// The manifest.
    pub fn manifest(&self) -> Option<&Held> {
        self.snapshot.manifest.as_ref()
    }

    /// The revision up to which everything is known; 0: nothing is.
    pub fn revision(&self) -> i64 {
        self.snapshot.revision
    }

    /// What has changed since it was taken last; `None`: everything may have.
    pub fn changed(&self) -> Option<&Changed> {
        self.changed.as_ref()
    }

    /// Notes that it is taken as it is now.
    pub fn is_taken(&mut self) {
        self.changed = Some(Changed::default());
    }

    /// Whether the nodes are those that the manifest says.
    pub fn is_true(&self) -> bool {
        self.is_whole
            && self
                .manifest()
                .is_none_or(|held| held.manifest.is_of(self.content()))
    }

    /// Takes an answer of a watch. Other keys, and those of other contents, change nothing.
    ///
    /// # Errors
    /// If the manifest is none; what is known stays.
    pub fn take(&mut self, keys: &Keys, answer: &WatchResponse) -> Result<News, StoreError> {
        let mut news = News {
            is_part: answer.fragment,
            ..News::default()
        };
        for event in &answer.events {
            news.is_any |= self.event(keys, event)?;
        }
        if !answer.fragment {
            let revision = answer.header.revision.0;
            let last = answer
                .events
                .last()
                .map_or(0, |event| event.kv.mod_revision.0);
            // The answer that begins a watch names the store's revision, though earlier events follow.
            if !answer.created {
                self.snapshot.revision =
                    self.snapshot
                        .revision
                        .max(last)
                        .max(if last == 0 { revision } else { 0 });
            }
        }
        news.must_load = !self.is_whole;
        Ok(news)
    }

    fn event(&mut self, keys: &Keys, event: &Event) -> Result<bool, StoreError> {
        let kv = &event.kv;
        match keys.parse(&kv.key.0) {
            Some(Key::Manifest) if event.is_delete() => {
                self.snapshot.manifest = None;
                self.snapshot.content = Content::default();
                (self.changed, self.is_whole) = (None, true);
            }
            Some(Key::Manifest) => {
                let held = store::held(&kv.value.0, kv.mod_revision.0, kv.version.0)?;
                if !self.is_of(&held.manifest.content) {
                    self.turn_to(&held);
                }
                self.snapshot.manifest = Some(held);
            }
            Some(Key::Item { content, item }) if self.is_of(content) => {
                if !self.is_whole {
                    return Ok(false);
                }
                let before = apply(&mut self.snapshot.content, item, event);
                match (item, &mut self.changed) {
                    (Item::Node(name), Some(changed)) => changed.note(name, before),
                    (Item::Group(_) | Item::Setting(_), changed) => *changed = None,
                    _ => {}
                }
            }
            Some(Key::Item { content, item }) => {
                // Of several that are written at once, one will be in force, and be loaded if need be.
                if self.next.as_ref().is_none_or(|(of, _)| **of != *content) && !event.is_delete() {
                    self.next = Some((content.into(), Content::default()));
                }
                if let Some((_, next)) = self.next.as_mut().filter(|(of, _)| **of == *content) {
                    apply(next, item, event);
                }
                return Ok(false);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Turns to another content. If not all of it was seen, it must be loaded.
    fn turn_to(&mut self, held: &Held) {
        let next = self
            .next
            .take()
            .filter(|(of, content)| **of == *held.manifest.content && held.manifest.is_of(content));
        self.changed = None;
        self.is_whole = next.is_some();
        if let Some((_, content)) = next {
            self.snapshot.content = content;
        }
    }

    fn is_of(&self, content: &str) -> bool {
        self.manifest()
            .is_some_and(|held| held.manifest.content == content)
    }
}

/// Applies an event to a content. Returns what the item was before.
fn apply(content: &mut Content, item: Item<'_>, event: &Event) -> Option<Value> {
    if event.is_delete() {
        return content.take(item);
    }
    let kv = &event.kv;
    content.put(item, &kv.value.0, kv.mod_revision.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::manifest::Manifest;
    use crate::fleet::wire::Bytes64;

    fn keys() -> Keys {
        Keys::below("p")
    }

    /// An answer with these events: the key, and what it is now, if it is.
    fn answer(revision: i64, events: &[(Vec<u8>, Option<&[u8]>)]) -> WatchResponse {
        let encoded = |bytes: &[u8]| serde_json::to_string(&Bytes64(bytes.to_vec())).unwrap();
        let events: Vec<_> = events
            .iter()
            .map(|(key, value)| {
                let key = encoded(key);
                let of = format!(r#""key":{key},"mod_revision":"{revision}""#);
                match value {
                    Some(value) => format!(r#"{{"kv":{{{of},"value":{}}}}}"#, encoded(value)),
                    None => format!(r#"{{"type":"DELETE","kv":{{{of}}}}}"#),
                }
            })
            .collect();
        let text = format!(
            r#"{{"header":{{"revision":"{revision}"}},"events":[{}]}}"#,
            events.join(",")
        );
        serde_json::from_str(&text).unwrap()
    }

    fn manifest(content: &str, nodes: &Content) -> Vec<u8> {
        serde_json::to_vec(&Manifest {
            content: content.to_owned(),
            nodes: nodes.len(),
            hash: nodes.hash(),
            by: String::new(),
            at: String::new(),
            what: String::new(),
        })
        .unwrap()
    }

    fn following() -> Followed {
        let mut content = Content::default();
        content.insert("n1", b"a", 2);
        content.insert("n2", b"b", 2);
        let value = manifest("c-0", &content);
        Followed {
            snapshot: Snapshot {
                manifest: Some(store::held(&value, 3, 1).unwrap()),
                content,
                revision: 3,
            },
            is_whole: true,
            ..Followed::default()
        }
    }

    #[test]
    fn nodes_come_change_and_go() {
        let (keys, mut followed) = (keys(), following());
        assert!(followed.is_true());
        let mut after = followed.content().clone();
        after.insert("n1", b"x", 5);
        after.remove("n2");
        after.insert("n3", b"c", 5);
        let value = manifest("c-0", &after);
        let news = followed.take(
            &keys,
            &answer(
                5,
                &[
                    (keys.node("c-0", "n1"), Some(b"x")),
                    (keys.node("c-0", "n2"), None),
                    (keys.node("c-0", "n3"), Some(b"c")),
                    (keys.node("other-4", "n9"), Some(b"z")),
                    (keys.serving("sn1"), Some(b"z")),
                    (keys.manifest(), Some(&value)),
                ],
            ),
        );
        assert!(news.unwrap().is_any);
        assert_eq!(followed.content(), &after);
        assert_eq!(followed.revision(), 5);
        assert!(followed.is_true());
        // A key that nobody has told the manifest of.
        let by_hand = answer(6, &[(keys.node("c-0", "n4"), Some(b"d"))]);
        assert!(followed.take(&keys, &by_hand).unwrap().is_any);
        assert!(!followed.is_true() && followed.content().len() == 3);
    }

    #[test]
    fn another_content_must_be_loaded() {
        let (keys, mut followed) = (keys(), following());
        let before = followed.content().clone();
        let other = answer(5, &[(keys.node("d-3", "n1"), Some(b"z"))]);
        assert_eq!(followed.take(&keys, &other).unwrap(), News::default());
        let value = manifest("d-3", &before);
        let news = followed.take(&keys, &answer(6, &[(keys.manifest(), Some(&value))]));
        assert!(news.unwrap().must_load && !followed.is_true());
        // Until then, nothing is mixed.
        let more = answer(7, &[(keys.node("d-3", "n1"), Some(b"y"))]);
        assert!(followed.take(&keys, &more).unwrap().must_load);
        assert_eq!(followed.content(), &before);
    }

    #[test]
    fn a_content_that_was_seen_as_it_was_written_need_not_be_loaded() {
        let (keys, mut followed) = (keys(), following());
        followed.is_taken();
        let mut other = Content::default();
        for (revision, name) in [(5, "n1"), (6, "n7")] {
            other.insert(name, b"z", revision);
            let event = answer(revision, &[(keys.node("d-3", name), Some(b"z"))]);
            assert_eq!(followed.take(&keys, &event).unwrap(), News::default());
        }
        assert!(followed.changed().is_some() && followed.content().get("n7").is_none());
        let value = manifest("d-3", &other);
        let news = followed.take(&keys, &answer(7, &[(keys.manifest(), Some(&value))]));
        let news = news.unwrap();
        assert!(news.is_any && !news.must_load && followed.is_true());
        assert_eq!(followed.content(), &other);
        assert!(followed.changed().is_none());
        // What was in force is removed, and what is now changes.
        let gone = answer(8, &[(keys.node("c-0", "n1"), None)]);
        assert_eq!(followed.take(&keys, &gone).unwrap(), News::default());
        let more = answer(9, &[(keys.node("d-3", "n7"), Some(b"y"))]);
        assert!(followed.take(&keys, &more).unwrap().is_any);
        assert_eq!(&*followed.content().get("n7").unwrap().bytes, b"y");
    }

    #[test]
    fn of_what_has_changed_it_is_known_what_it_was() {
        let (keys, mut followed) = (keys(), following());
        assert!(followed.changed().is_none());
        followed.is_taken();
        for (revision, value) in [(5, &b"x"[..]), (6, b"y")] {
            let event = answer(revision, &[(keys.node("c-0", "n1"), Some(value))]);
            followed.take(&keys, &event).unwrap();
        }
        let changed = followed.changed().unwrap();
        assert_eq!(changed.names().collect::<Vec<_>>(), ["n1"]);
        followed.is_taken();
        assert_eq!(followed.changed().unwrap().names().count(), 0);
    }

    #[test]
    fn what_is_no_manifest_changes_nothing() {
        let (keys, mut followed) = (keys(), following());
        let wrong = answer(5, &[(keys.manifest(), Some(b"{}"))]);
        assert!(followed.take(&keys, &wrong).is_err());
        assert_eq!(followed.manifest().unwrap().revision, 3);
        let gone = answer(6, &[(keys.manifest(), None)]);
        assert!(followed.take(&keys, &gone).unwrap().is_any);
        assert!(followed.manifest().is_none() && followed.content().is_empty());
    }

    #[test]
    fn a_watch_that_begins_does_not_skip_what_is_to_come() {
        let (keys, mut followed) = (keys(), following());
        let mut begin = answer(99, &[]);
        begin.created = true;
        followed.take(&keys, &begin).unwrap();
        assert_eq!(followed.revision(), 3);
        followed.take(&keys, &answer(40, &[])).unwrap();
        assert_eq!(followed.revision(), 40);
    }
}
