//! The nodes of a fleet, with groups and settings, as etcd has them, and as `proxydhcp.cfg` and the
//! files beside it have them: both say the same, and one is turned into the other here.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Place;
use std::fmt::Write as _;

use anyhow::{Result, anyhow, bail};
use sha2::{Digest, Sha256};

use crate::fleet::entry::Entry;
use crate::fleet::group::Group;
use crate::fleet::item::{BadItem, Item, Kind};
use crate::fleet::settings::FleetSettings;
use crate::names::hosts::Hosts;
use crate::nodes::cfg;
use crate::nodes::cfg::disabled::Disabled;
use crate::nodes::cfg::edit::{RawRecord, raw_records};
use crate::nodes::cfg::hardware::HardwareFile;
use crate::nodes::cfg::texts::Texts;
use crate::nodes::hardware::Id;
use crate::nodes::noderange::{Groups, Known};
use crate::text::printable;
use crate::winpe::path::Rules;

/// The nodes, groups of them, and settings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    nodes: Values,
    groups: Values,
    settings: Values,
    /// The revisions of keys that say that there is no such item, by its path.
    gone: BTreeMap<Box<str>, i64>,
    sum: u128,
}

/// The values of a kind, by their names.
type Values = BTreeMap<Box<str>, Value>;

/// The value of a key, or of a line of a page, as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// The bytes.
    pub bytes: Box<[u8]>,
    /// The revision that has written the key; 0 for what is of a page, or is yet to be written.
    pub revision: i64,
}

/// What makes one content another.
#[derive(Debug, Default)]
pub struct Difference<'c> {
    /// What is new or changed.
    pub put: Vec<(Item<'c>, &'c [u8])>,
    /// What goes.
    pub delete: Vec<Item<'c>>,
}

impl Difference<'_> {
    /// Whether both are the same.
    pub fn is_empty(&self) -> bool {
        self.put.is_empty() && self.delete.is_empty()
    }
}

impl Content {
    /// The number of nodes.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The nodes by their names.
    pub fn nodes(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.nodes.iter().map(|(name, value)| (&**name, value))
    }

