//! The daemon in place of xCAT's own `proxydhcp-xcat`, when it runs under that name. It has the
//! same flags, pid file and syslog lines, so xCAT can start, signal and stop it without a change.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use proxydhcp_common::PORT;
use tracing::{error, info};

use crate::api::xcat::{NAME, PID_FILE};
use crate::cli::serve::ServeArgs;
use crate::cli::{Cli, Command, Context};
use crate::daemon::http::Listener;
use crate::daemon::logging::{self, LineFormat};
use crate::daemon::port::PortError;
use crate::daemon::run::{Manner, serve};
use crate::daemon::{Settings, tftp};
use crate::sys::{self, privileges::Privileges};
use crate::text::with_causes;

mod background;
mod flags;
mod interfaces;
mod syslog;

use background::{Outcome, Side, Starter};
use flags::Flags;

/// How long to wait for the port: xCAT starts a successor as soon as it has signalled the daemon to
/// stop.
const PORT_PATIENCE: Duration = Duration::from_secs(5);

/// Whether the program was started in place of xCAT's daemon, judging by its [`NAME`].
pub fn is_called_by(program: Option<&OsStr>) -> bool {
    sys::xcat::is_daemon(program)
}

/// Serves in place of xCAT's daemon, with the arguments after the program's name. Call it before
/// any thread is started.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let flags = Flags::parse(arguments);
    let mut starter = None;
    let code = start(flags, &mut starter).unwrap_or_else(|error| {
        logging::last_words(
            LineFormat::Text,
            &format!("{NAME}: {}", with_causes(&error)),
        );
        ExitCode::FAILURE
    });
    // The starter is released only now, so that the error is found in the output of the command
    // that failed.
    drop(starter);
    code
}

/// Starts serving; in the background if `starter` waits for it.
fn start(flags: Flags, starter: &mut Option<Starter>) -> Result<ExitCode> {
    // xCAT looks for this name, however the program was started; other threads have names of their
    // own.
    rustix::thread::set_name(c"proxydhcp-xcat").context("cannot set the process's name")?;
    if flags.detach {
        match background::detach()? {
            Side::Starter(outcome) => return Ok(end_as(&outcome)),
            Side::Daemon(waiting) => *starter = Some(waiting),
        }
    }
    // Privileges are dropped before the log starts its threads.
    let prepared = prepare(flags.verbose);
    // Kept to the end, so that the last lines are written.
    let _log = syslog::start(flags.verbose && !flags.detach)?;
    let result = prepared.and_then(|prepared| {
        prepared.told.inspect(|told| info!("{told}"));
        let manner = Manner {
            port_patience: Some(PORT_PATIENCE),
            pid_file: Some(Path::new(PID_FILE)),
            tftp: prepared.tftp,
            metrics: prepared.metrics,
            ready: Box::new(|line| {
                info!("{line}");
                starter.take().map_or(Ok(()), Starter::release)
            }),
        };
        serve(prepared.settings, &prepared.privileges, manner)
    });
    if let Err(error) = &result {
        if error.is::<PortError>() {
            info!("Unable to open socket on port {PORT}.");
        }
        error!("{}", with_causes(error));
    }
    result.map(|()| ExitCode::SUCCESS)
}

/// The exit code of the process that has started the daemon in the background.
fn end_as(outcome: &Outcome) -> ExitCode {
    match outcome {
        Outcome::Serves => ExitCode::SUCCESS,
        Outcome::Failed => ExitCode::FAILURE,
        // The daemon exists and may serve yet; another start would only disturb it.
        Outcome::Starts => {
            let told = format!(
                "the daemon is still starting after {:?}; does the disk with its files hang?",
                background::PATIENCE
            );
            syslog::tell(&format!("Warning: {told}"));
            logging::last_words(LineFormat::Text, &format!("{NAME}: {told}"));
            ExitCode::SUCCESS
        }
    }
}

/// What the daemon begins with.
struct Prepared {
    settings: Settings,
    privileges: Privileges,
    tftp: Option<Result<tftp::Port>>,
    metrics: Option<Listener>,
    /// What to log about the settings.
    told: Option<String>,
}

/// Reads the settings, takes what needs privileges, and drops the others.
fn prepare(announces: bool) -> Result<Prepared> {
    let (mut args, context) = serve_args()?;
    let told = args.interfaces.is_empty().then(|| {
        let (interfaces, told) = interfaces::of_xcat();
        args.interfaces = interfaces;
        told
    });
    let tftp = args.take_tftp_port();
    let metrics = args.open_metrics()?;
    let privileges = args.keep_privileges()?;
    let settings = Settings {
        fleet: None,
        may_lack_config: true,
        announces,
        ..args.settings(&context)
    };
    Ok(Prepared {
        settings,
        privileges,
        tftp,
        metrics,
        told,
    })
}

/// The settings file, else the defaults of `serve`, with these exceptions: clients that are no node
/// get the default WinPE, as they do from xCAT's daemon; the files are watched, because xCAT does
/// not signal that a node's address has changed; and the kernel stops answering some time after
/// xCAT has killed the daemon, as it does to stop it.
fn serve_args() -> Result<(ServeArgs, Context)> {
    let defaults = [
        ("unknown", "lookup-default"),
        ("watch", "true"),
        ("outlive", "30s"),
    ];
    let (command, context) = Cli::read([NAME, "serve"], &defaults)?;
    match command {
        Command::Serve(args) => Ok((*args, context)),
        _ => anyhow::bail!("`serve` is another command"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::serve::DatapathChoice;
    use crate::tables::policy::Unknown;

    #[test]
    fn the_file_name_decides() {
        let is_called = |name: &str| is_called_by(Some(OsStr::new(name)));
        assert!(is_called("proxydhcp-xcat") && is_called("/opt/xcat/sbin/proxydhcp-xcat"));
        for other in [
            "proxydhcp",
            "/usr/sbin/proxydhcp",
            "/proxydhcp-xcat/x",
            "",
            "/",
        ] {
            assert!(!is_called(other), "{other}");
        }
        assert!(!is_called_by(None));
    }

    #[test]
    fn it_serves_what_xcats_daemon_serves() {
        let (args, _) = serve_args().unwrap();
        assert_eq!(args.unknown, Unknown::LookupDefault);
        assert!(args.watch);
        assert_eq!(args.outlive.to_string(), "30s");
        assert_eq!(args.path, DatapathChoice::Auto);
        assert!(args.interfaces.is_empty());
        assert_eq!(args.config.config, Path::new("/var/lib/xcat/proxydhcp.cfg"));
        assert_eq!(args.names.hosts, Path::new("/etc/hosts"));
        assert_eq!(args.config.root.tftp_root, Path::new("/tftpboot"));
    }
}
