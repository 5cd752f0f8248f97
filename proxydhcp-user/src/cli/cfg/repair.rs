//! `proxydhcp cfg repair`

use std::ops::Range;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Args;
use jiff::Timestamp;
use zerocopy::IntoBytes;

use crate::api::control::Allowed;
use crate::cli::Context;
use crate::cli::args::{ConfigArgs, ControlArgs};
use crate::cli::output::print;
use crate::cli::take_up::{Of, take_up};
use crate::nodes::cfg::salvage::{Rejected, Salvage, salvage};
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
    if salvage.rejected.is_empty() && salvage.cleared.is_empty() {
        print(&format!(
            "{shown}: {}, all sound; nothing to repair",
            count(salvage.kept.len(), "record")
        ));
        return Ok(ExitCode::SUCCESS);
    }
    if !salvage.written {
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
    let mut parts: Vec<_> = salvage.rejected.iter().chain(&salvage.cleared).collect();
    parts.sort_by_key(|part| part.bytes.start);
    let rejected: Vec<u8> = parts
        .into_iter()
        .filter_map(|part| bytes.get(part.bytes.clone()))
        .flatten()
        .copied()
        .collect();
    let aside = replacement.set_aside(&end.to_string(), &rejected)?;
    print(&format!("the bytes not kept are in {}", aside.display()));
    replacement.replace(salvage.kept.as_bytes())?;
    take_up(&args.control.socket, config, Allowed::default(), Of::All)?;
    Ok(ExitCode::SUCCESS)
}

fn describe(salvage: &Salvage, bytes: &[u8]) -> String {
    let mut lines = not_kept(salvage, bytes);
    let rest: usize = salvage.rejected.iter().map(|r| r.bytes.len()).sum();
    let cleared = match salvage.cleared.len() {
        0 => String::new(),
        cleared => format!(", {} cleared", count(cleared, "record")),
    };
    lines.push(format!(
        "{} kept byte for byte{cleared}, {} not kept",
        count(salvage.kept.len() - salvage.cleared.len(), "record"),
        count(rest, "byte")
    ));
    lines.join("\n")
}

/// A line for each part of the file that is not kept, or not as it is.
pub(crate) fn not_kept(salvage: &Salvage, bytes: &[u8]) -> Vec<String> {
    let line = |kind: &str, part: &Rejected| {
        let Range { start, end } = part.bytes;
        let first = bytes.get(start..end.min(start + RECORD));
        // The texts in the record, without the NULs between them.
        let texts: Vec<_> = first
            .unwrap_or_default()
            .split(|&byte| byte == 0)
            .filter(|text| !text.is_empty())
            .map(printable)
            .collect();
        let (texts, reason) = (texts.join(" "), &part.reason);
        format!("{kind}: bytes {start} to {end} ({texts}): {reason}")
    };
    let cleared = salvage.cleared.iter().map(|part| line("cleared", part));
    let rejected = salvage.rejected.iter().map(|part| line("not kept", part));
    cleared.chain(rejected).collect()
}