    /// The value of a node's key.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.nodes.get(name)
    }

    /// The value of an item's key.
    pub fn value_of(&self, item: Item<'_>) -> Option<&Value> {
        let of_kind = match item.kind() {
            Kind::Node => &self.nodes,
            Kind::Group => &self.groups,
            Kind::Setting => &self.settings,
        };
        of_kind.get(item.name())
    }

    /// The revision that has written the key of an item, though it may say that there is none; 0: it has no
    /// key.
    pub fn written_by(&self, item: Item<'_>) -> i64 {
        let gone = || self.gone.get(&*item.path()).copied().unwrap_or(0);
        self.value_of(item)
            .map_or_else(gone, |value| value.revision)
    }

    /// The nodes, the groups and the settings, each by their names.
    pub(super) fn items(&self) -> impl Iterator<Item = (Item<'_>, &Value)> {
        let nodes = self.nodes.iter();
        let nodes = nodes.map(|(name, value)| (Item::Node(name), value));
        let groups = self.groups.iter();
        let groups = groups.map(|(name, value)| (Item::Group(name), value));
        let settings = self.settings.iter();
        let settings = settings.map(|(key, value)| (Item::Setting(key), value));
        nodes.chain(groups).chain(settings)
    }

    /// The groups as lines of the groups file, if there are any. A bad one is left out.
    pub fn groups(&self) -> (Option<String>, Vec<BadItem>) {
        let (mut text, mut bad) = (String::new(), Vec::new());
        for (name, value) in &self.groups {
            match Group::parse(&value.bytes).and_then(|group| group.lines(name)) {
                Ok(lines) => text.push_str(&lines),
                Err(why) => bad.push(BadItem::new(Item::Group(name), why)),
            }
        }
        ((!self.groups.is_empty()).then_some(text), bad)
    }

    /// The settings. A bad one is left out.
    pub fn settings(&self) -> (FleetSettings, Vec<BadItem>) {
        let values = self.settings.iter();
        FleetSettings::of_values(values.map(|(key, value)| (&**key, &*value.bytes)))
    }

    /// Puts a node. Returns what it was before.
    pub fn insert(&mut self, name: &str, bytes: &[u8], revision: i64) -> Option<Value> {
        self.put(Item::Node(name), bytes, revision)
    }

    /// Removes a node. Returns what it was.
    pub fn remove(&mut self, name: &str) -> Option<Value> {
        self.take(Item::Node(name))
    }

    /// Has an item be what this value of its key says: an empty one says that there is none. Returns what it
    /// was before.
    pub fn put(&mut self, item: Item<'_>, bytes: &[u8], revision: i64) -> Option<Value> {
        if bytes.is_empty() {
            let old = self.take(item);
            self.gone.insert(item.path().into(), revision);
            return old;
        }
        if !self.gone.is_empty() {
            self.gone.remove(&*item.path());
        }
        self.sum = self.sum.wrapping_add(hash_of(item, bytes));
        let value = Value {
            bytes: bytes.into(),
            revision,
        };
        let old = self.of_kind(item.kind()).insert(item.name().into(), value);
        self.forget(item, old)
    }

    /// Removes an item. Returns what it was.
    pub fn take(&mut self, item: Item<'_>) -> Option<Value> {
        let old = self.of_kind(item.kind()).remove(item.name());
        self.forget(item, old)
    }

    fn of_kind(&mut self, kind: Kind) -> &mut Values {
        match kind {
            Kind::Node => &mut self.nodes,
            Kind::Group => &mut self.groups,
            Kind::Setting => &mut self.settings,
        }
    }

    fn forget(&mut self, item: Item<'_>, old: Option<Value>) -> Option<Value> {
        if let Some(old) = &old {
            self.sum = self.sum.wrapping_sub(hash_of(item, &old.bytes));
        }
        old
    }

    /// The hash of all nodes, groups and settings. It is a sum, whatever their order, so that a change of one
    /// node costs as little as the node; it finds what was lost, not who means harm.
    pub fn hash(&self) -> String {
        format!("{:032x}", self.sum)
    }

    /// What is to be done to `self` so that it is `new`.
    pub fn difference<'c>(&'c self, new: &'c Self) -> Difference<'c> {
        let is_new = |(item, value): &(Item<'_>, &Value)| {
            let old = self.value_of(*item);
            old.is_none_or(|old| old.bytes != value.bytes)
        };
        let put = new.items().filter(is_new);
        let gone = self
            .items()
            .filter(|(item, _)| new.value_of(*item).is_none());
        Difference {
            put: put.map(|(item, value)| (item, &*value.bytes)).collect(),
            delete: gone.map(|(item, _)| item).collect(),
        }
    }

    /// The files that say the same, by the rules of this host where the settings have no others. A bad node
    /// is disabled in them, so that it is not taken for a client without a record.
    pub fn texts(&self, rules: Rules<'_>) -> (Texts, Vec<BadItem>) {
        let (settings, bad_settings) = self.settings();
        let rules = settings.rules(rules);
        let (mut texts, mut bad) = (Texts::default(), Vec::new());
        texts.records.reserve(self.nodes.len() * cfg::RECORD);
        for (name, value) in self.nodes() {
            let added = Entry::parse(&value.bytes)
                .and_then(|entry| add(&mut texts, name, &entry, rules))
                .or_else(|why| {
                    bad.push(BadItem::new(Item::Node(name), why));
                    add(&mut texts, name, &refused(), rules)
                });
            // Without a sound name, no client can be this node.
            let _ = added;
        }
        let (groups, bad_groups) = self.groups();
        texts.groups = groups;
        texts.settings = (!self.settings.is_empty()).then(|| settings.text());
        bad.extend(bad_groups.into_iter().chain(bad_settings));
        (texts, bad)
    }

    /// The nodes of these files, and the groups and settings, which stay if there is no such file. What says
    /// the same as in `self` stays as it is written.
    ///
    /// # Errors
    /// If a record or a line is one that `proxydhcp cfg check` finds wrong: nothing is passed over.
    pub fn with(&self, texts: &Texts, rules: Rules<'_>) -> Result<Self> {
        let mut content = Self::default();
        let settings = self.settings_of(texts, &mut content)?;
        let rules = settings.rules(rules);
        let mut found = Found::default();
        found.records(texts, rules)?;
        found.disabled(texts)?;
        found.hardware(texts)?;
        found.hosts(texts);
        self.groups_of(texts, &mut content)?;
        for (_, (name, entry)) in found.0 {
            check(&name).map_err(|why| anyhow!("{}: {why}", printable(name.as_bytes())))?;
            let is_as_before = |before: &Value| {
                let old = Entry::parse(&before.bytes);
                // What this host refuses may be sound on another.
                old.as_ref() == Ok(&entry) || entry == refused() && is_refused(&name, &old, rules)
            };
            self.keep_or(
                Item::Node(&name),
                is_as_before,
                &entry.value(),
                &mut content,
            );
        }
        Ok(content)
    }
}

