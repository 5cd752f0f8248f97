//! Full load: what comes back at the generator's full speed, and the highest rate that is kept
//! without a loss.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use proxydhcp_lab::CLIENT_INTERFACE;
use proxydhcp_lab::packet::{BATCH, FrameSender};

use crate::generator::Generator;
use crate::results::Flood;
use crate::session::Session;
use crate::small_xdp::Counter;
use crate::wire::send_all;

/// Replies are waited for until none has come for this long.
const SILENCE: Duration = Duration::from_millis(100);
/// How long replies may trickle in at most.
const DRAIN_PATIENCE: Duration = Duration::from_secs(3);
/// A paced generator sends what is due at least this often.
const TICK: Duration = Duration::from_micros(100);
/// A rate that loses something is tried once more: a machine that does other things for a
/// moment is not the contender's fault.
const TRIES: u32 = 2;

/// How thoroughly to search.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    /// How long to send at full speed.
    pub(crate) open_loop: Duration,
    /// How long to keep a rate.
    pub(crate) paced: Duration,
    /// How many rates to try.
    pub(crate) steps: u32,
}

/// What became of a burst of requests.
#[derive(Clone, Copy, Debug)]
struct Burst {
    sent: u64,
    took: Duration,
    /// Replies that came while requests were sent.
    replies_meanwhile: u64,
    /// All of them.
    replies: u64,
}

impl Burst {
    fn is_lossless(&self) -> bool {
        self.replies >= self.sent
    }

    fn per_second(&self, count: u64) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
        let count = count as f64;
        count / self.took.as_secs_f64()
    }
}

/// Floods the contender with `requests`, over and over. `go_on` is told what is tried.
pub(crate) fn flood(
    session: &mut Session,
    contender: &str,
    requests: &[Vec<u8>],
    effort: Effort,
    go_on: &mut dyn FnMut(&str) -> Result<()>,
) -> Result<Flood> {
    let counter = session.count_replies()?;
    go_on("full speed")?;
    let full = {
        let namespace = &session.lab.client;
        let _takes = session.take_redirected()?;
        let generator = Generator::new(namespace, requests)?;
        let burst = |time| {
            burst(&counter, time, |_, _| {
                let n: u32 = std::env::var("RUN")
                    .unwrap_or_default()
                    .parse()
                    .unwrap_or(64000);
                namespace.run(|| generator.send(n))?;
                Ok(n.into())
            })
        };
        // The first requests meet cold caches and unused sockets.
        burst(effort.open_loop / 4)?;
        burst(effort.open_loop)?
    };
    let offered = full.per_second(full.sent);
    let mut result = Flood {
        contender: contender.to_owned(),
        offered_per_second: offered,
        replies_per_second: full.per_second(full.replies_meanwhile),
        lossless_per_second: Some(offered),
        bounded_by_generator: full.is_lossless(),
    };
    if full.is_lossless() {
        return Ok(result);
    }
    let sender = FrameSender::open(&session.lab.client, CLIENT_INTERFACE)?;
    let high = offered.min(result.replies_per_second * 2.0).max(1000.0);
    result.lossless_per_second = highest(high / 16.0, high, effort.steps, |rate| {
        go_on(&format!("{rate:.0} requests a second"))?;
        for _ in 0..TRIES {
            let mut batches = Batches::new(requests);
            let burst = burst(&counter, effort.paced, |elapsed, sent| {
                let due = due(rate, elapsed, sent);
                if due == 0 {
                    std::hint::spin_loop();
                    return Ok(0);
                }
                let batch = batches.next(due).context("a flood of nothing")?;
                send_all(&sender, batch)?;
                Ok(batch.len() as u64)
            })?;
            if burst.is_lossless() {
                return Ok(Some(burst.per_second(burst.sent)));
            }
        }
        Ok(None)
    })?;
    Ok(result)
}

