//! What the service manager (systemd) is told, by `sd_notify(3)`: that the service is ready, reloads
//! and stops, what it serves, and that it lives. Where none has asked, nothing is sent.

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

/// A sign of life takes no longer, unless the daemon is stuck or has very much to do.
const PATIENCE: Duration = Duration::from_secs(5);

/// Tells that the service is ready. That it is not heard is no reason to end.
pub(crate) fn ready() {
    if let Err(error) = sd_notify::notify(&[Ready]) {
        warn!("cannot tell the service manager that the service is ready: {error}");
    }
}

/// Tells that the service stops.
pub(crate) fn stopping() {
    notify(&[Stopping]);
}

/// Shows that all that the daemon does beside packets lives, when it is asked to.
pub(crate) struct Pulse(mpsc::Receiver<oneshot::Sender<()>>);

impl Pulse {
    /// To be waited for where the daemon waits for all else.
    pub(crate) async fn run(mut self) {
        while let Some(sign) = self.0.recv().await {
            // The runtime's own threads, too.
            let _ = tokio::spawn(async {}).await;
            let _ = sign.send(());
        }
        std::future::pending::<()>().await;
    }
}

/// Tells of reloads and what is served, and, where the manager asks for it (`WatchdogSec=`), that
/// the service lives: as long as every packet thread has shown that it does, and the [`Pulse`].
/// This has a thread of its own: the others may have much to do.
///
/// # Errors
///
/// There is no thread to have.
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
                    // The daemon ends.
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

/// Waits for a sign of life, however long it takes: who stops to wait for it is the manager.
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

/// Twice in the time within which the manager must hear of the service.
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
    // It was told at the start if it is not heard.
    let _ = sd_notify::notify(states);
}
