//! What `node set`, `rm` and `prune` do to the nodes.

use std::collections::HashSet;

use anyhow::{Result, bail};

use super::report::{Path as Shown, Report};
use crate::nodes::cfg::edit::{RawRecord, put};
use crate::nodes::cfg::hardware::values;
use crate::nodes::hardware::Id;
use crate::nodes::selection::Nodes;
use crate::winpe::path::{Rules, WinPe};

/// The attributes that `node set` sets.
#[derive(Debug, Default)]
pub(super) struct Attributes {
    winpe: Option<WinPe>,
    /// `supportproxydhcp`
    support: Option<bool>,
    macs: Option<Vec<Id>>,
    uuids: Option<Vec<Id>>,
}

impl Attributes {
    /// Parses `winpepath=PATH`, `supportproxydhcp=yes|no`, `mac=MAC,MAC` and `uuid=UUID`.
    pub(super) fn parse(arguments: &[String], rules: Rules<'_>) -> Result<Self> {
        let mut attributes = Self::default();
        for argument in arguments {
            let is_new = match argument.split_once('=') {
                Some(("winpepath", path)) => {
                    let winpe = WinPe::parse(path.as_bytes(), rules)?;
                    attributes.winpe.replace(winpe).is_none()
                }
                Some(("supportproxydhcp", value)) => {
                    let support = match value {
                        "yes" | "1" => true,
                        "no" | "0" => false,
                        _ => bail!("{argument}: supportproxydhcp is yes or no"),
                    };
                    attributes.support.replace(support).is_none()
                }
                Some((kind @ ("mac" | "uuid"), _)) => {
                    let ids = values(argument).map_err(anyhow::Error::msg)?;
                    let place = if kind == "mac" {
                        &mut attributes.macs
                    } else {
                        &mut attributes.uuids
                    };
                    place.replace(ids).is_none()
                }
                _ => bail!(
                    "{argument}: set winpepath=PATH, supportproxydhcp=yes, supportproxydhcp=no, \
                     mac=MAC,MAC or uuid=UUID"
                ),
            };
            if !is_new {
                bail!("{argument}: given twice");
            }
        }
        Ok(attributes)
    }

    /// Whether they say by which hardware a node is known.
    pub(super) fn identify(&self) -> bool {
        let ids = [&self.macs, &self.uuids].into_iter().flatten();
        ids.flatten().next().is_some()
    }

    /// The WinPE that they are to boot, if that is to be set.
    pub(super) fn winpe(&self) -> Option<&WinPe> {
        self.winpe.as_ref()
    }

    /// Sets the attributes of these nodes.
    pub(super) fn set(
        &self,
        nodes: &mut Nodes,
        names: &[String],
        rules: Rules<'_>,
    ) -> Result<Report> {
        let mut report = Report::default();
        let mut touched = HashSet::new();
        if self.macs.is_some() || self.uuids.is_some() {
            let [name] = names else {
                bail!(
                    "a hardware address or UUID is that of one machine, and {} nodes are named; set \
                     them one by one",
                    names.len()
                );
            };
            let (macs, uuids) = (self.macs.as_deref(), self.uuids.as_deref());
            if nodes.hardware.set(name, macs, uuids) {
                touched.insert(name.as_str());
                report.identify(name, &nodes.hardware.of(name));
            }
        }
        if let Some(winpe) = &self.winpe {
            let records = nodes.by_name();
            let mut new = Vec::new();
            for name in names {
                let before = records.get(&name.to_ascii_lowercase());
                let is_same = before
                    .is_some_and(|record| WinPe::parse(record.path(), rules).as_ref() == Ok(winpe));
                if is_same {
                    continue;
                }
                // A node keeps the spelling of its name.
                let spelled = before.and_then(|record| str::from_utf8(record.name()).ok());
                let spelled = spelled.unwrap_or(name);
                new.push(RawRecord::new(spelled, winpe.path(), rules)?);
                touched.insert(name.as_str());
                match before {
                    Some(before) => {
                        report.change(
                            spelled,
                            &Shown(before.path()),
                            &Shown(winpe.path().as_bytes()),
                        );
                    }
                    None => report.add(name, &Shown(winpe.path().as_bytes())),
                }
            }
            put(&mut nodes.records, &new);
        }
        if let Some(support) = self.support {
            let others = |name: &&String| nodes.disabled.contains(name) == support;
            let others: Vec<_> = names.iter().filter(others).map(String::as_str).collect();
            touched.extend(&others);
            if support {
                nodes.disabled.remove(others.iter().copied());
            } else {
                nodes.disabled.add(others.iter().copied());
            }
            for name in others {
                report.support(name, support);
            }
        } else {
            let still = names.iter().filter(|name| nodes.disabled.contains(name));
            report.still_disabled = still.cloned().collect();
        }
        report.unchanged = names.len() - touched.len();
        Ok(report)
    }
}

/// Removes the records of these nodes, and their entries among the disabled.
pub(super) fn remove(nodes: &mut Nodes, names: &[String]) -> Report {
    let mut report = Report::default();
    let records = nodes.by_name();
    let mut gone = HashSet::new();
    for name in names {
        let folded = name.to_ascii_lowercase();
        let record = records.get(&folded);
        match (record, nodes.disabled.contains(name)) {
            (Some(record), disabled) => report.remove(name, Some(&Shown(record.path())), disabled),
            (None, true) => report.remove(name, None, true),
            (None, false) => report.absent.push(name.clone()),
        }
        gone.insert(folded);
    }
    nodes.records.retain(|record| {
        !str::from_utf8(record.name()).is_ok_and(|name| gone.contains(&name.to_ascii_lowercase()))
    });
    nodes.disabled.remove(names.iter().map(String::as_str));
    nodes.hardware.remove(&gone);
    report
}