impl Content {
    /// Puts the groups of these files into `content`.
    fn groups_of(&self, texts: &Texts, content: &mut Self) -> Result<()> {
        let Some(text) = &texts.groups else {
            for (name, value) in &self.groups {
                content.put(Item::Group(name), &value.bytes, value.revision);
            }
            return Ok(());
        };
        let groups = Groups::parse("the groups file", text)?;
        for name in groups.names() {
            let group = Group {
                ranges: groups.ranges(name).cloned().collect(),
            };
            let is_as_before = |before: &Value| Group::parse(&before.bytes).as_ref() == Ok(&group);
            self.keep_or(Item::Group(name), is_as_before, &group.value(), content);
        }
        Ok(())
    }

    /// Puts the settings of these files into `content`, and returns them.
    fn settings_of(&self, texts: &Texts, content: &mut Self) -> Result<FleetSettings> {
        let Some(text) = &texts.settings else {
            for (key, value) in &self.settings {
                content.put(Item::Setting(key), &value.bytes, value.revision);
            }
            return Ok(self.settings().0);
        };
        let settings =
            FleetSettings::parse(text).map_err(|why| anyhow!("the file of settings: {why}"))?;
        for (key, bytes) in settings.values() {
            let is_as_before = |before: &Value| {
                let before = FleetSettings::of_values([(&*key, &*before.bytes)].into_iter()).0;
                before.values().eq([(key.clone(), bytes.clone())])
            };
            self.keep_or(Item::Setting(&key), is_as_before, &bytes, content);
        }
        Ok(settings)
    }

    /// Puts an item into `content`: as it is written in `self`, if that says the same, or else as `bytes`.
    fn keep_or(
        &self,
        item: Item<'_>,
        is_same: impl Fn(&Value) -> bool,
        bytes: &[u8],
        content: &mut Self,
    ) {
        let before = self.value_of(item);
        let revision = before.map_or(0, |before| before.revision);
        let same = before.filter(|before| is_same(before));
        content.put(item, same.map_or(bytes, |before| &before.bytes), revision);
    }
}

/// What a bad node is in the files.
fn refused() -> Entry {
    Entry {
        winpe: Some(String::new()),
        disabled: true,
        ..Entry::default()
    }
}

fn is_refused(name: &str, entry: &Result<Entry, String>, rules: Rules<'_>) -> bool {
    let add = |entry| add(&mut Texts::default(), name, entry, rules);
    entry.as_ref().map_or(true, |entry| add(entry).is_err())
}

/// Adds a node to the files, all of it or nothing.
fn add(texts: &mut Texts, name: &str, entry: &Entry, rules: Rules<'_>) -> Result<(), String> {
    check(name)?;
    let path = entry.winpe.as_deref();
    let record = RawRecord::new(name, path.unwrap_or_default(), rules);
    let record = record.map_err(|fault| fault.to_string())?;
    let ids = entry.ids()?;
    let (hardware, hosts) = (hardware_line(name, &ids), hosts_lines(name, entry));
    let is_read_back = !entry.disabled || {
        let known = || Known::new(path.map(|_| name).into_iter());
        Disabled::parse(name, known).names().eq([name])
    };
    // Most names are so plain that there is nothing to find out.
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let is_known = name.bytes().all(is_plain)
        || HardwareFile::parse(&hardware)
            .ids()
            .map(|(_, of, id)| (of, id))
            .eq(ids.iter().map(|&id| (name, id)));
    if !is_read_back || !is_known {
        return Err("the files beside proxydhcp.cfg cannot have this name; use another".to_owned());
    }
    if path.is_some() {
        texts.records.extend(record.bytes());
    }
    if entry.disabled {
        texts.disabled.push_str(name);
        texts.disabled.push('\n');
    }
    texts.hardware.push_str(&hardware);
    texts.hosts.extend(hosts.as_bytes());
    Ok(())
}

