//! The daemon's life, as `proxydhcp serve` and in place of xCAT's daemon.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::spawn_blocking;
use tokio::time::interval;
use tracing::{error, info, warn};

use crate::api::control::Allowed;
use crate::daemon::Settings;
use crate::daemon::control::Server;
use crate::daemon::fleet;
use crate::daemon::http::Listener;
use crate::daemon::pid_file::PidFile;
use crate::daemon::port::{Port, PortError, PortHolders};
use crate::daemon::refresh;
use crate::daemon::service::Service;
use crate::daemon::storm::Storm;
use crate::daemon::systemd;
use crate::daemon::tftp;
use crate::daemon::watch::{self, Watching};
use crate::datapath::unknown_clients::UnknownClients;
use crate::datapath::xdp::pins::{self, PinsError};
use crate::sys::interface::{self, Interface};
use crate::sys::privileges::Privileges;
use crate::sys::{descriptors, heap};
use crate::text::with_causes;

/// How often it is looked whether the interfaces are as they should be: not all changes are told of,
/// such as that of a program that somebody detaches.
const LOOK: Duration = Duration::from_secs(10);

/// What differs between the two ways to run the daemon.
pub struct Manner<'a> {
    /// How long to wait for another program to free the port, if the daemon must have it.
    pub port_patience: Option<Duration>,
    /// The file for the process id, if there is one.
    pub pid_file: Option<&'a Path>,
    /// The port of the TFTP server, or why it cannot be had, if there is to be one.
    pub tftp: Option<Result<tftp::Port>>,
    /// Where the metrics are asked for, if they are to be had.
    pub metrics: Option<Listener>,
    /// Called with the line that says that requests are answered from now on.
    pub ready: Ready<'a>,
}

/// Takes the line that says that requests are answered.
pub type Ready<'a> = Box<dyn FnOnce(&str) -> Result<()> + 'a>;

impl Default for Manner<'_> {
    /// How `proxydhcp serve` runs the daemon.
    fn default() -> Self {
        Self {
            port_patience: None,
            pid_file: None,
            tftp: None,
            metrics: None,
            ready: Box::new(|line| {
                print_and_notify(line);
                Ok(())
            }),
        }
    }
}

/// Serves until SIGINT or SIGTERM; SIGUSR1 and SIGHUP reload. All threads have the `privileges` of
/// the calling one.
///
/// # Errors
///
/// If the port or the control socket is taken, an interface cannot be served, or the system lacks a
/// resource the service needs.
pub fn serve(settings: Settings, privileges: &Privileges, manner: Manner) -> Result<()> {
    descriptors::provide()?;
    heap::settle();
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("control")
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let result = runtime.block_on(run(settings, privileges, manner));
    // Pending look-ups are not waited for.
    runtime.shutdown_background();
    result
}

async fn run(settings: Settings, privileges: &Privileges, manner: Manner<'_>) -> Result<()> {
    // The handlers are installed before anything that a signal could interrupt.
    let mut signals = Signals::new()?;
    // The port is freed last, because a successor waits for it.
    let mut port = tokio::select! {
        port = take_port(manner.port_patience) => port?,
        () = signals.stop() => return Ok(()),
    };
    // From here on a reload can be requested, and what is loaded below is newer than the request.
    let _pid_file = manner.pid_file.map(PidFile::write).transpose()?;
    let server = Server::bind(&settings.socket, privileges.control_group)?;
    // The watch begins before the interfaces are listed, so that every later change is noticed.
    let changes = interface::Changes::new()?;
    let all = interface::list().await?;
    for lack in lacks(&all, &settings.interfaces) {
        warn!("{lack}");
    }
    port.take_the_rest(&interface::local_addresses(&all));
    let fleet = settings.fleet.clone();
    let watch = settings.watch.then(|| watch::start(&settings));
    let mut watch = watch.transpose()?;
    let start = start(settings, watch.as_mut(), port.others(), &all);
    let service = tokio::select! {
        service = start => service?,
        () = signals.stop() => {
            // A stop during the start also removes what a killed daemon has left.
            return match pins::clear(&all, |removed| info!("{removed}")).await {
                // The pins belong to the running daemon.
                Err(PinsError::Held | PinsError::Twin) => Ok(()),
                cleared => Ok(cleared?),
            };
        }
    };
    if let Some(port) = manner.tftp {
        service.serve_files(port);
    }
    if let Some(fleet) = fleet.clone() {
        tokio::spawn(fleet::follow(Arc::clone(&service), fleet));
    }
    let storm = Storm::new(&service);
    if let Some(listener) = manner.metrics {
        listener.start(&service, &storm);
    }
    if let Err(error) = (manner.ready)(&service.ready_line()) {
        service.stop();
        return Err(error);
    }
    let pulse = systemd::keep_informed(Arc::clone(&service));
    let pulse = pulse.inspect_err(|_| service.stop())?;
    tokio::select! {
        () = follow(&service, changes, &mut port) => {}
        () = reload_when_changed(&service, watch) => {}
        () = server.run(&service, storm) => {}
        () = reload_when_signalled(&service, &mut signals.reload) => {}
        () = pulse.run() => {}
        () = stop(&mut signals.interrupt, &mut signals.terminate) => info!("stopping"),
    }
    systemd::stopping();
    service.stop();
    if let Some(fleet) = fleet {
        fleet.keep().await;
    }
    Ok(())
}

