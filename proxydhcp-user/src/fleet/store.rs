//! Reads and writes a fleet's content in etcd.
//!
//! A change that fits one transaction changes the content in force in place. A larger one writes another
//! content beside it, whose id follows from what it contains and from the manifest that it is to replace,
//! so that a writer that is killed goes on where it was when it is run again, and then has the manifest
//! name it, in one step. Either way the manifest is written on the condition that it is still the one
//! that was read: of two writers, one has to read again.

use crate::fleet::client::Client;
use crate::fleet::content::Content;
use crate::fleet::keys::{Key, Keys, Range};
use crate::fleet::manifest::Manifest;
use crate::fleet::transport::TransportError;
use crate::fleet::wire::{Compare, Operation, Transaction};

/// The most operations, and conditions, of a transaction: etcd's default.
const OPERATIONS: usize = 128;
/// The most bytes of keys and values in a transaction. etcd takes 1.5 MiB, and this becomes a third more
/// on the way.
const BYTES: usize = 512 << 10;
/// The most keys to remove at once. Whoever watches is told of all of them in one answer, and etcd's work
/// to cut one that is too long into pieces grows with the square of its length.
const REMOVED: i64 = 1000;

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
    let mut content = Content::default();
    if let Some(held) = &manifest {
        content = items(client, keys, &held.manifest.content, revision).await?;
    }
    Ok(Snapshot {
        manifest,
        content,
        revision,
    })
}

/// The nodes and groups of a content at a revision.
async fn items(
    client: &mut Client,
    keys: &Keys,
    id: &str,
    revision: i64,
) -> Result<Content, StoreError> {
    let mut content = Content::default();
    let range = keys.content(id);
    let take = |kv: crate::fleet::wire::KeyValue| {
        if let Some(Key::Item { item, .. }) = keys.parse(&kv.key.0) {
            content.put(item, &kv.value.0, kv.mod_revision.0);
        }
    };
    client.range(range, Some(revision), take).await?;
    Ok(content)
}

/// Who writes, and why, for the history.
#[derive(Clone, Debug)]
pub struct Author {
    /// Who, such as `root@head`.
    pub by: String,
    /// When, as RFC 3339 has it.
    pub at: String,
    /// What is done.
    pub what: String,
}

/// What has become of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is in force, since this revision.
    Written(i64),
    /// Another has written meanwhile: read again.
    Overtaken,
}

/// Has etcd contain `new` instead of `base`, all of it in one step.
///
/// # Errors
/// See [`StoreError`]. What was in force still is.
pub async fn replace(
    client: &mut Client,
    keys: &Keys,
    base: &Snapshot,
    new: &Content,
    author: &Author,
    progress: impl FnMut(usize, usize),
) -> Result<Outcome, StoreError> {
    let difference = base.content.difference(new);
    let bytes = difference
        .put
        .iter()
        .map(|(item, value)| keys.item("", *item).len() + 64 + value.len());
    let is_small =
        difference.put.len() + difference.delete.len() < OPERATIONS && bytes.sum::<usize>() < BYTES;
    match &base.manifest {
        Some(held) if is_small => change_in_place(client, keys, base, held, new, author).await,
        _ => replace_as_a_whole(client, keys, base, new, author, progress).await,
    }
}

/// The condition that the manifest is still this one, and the operation that replaces it.
fn step(keys: &Keys, base: &Snapshot, id: &str, new: &Content, author: &Author) -> Transaction {
    let Author { by, at, what } = author.clone();
    let manifest = Manifest {
        content: id.to_owned(),
        nodes: new.len(),
        hash: new.hash(),
        by,
        at,
        what,
    };
    // An object of texts and a number has no reason to fail.
    let value = serde_json::to_vec(&manifest).unwrap_or_default();
    Transaction {
        compare: vec![Compare::written_by(keys.manifest(), base.written())],
        success: vec![Operation::put(keys.manifest(), value)],
    }
}

async fn change_in_place(
    client: &mut Client,
    keys: &Keys,
    base: &Snapshot,
    held: &Held,
    new: &Content,
    author: &Author,
) -> Result<Outcome, StoreError> {
    let id = &held.manifest.content;
    let mut transaction = step(keys, base, id, new, author);
    let manifest = transaction.success.pop();
    let difference = base.content.difference(new);
    let items = difference.put.iter().map(|(item, _)| item);
    // Somebody may write nodes without the manifest.
    for &item in items.chain(&difference.delete) {
        let before = base.content.value_of(item);
        let written = before.map_or(0, |value| value.revision);
        let compare = Compare::written_by(keys.item(id, item), written);
        transaction.compare.push(compare);
    }
    for &(item, value) in &difference.put {
        let put = Operation::put(keys.item(id, item), value.to_vec());
        transaction.success.push(put);
    }
    for &item in &difference.delete {
        transaction
            .success
            .push(Operation::delete(keys.item(id, item)));
    }
    // A watch gives the events of a transaction in their order: the manifest comes last.
    transaction.success.extend(manifest);
    Ok(outcome(client, &transaction).await?)
}

