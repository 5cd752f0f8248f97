//! Has etcd contain something else: in place, or as another content.

use std::collections::HashSet;

use super::clean::{clean, remove};
use super::{Held, Snapshot, StoreError};
use crate::fleet::client::Client;
use crate::fleet::content::Content;
use crate::fleet::keys::Keys;
use crate::fleet::manifest::Manifest;
use crate::fleet::page::Pages;
use crate::fleet::transport::TransportError;
use crate::fleet::wire::{Compare, Operation, Transaction};

/// The most operations, and conditions, of a transaction: etcd's default.
const OPERATIONS: usize = 128;
/// The most bytes of keys and values in a transaction. etcd takes 1.5 MiB, and this becomes a third more
/// on the way.
const BYTES: usize = 512 << 10;
/// More pages than a content has.
const MOST: i64 = 100_000;

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
        let written = base.content.written_by(item);
        let compare = Compare::written_by(keys.item(id, item), written);
        transaction.compare.push(compare);
    }
    for &(item, value) in &difference.put {
        let put = Operation::put(keys.item(id, item), value.to_vec());
        transaction.success.push(put);
    }
    for &item in &difference.delete {
        // A page may have it: that there is none is a value, too.
        let put = Operation::put(keys.item(id, item), Vec::new());
        transaction.success.push(put);
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
    let Pages { pages, others } = Pages::of(new);
    // Whoever has been overtaken stops writing.
    let unchanged = || Transaction {
        compare: vec![Compare::written_by(keys.manifest(), base.written())],
        success: Vec::new(),
    };
    // What a writer that was killed has left: its pages need not be written again, for they are the same.
    let left = client.keys(keys.pages(&id), MOST).await?;
    let left: HashSet<_> = left.into_iter().collect();
    if !remove(client, keys.content(&id), unchanged).await? {
        return Ok(Outcome::Overtaken);
    }
    let pages = (0..).zip(pages).map(|(number, page)| {
        // A transaction of its own.
        (BYTES, keys.page(&id, number), page)
    });
    let pages = pages.filter(|(_, key, _)| !left.contains(key));
    let others = others.into_iter().map(|(item, value)| {
        let key = keys.item(&id, item);
        (64 + key.len() + value.len(), key, value.to_vec())
    });
    let all: Vec<_> = pages.chain(others).collect();
    let (number_of_all, mut done, mut bytes) = (all.len(), 0, 0);
    let mut batch = unchanged();
    for (number, (size, key, value)) in (1..).zip(all) {
        batch.success.push(Operation::put(key, value));
        bytes += size;
        if batch.success.len() == OPERATIONS || bytes >= BYTES || number == number_of_all {
            done += batch.success.len();
            bytes = 0;
            let full = std::mem::replace(&mut batch, unchanged());
            if outcome(client, &full).await? == Outcome::Overtaken {
                return Ok(Outcome::Overtaken);
            }
            progress(done, number_of_all);
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
