//! `fleet history` and `fleet rollback`.

use std::process::ExitCode;

use anyhow::Result;
use comfy_table::Table;
use comfy_table::presets::NOTHING;
use serde::Serialize;

use super::push::{at, shown};
use super::{Fleet, HistoryArgs, RollbackArgs, in_force};
use crate::cli::output::{page, print};
use crate::cli::runtime::block_on;
use crate::fleet::manifest::Manifest;
use crate::fleet::store::{self, Held};

/// A change, in JSON.
#[derive(Serialize)]
struct Change {
    revision: i64,
    #[serde(flatten)]
    manifest: Manifest,
}

/// Shows the changes.
pub(super) fn history(args: &HistoryArgs) -> Result<ExitCode> {
    let Fleet { mut client, keys } = args.fleet.fleet()?;
    let all = block_on(store::history(&mut client, &keys, args.limit))??;
    let changes = all.into_iter().map(
        |Held {
             manifest, revision, ..
         }| Change { revision, manifest },
    );
    let changes: Vec<_> = changes.collect();
    if args.json {
        print(&serde_json::to_string_pretty(&changes)?);
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_header(["revision", "nodes", "at", "by", "what"]);
    for Change { revision, manifest } in changes {
        let Manifest {
            nodes,
            at,
            by,
            what,
            ..
        } = manifest;
        table.add_row([revision.to_string(), nodes.to_string(), at, by, what]);
    }
    page(&table.to_string());
    Ok(ExitCode::SUCCESS)
}

/// Puts into force what was.
pub(super) fn rollback(args: &RollbackArgs) -> Result<ExitCode> {
    let mut fleet = args.fleet.fleet()?;
    let old = at(&mut fleet, Some(args.revision))?;
    let what = format!("rollback {}", args.revision);
    let changed = block_on(fleet.change(&what, args.dry_run, |content| {
        Ok((
            shown(&content.difference(&old.content)),
            old.content.clone(),
        ))
    }))?;
    let (shown, written) = changed?;
    print(&format!("{shown}{}", in_force(written)));
    Ok(ExitCode::SUCCESS)
}