async fn take_port(patience: Option<Duration>) -> Result<Port, PortError> {
    match patience {
        Some(patience) => Port::take(patience).await,
        None => Port::take_if_free(),
    }
}

/// What interfaces to serve lack: an address, or that there is one at all.
pub fn lacks(all: &[Interface], names: &[String]) -> Vec<String> {
    let served = interface::choose(all, names);
    let without = served.iter().filter(|served| served.addresses.is_empty());
    let mut lacks: Vec<_> = without
        .map(|interface| {
            format!(
                "{} has no IPv4 address yet, and requests to addresses that are not this host's are \
                 left alone",
                interface.name
            )
        })
        .collect();
    if served.is_empty() && names.is_empty() {
        let lack = "no interface is up with an IPv4 address; one is served as soon as it is";
        lacks.push(lack.to_owned());
    }
    lacks
}

/// Starts the service and the tasks beside it.
async fn start(
    settings: Settings,
    mut watch: Option<&mut Watching>,
    port_holders: PortHolders,
    all: &[Interface],
) -> Result<Arc<Service>> {
    // The watch begins before the files are read, so that every later change is noticed.
    if let Some(watch) = &mut watch {
        watch.began().await;
    }
    let watching = watch.map(|watch| watch.clone());
    // The source of a fleet may say later that they are to be looked up.
    let (clients, waiting) = if settings.policy.unknown.is_looked_up() || settings.fleet.is_some() {
        let (clients, waiting) = UnknownClients::new();
        (Some(clients), Some(waiting))
    } else {
        (None, None)
    };
    let service = Service::start(settings, watching, clients, port_holders, all).await?;
    let service = Arc::new(service);
    tokio::spawn(forward_logs(Arc::clone(&service)));
    let watcher = Arc::clone(&service);
    tokio::spawn(async move { watcher.watch_for_events().await });
    tokio::spawn(refresh::names(Arc::clone(&service)));
    tokio::spawn(refresh::save(Arc::clone(&service)));
    if let Some(waiting) = waiting {
        tokio::spawn(refresh::unknown_clients(Arc::clone(&service), waiting));
    }
    Ok(service)
}

async fn reload_when_signalled(service: &Arc<Service>, signals: &mut ReloadSignals) {
    while signals.asked().await {
        // The outcome is in the log and in the status.
        let _ = service.reload(Allowed::default()).await;
    }
}

async fn reload_when_changed(service: &Arc<Service>, watch: Option<Watching>) {
    let Some(mut watch) = watch else {
        return std::future::pending().await;
    };
    loop {
        watch.changed().await;
        info!("the files have changed");
        let _ = service.reload(Allowed::default()).await;
    }
}

/// Serves interfaces as they come and go, and retries those that could not be served. Takes the port
/// where it is free by now.
async fn follow(service: &Service, mut changes: interface::Changes, port: &mut Port) {
    let mut looks = interval(LOOK);
    // The first is at once.
    looks.tick().await;
    loop {
        let noticed = tokio::select! {
            noticed = changes.next() => noticed,
            () = service.retry_is_due() => Ok(()),
            _ = looks.tick() => Ok(()),
        };
        if let Err(error) = noticed {
            error!(
                "interfaces that come and go are no longer noticed: {}",
                with_causes(&error)
            );
            return std::future::pending().await;
        }
        if let Err(error) = service.interfaces_changed(&changes.take_deleted()).await {
            error!("{}", with_causes(&error));
        }
        port.take_the_rest(&service.addresses());
    }
}

fn print_and_notify(line: &str) {
    let line = format!("{line}\n");
    // Stdout may have no reader, now or ever.
    spawn_blocking(move || {
        let mut stdout = std::io::stdout();
        let _ = stdout
            .write_all(line.as_bytes())
            .and_then(|()| stdout.flush());
    });
    systemd::ready();
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
    reload: ReloadSignals,
}

struct ReloadSignals {
    user: Signal,
    /// Log rotation sends it to daemons, and so do closed terminals: no reason to end.
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

/// Forwards what the XDP programs log to the daemon's log. They log only their own faults, so
/// reading it once a second is enough.
async fn forward_logs(service: Arc<Service>) {
    let mut ticks = interval(Duration::from_secs(1));
    loop {
        ticks.tick().await;
        service.forward_logs();
    }
}
