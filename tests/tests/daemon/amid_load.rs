//! Work in the midst of a steady load of requests.

use std::env;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use proxydhcp_clients::{Load, LoadReport, Reply, steady};
use proxydhcp_lab::site::Site;
use proxydhcp_lab::{CLIENT_INTERFACE, RequestFrame};

/// Requests a second, on a machine that has the time; `PROXYDHCP_RATE` is for one that has not,
/// because it is emulated.
const RATE: u32 = 50_000;
/// The load is well under way, and goes on, when so many requests have been answered before the
/// work, and after it.
const LEAST: u32 = 5_000;
/// Nothing must hang.
const PATIENCE: Duration = Duration::from_mins(10);

/// What became of the load, and of the work.
pub(crate) struct Amid<T> {
    pub(crate) load: LoadReport,
    /// How many requests were answered while the work was done.
    pub(crate) meanwhile: u32,
    pub(crate) work: T,
}

/// Does `work` while these requests are sent over and over; `check` judges each first answer.
pub(crate) fn amid_load<T>(
    site: &mut Site,
    requests: &[RequestFrame],
    check: &mut (dyn FnMut(&Reply) -> Result<()> + Send),
    work: impl FnOnce(&mut Site) -> Result<T>,
) -> Result<Amid<T>> {
    let client = site.lab.client.try_clone()?;
    let rate = match env::var("PROXYDHCP_RATE") {
        Ok(rate) => rate.parse()?,
        Err(_) => RATE,
    };
    let (answered, over) = (AtomicU32::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        let load = scope.spawn(|| {
            let load = Load { rate, requests };
            let go_on = |elapsed| !over.load(Relaxed) && elapsed < PATIENCE;
            steady(&client, CLIENT_INTERFACE, &load, &go_on, &mut |reply| {
                answered.fetch_add(1, Relaxed);
                check(reply)
            })
        });
        let worked = await_more(&answered, &load).and_then(|()| {
            let before = answered.load(Relaxed);
            let work = work(site)?;
            let meanwhile = answered.load(Relaxed) - before;
            await_more(&answered, &load)?;
            Ok((meanwhile, work))
        });
        over.store(true, Relaxed);
        let load = load.join().ok().context("the load panicked")??;
        let (meanwhile, work) = worked?;
        Ok(Amid {
            load,
            meanwhile,
            work,
        })
    })
}

/// Waits for [`LEAST`] answers more.
fn await_more<T>(answered: &AtomicU32, load: &ScopedJoinHandle<T>) -> Result<()> {
    let (started, before) = (Instant::now(), answered.load(Relaxed));
    while answered.load(Relaxed) - before < LEAST {
        ensure!(!load.is_finished(), "the load has ended early");
        ensure!(
            started.elapsed() < PATIENCE,
            "the requests are not answered"
        );
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}
