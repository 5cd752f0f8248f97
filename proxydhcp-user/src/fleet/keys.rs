//! The layout of a fleet's keys in etcd.
//!
//! ```text
//! PREFIX/v1/content/ID/nodes/NAME   a node of the content ID
//! PREFIX/v1/content/ID/groups/NAME  a group of nodes of the content ID
//! PREFIX/v1/content/ID/settings/KEY a setting of the content ID
//! PREFIX/v1/manifest                names the content in force
//! PREFIX/v1/pages/ID/NNNNNN         many of all these, as they were pushed
//! PREFIX/v1/serving/HOST            a service node, with a lease
//! ```
//!
//! What a key of a content says counts, whatever the pages of that content say; an empty value says that
//! there is none.
//!
//! Contents and the manifest are next to each other in the order of keys, so that one watch sees both, and
//! neither the pages, which are loaded, nor what thousands of service nodes say about themselves.

use crate::fleet::item::Item;

/// The keys of a fleet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    /// The prefix, with the version of the layout and a slash at its end.
    root: String,
}

/// Keys from the first up to, and without, the second.
pub type Range = (Vec<u8>, Vec<u8>);

/// What a key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key<'k> {
    /// The manifest.
    Manifest,
    /// A node, a group or a setting.
    Item {
        /// The id of its content.
        content: &'k str,
        /// Which it is.
        item: Item<'k>,
    },
    /// A page of the content of this id.
    Page(&'k str),
    /// A service node.
    Serving(&'k str),
}

const MANIFEST: &str = "manifest";
const CONTENT: &str = "content/";
const PAGES: &str = "pages/";
const SERVING: &str = "serving/";

impl Keys {
    /// The keys below a prefix, which has no slash at its end.
    pub fn below(prefix: &str) -> Self {
        Self {
            root: format!("{prefix}/v1/"),
        }
    }

    /// The key of the manifest.
    pub fn manifest(&self) -> Vec<u8> {
        format!("{}{MANIFEST}", self.root).into_bytes()
    }

    /// The key of a node of a content.
    pub fn node(&self, content: &str, name: &str) -> Vec<u8> {
        self.item(content, Item::Node(name))
    }

    /// The key of an item of a content.
    pub fn item(&self, content: &str, item: Item<'_>) -> Vec<u8> {
        format!("{}{CONTENT}{content}/{}", self.root, item.path()).into_bytes()
    }

    /// The key of a page of a content.
    pub fn page(&self, content: &str, number: usize) -> Vec<u8> {
        format!("{}{PAGES}{content}/{number:06}", self.root).into_bytes()
    }

    /// The pages of a content.
    pub fn pages(&self, content: &str) -> Range {
        below(format!("{}{PAGES}{content}/", self.root))
    }

    /// The pages of all contents.
    pub fn all_pages(&self) -> Range {
        below(format!("{}{PAGES}", self.root))
    }

    /// The keys of a content, besides its pages.
    pub fn content(&self, content: &str) -> Range {
        below(format!("{}{CONTENT}{content}/", self.root))
    }

    /// The keys of all contents, besides their pages.
    pub fn contents(&self) -> Range {
        below(format!("{}{CONTENT}", self.root))
    }

    /// What a service node watches: the contents and the manifest.
    pub fn watched(&self) -> Range {
        let (first, _) = self.contents();
        let mut end = self.manifest();
        end.push(0);
        (first, end)
    }

    /// The key of a service node.
    pub fn serving(&self, host: &str) -> Vec<u8> {
        format!("{}{SERVING}{host}", self.root).into_bytes()
    }

    /// All service nodes.
    pub fn all_serving(&self) -> Range {
        below(format!("{}{SERVING}", self.root))
    }

    /// What a key is; `None` if it is none of these.
    pub fn parse<'k>(&self, key: &'k [u8]) -> Option<Key<'k>> {
        let key = str::from_utf8(key).ok()?.strip_prefix(&self.root)?;
        if key == MANIFEST {
            return Some(Key::Manifest);
        }
        if let Some(host) = key.strip_prefix(SERVING) {
            return Some(Key::Serving(host));
        }
        // An id has no slashes.
        if let Some(page) = key.strip_prefix(PAGES) {
            return Some(Key::Page(page.split_once('/')?.0));
        }
        let (content, path) = key.strip_prefix(CONTENT)?.split_once('/')?;
        let item = Item::parse(path)?;
        Some(Key::Item { content, item })
    }
}

/// All keys that begin with this, which ends with a slash.
fn below(first: String) -> Range {
    let mut end = first.clone().into_bytes();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    (first.into_bytes(), end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_in(key: &[u8], (first, end): &Range) -> bool {
        key >= first.as_slice() && key < end.as_slice()
    }

    #[test]
    fn a_key_is_what_it_was_written_as() {
        let keys = Keys::below("site/a");
        assert_eq!(keys.manifest(), b"site/a/v1/manifest");
        assert_eq!(keys.parse(&keys.manifest()), Some(Key::Manifest));
        let key = keys.node("1f-7", "odd/node:1");
        assert_eq!(key, b"site/a/v1/content/1f-7/nodes/odd/node:1");
        let (content, item) = ("1f-7", Item::Node("odd/node:1"));
        assert_eq!(keys.parse(&key), Some(Key::Item { content, item }));
        let item = Item::Group("rack1");
        let key = keys.item(content, item);
        assert_eq!(key, b"site/a/v1/content/1f-7/groups/rack1");
        assert_eq!(keys.parse(&key), Some(Key::Item { content, item }));
        let item = Item::Setting("unknown");
        let key = keys.item(content, item);
        assert_eq!(key, b"site/a/v1/content/1f-7/settings/unknown");
        assert_eq!(keys.parse(&key), Some(Key::Item { content, item }));
        let key = keys.page("1f-7", 42);
        assert_eq!(key, b"site/a/v1/pages/1f-7/000042");
        assert_eq!(keys.parse(&key), Some(Key::Page("1f-7")));
        assert_eq!(keys.parse(&keys.serving("sn1")), Some(Key::Serving("sn1")));
        for other in [
            "site/a/v1/",
            "site/a/v2/manifest",
            "site/b/v1/manifest",
            "site/a/v1/content/x/nodes/",
            "site/a/v1/content/x/groups/",
            "site/a/v1/content/x/others/g",
            "site/a/v1/content/x",
            "site/a/v1/pages/x",
        ] {
            assert_eq!(keys.parse(other.as_bytes()), None, "{other}");
        }
        assert_eq!(keys.parse(b"site/a/v1/serving/\xff"), None);
    }

    #[test]
    fn one_range_has_all_that_is_watched() {
        let keys = Keys::below("p");
        let watched = keys.watched();
        for key in [keys.manifest(), keys.node("0", "a"), keys.node("f", "~")] {
            assert!(is_in(&key, &watched), "{}", String::from_utf8_lossy(&key));
        }
        assert!(!is_in(&keys.serving("a"), &watched));
        assert!(!is_in(b"p/v1/manifest2", &watched));
        assert!(!is_in(&keys.page("0", 0), &watched));
        for pages in [keys.pages("0"), keys.all_pages()] {
            assert!(is_in(&keys.page("0", 999_999), &pages));
        }
        assert!(!is_in(&keys.page("00", 0), &keys.pages("0")));
        let items = keys.content("1-2");
        assert!(
            is_in(&keys.node("1-2", "n"), &items)
                && is_in(&keys.item("1-2", Item::Group("g")), &items)
        );
        assert!(!is_in(&keys.node("1-20", "n"), &items));
        assert!(is_in(&keys.serving("a"), &keys.all_serving()));
    }
}
