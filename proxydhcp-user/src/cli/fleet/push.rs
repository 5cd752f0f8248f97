//! `fleet push`, `fleet pull` and `fleet diff`: between files and etcd.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::{DiffArgs, Fleet, PullArgs, PushArgs, RulesArgs, in_force};
use crate::cli::Context;
use crate::cli::exit::Exit;
use crate::cli::output::{note, print};
use crate::cli::runtime::block_on;
use crate::fleet::content::{Content, Difference};
use crate::fleet::item::{Item, Kind};
use crate::fleet::store::{self, Outcome, Snapshot};
use crate::nodes::cfg::texts::Texts;
use crate::nodes::selection::Nodes;
use crate::sys::replace::Replacement;
use crate::text::{count, first_of, printable};
use crate::winpe::path::Rules;

/// How often it is said how much is written.
const OFTEN: Duration = Duration::from_secs(1);
/// The number of names in a message.
const SHOWN: usize = 5;

/// Writes a file into etcd.
pub(super) fn push(args: &PushArgs, context: &Context) -> Result<ExitCode> {
    let rules = args.rules.rules(context);
    let texts = Texts::read(&args.cfg)?;
    let mut fleet = args.rules.fleet.fleet()?;
    let what = format!("push {}", args.cfg.display());
    if args.range.is_some() {
        let (shown, written) = block_on(change(&mut fleet, args, &texts, rules))??;
        return Ok(told(&shown, args.dry_run, written));
    }
    let base = load(&mut fleet)?;
    let new = of_file(&base.content, &args.cfg, &texts, rules)?;
    let difference = base.content.difference(&new);
    let shown = shown(&difference);
    refuse_loss(args, &base.content, &new)?;
    let is_same = difference.is_empty();
    if args.dry_run || is_same && base.manifest.is_some() {
        if !args.dry_run {
            // A push that was killed at its very end has left this to do.
            let Fleet { client, keys } = &mut fleet;
            block_on(store::clean(client, keys))??;
        }
        return Ok(told(&shown, args.dry_run, None));
    }
    note(&shown);
    let mut said = Instant::now();
    let progress = |done: usize, all: usize| {
        if said.elapsed() >= OFTEN {
            said = Instant::now();
            note(&format!("written: {} %", done * 100 / all.max(1)));
        }
    };
    match block_on(fleet.replace(&base, &new, &what, progress))?? {
        Outcome::Written(revision) => {
            print(&format!("in force: revision {revision}"));
            Ok(ExitCode::SUCCESS)
        }
        Outcome::Overtaken => bail!(
            "another has changed the fleet since revision {}, and nothing of this push is in force: look \
             at `proxydhcp fleet history` and `proxydhcp fleet diff`, and push again",
            base.written()
        ),
    }
}

/// Writes a file into etcd, or the nodes of a range of it, whatever others have changed meanwhile. Returns
/// what changes, and the revision since when it is in force, if anything was written.
pub(super) async fn change(
    fleet: &mut Fleet,
    args: &PushArgs,
    texts: &Texts,
    rules: Rules<'_>,
) -> Result<(String, Option<i64>)> {
    let mut what = format!("push {}", args.cfg.display());
    let mut names = None;
    if let Some(range) = &args.range {
        let _ = write!(what, " --range {range}");
        let chosen = Nodes::of_texts(texts).some_of_range(range, args.groups.file())?;
        let folded = chosen.iter().map(|name| name.to_ascii_lowercase());
        names = Some(folded.collect::<HashSet<_>>());
    }
    let change = |content: &Content| {
        let mut new = of_file(content, &args.cfg, texts, rules)?;
        match &names {
            Some(names) => new = only(content, &new, names),
            None => refuse_loss(args, content, &new)?,
        }
        Ok((shown(&content.difference(&new)), new))
    };
    fleet.change(&what, args.dry_run, change).await
}

/// Refuses to empty the fleet by a file that may not be whole.
fn refuse_loss(args: &PushArgs, content: &Content, new: &Content) -> Result<()> {
    if new.is_empty() && !content.is_empty() && !args.allow_empty {
        bail!(
            "{}: it has no nodes, as if its writer had just begun, and the fleet has {}; to serve none \
             from now on, use --allow-empty",
            args.cfg.display(),
            count(content.len(), "node")
        );
    }
    Ok(())
}

fn told(shown: &str, is_dry_run: bool, written: Option<i64>) -> ExitCode {
    print(&if is_dry_run {
        format!("{shown}; dry run, nothing is written")
    } else {
        format!("{shown}{}", in_force(written))
    });
    ExitCode::SUCCESS
}

