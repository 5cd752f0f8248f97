//! Pages: many items in the value of one key, a line each, as a push of many writes them. So it costs etcd
//! and all who load it as much as a few keys.
//!
//! ```text
//! nodes/n1  {"winpe":"winboot/x"}
//! nodes/n2  {"winpe":"winboot/x","disabled":true}
//! ```
//!
//! Between an item and its value is a TAB. What no line can have is left to a key of its own.

use crate::fleet::content::Content;
use crate::fleet::item::Item;
use crate::fleet::wire::LONGEST_VALUE;

/// A page with so many bytes has no more lines. The pages of a content follow from what is in it, which the
/// content's id stands for: with another size, it would need another id.
const SIZE: usize = 256 << 10;
/// The longest line, in bytes.
const LONGEST: usize = LONGEST_VALUE;

/// A content as it is pushed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Pages<'c> {
    /// The pages, in their order.
    pub pages: Vec<Vec<u8>>,
    /// The items that no line can have, each with its value.
    pub others: Vec<(Item<'c>, &'c [u8])>,
}

impl<'c> Pages<'c> {
    /// The pages of a content. The same content has the same pages.
    pub fn of(content: &'c Content) -> Self {
        let mut this = Self::default();
        let mut page = Vec::new();
        for (item, value) in content.items() {
            let Some(line) = line(item, &value.bytes) else {
                this.others.push((item, &value.bytes));
                continue;
            };
            page.extend(line);
            if page.len() >= SIZE {
                this.pages.push(std::mem::take(&mut page));
            }
        }
        if !page.is_empty() {
            this.pages.push(page);
        }
        this
    }
}

/// The line of an item, if there can be one.
fn line(item: Item<'_>, value: &[u8]) -> Option<Vec<u8>> {
    let mut line = item.path().into_bytes();
    let is_name = !line.iter().any(|byte| b"\t\n".contains(byte));
    // A page is text, whatever others have written.
    let is_text = !value.contains(&b'\n') && str::from_utf8(value).is_ok();
    let is_short = line.len() + value.len() <= LONGEST;
    let is_line = is_name && is_text && is_short && !value.is_empty();
    is_line.then(|| {
        line.push(b'\t');
        line.extend(value);
        line.push(b'\n');
        line
    })
}

/// Takes the items of a page. A line that is none is passed over, as a key is that is none: the content is
/// then not what its manifest says.
pub fn items(page: &[u8], mut take: impl FnMut(Item<'_>, &[u8])) {
    for line in page.split(|&byte| byte == b'\n') {
        let Some(tab) = line.iter().position(|&byte| byte == b'\t') else {
            continue;
        };
        let (path, value) = line.split_at(tab);
        let value = value.get(1..).unwrap_or_default();
        let item = str::from_utf8(path).ok().and_then(Item::parse);
        if let Some(item) = item.filter(|_| !value.is_empty()) {
            take(item, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pages: &Pages<'_>) -> Content {
        let mut content = Content::default();
        for page in &pages.pages {
            items(page, |item, value| drop(content.put(item, value, 0)));
        }
        for &(item, value) in &pages.others {
            content.put(item, value, 0);
        }
        content
    }

    #[test]
    fn what_is_written_is_read_again() {
        let mut content = Content::default();
        content.insert("n2", br#"{"winpe":"a	b"}"#, 7);
        content.insert("odd/node:1", "\"\u{e4}\"".as_bytes(), 7);
        content.put(Item::Group("rack1"), br#"{"ranges":["n2"]}"#, 7);
        content.put(Item::Setting("unknown"), br#""default""#, 7);
        let pages = Pages::of(&content);
        let text = "nodes/n2\t{\"winpe\":\"a\tb\"}\nnodes/odd/node:1\t\"\u{e4}\"\n\
                    groups/rack1\t{\"ranges\":[\"n2\"]}\nsettings/unknown\t\"default\"\n";
        assert_eq!(str::from_utf8(&pages.pages[0]).unwrap(), text);
        assert_eq!((pages.pages.len(), pages.others.len()), (1, 0));
        let again = read(&pages);
        assert_eq!(again.hash(), content.hash());
        assert_eq!(again.get("n2").unwrap().revision, 0);
        assert_eq!(Pages::of(&Content::default()), Pages::default());
    }

    #[test]
    fn many_items_are_many_pages_and_always_the_same_ones() {
        let mut content = Content::default();
        let value = format!(r#"{{"winpe":"{}"}}"#, "x".repeat(100));
        for number in 0..10_000 {
            content.insert(&format!("n{number}"), value.as_bytes(), number);
        }
        let pages = Pages::of(&content);
        assert!(pages.pages.len() > 3, "{}", pages.pages.len());
        let (last, full) = pages.pages.split_last().unwrap();
        assert!(
            full.iter()
                .all(|page| page.len() >= SIZE && page.len() < SIZE + 200)
        );
        assert!(last.len() < SIZE + 200);
        let again = read(&pages);
        assert_eq!(again.hash(), content.hash());
        assert_eq!(Pages::of(&again), pages);
    }

    #[test]
    fn what_is_no_line_is_left_to_a_key_of_its_own() {
        let long = "x".repeat(LONGEST);
        let mut content = Content::default();
        for (name, value) in [
            ("n1", &b"{\n}"[..]),
            ("n2", b"\xff"),
            ("n\t3", b"{}"),
            ("n\n4", b"{}"),
            ("n5", long.as_bytes()),
            (&long, b"{}"),
        ] {
            content.insert(name, value, 1);
        }
        let pages = Pages::of(&content);
        assert_eq!((pages.pages.len(), pages.others.len()), (0, 6));
        assert_eq!(read(&pages).hash(), content.hash());
    }

    #[test]
    fn a_bad_line_costs_itself_alone() {
        let page = b"nodes/n1\t1\nnodes/n2\nnodes/\t2\nnodes/\xff\t3\n\tnodes/n4\t4\nothers/n5\t5\nnodes/n6\t\n\
                     \n\r\nnodes/n7\t\xff\t\r\nnodes/n8\t8";
        let mut found = Vec::new();
        items(page, |item, value| {
            found.push((item.path(), value.to_vec()));
        });
        let wanted = [
            ("nodes/n1", &b"1"[..]),
            ("nodes/n7", b"\xff\t\r"),
            ("nodes/n8", b"8"),
        ];
        assert_eq!(
            found,
            wanted.map(|(path, value)| (path.to_owned(), value.to_vec()))
        );
    }
}
