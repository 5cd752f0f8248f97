//! Notifies the service manager (systemd) by `sd_notify(3)` that the service is ready, reloads or
//! stops, what it serves, and that it is alive. If no service manager asks for it, nothing is sent.

use std::pin::pin;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use sd_notify::NotifyState::{self, Ready, Reloading, Status, Stopping, Watchdog};
use tokio::runtime::Builder;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Interval, MissedTickBehavior, interval, timeout};
use tracing::{error, warn};

use crate::daemon::service::Service;

/// The longest time in which a sign of life arrives, unless the daemon hangs or is very busy.
const PATIENCE: Duration = Duration::from_secs(5);

/// Notifies the service manager that the service is ready. If that fails, the service runs on.
pub(crate) fn ready() {
    if let Err(error) = sd_notify::notify(&[Ready]) {
        warn!("cannot notify the service manager that the service is ready: {error}");
    }
}

/// Notifies the service manager that the service stops.
pub(crate) fn stopping() {
    notify(&[Stopping]);
}

/// Shows, when asked, that everything in the daemon except the packet threads is alive.
pub(crate) struct Pulse(mpsc::Receiver<oneshot::Sender<()>>);

impl Pulse {
    /// Answers each request for a sign of life. It runs in the loop in which the daemon waits for
    /// everything else, so that it shows that this loop is alive.
    pub(crate) async fn run(mut self) {
        while let Some(sign) = self.0.recv().await {
            // The runtime's own threads must be alive, too.
            let _ = tokio::spawn(async {}).await;
            let _ = sign.send(());
        }
        std::future::pending::<()>().await;
    }
}

/// Notifies the service manager of reloads and of what is served, and, if the manager asks for it
/// (`WatchdogSec=`), of being alive: as long as all packet threads and the [`Pulse`] show that they
/// are. This has a thread of its own, because the others may be busy.
///
/// # Errors
///
/// If the runtime or the thread cannot be started.
pub(crate) fn keep_informed(service: Arc<Service>) -> Result<Pulse> {
    let runtime = Builder::new_current_thread().enable_time().build();
    let runtime = runtime.context("cannot start the runtime that informs the service manager")?;
    let (ask, asked) = mpsc::channel(1);
    thread::Builder::new()
        .name("manager".to_owned())
        .spawn(move || runtime.block_on(inform(service, ask)))
        .context("cannot start the thread that informs the service manager")?;
    Ok(Pulse(asked))
}

async fn inform(service: Arc<Service>, pulse: mpsc::Sender<oneshot::Sender<()>>) {
    let mut reloading = service.reloading();
    let mut watchdog = sd_notify::watchdog_enabled().map(ticks);
    notify(&[Status(&service.summary())]);
    loop {
        tokio::select! {
            () = tick(&mut watchdog) => {
                let silent = service.silent_threads();
                if !silent.is_empty() {
                    no_sign_of(&silent.join(", "));
                } else if beats(&pulse).await {
                    notify(&[Watchdog]);
                } else {
                    // The daemon is stopping.
                    return;
                }
            }
            changed = reloading.changed() => {
                if changed.is_err() {
                    return;
                }
                let is_reloading = reloading.borrow_and_update().is_some();
                if is_reloading {
                    let mut states = vec![Reloading];
                    states.extend(NotifyState::monotonic_usec_now());
                    notify(&states);
                } else {
                    notify(&[Ready, Status(&service.summary())]);
                }
            }
        }
    }
}

/// Waits for a sign of life without a limit: if none comes, the manager's watchdog ends the daemon.
async fn beats(pulse: &mpsc::Sender<oneshot::Sender<()>>) -> bool {
    let mut sign = pin!(async {
        let (sign, shown) = oneshot::channel();
        pulse.send(sign).await.is_ok() && shown.await.is_ok()
    });
    if let Ok(beats) = timeout(PATIENCE, &mut sign).await {
        return beats;
    }
    no_sign_of("the control threads");
    sign.await
}

fn no_sign_of(silent: &str) {
    error!("no sign of life from {silent}: the watchdog of the service manager is not reset");
}

/// Ticks at half the interval within which the manager must hear from the service.
fn ticks(limit: Duration) -> Interval {
    let mut ticks = interval((limit / 2).max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

async fn tick(ticks: &mut Option<Interval>) {
    match ticks {
        Some(ticks) => {
            ticks.tick().await;
        }
        None => std::future::pending().await,
    }
}

fn notify(states: &[NotifyState]) {
    // A failure was logged at the start already.
    let _ = sd_notify::notify(states);
}
