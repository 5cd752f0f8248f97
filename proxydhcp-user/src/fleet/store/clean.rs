//! Removes what no manifest names any more.

use super::{Held, StoreError, manifest};
use crate::fleet::client::Client;
use crate::fleet::keys::{Key, Keys, Range};
use crate::fleet::transport::TransportError;
use crate::fleet::wire::{Operation, Transaction};

/// The most keys to remove at once. Whoever watches is told of all of them in one answer, and etcd's work
/// to cut one that is too long into pieces grows with the square of its length.
const REMOVED: i64 = 1000;

/// Removes the contents that nobody names. Whoever is writing one that is to replace the manifest of
/// now may go on; whoever was to replace an earlier one has been overtaken.
///
/// # Errors
/// See [`StoreError`]. What is left then is removed by the next.
pub async fn clean(client: &mut Client, keys: &Keys) -> Result<(), StoreError> {
    let Some(held) = manifest(client, keys, None).await?.0 else {
        return Ok(());
    };
    let of_content = |id: &str| keys.content(id);
    clean_of(client, keys, &held, keys.contents(), of_content).await?;
    let of_pages = |id: &str| keys.pages(id);
    clean_of(client, keys, &held, keys.all_pages(), of_pages).await
}

/// Removes those keys of the range that are of such contents; `of` has the keys of each.
async fn clean_of(
    client: &mut Client,
    keys: &Keys,
    held: &Held,
    (mut from, end): Range,
    of: impl Fn(&str) -> Range,
) -> Result<(), StoreError> {
    loop {
        // The first key of each content is enough.
        let next = client.keys((from, end.clone()), 1).await?;
        let first = next.first().and_then(|key| keys.parse(key));
        let Some(Key::Item { content, .. } | Key::Page(content)) = first else {
            return Ok(());
        };
        let base = content
            .rsplit_once('-')
            .and_then(|(_, base)| base.parse::<i64>().ok());
        let is_overtaken = base.is_some_and(|base| base < held.revision);
        if content != held.manifest.content && is_overtaken {
            remove(client, of(content), Transaction::default).await?;
        }
        from = of(content).1;
    }
}

/// Removes the keys of a range, some at a time, for as long as the conditions hold of a transaction that does
/// nothing else. Returns whether they did.
pub(super) async fn remove(
    client: &mut Client,
    (mut from, end): Range,
    on: impl Fn() -> Transaction,
) -> Result<bool, TransportError> {
    loop {
        let some = client.keys((from.clone(), end.clone()), REMOVED).await?;
        let Some(mut next) = some.into_iter().last() else {
            return Ok(true);
        };
        next.push(0);
        let mut transaction = on();
        let removal = Operation::delete_range((from, next.clone()));
        transaction.success.push(removal);
        if !client.transact(&transaction).await?.succeeded {
            return Ok(false);
        }
        from = next;
    }
}