/// Writes what is in etcd into files.
pub(super) fn pull(args: &PullArgs, context: &Context) -> Result<ExitCode> {
    let mut fleet = args.rules.fleet.fleet()?;
    let of = at(&mut fleet, args.revision)?;
    let (texts, bad) = of.content.texts(args.rules.rules(context));
    for bad in &bad {
        note(&bad.to_string());
    }
    let config = &args.cfg;
    let replacement = Replacement::begin(config)?;
    for (path, text) in texts.files(config) {
        put(&path, text.unwrap_or_default())?;
    }
    replacement.replace(&texts.records)?;
    print(&format!(
        "{}: {}, as of revision {}",
        config.display(),
        count(of.content.len(), "node"),
        of.written()
    ));
    Ok(if bad.is_empty() {
        Exit::Done
    } else {
        Exit::Partly
    }
    .into())
}

/// Writes a file beside `proxydhcp.cfg`; there is none without lines.
fn put(path: &Path, text: &[u8]) -> Result<()> {
    if !text.is_empty() {
        return Replacement::begin(path)?.replace(text);
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("{}: cannot be removed", path.display()))
        }
        _ => Ok(()),
    }
}

/// Shows how a file differs from what is in etcd.
pub(super) fn diff(args: &DiffArgs, context: &Context) -> Result<ExitCode> {
    let DiffArgs { cfg: file, rules } = args;
    let (now, new) = both(file, rules, context)?;
    let difference = now.content.difference(&new);
    for &(item, value) in &difference.put {
        let sign = if now.content.value_of(item).is_some() {
            '~'
        } else {
            '+'
        };
        let value = String::from_utf8_lossy(value);
        print(&format!("{sign} {} {value}", described(item)));
    }
    for &item in &difference.delete {
        print(&format!("- {}", described(item)));
    }
    let is_same = difference.is_empty();
    note(&format!(
        "revision {}: {}",
        now.written(),
        shown(&difference)
    ));
    Ok(if is_same { Exit::Done } else { Exit::Failed }.into())
}

fn both(file: &Path, args: &RulesArgs, context: &Context) -> Result<(Snapshot, Content)> {
    let texts = Texts::read(file)?;
    let now = load(&mut args.fleet.fleet()?)?;
    let new = of_file(&now.content, file, &texts, args.rules(context))?;
    Ok((now, new))
}

fn of_file(content: &Content, file: &Path, texts: &Texts, rules: Rules<'_>) -> Result<Content> {
    let new = content.with(texts, rules);
    new.with_context(|| format!("{}: not pushed as it is", file.display()))
}

/// `content`, with these nodes as they are in `new`.
fn only(content: &Content, new: &Content, names: &HashSet<String>) -> Content {
    let is_chosen = |name: &str| names.contains(&name.to_ascii_lowercase());
    let mut mixed = content.clone();
    for (name, _) in content.nodes().filter(|(name, _)| is_chosen(name)) {
        mixed.remove(name);
    }
    for (name, value) in new.nodes().filter(|(name, _)| is_chosen(name)) {
        mixed.insert(name, &value.bytes, value.revision);
    }
    mixed
}

fn described(item: Item<'_>) -> String {
    let name = printable(item.name().as_bytes());
    match item.kind() {
        Kind::Node => name,
        kind => format!("{kind} {name}"),
    }
}

/// What changes, in a line.
pub(super) fn shown(difference: &Difference<'_>) -> String {
    let put: Vec<_> = difference.put.iter().map(|&(item, _)| item).collect();
    let mut shown = Vec::new();
    for kind in [Kind::Node, Kind::Group, Kind::Setting] {
        for (what, items) in [("added or changed", &put), ("removed", &difference.delete)] {
            let items = items.iter().filter(|item| item.kind() == kind);
            let names: Vec<_> = items.map(|item| item.name()).collect();
            if kind != Kind::Node && names.is_empty() {
                continue;
            }
            let first = match names.len() {
                0 => String::new(),
                _ => format!(" ({})", first_of(&names, SHOWN, ", ")),
            };
            let number = count(names.len(), &kind.to_string());
            shown.push(format!("{number} {what}{first}"));
        }
    }
    shown.join(", ")
}

fn load(fleet: &mut Fleet) -> Result<Snapshot> {
    at(fleet, None)
}

/// What was in force at a revision, or is.
pub(super) fn at(fleet: &mut Fleet, revision: Option<i64>) -> Result<Snapshot> {
    let Fleet { client, keys } = fleet;
    let loaded = block_on(store::load(client, keys, revision))?;
    let snapshot = loaded.map_err(|error| match (revision, error.is_compacted()) {
        (Some(revision), true) => anyhow::anyhow!(
            "etcd no longer has revision {revision}: it keeps what its compaction leaves; `proxydhcp \
             fleet history` shows what there is"
        ),
        _ => error.into(),
    })?;
    if snapshot.manifest.is_none() && revision.is_some() {
        bail!("there was no fleet at this revision");
    }
    Ok(snapshot)
}
