//! A steady load in which every request is accounted for.

use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use proxydhcp_lab::packet::{BATCH, FrameReceiver, FrameSender};
use proxydhcp_lab::{Namespace, RequestFrame};

use crate::numbered::NumberedFrame;
use crate::wire::{ensure_none_lost, open, send_all, xid_of};

/// How long to wait for answers after the last request.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long the sender sleeps if nothing is due.
const NAP: Duration = Duration::from_micros(300);
/// How far a delayed sender catches up at most: a longer burst would not be a steady load.
const LONGEST_DEBT: Duration = Duration::from_millis(10);
/// The number of fault descriptions that a report keeps.
const KEPT_FAULTS: usize = 5;

/// The requests of a load, and their rate.
#[derive(Debug)]
pub struct Load<'a> {
    /// Requests per second.
    pub rate: u32,
    /// The requests, sent in turn, over and over. Their xid is replaced by the request's number.
    pub requests: &'a [RequestFrame],
}

/// An answer, for the caller to judge.
#[derive(Debug)]
pub struct Reply<'a> {
    /// The number of the request: its xid.
    pub number: u32,
    /// The index of the request among those of the load.
    pub request_index: usize,
    /// The frame that was sent.
    pub request: &'a [u8],
    /// The frame that came back.
    pub frame: &'a [u8],
}

/// The outcomes of the requests.
#[derive(Clone, Debug, Default)]
pub struct LoadReport {
    /// The number of requests sent.
    pub sent: u32,
    /// The number of requests answered.
    pub answered: u32,
    /// The number of answers to requests that had been answered already.
    pub duplicates: u32,
    /// The number of frames from port 4011 that answer none of the requests.
    pub strays: u32,
    /// The number of first answers that the caller's check rejected.
    pub wrong: u32,
    /// The first few reasons for rejection.
    pub faults: Vec<String>,
    /// How long requests were sent.
    pub took: Duration,
}

impl LoadReport {
    /// The number of requests that were never answered.
    pub fn missing(&self) -> u32 {
        self.sent - self.answered
    }

    /// The actual rate in requests per second.
    pub fn rate(&self) -> f64 {
        f64::from(self.sent) / self.took.as_secs_f64()
    }

    /// Whether each request got exactly one answer, and a right one.
    pub fn is_flawless(&self) -> bool {
        self.missing() == 0 && self.duplicates == 0 && self.strays == 0 && self.wrong == 0
    }
}

/// Sends requests at a fixed rate from `interface` in `namespace` while `go_on`, which receives the
/// time since the start, returns true. Passes the first answer to each request to `check`.
///
/// # Errors
/// If a socket fails, or the receiving socket itself lost frames.
pub fn steady(
    namespace: &Namespace,
    interface: &str,
    load: &Load,
    go_on: &(dyn Fn(Duration) -> bool + Sync),
    check: &mut (dyn FnMut(&Reply) -> Result<()> + Send),
) -> Result<LoadReport> {
    ensure!(
        load.rate > 0 && !load.requests.is_empty(),
        "a load of nothing"
    );
    let frames = load
        .requests
        .iter()
        .map(NumberedFrame::new)
        .collect::<Result<Vec<_>>>()?;
    let ports = load.requests.iter().map(|request| request.source_port);
    let (sender, receiver) = open(namespace, interface, ports)?;
    let sent = AtomicU32::new(0);
    let done = AtomicBool::new(false);
    let (asked, heard) = thread::scope(|scope| {
        let listener = scope.spawn(|| listen(receiver, &frames, &sent, &done, check));
        let asked = ask(&sender, &frames, load.rate, &sent, go_on);
        done.store(true, Ordering::Release);
        (
            asked,
            listener.join().unwrap_or_else(|panic| resume_unwind(panic)),
        )
    });
    let took = asked?;
    Ok(LoadReport {
        sent: sent.into_inner(),
        took,
        ..heard?
    })
}

fn ask(
    sender: &FrameSender,
    frames: &[NumberedFrame],
    rate: u32,
    sent: &AtomicU32,
    go_on: &dyn Fn(Duration) -> bool,
) -> Result<Duration> {
    let interval = Duration::from_secs(1) / rate;
    let mut batch = vec![Vec::new(); BATCH];
    let started = Instant::now();
    let mut next_due = Duration::ZERO;
    let mut number = 0_u32;
    loop {
        let elapsed = started.elapsed();
        if !go_on(elapsed) {
            return Ok(elapsed);
        }
        next_due = next_due.max(elapsed.saturating_sub(LONGEST_DEBT));
        let mut due = 0;
        for frame in &mut batch {
            if next_due > elapsed {
                break;
            }
            if let Some(numbered) = frames.get(number as usize % frames.len()) {
                numbered.write(number, frame);
            }
            number = number
                .checked_add(1)
                .context("more requests than numbers")?;
            next_due += interval;
            due += 1;
        }
        if due == 0 {
            thread::sleep(NAP);
            continue;
        }
        // The number is published first, because an answer must not overtake it.
        sent.store(number, Ordering::Release);
        send_all(sender, batch.get(..due).unwrap_or_default())?;
    }
}

