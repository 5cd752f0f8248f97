//! The attributes of nodes, as xCAT looks them up: in the node's own row, then in those of its
//! groups, in the order in which the node lists them.

use super::pattern;
use super::table::{Tabdump, Table, TableError};

/// The tables that say which node boots which Windows.
#[derive(Debug)]
pub(crate) struct Site {
    nodes: Table,
    pub(super) resources: Table,
    pub(super) types: Table,
    pub(super) chain: Table,
    pub(super) images: Table,
    pub(super) windows: Table,
    pub(super) hosts: Table,
    pub(super) macs: Table,
}

impl Site {
    /// Reads the tables.
    ///
    /// # Errors
    /// If one of them cannot be read, or is not what xCAT's table is like.
    pub(crate) fn read(tabdump: &Tabdump<'_>) -> Result<Self, TableError> {
        Self::of(|table, columns| tabdump.read(table, columns))
    }

    pub(super) fn of(
        mut read: impl FnMut(&'static str, &'static [&'static str]) -> Result<Table, TableError>,
    ) -> Result<Self, TableError> {
        Ok(Self {
            nodes: read("nodelist", &["node", "groups"])?,
            resources: read("noderes", &["node", "servicenode", "proxydhcp"])?,
            types: read("nodetype", &["node", "os", "provmethod"])?,
            chain: read("chain", &["node", "currstate"])?,
            images: read("osimage", &["imagename"])?,
            windows: read("winimage", &["imagename", "winpepath"])?,
            hosts: read("hosts", &["node", "ip", "otherinterfaces"])?,
            macs: read("mac", &["node", "mac"])?,
        })
    }

    /// The names of all nodes, in xCAT's order.
    pub(super) fn nodes(&self) -> impl Iterator<Item = &str> {
        self.nodes.keys()
    }

    /// Whether `server` is a service node of any node.
    pub(crate) fn is_server(&self, server: &str) -> bool {
        self.nodes()
            .any(|node| matches!(self.is_served(node, server), Ok(true)))
    }

    /// Whether `server` is a service node of the node.
    ///
    /// # Errors
    /// If its pool is a pattern that cannot be applied to its name.
    pub(super) fn is_served(&self, node: &str, server: &str) -> Result<bool, String> {
        let pool = self.attribute(&self.resources, "servicenode", node)?;
        let is_server = |one: &str| is_same_host(one.trim(), server);
        Ok(pool.is_some_and(|pool| pool.split(',').any(is_server)))
    }

    /// A node's attribute in one of the tables, if it has a value.
    ///
    /// # Errors
    /// If the value is a pattern that cannot be applied to the node's name.
    pub(super) fn attribute(
        &self,
        table: &Table,
        column: &str,
        node: &str,
    ) -> Result<Option<String>, String> {
        let groups = self.nodes.get(node, "groups").unwrap_or_default();
        let mut keys = [node].into_iter().chain(groups.split(',').map(str::trim));
        let value = keys.find_map(|key| table.get(key, column));
        value.map(|value| pattern::value(value, node)).transpose()
    }
}

/// Whether two names of a host mean the same one: they are equal, or one is the other without its
/// domain.
pub(super) fn is_same_host(one: &str, other: &str) -> bool {
    let short = |name: &str| {
        name.split('.')
            .next()
            .unwrap_or_default()
            .to_ascii_lowercase()
    };
    one.eq_ignore_ascii_case(other)
        || (!(one.contains('.') && other.contains('.')) && short(one) == short(other))
}
