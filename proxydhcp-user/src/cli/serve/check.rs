//! `proxydhcp serve --check`: finds out what keeps the daemon from serving, and touches nothing.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Result;
use proxydhcp_common::PORT;

use super::ServeArgs;
use crate::api::status::{Unserved, named, port_held};
use crate::cli::Context;
use crate::cli::exit::Exit;
use crate::cli::output::{note, print};
use crate::cli::runtime::block_on;
use crate::daemon::port::is_daemon;
use crate::daemon::run::lacks;
use crate::daemon::{Settings, control, http, tftp};
use crate::fleet::client::Access;
use crate::fleet::login::Login;
use crate::sys::interface::{self, Interface};
use crate::sys::journal::{self, Priority};
use crate::sys::port_holder::holders;
use crate::tables::table::{Files, Table};
use crate::text::{count, first_of};

/// Checks the settings, which have been read, and all that they name.
///
/// # Errors
///
/// If serving would fail: a right is missing, or an interface or the control socket cannot be had.
pub(super) fn run(args: &ServeArgs, context: &Context) -> Result<ExitCode> {
    // Root may look for the holder, and the daemon may not.
    let mut others = holders(PORT);
    others.retain(|holder| !is_daemon(holder));
    let tftp_holders = tftp::others();
    if let Some(address) = args.metrics {
        http::judge(address, args.web_config.as_deref())?;
    }
    // From here on, everything is judged with the daemon's rights.
    args.keep_privileges()?;
    let settings = args.settings(context);
    control::judge(&settings.socket)?;
    let all = block_on(interface::list())??;
    let chosen = interface::choose(&all, &settings.interfaces);
    chosen.iter().try_for_each(Interface::check)?;

    let mut warnings = of_interfaces(&all, &settings.interfaces);
    if !others.is_empty() {
        warnings.push(port_held(&others));
    }
    if args.tftp && !tftp_holders.is_empty() {
        let holders = named(&tftp_holders);
        warnings.push(format!(
            "no files would be served by TFTP: UDP port 69 is held by {holders}"
        ));
    }
    let files = match args.source.access() {
        Some(access) => of_source(&access)?,
        None => of_files(&settings, &all, &mut warnings),
    };
    for warning in warnings {
        let warning = format!("warning: {warning}");
        note(&journal::for_stderr(Priority::Warning, &warning));
    }
    let names: Vec<_> = chosen.iter().map(|interface| &interface.name).collect();
    let names = if names.is_empty() {
        "no interface yet".to_owned()
    } else {
        first_of(&names, names.len(), ", ")
    };
    print(&format!("sound: {names}; {files}"));
    Ok(Exit::Done.into())
}

fn of_interfaces(all: &[Interface], names: &[String]) -> Vec<String> {
    let is_missing = |name: &&String| !all.iter().any(|interface| interface.is_named(name));
    let missing = names.iter().filter(is_missing);
    let missing = missing.map(|name| format!("{name}: {}", Unserved::missing(name).why));
    missing.chain(lacks(all, names)).collect()
}

/// Describes where the nodes come from. etcd may be away: the daemon would serve what it has.
fn of_source(access: &Access) -> Result<String> {
    access.login.as_deref().map(Login::read).transpose()?;
    Ok(format!("the nodes of {}", access.address))
}

/// Describes what the files make, and adds what is wrong with them.
fn of_files(settings: &Settings, all: &[Interface], warnings: &mut Vec<String>) -> String {
    let files = match Files::read(&settings.sources) {
        Ok(files) => files,
        Err(error) => {
            warnings.push(format!("no node would be served: {error}"));
            return "no node".to_owned();
        }
    };
    let mut table = Table::of_files(Arc::new(files));
    table.warn_of_own(&interface::local_addresses(all));
    table.warn_of_offers(settings.offers);
    warnings.extend(table.warnings().iter().map(ToString::to_string));
    if let [first, ..] = table.refused() {
        warnings.push(format!(
            "{} of {} refused, first of all record {} ({}): {}; `proxydhcp cfg check` has them all",
            count(table.refused().len(), "record"),
            settings.sources.config.display(),
            first.number,
            first.name,
            first.reason
        ));
    }
    let asked = match table.unresolved().len() {
        0 => String::new(),
        names => format!(", and {} to ask the resolver for", count(names, "name")),
    };
    format!(
        "{} from {} of {}{asked}",
        count(table.served(), "node"),
        count(table.records(), "record"),
        settings.sources.config.display()
    )
}
