//! The daemon's life, as `proxydhcp serve` and in place of xCAT's.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use proxydhcp_common::limit::Limit;
use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::spawn_blocking;
use tokio::time::interval;
use tracing::{error, info, warn};

use crate::cli::{DatapathChoice, ServeArgs, Unknown, XdpMode};
use crate::daemon::control::Server;
use crate::daemon::pid_file::PidFile;
use crate::daemon::port::Port;
use crate::daemon::refresh;
use crate::daemon::service::{Service, Settings};
use crate::daemon::systemd;
use crate::daemon::watch;
use crate::datapath::served_interface::{self, AttachOptions};
use crate::datapath::xdp::Duty;
use crate::datapath::xdp::pins::{self, PinsError};
use crate::names::reverse::Strangers;
use crate::names::saved;
use crate::sys::interface::{self, AttachMode};
use crate::sys::privileges::Rights;
use crate::tables::generation::{self, Policy};

/// What differs between the two ways to be called.
pub struct Manner<'a> {
    /// How long to wait for a predecessor to free the port.
    pub port_patience: Duration,
    /// Where to tell the process id.
    pub pid_file: Option<&'a std::path::Path>,
    /// A missing `proxydhcp.cfg` is one without records; else one that is to be mended first.
    pub may_lack_config: bool,
    /// The log tells each new or changed node's files.
    pub announces: bool,
    /// Tells whoever is to know that requests are answered from now on, with a line that says so.
    pub ready: Ready<'a>,
}

/// What is done with the line that says that requests are answered.
pub type Ready<'a> = Box<dyn FnOnce(&str) -> Result<()> + 'a>;

impl Default for Manner<'_> {
    /// That of `proxydhcp serve`.
    fn default() -> Self {
        Self {
            port_patience: Duration::ZERO,
            pid_file: None,
            may_lack_config: false,
            announces: false,
            ready: Box::new(|line| {
                print_and_notify(line);
                Ok(())
            }),
        }
    }
}

/// Serves until SIGINT or SIGTERM; SIGUSR1 and SIGHUP reload. All threads have the `rights` of this
/// one.
///
/// # Errors
///
/// What keeps the service from starting.
pub fn serve(args: &ServeArgs, rights: &Rights, manner: Manner) -> Result<()> {
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("control")
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let result = runtime.block_on(run(args, rights, manner));
    // A look-up that the resolver has not answered is not waited for.
    runtime.shutdown_background();
    result
}

async fn run(args: &ServeArgs, rights: &Rights, manner: Manner<'_>) -> Result<()> {
    let mut settings = settings(args, &manner);
    let strangers = (args.unknown == Unknown::Lookup).then(|| {
        let (strangers, waiting) = Strangers::new();
        settings.policy.unknown = generation::Unknown::Lookup(Arc::new(strangers));
        waiting
    });
    // Before anything that a signal could interrupt.
    let mut signals = Signals::new()?;
    // Freed last, for a successor waits for it.
    let _port = tokio::select! {
        port = Port::take(manner.port_patience) => port?,
        () = signals.stop() => return Ok(()),
    };
    // From here on a reload can be asked for, and what is loaded below is newer than that.
    let _pid_file = manner.pid_file.map(PidFile::write).transpose()?;
    let server = Server::bind(&args.control.socket, rights.control_group)?;
    // Before they are listed: what changes from then on is noticed.
    let mut changes = interface::Changes::new()?;
    let all = interface::list().await?;
    let served = interface::choose(&all, &args.interfaces);
    for interface in served.iter().filter(|served| served.addresses.is_empty()) {
        warn!(
            "{} has no IPv4 address yet, and requests to addresses that are not this host's are \
             left alone",
            interface.name
        );
    }
    if served.is_empty() && args.interfaces.is_empty() {
        warn!("no interface is up with an IPv4 address; one is served as soon as it is");
    }
    let watch = args.watch.then(|| watch::start(&settings.sources));
    let mut watch = watch.transpose()?;
    settings.watching.clone_from(&watch);
    let start = async {
        // Before the files are read: what changes from then on is noticed.
        if let Some(watch) = &mut watch {
            watch.began().await;
        }
        Service::start(settings, &all).await
    };
    let service = tokio::select! {
        service = start => Arc::new(service?),
        () = signals.stop() => {
            // It stands for the daemon whose place it was to take.
            return match pins::clear(&all, |removed| info!("{removed}")).await {
                // What is pinned is that one's.
                Err(PinsError::Held) => Ok(()),
                cleared => Ok(cleared?),
            };
        }
    };
    tokio::spawn(forward_logs(Arc::clone(&service)));
    tokio::spawn(refresh::names(Arc::clone(&service)));
    tokio::spawn(refresh::keep(Arc::clone(&service)));
    if let Some(waiting) = strangers {
        tokio::spawn(refresh::strangers(Arc::clone(&service), waiting));
    }
    if let Err(error) = (manner.ready)(&service.ready_line()) {
        service.stop();
        return Err(error);
    }
    let pulse = systemd::keep_informed(Arc::clone(&service));
    let pulse = pulse.inspect_err(|_| service.stop())?;

    let reloads = async {
        while signals.reload.asked().await {
            // The outcome is in the log and in the status.
            let _ = service.reload(false).await;
        }
    };
    let watching = async {
        let Some(watch) = &mut watch else {
            return std::future::pending().await;
        };
        loop {
            watch.changed().await;
            info!("the files have changed");
            let _ = service.reload(false).await;
        }
    };
    let following = async {
        loop {
            let noticed = tokio::select! {
                noticed = changes.next() => noticed,
                () = service.retry_is_due() => Ok(()),
            };
            if let Err(error) = noticed {
                error!("interfaces that come and go are not noticed any more: {error:#}");
                return std::future::pending().await;
            }
            if let Err(error) = service.interfaces_changed(&changes.take_deleted()).await {
                error!("{error:#}");
            }
        }
    };
    tokio::select! {
        () = following => {}
        () = watching => {}
        () = server.run(&service) => {}
        () = reloads => {}
        () = pulse.run() => {}
        () = stop(&mut signals.interrupt, &mut signals.terminate) => info!("stopping"),
    }
    systemd::stopping();
    service.stop();
    Ok(())
}

