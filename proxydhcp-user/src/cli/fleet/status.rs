//! `fleet status` and `fleet wait`: which service node serves what.

use std::collections::HashSet;
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
use crate::fleet::content::Content;
use crate::fleet::keys::Key;
use crate::fleet::portion::Portion;
use crate::fleet::serving::Serving;
use crate::fleet::store::{self, StoreError};
use crate::nodes::noderange::Known;
use crate::nodes::selection::{expand, groups_or_file};
use crate::sys::clock;
use crate::text::{Few, count, listed, printable};

/// How many service nodes to ask for at once.
const MANY: i64 = 5000;
/// How often `fleet wait` looks.
const LOOK: Duration = Duration::from_millis(100);

/// The fleet, in JSON.
#[derive(Serialize)]
struct Report {
    /// The revision in force; 0: none.
    revision: i64,
    nodes: usize,
    hash: String,
    /// Whether all service nodes serve it, or the nodes of their ranges, and each node is served.
    is_everywhere: bool,
    /// The nodes that are in the range of no service node, if there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    orphans: Option<Few<String>>,
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
        client.range(keys.all_serving(), None, MANY, take).await?;
        let mut report = Self {
            revision: held.as_ref().map_or(0, |held| held.revision),
            nodes: held.as_ref().map_or(0, |held| held.manifest.nodes),
            hash: held.map(|held| held.manifest.hash).unwrap_or_default(),
            is_everywhere: false,
            orphans: None,
            hosts,
        };
        if !report.hosts.is_empty() && report.ranges().count() == report.hosts.len() {
            let now = store::load(client, keys, None).await?;
            report.orphans = orphans(&now.content, report.ranges());
        }
        report.is_everywhere = !report.hosts.is_empty()
            && report.hosts.iter().all(|host| report.is_served_by(host))
            && report.unlike().is_empty()
            && report.orphans.is_none();
        Ok(report)
    }

    /// The ranges of the service nodes that do not serve all.
    fn ranges(&self) -> impl Iterator<Item = &Portion> {
        let serving = self.hosts.iter().filter_map(|host| host.serving.as_ref());
        serving.filter_map(|serving| serving.range.as_ref())
    }

    /// The service nodes that serve other nodes by the same noderange as another one, at the same
    /// revision: their groups differ.
    fn unlike(&self) -> Vec<&str> {
        let is_unlike = |host: &&Host| {
            let Some(mine) = host.serving.as_ref().and_then(|it| it.range.as_ref()) else {
                return false;
            };
            let is_other = |other: &Host| {
                let serving = other.serving.as_ref().filter(|_| self.is_served_by(other));
                let range = serving.and_then(|it| it.range.as_ref());
                range.is_some_and(|it| it.range == mine.range && it.hash != mine.hash)
            };
            self.is_served_by(host) && self.hosts.iter().any(is_other)
        };
        let unlike = self.hosts.iter().filter(is_unlike);
        unlike.map(|host| host.name.as_str()).collect()
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
        let parts = self.ranges().count();
        let ranges = match parts {
            0 => String::new(),
            _ if parts == all => ", each a range of it".to_owned(),
            1 => ", one of them a range of it".to_owned(),
            _ => format!(", {parts} of them a range of it"),
        };
        let unlike = self.unlike();
        if !unlike.is_empty() {
            return format!(
                "{of}: NOT the same on {}: their groups differ, and by the same range they serve other \
                 nodes",
                listed(&unlike)
            );
        }
        if let Some(orphans) = self.orphans.as_ref().filter(|_| others.is_empty()) {
            return format!("{of}: NOT all of it is served: no range has {orphans}");
        }
        match (all, others.len()) {
            (0, _) => format!("{of}: no service node has a say in it yet"),
            (1, 0) if parts == 1 => {
                format!("{of}: the only service node serves a range that has all")
            }
            (1, 0) => format!("{of}: the only service node serves it"),
            (_, 0) => format!("{of}: all {all} service nodes serve it{ranges}"),
            (_, some) => format!(
                "{of}: NOT in service on {some} of {all}: {}",
                listed(&others)
            ),
        }
    }
}

/// The nodes that none of these portions has. One whose noderange this host cannot tell, as the service
/// node has other groups, is taken for all nodes.
fn orphans<'p>(
    content: &Content,
    portions: impl Iterator<Item = &'p Portion>,
) -> Option<Few<String>> {
    let groups = groups_or_file(content.groups().0.as_deref(), None).ok()?;
    let known = Known::new(content.nodes().map(|(name, _)| name));
    let mut served = HashSet::new();
    for Portion { range, .. } in portions {
        let names = expand(range, &known, &groups).ok()?;
        served.extend(names.iter().map(|name| name.to_ascii_lowercase()));
    }
    let is_orphan = |name: &&str| !served.contains(&name.to_ascii_lowercase());
    let names = content.nodes().map(|(name, _)| name);
    let orphans = names.filter(is_orphan);
    let orphans = Few::of(orphans.map(|name| printable(name.as_bytes())));
    (orphans.count > 0).then_some(orphans)
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
    let heads = "host version revision hash range generation nodes bad answered age";
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
                    it.range.as_ref().map_or("all", |it| &it.range).to_owned(),
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
