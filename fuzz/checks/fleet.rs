//! What holds for whatever comes from etcd.

use std::path::Path;

use proxydhcp::fleet::content::Content;
use proxydhcp::fleet::entry::Entry;
use proxydhcp::fleet::followed::Followed;
use proxydhcp::fleet::group::Group;
use proxydhcp::fleet::item::Item;
use proxydhcp::fleet::keys::Keys;
use proxydhcp::fleet::manifest::Manifest;
use proxydhcp::fleet::page::{self, Pages};
use proxydhcp::fleet::serving::Serving;
use proxydhcp::fleet::settings::FleetSettings;
use proxydhcp::fleet::watch::response;
use proxydhcp::nodes::cfg;
use proxydhcp::nodes::cfg::disabled::Disabled;
use proxydhcp::nodes::noderange::Groups;
use proxydhcp::winpe::loaders::Loaders;
use proxydhcp::winpe::path::{Rules, WinPe};

/// Takes bytes for a line of a watch, for a page, and for a node, a group and a setting: the name up to
/// the first line feed, and the value.
///
/// # Panics
/// Where a node is served anything that `proxydhcp.cfg` could not have, or one that is refused is served; or
/// where pages do not say what they were made of.
pub(crate) fn fleet(data: &[u8]) {
    let keys = Keys::below("p");
    if let Ok(answer) = response(data) {
        // The manifest may be none.
        let _ = Followed::default().take(&keys, &answer);
    }
    page(data);
    let end = data.iter().position(|&byte| byte == b'\n');
    let (name, value) = data.split_at(end.unwrap_or(data.len()));
    let value = value.get(1..).unwrap_or_default();
    let _ = keys.parse(name);
    let _ = Serving::parse(value);
    if let Ok(manifest) = Manifest::parse(value) {
        assert!(!manifest.content.contains('/'));
    }
    if let Ok(name) = str::from_utf8(name) {
        if value.is_empty() {
            let mut content = Content::default();
            content.put(Item::Group(name), value, 1);
            assert_eq!(content.groups().0, None);
            return;
        }
        node(name, value);
        group(name, value);
        setting(name, value);
    }
}

fn page(data: &[u8]) {
    let mut content = Content::default();
    page::items(data, |item, value| drop(content.put(item, value, 0)));
    let Pages { pages, others } = Pages::of(&content);
    let mut again = Content::default();
    for page in &pages {
        assert!(str::from_utf8(page).is_ok_and(|page| page.ends_with('\n')));
        page::items(page, |item, value| drop(again.put(item, value, 0)));
    }
    for (item, value) in others {
        assert_eq!(again.put(item, value, 0), None);
    }
    assert_eq!(again, content);
}

fn group(name: &str, value: &[u8]) {
    let mut content = Content::default();
    content.put(Item::Group(name), value, 1);
    let (lines, bad) = content.groups();
    let lines = lines.expect("there is a group");
    let groups = Groups::parse("", &lines).expect("they are lines of a groups file");
    // A group is what its key says, and no other one.
    if bad.is_empty() {
        assert!(groups.names().eq([name]), "{lines:?}");
        let group = Group::parse(value).expect("it is not bad");
        assert!(groups.ranges(name).eq(&group.ranges), "{lines:?}");
    } else {
        assert_eq!(lines, "");
    }
}

fn setting(key: &str, value: &[u8]) {
    let mut content = Content::default();
    content.put(Item::Setting(key), value, 1);
    let (settings, bad) = content.settings();
    let again = FleetSettings::parse(&settings.text()).expect("they are a file of settings");
    assert_eq!(again, settings);
    assert_eq!(settings.values().count(), usize::from(bad.is_empty()));
    let loaders = Loaders::default();
    let own = Rules {
        tftp_root: Path::new("/tftpboot"),
        loaders: &loaders,
    };
    for path in settings.rules(own).loaders.paths() {
        assert!(!path.starts_with('/') && !path.split('/').any(|part| part == ".."));
    }
}

fn node(name: &str, value: &[u8]) {
    let loaders = Loaders::default();
    let rules = Rules {
        tftp_root: Path::new("/tftpboot"),
        loaders: &loaders,
    };
    let mut content = Content::default();
    content.insert(name, value, 1);
    let (texts, bad) = content.texts(rules);
    let parsed = cfg::parse(&texts.records, rules);
    assert!(parsed.refused.is_empty(), "{:?}", parsed.refused);
    let disabled = Disabled::parse(&texts.disabled, || cfg::names(&texts.records));
    let entry = Entry::parse(value);
    let should_be_disabled = !bad.is_empty() || entry.as_ref().is_ok_and(|entry| entry.disabled);
    for record in &parsed.records {
        assert_eq!(record.name, name);
        assert_eq!(disabled.contains(name), should_be_disabled);
        let path = parsed.winpes[record.winpe].path();
        assert!(!path.starts_with('/') && !path.split('/').any(|part| part == ".."));
        if bad.is_empty() {
            let written = entry.as_ref().expect("it is not bad").winpe.clone();
            let written = written.expect("it has a record");
            // As it would be if it stood in the file.
            assert_eq!(
                WinPe::parse(written.as_bytes(), rules).unwrap().path(),
                path
            );
        }
    }
    if !name.is_empty() && !texts.records.is_empty() {
        let again = content.with(&texts, rules).expect("it is what was written");
        assert_eq!(again.len(), 1);
        if bad.is_empty() {
            let same = again.get(name).expect("it has the same name");
            let same = Entry::parse(&same.bytes).expect("it is what was written");
            let entry = entry.expect("it is not bad");
            // A hardware address may be written in several ways.
            assert_eq!(same.ids(), entry.ids());
            assert_eq!(
                (same.winpe, same.disabled, same.addresses),
                (entry.winpe, entry.disabled, entry.addresses)
            );
        }
    }
}
