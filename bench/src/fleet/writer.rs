//! Writes into etcd, as `fleet push` and `node set` do. What it takes to find out what is to be written
//! is none of the time that a change takes.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Error, Result, bail, ensure};
use proxydhcp::fleet::client::{Access, Client};
use proxydhcp::fleet::content::Content;
use proxydhcp::fleet::entry::Entry;
use proxydhcp::fleet::keys::Keys;
use proxydhcp::fleet::store::{self, Author, Outcome, Snapshot};
use proxydhcp::fleet::wire::{Operation, Transaction};
use proxydhcp_clients::now;
use tokio::runtime::{Builder, Runtime};

use super::heard::path;
use super::site::{PREFIX, Site};
use crate::cluster::Node;

/// A writer on etcd's host.
pub(super) struct Writer {
    runtime: Runtime,
    client: Client,
    keys: Keys,
    /// What is in force.
    snapshot: Snapshot,
    nodes: u32,
    version: u64,
}

impl Writer {
    pub(super) fn new(site: &Site, nodes: u32) -> Result<Self> {
        let options = site.etcd.options(PREFIX);
        let option = |name: &str| {
            let mut rest = options.iter().skip_while(|option| *option != name);
            rest.nth(1).with_context(|| format!("no {name}"))
        };
        let access = Access {
            address: option("--source")?.parse().map_err(Error::msg)?,
            ca: PathBuf::from(option("--source-ca")?),
            login: Some(PathBuf::from(option("--source-login")?)),
        };
        Ok(Self {
            runtime: Builder::new_current_thread().enable_all().build()?,
            keys: Keys::below(&access.address.prefix),
            client: Client::new(access),
            snapshot: Snapshot::default(),
            nodes,
            version: 0,
        })
    }

    /// The number of the version that was written last.
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// Has all nodes boot something else. Returns when all pages were written, and nothing was left to be
    /// done but to put them into force.
    pub(super) fn write_all(&mut self, site: &Site) -> Result<Duration> {
        self.version += 1;
        let mut content = Content::default();
        for node in Node::all(self.nodes) {
            content.insert(&node.name(), &value(node, self.version), 0);
        }
        let author = Author {
            by: "bench".to_owned(),
            at: String::new(),
            what: format!("push {}", self.version),
        };
        let mut written = now();
        let progress = |done, all| {
            if done == all {
                written = now();
            }
        };
        let Self {
            runtime,
            client,
            keys,
            snapshot,
            ..
        } = self;
        site.head.run(|| {
            runtime.block_on(async {
                let done =
                    store::replace(client, keys, snapshot, &content, &author, progress).await?;
                ensure!(matches!(done, Outcome::Written(_)), "somebody else writes");
                let (manifest, revision) = store::manifest(client, keys, None).await?;
                *snapshot = Snapshot {
                    manifest,
                    content,
                    revision,
                };
                Ok(())
            })
        })?;
        Ok(written)
    }

    /// Has the first node boot something else.
    pub(super) fn write_one(&mut self, site: &Site) -> Result<()> {
        self.version += 1;
        let node = Node(0);
        let value = value(node, self.version);
        let content = &mut self.snapshot.content;
        content.insert(&node.name(), &value, 0);
        let Some(held) = &mut self.snapshot.manifest else {
            bail!("nothing is in force");
        };
        held.manifest.hash = content.hash();
        let key = self.keys.node(&held.manifest.content, &node.name());
        let manifest = serde_json::to_vec(&held.manifest)?;
        let transaction = Transaction {
            compare: Vec::new(),
            success: vec![
                Operation::put(key, value),
                Operation::put(self.keys.manifest(), manifest),
            ],
        };
        let (runtime, client) = (&self.runtime, &mut self.client);
        let done = site
            .head
            .run(|| Ok(runtime.block_on(client.transact(&transaction))?))?;
        held.revision = done.header.revision.0;
        Ok(())
    }

    /// Has etcd forget what was.
    pub(super) fn compact(&self, site: &Site) -> Result<()> {
        let revision = self.snapshot.revision.to_string();
        site.etcd.ctl(&["compact", &revision]).map(drop)
    }
}

/// What the key of a node has.
fn value(node: Node, version: u64) -> Vec<u8> {
    let entry = Entry {
        winpe: Some(path(version)),
        addresses: vec![node.address()],
        ..Entry::default()
    };
    entry.value()
}
