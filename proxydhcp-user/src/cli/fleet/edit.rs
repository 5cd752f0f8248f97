//! Changes nodes in etcd, so that no other writer's change is lost: whoever was overtaken reads again.

use std::time::Duration;

use anyhow::Result;
use nix::unistd::{User, geteuid};
use tokio::time::sleep;

use super::Fleet;
use crate::cli::runtime::block_on;
use crate::fleet::client::Access;
use crate::fleet::content::Content;
use crate::fleet::store::{self, Author, Outcome, Snapshot, StoreError};
use crate::nodes::selection::Nodes;
use crate::sys::{host_name, random};
use crate::winpe::path::Rules;

/// How often a change is tried that others overtake.
const TRIES: u32 = 200;
/// The longest pause between two of them, in milliseconds: it spreads writers that began at once.
const PAUSE: u64 = 200;

/// The nodes that are in force.
///
/// # Errors
/// If etcd cannot be asked.
pub(in crate::cli) fn nodes(access: Access, rules: Rules<'_>) -> Result<Nodes> {
    let mut fleet = Fleet::new(access);
    let now = block_on(store::load(&mut fleet.client, &fleet.keys, None))??;
    Ok(Nodes::of_texts(&now.content.texts(rules).0))
}

/// Changes the nodes in force, as `change` does. Returns what that has returned, and the revision since
/// when it is in force, if anything was written.
///
/// # Errors
/// If `change` fails, or etcd cannot be asked; then nothing is changed.
pub(in crate::cli) fn edit<T>(
    access: Access,
    rules: Rules<'_>,
    is_dry_run: bool,
    what: &str,
    change: impl Fn(&mut Nodes) -> Result<T>,
) -> Result<(T, Option<i64>)> {
    let mut fleet = Fleet::new(access);
    block_on(fleet.change(what, is_dry_run, |content| {
        let (mut texts, _) = content.texts(rules);
        let mut nodes = Nodes::of_texts(&texts);
        let outcome = change(&mut nodes)?;
        nodes.bytes().clone_into(&mut texts.records);
        texts.disabled = nodes.disabled.text();
        texts.hardware = nodes.hardware.text();
        // They stay as they are, bad ones too.
        (texts.groups, texts.settings) = (None, None);
        Ok((outcome, content.with(&texts, rules)?))
    }))?
}

impl Fleet {
    /// Has etcd contain what `change` makes of what it contains, once nobody else has changed that
    /// meanwhile.
    pub(super) async fn change<T>(
        &mut self,
        what: &str,
        is_dry_run: bool,
        change: impl Fn(&Content) -> Result<(T, Content)>,
    ) -> Result<(T, Option<i64>)> {
        let mut reported = None;
        for number in 1..=TRIES {
            let base = store::load(&mut self.client, &self.keys, None).await?;
            let (outcome, new) = change(&base.content)?;
            if is_dry_run || base.manifest.is_some() && base.content.hash() == new.hash() {
                // What is there by now may be this command's own: an answer was lost.
                let reported = reported.unwrap_or(outcome);
                return Ok((reported, (number > 1).then(|| base.written())));
            }
            match self.replace(&base, &new, what, |_, _| {}).await? {
                Outcome::Written(revision) => return Ok((outcome, Some(revision))),
                Outcome::Overtaken => reported = Some(outcome),
            }
            let pause = random::number() % (PAUSE.min(10 * u64::from(number)));
            sleep(Duration::from_millis(pause)).await;
        }
        Err(StoreError::Overtaken.into())
    }

    pub(super) async fn replace(
        &mut self,
        base: &Snapshot,
        new: &Content,
        what: &str,
        progress: impl FnMut(usize, usize),
    ) -> Result<Outcome> {
        let author = author(what)?;
        let Self { client, keys } = self;
        Ok(store::replace(client, keys, base, new, &author, progress).await?)
    }
}

/// Who runs this command.
fn author(what: &str) -> Result<Author> {
    let user = User::from_uid(geteuid()).ok().flatten();
    let user = std::env::var("SUDO_USER").ok().or_else(|| Some(user?.name));
    Ok(Author {
        by: format!(
            "{}@{}",
            user.unwrap_or_else(|| geteuid().to_string()),
            host_name()?
        ),
        at: jiff::Timestamp::now()
            .strftime("%Y-%m-%dT%H:%M:%SZ")
            .to_string(),
        what: what.chars().take(200).collect(),
    })
}
