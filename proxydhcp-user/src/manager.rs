//! What the service manager (systemd) is told, by `sd_notify(3)`: that the service is ready, reloads
//! and stops, what it serves, and that it lives. Where none has asked, nothing is sent.

use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState::{self, Ready, Reloading, Status, Stopping, Watchdog};
use tokio::time::{Interval, MissedTickBehavior, interval};
use tracing::{error, warn};

use crate::service::Service;

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

/// Tells of reloads and what is served, and, where the manager asks for it (`WatchdogSec=`), that
/// the service lives: as long as every packet thread has shown that it does.
pub(crate) async fn keep_informed(service: Arc<Service>) {
    let mut reloading = service.reloading();
    let mut watchdog = sd_notify::watchdog_enabled().map(ticks);
    notify(&[Status(&service.summary())]);
    loop {
        tokio::select! {
            () = tick(&mut watchdog) => {
                let silent = service.silent_threads();
                if silent.is_empty() {
                    notify(&[Watchdog]);
                } else {
                    let silent = silent.join(", ");
                    error!("no sign of life from {silent}: the service manager is told of none");
                }
            }
            changed = reloading.changed() => {
                if changed.is_err() {
                    return;
                }
                let is_reloading = *reloading.borrow_and_update();
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