fn listen(
    mut receiver: FrameReceiver,
    frames: &[NumberedFrame],
    sent: &AtomicU32,
    done: &AtomicBool,
    check: &mut (dyn FnMut(&Reply) -> Result<()> + Send),
) -> Result<LoadReport> {
    let mut report = LoadReport::default();
    let mut seen: Vec<bool> = Vec::new();
    let mut request = Vec::new();
    let mut last_arrival = Instant::now();
    loop {
        let was_done = done.load(Ordering::Acquire);
        let count = receiver.receive(Duration::from_millis(20), |arrival| {
            let known = sent.load(Ordering::Acquire);
            let Some(number) = xid_of(arrival.frame).filter(|number| *number < known) else {
                report.strays += 1;
                return;
            };
            let place = number as usize;
            seen.resize(seen.len().max(place + 1), false);
            if seen
                .get_mut(place)
                .is_none_or(|seen| std::mem::replace(seen, true))
            {
                report.duplicates += 1;
                return;
            }
            report.answered += 1;
            let request_index = place % frames.len();
            if let Some(numbered) = frames.get(request_index) {
                numbered.write(number, &mut request);
            }
            let reply = Reply {
                number,
                request_index,
                request: &request,
                frame: arrival.frame,
            };
            if let Err(fault) = check(&reply) {
                report.wrong += 1;
                if report.faults.len() < KEPT_FAULTS {
                    report.faults.push(format!("request {number}: {fault:#}"));
                }
            }
        })?;
        if count > 0 {
            last_arrival = Instant::now();
            continue;
        }
        let complete = report.answered == sent.load(Ordering::Acquire);
        if was_done && (complete || last_arrival.elapsed() > PATIENCE) {
            break;
        }
    }
    ensure_none_lost(&mut receiver)?;
    Ok(report)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proxydhcp_lab::{CLIENT_INTERFACE, Lab, check_reply};

    use super::*;
    use crate::toy::Toy;
    use crate::{Client, Firmware};

    fn clients(count: u8) -> Vec<Client> {
        (1..=count)
            .map(|host| {
                Client::new(
                    Firmware::Uefi,
                    Ipv4Addr::new(10, 77, 1, host),
                    "winboot/new/",
                )
            })
            .collect()
    }

    fn run(
        clients: &[Client],
        toy: impl Fn(usize) -> Toy,
        rate: u32,
        time: Duration,
    ) -> LoadReport {
        let lab = Lab::new().unwrap();
        let toys = clients
            .iter()
            .enumerate()
            .map(|(n, client)| (client.clone(), toy(n)));
        let _responder = Toy::serve(&lab.server, toys);
        let requests: Vec<RequestFrame> = clients.iter().map(|c| c.request.clone()).collect();
        let load = Load {
            rate,
            requests: &requests,
        };
        steady(
            &lab.client,
            CLIENT_INTERFACE,
            &load,
            &|elapsed| elapsed < time,
            &mut |reply| {
                check_reply(
                    reply.request,
                    reply.frame,
                    clients[reply.request_index].expected.as_ref().unwrap(),
                )
            },
        )
        .unwrap()
    }

    #[test]
    fn every_request_is_answered_once() {
        let report = run(
            &clients(200),
            |_| Toy::Answers,
            5_000,
            Duration::from_millis(500),
        );
        assert!(report.is_flawless(), "{report:?}");
        assert!(
            (4_000.0..=5_100.0).contains(&report.rate()),
            "{}",
            report.rate()
        );
    }

    #[test]
    fn what_goes_wrong_is_counted() {
        let kinds = [
            Toy::Answers,
            Toy::Silent,
            Toy::AnswersTwice,
            Toy::NamesAnotherLoader,
        ];
        let report = run(&clients(4), |n| kinds[n], 1_000, Duration::from_millis(200));
        let quarter = report.sent / 4;
        assert!(report.missing().abs_diff(quarter) <= 1, "{report:?}");
        assert!(report.duplicates.abs_diff(quarter) <= 1, "{report:?}");
        assert!(report.wrong.abs_diff(quarter) <= 1, "{report:?}");
        assert!(report.faults[0].contains("file is"), "{report:?}");
    }
}
