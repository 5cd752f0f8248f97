//! Puts a WinPE's BCD where clients look for it whose firmware knows no proxyDHCP.
//!
//! They come to `pxeboot.0` by other ways, and look for `Boot/BCD` in the TFTP root. There is one such
//! file, so all nodes that are set at a time must need the same.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::check::{BOOTMGR, Folder};
use super::content::{self, Kind};
use super::find::{Root, other_case, quoted};
use crate::api::status::{SHOWN, and_more};
use crate::cli::ConfigArgs;
use crate::nodes::cfg;
use crate::winpe::path::{BCD, WinPe};

/// A file to put in place.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Copy {
    pub(crate) from: PathBuf,
    pub(crate) to: PathBuf,
    bytes: Vec<u8>,
}

/// What is to be copied so that the nodes boot `folder`, found out without changing anything.
///
/// # Errors
///
/// A node has another WinPE in `config`, or none; a file is missing or not sound.
pub(crate) fn plan(folder: &Folder, nodes: &[String], config: &ConfigArgs) -> Result<Vec<Copy>> {
    let winpe = match &folder.winpe {
        Ok(winpe) => winpe,
        Err(problem) => bail!("{problem}"),
    };
    if winpe.path().is_empty() {
        bail!(
            "the default WinPE is active unless another was: make its {BCD} again to go back to it"
        );
    }
    agree(winpe, nodes, config)?;
    let root = &config.root.tftp_root;
    let mut copies = Vec::new();
    copies.extend(copy(root, &winpe.bcd(), BCD, Kind::Registry)?);
    if let Some(other) = other_case(root, BOOTMGR) {
        let (other, right) = (root.join(other), root.join(BOOTMGR));
        bail!(
            "wrong letter case: mv {} {}",
            quoted(&other),
            quoted(&right)
        );
    }
    if !root.join(BOOTMGR).exists() {
        let made = format!("{}{BOOTMGR}", winpe.path());
        copies.extend(copy(root, &made, BOOTMGR, Kind::BootManager)?);
    }
    Ok(copies)
}

/// Puts the files in place: each at once, so that a client fetches the old one or the new one.
pub(crate) fn put(copies: &[Copy]) -> Result<()> {
    copies.iter().try_for_each(|copy| {
        write(copy).with_context(|| format!("cannot write {}", copy.to.display()))
    })
}

fn write(copy: &Copy) -> Result<()> {
    let folder = copy.to.parent().context("it has no folder")?;
    if !folder.is_dir() {
        fs::create_dir(folder)?;
        fs::set_permissions(folder, PermissionsExt::from_mode(0o755))?;
    }
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(&copy.bytes)?;
    let all_read = PermissionsExt::from_mode(0o644);
    file.as_file().set_permissions(all_read)?;
    file.as_file().sync_all()?;
    file.persist(&copy.to)?;
    // So that the new name is there after a power cut.
    fs::File::open(folder)?.sync_all()?;
    Ok(())
}

/// The copy from one path below the root to another, if it is not there already.
fn copy(root: &Path, from: &str, to: &str, kind: Kind) -> Result<Option<Copy>> {
    let mut findings = Vec::new();
    let found = Root(root).find(from, kind.remedy(), &mut findings);
    let Some(path) = found else {
        let findings = findings.iter();
        let told: Vec<_> = findings
            .map(|finding| format!("{}: {}; {}", finding.file, finding.problem, finding.remedy))
            .collect();
        bail!("{}", told.join("; "));
    };
    let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    if let Err(problem) = kind.judge(&bytes) {
        bail!("{}: {problem}; {}", path.display(), kind.remedy());
    }
    for part in Path::new(to)
        .iter()
        .filter_map(|part| part.to_str())
        .take(1)
    {
        if let Some(other) = other_case(root, part) {
            bail!(
                "wrong letter case: mv {} {}",
                quoted(&root.join(other)),
                quoted(&root.join(part))
            );
        }
    }
    let to = root.join(to);
    let same = content::read(&to).is_ok_and(|there| there == bytes);
    Ok((!same).then_some(Copy {
        from: path,
        to,
        bytes,
    }))
}

/// Whether each node's record names this WinPE.
fn agree(winpe: &WinPe, nodes: &[String], ConfigArgs { config, root }: &ConfigArgs) -> Result<()> {
    let bytes = cfg::read(config)?;
    let records = cfg::parse(&bytes, &root.tftp_root, &root.loaders);
    let shown = config.display();
    let mut faults = Vec::new();
    for node in nodes {
        let record = records
            .position(node.as_bytes())
            .and_then(|position| records.records.get(position as usize));
        let refused = records
            .refused
            .iter()
            .find(|refused| refused.name.eq_ignore_ascii_case(node));
        let has = match (record, refused) {
            (Some(record), _) => records.winpes.get(record.winpe).unwrap_or(winpe),
            (None, Some(refused)) => {
                faults.push(format!(
                    "the record of {node} is refused: {}",
                    refused.reason
                ));
                continue;
            }
            (None, None) => {
                faults.push(format!("{node} has no record; run nodeset for it"));
                continue;
            }
        };
        if has != winpe {
            let has = match has.path() {
                "" => "the default WinPE",
                path => path,
            };
            faults.push(format!("{node} boots {has}"));
        }
    }
    if faults.is_empty() {
        return Ok(());
    }
    let more = and_more(faults.len().saturating_sub(SHOWN));
    faults.truncate(SHOWN);
    bail!(
        "nothing was changed, for by {shown} not all of these nodes boot {}: {}{more}. Firmware without \
         proxyDHCP finds one BCD alone, so set nodes of one WinPE at a time",
        winpe.path(),
        faults.join("; ")
    )
}
