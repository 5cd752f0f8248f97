//! `fleet status` and `fleet wait`: which service node serves what.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use comfy_table::Table;
use comfy_table::presets::NOTHING;
use serde::Serialize;
use tokio::time::{Instant, sleep};

use super::{Fleet, StatusArgs, WaitArgs};
use crate::cli::exit::Exit;
use crate::cli::output::{note, print};
use crate::cli::runtime::block_on;
use crate::fleet::keys::Key;
use crate::fleet::serving::Serving;
use crate::fleet::store::{self, StoreError};
use crate::sys::clock;
use crate::text::{count, listed, printable};

/// How often `fleet wait` looks.
const LOOK: Duration = Duration::from_millis(100);

/// The fleet, in JSON.
#[derive(Serialize)]
struct Report {
    /// The revision in force; 0: none.
    revision: i64,
    nodes: usize,
    hash: String,
    /// Whether all service nodes serve it.
    is_everywhere: bool,
    hosts: Vec<Host>,
}

/// A service node.
#[derive(Serialize)]
struct Host {
    #[serde(rename = "host")]
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    serving: Option<Serving>,
    /// What is wrong with what it says.
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<String>,
}

impl Report {
    async fn read(fleet: &mut Fleet) -> Result<Self, StoreError> {
        let Fleet { client, keys } = fleet;
        let (held, _) = store::manifest(client, keys, None).await?;
        let mut hosts = Vec::new();
        let take = |kv: crate::fleet::wire::KeyValue| {
            if let Some(Key::Serving(host)) = keys.parse(&kv.key.0) {
                let serving = Serving::parse(&kv.value.0);
                hosts.push(Host {
                    name: printable(host.as_bytes()),
                    fault: serving.as_ref().err().cloned(),
                    serving: serving.ok(),
                });
            }
        };
        client.range(keys.all_serving(), None, take).await?;
        let mut report = Self {
            revision: held.as_ref().map_or(0, |held| held.revision),
            nodes: held.as_ref().map_or(0, |held| held.manifest.nodes),
            hash: held.map(|held| held.manifest.hash).unwrap_or_default(),
            is_everywhere: false,
            hosts,
        };
        report.is_everywhere =
            !report.hosts.is_empty() && report.hosts.iter().all(|host| report.is_served_by(host));
        Ok(report)
    }

    fn is_served_by(&self, host: &Host) -> bool {
        let serving = host.serving.as_ref();
        serving.is_some_and(|it| it.revision == self.revision && it.hash == self.hash)
    }

    fn verdict(&self) -> String {
        let all = self.hosts.len();
        let others = self.hosts.iter().filter(|host| !self.is_served_by(host));
        let others: Vec<_> = others.map(|host| host.name.as_str()).collect();
        let of = format!(
            "revision {} with {}",
            self.revision,
            count(self.nodes, "node")
        );
        match (all, others.len()) {
            (0, _) => format!("{of}: no service node has a say in it yet"),
            (1, 0) => format!("{of}: the only service node serves it"),
            (_, 0) => format!("{of}: all {all} service nodes serve it"),
            (_, some) => format!(
                "{of}: NOT in service on {some} of {all}: {}",
                listed(&others)
            ),
        }
    }
}

/// Shows the service nodes.
pub(super) fn run(args: &StatusArgs) -> Result<ExitCode> {
    let report = block_on(Report::read(&mut args.fleet.fleet()?))??;
    if args.json {
        print(&serde_json::to_string_pretty(&report)?);
    } else {
        print(&format!("{}\n{}", table(&report), report.verdict()));
    }
    let exit = if report.is_everywhere {
        Exit::Done
    } else {
        Exit::Partly
    };
    Ok(exit.into())
}

fn table(report: &Report) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING);
    let heads = "host version revision hash generation nodes bad answered age";
    table.set_header(heads.split(' '));
    for host in &report.hosts {
        let mut row = vec![host.name.clone()];
        match (&host.serving, &host.fault) {
            (Some(it), _) => {
                let age = (clock::since_1970() - it.at).max(0.0);
                row.extend([
                    it.version.clone(),
                    it.revision.to_string(),
                    it.hash.chars().take(8).collect(),
                    it.generation.to_string(),
                    it.nodes.to_string(),
                    it.bad.to_string(),
                    it.answered.to_string(),
                    format!("{age:.0} s"),
                ]);
            }
            (None, fault) => row.extend(fault.clone()),
        }
        table.add_row(row);
    }
    table
}

/// Waits until a revision is in service everywhere.
pub(super) fn wait(args: &WaitArgs) -> Result<ExitCode> {
    let mut fleet = args.fleet.fleet()?;
    let (report, late) = block_on(async {
        let deadline = Instant::now() + args.timeout;
        loop {
            let report = Report::read(&mut fleet).await?;
            let is_late = |host: &&Host| {
                let serving = host.serving.as_ref();
                serving.is_none_or(|it| it.revision < args.revision)
            };
            let late = report.hosts.iter().filter(is_late);
            let late: Vec<_> = late.map(|host| host.name.clone()).collect();
            let is_there = late.is_empty() && !report.hosts.is_empty();
            if is_there || Instant::now() >= deadline {
                return anyhow::Ok((report, late));
            }
            sleep(LOOK).await;
        }
    })??;
    if late.is_empty() && !report.hosts.is_empty() {
        print(&format!(
            "revision {} is in service on {}",
            args.revision,
            count(report.hosts.len(), "service node")
        ));
        return Ok(Exit::Done.into());
    }
    note(&format!(
        "proxydhcp: not in service on {}",
        match late.len() {
            0 => "any service node, as there is none".to_owned(),
            _ => listed(&late),
        }
    ));
    Ok(Exit::Partly.into())
}