/// The highest of the rates that `keeps` finds kept, by halving the interval's ratio `steps`
/// times. `keeps` returns the rate that was really offered.
fn highest(
    mut low: f64,
    mut high: f64,
    steps: u32,
    mut keeps: impl FnMut(f64) -> Result<Option<f64>>,
) -> Result<Option<f64>> {
    let mut found = None;
    for _ in 0..steps {
        let rate = (low * high).sqrt();
        match keeps(rate)? {
            Some(kept) => {
                found = Some(kept);
                low = rate;
            }
            None => high = rate,
        }
    }
    Ok(found)
}

/// Sends for `time`. `send` is told the time since the start and what was sent, and returns how
/// many requests it has sent.
fn burst(
    counter: &Counter,
    time: Duration,
    mut send: impl FnMut(Duration, u64) -> Result<u64>,
) -> Result<Burst> {
    let before = counter.total()?;
    let started = Instant::now();
    let mut sent = 0;
    let took = loop {
        let elapsed = started.elapsed();
        if elapsed >= time {
            break elapsed;
        }
        sent += send(elapsed, sent)?;
    };
    let replies_meanwhile = counter.total()? - before;
    Ok(Burst {
        sent,
        took,
        replies_meanwhile,
        replies: drain(counter, sent, before)?,
    })
}

/// Waits for the last replies.
fn drain(counter: &Counter, sent: u64, before: u64) -> Result<u64> {
    let started = Instant::now();
    let mut last = None;
    loop {
        let replies = counter.total()? - before;
        let is_over = last == Some(replies) || started.elapsed() > DRAIN_PATIENCE;
        if replies >= sent || is_over {
            return Ok(replies);
        }
        last = Some(replies);
        thread::sleep(SILENCE);
    }
}

/// How many requests to send now, to have sent `rate` times `elapsed`.
fn due(rate: f64, elapsed: Duration, sent: u64) -> usize {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "rates and times are positive and far below 2^52"
    )]
    let by_now = (rate * elapsed.as_secs_f64()) as u64;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "as above"
    )]
    let at_a_tick = ((rate * TICK.as_secs_f64()) as usize).clamp(1, BATCH);
    let due = usize::try_from(by_now.saturating_sub(sent)).unwrap_or(BATCH);
    if due < at_a_tick { 0 } else { due.min(BATCH) }
}

/// The requests in batches, over and over.
struct Batches<'a> {
    requests: &'a [Vec<u8>],
    next: usize,
}

impl<'a> Batches<'a> {
    fn new(requests: &'a [Vec<u8>]) -> Self {
        Self { requests, next: 0 }
    }

    /// Up to `count` requests; fewer at the end of the row.
    fn next(&mut self, count: usize) -> Option<&'a [Vec<u8>]> {
        if self.next >= self.requests.len() {
            self.next = 0;
        }
        let end = self.requests.len().min(self.next + count);
        let batch = self.requests.get(self.next..end)?;
        self.next = end;
        (!batch.is_empty()).then_some(batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_rate_is_found_by_halving() {
        let mut tried = 0;
        let found = highest(1000.0, 16_000.0, 8, |rate| {
            tried += 1;
            Ok((rate <= 5000.0).then_some(rate))
        });
        let found = found.unwrap().unwrap();
        assert_eq!(tried, 8);
        assert!((4900.0..=5000.0).contains(&found), "{found}");
        let none = highest(1000.0, 16_000.0, 4, |_| Ok(None)).unwrap();
        assert_eq!(none, None);
    }

    #[test]
    fn a_paced_generator_sends_small_batches_often() {
        let second = Duration::from_secs(1);
        assert_eq!(due(100_000.0, Duration::from_micros(100), 0), 10);
        assert_eq!(due(100_000.0, Duration::from_micros(50), 0), 0);
        assert_eq!(due(100.0, second, 99), 1);
        assert_eq!(due(1e7, second, 0), BATCH);
        assert_eq!(due(1e7, second, 10_000_000 - 5), 0);
    }

    #[test]
    fn batches_go_round() {
        let requests: Vec<Vec<u8>> = (0..5).map(|n| vec![n]).collect();
        let mut batches = Batches::new(&requests);
        let sizes: Vec<usize> = (0..4).map(|_| batches.next(3).unwrap().len()).collect();
        assert_eq!(sizes, [3, 2, 3, 2]);
        assert_eq!(Batches::new(&[]).next(3), None);
    }
}
