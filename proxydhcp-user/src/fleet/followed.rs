//! A content that follows the events of a watch.

use crate::fleet::changed::Changed;
use crate::fleet::client::Client;
use crate::fleet::content::Content;
use crate::fleet::item::Item;
use crate::fleet::keys::{Key, Keys};
use crate::fleet::store::{self, Held, Snapshot, StoreError};
use crate::fleet::wire::{Event, WatchResponse};

/// What a service node knows of etcd.
#[derive(Debug, Default)]
pub struct Followed {
    snapshot: Snapshot,
    /// Whether the nodes that are known are those of the content in force. Else it must be loaded.
    is_whole: bool,
    /// What has changed since it was taken last; `None`: everything may have.
    changed: Option<Changed>,
}

/// What answers of a watch have changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct News {
    /// Whether nodes, or the manifest, are others now.
    pub is_any: bool,
    /// Whether the rest of a revision is yet to come.
    pub is_part: bool,
    /// Whether another content is in force. Nothing that is to be put into service with it is yet to come.
    pub is_other: bool,
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

    /// Loads the content in force, as it is at the revision up to which everything is known, if it is not
    /// known. Until then, the one before is.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn complete(&mut self, client: &mut Client, keys: &Keys) -> Result<(), StoreError> {
        let Some(held) = self.snapshot.manifest.as_ref().filter(|_| !self.is_whole) else {
            return Ok(());
        };
        let id = &held.manifest.content;
        self.snapshot.content = store::content(client, keys, id, self.snapshot.revision).await?;
        (self.changed, self.is_whole) = (None, true);
        Ok(())
    }

    /// Whether the nodes are those of the content in force.
    pub fn is_whole(&self) -> bool {
        self.is_whole
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
            self.event(keys, event, &mut news)?;
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
        Ok(news)
    }

    fn event(&mut self, keys: &Keys, event: &Event, news: &mut News) -> Result<(), StoreError> {
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
                    (self.is_whole, news.is_other) = (false, true);
                }
                self.snapshot.manifest = Some(held);
            }
            Some(Key::Item { content, item }) if self.is_of(content) => {
                self.item(item, event);
            }
            _ => return Ok(()),
        }
        news.is_any = true;
        Ok(())
    }

    fn item(&mut self, item: Item<'_>, event: &Event) {
        // What a page may have of it is not known here.
        self.is_whole &= !event.is_delete();
        if !self.is_whole {
            return;
        }
        let kv = &event.kv;
        let before = self
            .snapshot
            .content
            .put(item, &kv.value.0, kv.mod_revision.0);
        match (item, &mut self.changed) {
            (Item::Node(name), Some(changed)) => changed.note(name, before),
            (Item::Group(_) | Item::Setting(_), changed) => *changed = None,
            _ => {}
        }
    }

    fn is_of(&self, content: &str) -> bool {
        self.manifest()
            .is_some_and(|held| held.manifest.content == content)
    }
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
        after.insert("n2", b"", 5);
        after.insert("n3", b"c", 5);
        let value = manifest("c-0", &after);
        let news = followed.take(
            &keys,
            &answer(
                5,
                &[
                    (keys.node("c-0", "n1"), Some(b"x")),
                    (keys.node("c-0", "n2"), Some(b"")),
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
        assert!(news.unwrap().is_other && !followed.is_whole() && !followed.is_true());
        // Until then, nothing is mixed.
        let more = answer(7, &[(keys.node("d-3", "n1"), Some(b"y"))]);
        assert!(!followed.take(&keys, &more).unwrap().is_other && !followed.is_whole());
        assert_eq!((followed.content(), followed.revision()), (&before, 7));
        // What is removed of one that is not in force changes nothing.
        let mut followed = following();
        let gone = answer(8, &[(keys.node("d-3", "n1"), None)]);
        assert_eq!(followed.take(&keys, &gone).unwrap(), News::default());
        assert!(followed.is_true());
    }

    #[test]
    fn of_a_key_that_is_removed_it_is_not_known_what_a_page_has() {
        let (keys, mut followed) = (keys(), following());
        let gone = answer(5, &[(keys.node("c-0", "n1"), None)]);
        let news = followed.take(&keys, &gone).unwrap();
        assert!(news.is_any && !news.is_other && !followed.is_whole());
        assert!(followed.content().get("n1").is_some());
        // All of it may go, with the manifest, and nothing is to be loaded then.
        let all = [(keys.node("c-0", "n2"), None), (keys.manifest(), None)];
        followed.take(&keys, &answer(6, &all)).unwrap();
        assert!(followed.is_whole() && followed.content().is_empty());
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
