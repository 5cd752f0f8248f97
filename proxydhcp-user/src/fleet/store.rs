//! Reads and writes a fleet's content in etcd.
//!
//! A content is in pages, as it was pushed, and in keys, one an item, which count before the pages. A
//! change that fits one transaction changes keys of the content in force. A larger one writes the pages of
//! another content, whose id follows from what it contains and from the manifest that it is to replace, so
//! that a writer that is killed goes on where it was when it is run again, and then has the manifest name
//! it, in one step. Either way the manifest is written on the condition that it is still the one that was
//! read: of two writers, one has to read again.

use crate::fleet::client::Client;
use crate::fleet::content::Content;
use crate::fleet::keys::{Key, Keys};
use crate::fleet::manifest::Manifest;
use crate::fleet::page;
use crate::fleet::transport::TransportError;
use crate::fleet::wire::KeyValue;

mod clean;
mod replace;

pub use clean::clean;
pub use replace::{Author, Outcome, replace};

/// How many keys to ask for at once.
const KEYS: i64 = 5000;
/// How many pages: some 2 MiB, which is more by half on the way.
const PAGES: i64 = 8;

/// What a fleet has in etcd, all of it as it was at one revision.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// The manifest; none: the fleet is empty.
    pub manifest: Option<Held>,
    /// The nodes of the content that it names.
    pub content: Content,
    /// The revision of the store.
    pub revision: i64,
}

/// A manifest in etcd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The manifest.
    pub manifest: Manifest,
    /// The revision that has written it.
    pub revision: i64,
    /// Whether it is the first.
    pub is_first: bool,
}

/// Why nothing was read, or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// etcd has not answered, or refuses.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The manifest is none.
    #[error("the manifest is not one of a fleet: {0}; was it written by a later version?")]
    Manifest(String),
    /// Others write all the time.
    #[error(
        "others have changed the fleet again and again meanwhile; nothing is written: try again"
    )]
    Overtaken,
}

impl StoreError {
    /// Whether what was asked for has been compacted.
    pub fn is_compacted(&self) -> bool {
        matches!(self, Self::Transport(TransportError::Refused(failure)) if failure.is_compacted())
    }
}

/// The manifest, as it was at a revision, or as it is; and the revision of the store.
///
/// # Errors
/// See [`StoreError`].
pub async fn manifest(
    client: &mut Client,
    keys: &Keys,
    at: Option<i64>,
) -> Result<(Option<Held>, i64), StoreError> {
    let (kv, revision) = client.get(keys.manifest(), at).await?;
    let held = kv.map(|kv| held(&kv.value.0, kv.mod_revision.0, kv.version.0));
    Ok((held.transpose()?, revision))
}

/// The manifest that a key has.
pub(super) fn held(value: &[u8], revision: i64, version: i64) -> Result<Held, StoreError> {
    Ok(Held {
        manifest: Manifest::parse(value).map_err(StoreError::Manifest)?,
        revision,
        is_first: version == 1,
    })
}

/// Reads all nodes, as they were at a revision, or as they are.
///
/// # Errors
/// See [`StoreError`].
pub async fn load(
    client: &mut Client,
    keys: &Keys,
    at: Option<i64>,
) -> Result<Snapshot, StoreError> {
    let (manifest, revision) = manifest(client, keys, at).await?;
    // Of a revision of the past, etcd says which is the newest all the same.
    let revision = at.unwrap_or(revision);
    let content = match &manifest {
        Some(held) => content(client, keys, &held.manifest.content, revision).await?,
        None => Content::default(),
    };
    Ok(Snapshot {
        manifest,
        content,
        revision,
    })
}

/// Reads the content of this id, as it was at a revision.
///
/// # Errors
/// See [`TransportError`].
pub(super) async fn content(
    client: &mut Client,
    keys: &Keys,
    id: &str,
    revision: i64,
) -> Result<Content, TransportError> {
    let mut content = Content::default();
    let at = Some(revision);
    let take = |kv: KeyValue| {
        page::items(&kv.value.0, |item, value| {
            content.put(item, value, 0);
        });
    };
    client.range(keys.pages(id), at, PAGES, take).await?;
    let take = |kv: KeyValue| {
        if let Some(Key::Item { item, .. }) = keys.parse(&kv.key.0) {
            content.put(item, &kv.value.0, kv.mod_revision.0);
        }
    };
    client.range(keys.content(id), at, KEYS, take).await?;
    Ok(content)
}

impl Snapshot {
    /// The revision that has written the manifest; 0 if there is none.
    pub fn written(&self) -> i64 {
        self.manifest.as_ref().map_or(0, |held| held.revision)
    }
}

/// The manifests up to the newest, newest first, as far back as etcd has them, and `most` at most.
///
/// # Errors
/// See [`StoreError`].
pub async fn history(
    client: &mut Client,
    keys: &Keys,
    most: usize,
) -> Result<Vec<Held>, StoreError> {
    let mut found = Vec::new();
    let mut at = None;
    while found.len() < most {
        let held = match manifest(client, keys, at).await {
            Ok((held, _)) => held,
            Err(error) if error.is_compacted() => break,
            Err(error) => return Err(error),
        };
        let Some(held) = held else { break };
        at = Some(held.revision - 1);
        let is_first = held.is_first;
        found.push(held);
        if is_first {
            break;
        }
    }
    Ok(found)
}