fn hardware_line(name: &str, ids: &[Id]) -> String {
    let of_kind = |is_mac: bool| {
        let ids = ids.iter().filter(|id| matches!(id, Id::Mac(_)) == is_mac);
        ids.map(ToString::to_string).collect::<Vec<_>>().join(",")
    };
    let mut line = String::new();
    for (key, list) in [("mac", of_kind(true)), ("uuid", of_kind(false))] {
        if !list.is_empty() {
            // Writing to a string cannot fail.
            let _ = write!(line, " {key}={list}");
        }
    }
    if line.is_empty() {
        return line;
    }
    format!("{name}{line}\n")
}

fn hosts_lines(name: &str, entry: &Entry) -> String {
    let line = |address| format!("{address} {name}\n");
    entry.addresses.iter().map(line).collect()
}

/// Whether the files can have this name in all their lines.
fn check(name: &str) -> Result<(), String> {
    if name.contains('#') {
        return Err(
            "a '#' begins a comment in the files beside proxydhcp.cfg; use another name".into(),
        );
    }
    Ok(())
}

/// The nodes of files, by their names in lower case, with the names as they are written.
#[derive(Default)]
struct Found(BTreeMap<String, (String, Entry)>);

impl Found {
    fn node(&mut self, name: &str) -> &mut Entry {
        match self.0.entry(name.to_ascii_lowercase()) {
            Place::Vacant(place) => &mut place.insert((name.to_owned(), Entry::default())).1,
            Place::Occupied(place) => &mut place.into_mut().1,
        }
    }

    fn records(&mut self, texts: &Texts, rules: Rules<'_>) -> Result<()> {
        let parsed = cfg::parse(&texts.records, rules);
        if let [first, ..] = &*parsed.refused {
            bail!(
                "record {} ({}) is refused: {}; `proxydhcp cfg check` has all that is wrong ({})",
                first.number,
                first.name,
                first.reason,
                parsed.refused.len()
            );
        }
        for record in raw_records(&texts.records).0 {
            // A sound record is text. Of several records of a node, the last counts.
            let (name, path) = (
                str::from_utf8(record.name())?,
                str::from_utf8(record.path())?,
            );
            self.node(name).winpe = Some(path.to_owned());
        }
        Ok(())
    }

    fn disabled(&mut self, texts: &Texts) -> Result<()> {
        let disabled = Disabled::parse(&texts.disabled, || cfg::names(&texts.records));
        if let Some((line, fault)) = disabled.faults().next() {
            bail!("the file of disabled nodes, line {line}: {fault}");
        }
        for name in disabled.names() {
            self.node(name).disabled = true;
        }
        Ok(())
    }

    fn hardware(&mut self, texts: &Texts) -> Result<()> {
        let hardware = HardwareFile::parse(&texts.hardware);
        if let Some((line, fault)) = hardware.faults().next() {
            bail!("the file of hardware addresses, line {line}: {fault}");
        }
        for (_, name, id) in hardware.ids() {
            let node = self.node(name);
            let list = match id {
                Id::Mac(_) => &mut node.macs,
                Id::Uuid(_) => &mut node.uuids,
            };
            list.push(id.to_string());
        }
        Ok(())
    }

    fn hosts(&mut self, texts: &Texts) {
        for host in Hosts::new(&texts.hosts) {
            let name = host.names().find_map(|name| str::from_utf8(name).ok());
            // What is no node, or no longer, has no use for an address.
            let folded = name.map(str::to_ascii_lowercase).unwrap_or_default();
            if let Some((_, node)) = self.0.get_mut(&folded) {
                node.addresses.push(host.address);
            }
        }
    }
}

fn hash_of(item: Item<'_>, value: &[u8]) -> u128 {
    // The byte between name and value tells the kinds apart.
    let kind = match item.kind() {
        Kind::Node => 0,
        Kind::Group => 1,
        Kind::Setting => 2,
    };
    let mut hasher = Sha256::new();
    hasher.update(item.name().as_bytes());
    hasher.update([kind]);
    hasher.update(value);
    half(hasher)
}

/// The first half of a hash.
pub(super) fn half(hasher: Sha256) -> u128 {
    let hash: [u8; 32] = hasher.finalize().into();
    let (half, _) = hash.split_first_chunk().unwrap_or((&[0; 16], &[]));
    u128::from_be_bytes(*half)
}

#[cfg(test)]
mod tests;
