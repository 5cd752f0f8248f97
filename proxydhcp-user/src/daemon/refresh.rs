//! Runs beside the service: asks the resolver, and puts its answers into service.

use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc::Receiver;
use tokio::time::{interval, sleep, sleep_until};
use tracing::warn;

use crate::daemon::service::{Asked, Service};
use crate::names::forward::PATIENCE;
use crate::names::resolver::{self, REVERSE_LOOKUPS, Resolution};
use crate::text::with_causes;

/// How long after a round the names that failed in it are asked for again.
const RETRY: Duration = Duration::from_secs(30);

/// Answers that arrive within this time are put into service together.
const TOGETHER: Duration = Duration::from_millis(100);

/// The interval at which names of clients that have grown too old are removed.
const SWEEP: Duration = Duration::from_secs(10);

/// Asks for the names that the hosts file lacks, after each reload, and again for those that failed or
/// have no address, and puts the answers into service as they come.
pub(crate) async fn names(service: Arc<Service>) {
    let asked = || service.with_names(|names, _| names.asked());
    let failed = || {
        let failed = service.with_names(|names, _| names.failed());
        failed.into_iter().map(|failed| failed.name).collect()
    };
    let denied = || service.with_names(|names, _| names.without_address());
    let mut told = String::new();
    let mut wanted = asked();
    let mut pauses = Pauses::new();
    // A round for names without an address does not put off those that have failed.
    let mut may_fail = true;
    let mut retry = tokio::time::Instant::now();
    loop {
        tokio::select! {
            () = round(&service, wanted) => tell(&service, &mut told),
            () = service.reloaded.notified() => {
                wanted = asked();
                (pauses, may_fail) = (Pauses::new(), true);
                continue;
            }
        }
        if may_fail {
            retry = tokio::time::Instant::now() + RETRY;
        }
        (wanted, may_fail) = tokio::select! {
            () = service.reloaded.notified() => {
                pauses = Pauses::new();
                (asked(), true)
            }
            () = sleep_until(retry) => (failed(), true),
            () = pauses.next() => (denied(), false),
        };
    }
}

/// The pauses after which names without an address are asked for again: they double.
struct Pauses {
    due: tokio::time::Instant,
    pause: Duration,
}

impl Pauses {
    const FIRST: Duration = Duration::from_secs(5);
    const LAST: Duration = Duration::from_mins(10);

    fn new() -> Self {
        Self {
            due: tokio::time::Instant::now() + Self::FIRST,
            pause: Self::FIRST,
        }
    }

    async fn next(&mut self) {
        sleep_until(self.due).await;
        self.pause = Self::LAST.min(self.pause * 2);
        self.due = tokio::time::Instant::now() + self.pause;
    }
}

/// Logs which names have no address, unless that was logged already.
fn tell(service: &Service, told: &mut String) {
    let names = service.names_told().to_string();
    if names != *told {
        names.lines().for_each(|line| warn!("{line}"));
        *told = names;
    }
}

/// Asks for all these names once.
async fn round(service: &Service, names: Vec<String>) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let mut left: HashSet<_> = names.iter().cloned().collect();
    let mut answers = resolver::addresses(names).boxed();
    let mut pace = Pace::default();
    while !left.is_empty() {
        tokio::select! {
            answer = answers.next() => {
                let Some((name, answer)) = answer else { break };
                left.remove(&name);
                if service.with_names(|names, _| names.answer(&name, answer)) {
                    pace.news();
                }
            }
            () = pace.due() => pace.refresh(service).await,
            () = sleep_until(deadline) => break,
        }
    }
    let news = service.with_names(|names, _| {
        let mut news = names.has_denied();
        for name in left {
            news |= names.answer(&name, out_of_time(PATIENCE));
        }
        news
    });
    if news || pace.is_pending() {
        // Failures are in the log and in the status.
        let _ = service.refresh(Asked::All).await;
    }
}

/// Keeps the file of the resolver's answers up to date, for the next daemon.
pub(crate) async fn save(service: Arc<Service>) {
    let mut is_told = false;
    loop {
        service.answered.notified().await;
        sleep(TOGETHER).await;
        let result = service.save_answers().await;
        if let Err(error) = &result
            && !is_told
        {
            warn!(
                "a restart while the resolver is down will lose its answers: {}",
                with_causes(error)
            );
        }
        is_told = result.is_err();
    }
}

fn out_of_time<T>(limit: Duration) -> Resolution<T> {
    Resolution::Failed(format!("the name server has not answered within {limit:?}"))
}

/// Looks up the names of clients without a record, and puts those that lead to a record into
/// service.
pub(crate) async fn unknown_clients(service: Arc<Service>, mut waiting: Receiver<Ipv4Addr>) {
    let mut lookups = FuturesUnordered::new();
    let mut pace = Pace::default();
    let mut sweep = interval(SWEEP);
    loop {
        tokio::select! {
            address = waiting.recv(), if lookups.len() < REVERSE_LOOKUPS => {
                // The sender is dropped with the service.
                let Some(address) = address else { return };
                let now = Instant::now();
                if service.with_names(|_, looked_up| looked_up.is_to_be_asked(address, now)) {
                    lookups.push(async move { (address, resolver::name(address).await) });
                }
            }
            Some((address, answer)) = lookups.next() => {
                let now = Instant::now();
                if service.with_names(|_, looked_up| looked_up.answer(address, answer, now)) {
                    pace.news();
                }
            }
            () = pace.due() => pace.refresh(&service).await,
            _ = sweep.tick() => {
                let now = Instant::now();
                if service.with_names(|_, looked_up| looked_up.forget_old(now)) {
                    pace.news();
                }
            }
        }
    }
}

/// Puts answers into service some time after the first of them, together with those that follow.
/// With large tables, it leaves intervals for other work.
struct Pace {
    due: Option<tokio::time::Instant>,
    wait: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            due: None,
            wait: TOGETHER,
        }
    }
}

impl Pace {
    fn news(&mut self) {
        let due = tokio::time::Instant::now() + self.wait;
        self.due.get_or_insert(due);
    }

    fn is_pending(&self) -> bool {
        self.due.is_some()
    }

    async fn due(&self) {
        match self.due {
            Some(due) => sleep_until(due).await,
            None => std::future::pending().await,
        }
    }

    async fn refresh(&mut self, service: &Service) {
        self.due = None;
        let started = Instant::now();
        // Failures are in the log and in the status.
        let _ = service.refresh(Asked::Some).await;
        self.wait = TOGETHER.max(2 * started.elapsed());
    }
}
