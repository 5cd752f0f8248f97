//! `proxydhcp winpe rm`

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::api::client::{NoDaemon, brief_status, users};
use crate::cli::args::{ConfigArgs, ControlArgs};
use crate::cli::output::print;
use crate::cli::{Context, complete};
use crate::nodes::cfg;
use crate::text::Few;
use crate::winpe::check::{folder, folders};
use crate::winpe::path::{Rules, WinPe};
use crate::winpe::{check, create};

/// Arguments of `winpe rm`.
#[derive(Clone, Debug, Args)]
pub struct RmArgs {
    /// The WinPE: its folder in winboot/, or its path
    #[arg(add = complete::files::winpes())]
    pub name: String,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub config: ConfigArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub control: ControlArgs,
}

/// Removes a WinPE that no node boots.
///
/// # Errors
///
/// If a node boots it, another WinPE needs its files, or it cannot be removed.
pub(super) fn run(args: &RmArgs, context: &Context) -> Result<ExitCode> {
    let ConfigArgs { config, root } = &args.config;
    let rules = context.rules(root);
    let winpe = match folder(&args.name, rules)?.winpe {
        Ok(winpe) if winpe.path().is_empty() => {
            bail!(
                "the default WinPE is in the TFTP root itself, with all others: remove its files by hand"
            )
        }
        Ok(winpe) => winpe,
        Err(problem) => bail!("{problem}"),
    };
    let place = root.tftp_root.join(winpe.path());
    let shown = place.display();
    refuse_users(
        &users_in(config, &winpe, rules)?,
        &format!("in {}", config.display()),
    )?;
    match users(&args.control.socket, winpe.path()) {
        Ok(users) => {
            let served = brief_status(&args.control.socket)?.config;
            if served.is_absolute() && served != *config {
                refuse_users(
                    &users_in(&served, &winpe, rules)?,
                    &format!("in {}", served.display()),
                )?;
            }
            refuse_users(
                &users,
                "by the daemon's tables, which `proxydhcp reload` makes anew",
            )?;
        }
        Err(error) if error.is::<NoDaemon>() => {}
        Err(error) => return Err(error.context("the daemon cannot be asked who uses it")),
    }
    for other in folders(rules)? {
        if other.winpe.as_ref() == Ok(&winpe) {
            continue;
        }
        if check::names_files_below(&other, winpe.path(), rules) {
            bail!(
                "nothing was removed: the BCD of {} names files in it; make that with \
                 `proxydhcp winpe bcd write` again",
                other.name
            );
        }
    }
    create::remove(&place).with_context(|| format!("{shown}: not removed"))?;
    print(&format!("removed {shown}"));
    Ok(ExitCode::SUCCESS)
}

fn refuse_users(users: &Few<String>, by: &str) -> Result<()> {
    if users.count > 0 {
        bail!("nothing was removed: it is the WinPE of {users} {by}; set them to another first");
    }
    Ok(())
}

/// The nodes whose records name the WinPE.
fn users_in(config: &Path, winpe: &WinPe, rules: Rules<'_>) -> Result<Few<String>> {
    let bytes = cfg::read_if_there(config)?;
    let records = cfg::parse(&bytes, rules);
    let users = records.records.iter().filter(|record| {
        let has = records.winpes.get(record.winpe);
        has.is_some_and(|has| has.path() == winpe.path())
    });
    Ok(Few::of(users.map(|record| record.name.to_owned())))
}