async fn outcome(
    client: &mut Client,
    transaction: &Transaction,
) -> Result<Outcome, TransportError> {
    let done = client.transact(transaction).await?;
    Ok(if done.succeeded {
        Outcome::Written(done.header.revision.0)
    } else {
        Outcome::Overtaken
    })
}

async fn replace_as_a_whole(
    client: &mut Client,
    keys: &Keys,
    base: &Snapshot,
    new: &Content,
    author: &Author,
    mut progress: impl FnMut(usize, usize),
) -> Result<Outcome, StoreError> {
    let id = id(new, base.written());
    // What a writer that was killed has left of it need not be written again.
    let (_, newest) = manifest(client, keys, None).await?;
    let left = items(client, keys, &id, newest).await?;
    let difference = left.difference(new);
    let puts = difference.put.iter().map(|&(item, value)| {
        let key = keys.item(&id, item);
        let size = 64 + key.len() + value.len();
        (size, Operation::put(key, value.to_vec()))
    });
    let deletes = difference.delete.iter().map(|&item| {
        let key = keys.item(&id, item);
        (64 + key.len(), Operation::delete(key))
    });
    let all = difference.put.len() + difference.delete.len();
    let (mut done, mut bytes) = (0, 0);
    let unchanged = || Transaction {
        // Whoever has been overtaken stops writing.
        compare: vec![Compare::written_by(keys.manifest(), base.written())],
        success: Vec::new(),
    };
    let mut batch = unchanged();
    for (number, (size, operation)) in (1..).zip(puts.chain(deletes)) {
        batch.success.push(operation);
        bytes += size;
        if batch.success.len() == OPERATIONS || bytes >= BYTES || number == all {
            done += batch.success.len();
            bytes = 0;
            let full = std::mem::replace(&mut batch, unchanged());
            if outcome(client, &full).await? == Outcome::Overtaken {
                return Ok(Outcome::Overtaken);
            }
            progress(done, all);
        }
    }
    let step = step(keys, base, &id, new, author);
    let outcome = outcome(client, &step).await?;
    if let Outcome::Written(_) = outcome {
        let _ = clean(client, keys).await;
    }
    Ok(outcome)
}

/// The id of a content that replaces the manifest of this revision.
fn id(content: &Content, base: i64) -> String {
    let hash = content.hash();
    format!("{}-{base}", hash.get(..16).unwrap_or(&hash))
}

/// Removes the contents that nobody names. Whoever is writing one that is to replace the manifest of
/// now may go on; whoever was to replace an earlier one has been overtaken.
///
/// # Errors
/// See [`StoreError`]. What is left then is removed by the next.
pub async fn clean(client: &mut Client, keys: &Keys) -> Result<(), StoreError> {
    let Some(held) = manifest(client, keys, None).await?.0 else {
        return Ok(());
    };
    let (mut from, end) = keys.contents();
    loop {
        // The first key of each content is enough.
        let next = client.keys((from, end.clone()), 1).await?;
        let Some(Key::Item { content, .. }) = next.first().and_then(|key| keys.parse(key)) else {
            return Ok(());
        };
        let base = content
            .rsplit_once('-')
            .and_then(|(_, base)| base.parse::<i64>().ok());
        let is_overtaken = base.is_some_and(|base| base < held.revision);
        if content != held.manifest.content && is_overtaken {
            remove(client, keys.content(content)).await?;
        }
        from = keys.content(content).1;
    }
}

/// Removes the keys of a range, some at a time.
async fn remove(client: &mut Client, (mut from, end): Range) -> Result<(), StoreError> {
    loop {
        let some = client.keys((from.clone(), end.clone()), REMOVED).await?;
        let Some(mut next) = some.into_iter().last() else {
            return Ok(());
        };
        next.push(0);
        let transaction = Transaction {
            compare: Vec::new(),
            success: vec![Operation::delete_range((from, next.clone()))],
        };
        client.transact(&transaction).await?;
        from = next;
    }
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
