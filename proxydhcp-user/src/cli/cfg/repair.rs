//! `proxydhcp cfg repair`

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Args;
use jiff::Timestamp;
use zerocopy::IntoBytes;

use crate::cli::Context;
use crate::cli::args::{ConfigArgs, ControlArgs};
use crate::cli::output::print;
use crate::cli::take_up::{Of, take_up};
use crate::nodes::cfg::edit::RawRecord;
use crate::nodes::cfg::salvage::{Salvage, salvage};
use crate::nodes::cfg::{RECORD, read_damaged};
use crate::sys::replace::Replacement;
use crate::sys::xcat::node_set;
use crate::text::{count, printable};

/// Arguments of `cfg repair`.
#[derive(Clone, Debug, Args)]
pub struct RepairArgs {
    /// Show what would be kept and what not, without writing it
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub config: ConfigArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub control: ControlArgs,
}

/// Keeps the sound records, and writes the rest to another file.
///
/// # Errors
/// If the file cannot be read or written, or has no sound record at all. It is then unchanged.
pub(super) fn repair(args: &RepairArgs, context: &Context) -> Result<ExitCode> {
    let config = &args.config.config;
    // A dry run needs no write permission.
    let replacement = (!args.dry_run)
        .then(|| Replacement::begin(config))
        .transpose()?;
    let bytes = read_damaged(config)?;
    let salvage = salvage(&bytes, context.rules(&args.config.root));
    let shown = config.display();
    if salvage.rejected.is_empty() {
        print(&format!(
            "{shown}: {}, all sound; nothing to repair",
            count(salvage.kept.len(), "record")
        ));
        return Ok(ExitCode::SUCCESS);
    }
    if !salvage.kept.iter().any(RawRecord::is_padded) {
        bail!(
            "{shown}: no record is sound; check that this is a proxydhcp.cfg, or have {} write it \
             anew; the file is unchanged",
            node_set()
        );
    }
    print(&describe(&salvage, &bytes));
    let Some(replacement) = replacement else {
        print("nothing was written");
        return Ok(ExitCode::SUCCESS);
    };
    let end = Timestamp::now().strftime(".rejected-%Y-%m-%dT%H-%M-%SZ");
    let rejected: Vec<u8> = salvage
        .rejected
        .iter()
        .filter_map(|rejected| bytes.get(rejected.bytes.clone()))
        .flatten()
        .copied()
        .collect();
    let aside = replacement.set_aside(&end.to_string(), &rejected)?;
    print(&format!("the bytes not kept are in {}", aside.display()));
    replacement.replace(salvage.kept.as_bytes())?;
    take_up(&args.control.socket, config, false, Of::All)?;
    Ok(ExitCode::SUCCESS)
}

fn describe(salvage: &Salvage, bytes: &[u8]) -> String {
    let mut lines = not_kept(salvage, bytes);
    let rest: usize = salvage.rejected.iter().map(|r| r.bytes.len()).sum();
    lines.push(format!(
        "{} kept byte for byte, {} not kept",
        count(salvage.kept.len(), "record"),
        count(rest, "byte")
    ));
    lines.join("\n")
}

/// A line for each part of the file that is not kept.
pub(crate) fn not_kept(salvage: &Salvage, bytes: &[u8]) -> Vec<String> {
    let mut lines = Vec::new();
    for rejected in &salvage.rejected {
        let range = &rejected.bytes;
        let part = bytes.get(range.clone()).unwrap_or_default();
        let start = part.get(..part.len().min(RECORD)).unwrap_or_default();
        // The texts in the record, without the NULs between them.
        let texts: Vec<_> = start
            .split(|&byte| byte == 0)
            .filter(|text| !text.is_empty())
            .map(printable)
            .collect();
        lines.push(format!(
            "not kept: bytes {} to {} ({}): {}",
            range.start,
            range.end,
            texts.join(" "),
            rejected.reason
        ));
    }
    lines
}