fn print_and_notify(line: &str) {
    let line = format!("{line}\n");
    // Nobody may be reading, or ever read.
    spawn_blocking(move || {
        let mut stdout = std::io::stdout();
        let _ = stdout
            .write_all(line.as_bytes())
            .and_then(|()| stdout.flush());
    });
    systemd::ready();
}

fn settings(args: &ServeArgs, manner: &Manner) -> Settings {
    let mode = match args.xdp_mode {
        XdpMode::Auto => None,
        XdpMode::Native => Some(AttachMode::Native),
        XdpMode::Generic => Some(AttachMode::Generic),
    };
    let options =
        |duty, or_raw| served_interface::DatapathPlan::Xdp(AttachOptions { duty, mode, or_raw });
    let path = match args.path {
        DatapathChoice::Auto => options(Duty::Answer, true),
        DatapathChoice::Kernel => options(Duty::Answer, false),
        DatapathChoice::AfXdp => options(Duty::Redirect, false),
        DatapathChoice::Raw => served_interface::DatapathPlan::Raw,
    };
    Settings {
        sources: args.names.sources(&args.config),
        resolved: saved::beside(&args.control.socket),
        policy: Policy {
            unknown: match args.unknown {
                Unknown::Default => generation::Unknown::Default,
                // Who notes the clients is made where they are looked up.
                Unknown::Ignore | Unknown::Lookup => generation::Unknown::Ignore,
            },
            next_server: args.next_server,
            reply_format: args.reply_format,
            loaders: args.config.root.loaders.clone(),
            limit: Limit::new(args.rate_limit, args.burst),
        },
        interfaces: args.interfaces.clone(),
        path,
        pins: !args.no_pin,
        may_lack_config: manner.may_lack_config,
        announces: manner.announces,
        watching: None,
    }
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
    reload: ReloadSignals,
}

struct ReloadSignals {
    user: Signal,
    /// Daemons are sent it by log rotation, and by terminals that go away: no reason to end.
    hang_up: Signal,
}

impl ReloadSignals {
    async fn asked(&mut self) -> bool {
        tokio::select! {
            signal = self.user.recv() => signal.is_some(),
            signal = self.hang_up.recv() => signal.is_some(),
        }
    }
}

impl Signals {
    fn new() -> Result<Self> {
        let of = |kind| signal(kind).context("cannot wait for signals");
        Ok(Self {
            interrupt: of(SignalKind::interrupt())?,
            terminate: of(SignalKind::terminate())?,
            reload: ReloadSignals {
                user: of(SignalKind::user_defined1())?,
                hang_up: of(SignalKind::hangup())?,
            },
        })
    }

    async fn stop(&mut self) {
        stop(&mut self.interrupt, &mut self.terminate).await;
    }
}

async fn stop(interrupt: &mut Signal, terminate: &mut Signal) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

/// Passes what the XDP programs log on to the daemon's log. They log faults of their own alone, so
/// that looking once a second will do.
async fn forward_logs(service: Arc<Service>) {
    let mut ticks = interval(Duration::from_secs(1));
    loop {
        ticks.tick().await;
        service.forward_logs();
    }
}
