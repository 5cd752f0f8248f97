//! Full load: the replies at the generator's full speed, and the highest rate without a loss.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use proxydhcp_lab::{Namespace, SERVER_INTERFACE};

use crate::generator::{Generator, Sent};
use crate::received::Interfaces;
use crate::results::Flood;
use crate::session::Session;
use crate::small_xdp::Counter;

/// Replies are awaited until none has come for this long.
const SILENCE: Duration = Duration::from_millis(100);
/// The longest time for which replies may trickle in.
const DRAIN_PATIENCE: Duration = Duration::from_secs(3);
/// The number of generator runs to warm up with, which meet cold caches and unused sockets.
const WARM_UP: u32 = 300_000;
/// The search for the highest rate without a loss goes down to this fraction of the full-speed
/// replies.
const RANGE: f64 = 64.0;
/// The maximum number of attempts at a rate until one lasts long enough.
const MOST_GOES: u32 = 5;
/// The interval at which replies are counted while requests are sent.
const SAMPLE: Duration = Duration::from_millis(10);
/// How often a rate with a loss is tried: if the machine was briefly busy otherwise, the contender
/// is not to blame.
const TRIES: u32 = 3;

/// The effort of the search.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    /// How long to send at full speed.
    pub(crate) full_speed: Duration,
    /// How long to keep up a rate.
    pub(crate) paced: Duration,
    /// The number of rates to try.
    pub(crate) steps: u32,
}

/// Floods the contender with `requests`, over and over. `go_on` receives a description of each
/// attempt.
pub(crate) fn flood(
    session: &mut Session,
    contender: &str,
    requests: &[Vec<u8>],
    effort: Effort,
    go_on: &mut dyn FnMut(&str) -> Result<()>,
) -> Result<Flood> {
    let counter = session.count_replies()?;
    session.take_redirected()?;
    let mut wire = Wire {
        clients: &session.lab.client,
        server: Interfaces::of(&session.lab.server)?,
        generator: Generator::new(&session.lab.client, requests)?,
        counter: &counter,
        runs_per_second: 0.0,
    };
    go_on("full speed")?;
    let full = wire.full_speed(effort.full_speed)?;
    let offered = full.sent.per_second();
    let mut result = Flood {
        contender: contender.to_owned(),
        offered_per_second: offered,
        replies_per_second: full.replies_per_second,
        lossless_per_second: Some(offered),
        bounded_by_generator: full.is_lossless(),
    };
    if full.is_lossless() {
        return Ok(result);
    }
    let high = offered.min(result.replies_per_second * 2.0).max(1000.0);
    result.lossless_per_second = highest(high / RANGE, high, effort.steps, |rate| {
        go_on(&format!("{rate:.0} requests a second"))?;
        for _ in 0..TRIES {
            if let Some(kept) = wire.keeps(rate, effort.paced)? {
                return Ok(Some(kept));
            }
        }
        Ok(None)
    })?;
    Ok(result)
}

/// The highest rate that `keeps` accepts, found by halving the interval's ratio `steps` times.
/// `keeps` returns the rate that was actually offered.
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

impl Sent {
    fn per_second(self) -> f64 {
        per_second(self.requests, self.took)
    }
}

fn per_second(count: u64, time: Duration) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    let count = count as f64;
    count / time.as_secs_f64().max(1e-9)
}

/// The result of sending at full speed.
struct Full {
    sent: Sent,
    replies: u64,
    /// The rate while requests were sent.
    replies_per_second: f64,
}

impl Full {
    fn is_lossless(&self) -> bool {
        self.replies >= self.sent.requests
    }
}

struct Wire<'a> {
    clients: &'a Namespace,
    server: Interfaces,
    generator: Generator,
    counter: &'a Counter,
    /// The speed of the generator when it last ran, which it shares with other work on the core.
    runs_per_second: f64,
}

impl Wire<'_> {
    /// Sends as fast as possible for about this long.
    fn full_speed(&mut self, time: Duration) -> Result<Full> {
        self.send(None, WARM_UP)?;
        drain(self.counter, u64::MAX, 0)?;
        let before = self.counter.total()?;
        let (runs, counter) = (self.runs(time), self.counter);
        let (sent, samples) = thread::scope(|scope| {
            let sender = scope.spawn(|| self.send(None, runs));
            let mut samples = Vec::new();
            while !sender.is_finished() {
                samples.push((Instant::now(), counter.total()));
                thread::sleep(SAMPLE);
            }
            let sent = sender
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            (sent, samples)
        });
        let sent = sent?;
        let samples: Result<Vec<_>> = samples
            .into_iter()
            .map(|(at, count)| Ok((at, count?)))
            .collect();
        Ok(Full {
            sent,
            replies: drain(self.counter, sent.requests, before)?,
            replies_per_second: middle_rate(&samples?, sent.took)?,
        })
    }

    /// Sends at this rate in one go, so that a queue that fills up must overflow. Returns the rate
    /// that was actually kept if every request was answered.
    fn keeps(&mut self, rate: f64, time: Duration) -> Result<Option<f64>> {
        let mut sent = Sent::default();
        // The generator runs faster at a lower rate, and only shows then how fast.
        for _ in 0..MOST_GOES {
            let before = self.counter.total()?;
            sent = self.send(Some(rate), self.runs(time))?;
            if drain(self.counter, sent.requests, before)? < sent.requests {
                return Ok(None);
            }
            if sent.took >= time / 2 {
                break;
            }
        }
        Ok(Some(sent.per_second()))
    }

    fn send(&mut self, rate: Option<f64>, runs: u32) -> Result<Sent> {
        let before = self.not_taken()?;
        let mut sent = self.clients.run(|| self.generator.send(rate, runs))?;
        let not_taken = self.not_taken()? - before;
        sent.requests = sent.requests.saturating_sub(not_taken);
        let at_least = Duration::from_millis(1);
        self.runs_per_second = per_second(runs.into(), sent.took.max(at_least));
        Ok(sent)
    }

    /// The number of frames that never reached the wire, which has room for 256: if the kernel
    /// briefly defers the server's end, they are not the contender's losses.
    fn not_taken(&self) -> Result<u64> {
        Ok(self.server.received(SERVER_INTERFACE)?.dropped)
    }

    /// The number of generator runs that take about this long.
    fn runs(&self, time: Duration) -> u32 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "some millions"
        )]
        let runs = (self.runs_per_second * time.as_secs_f64()) as u32;
        runs.max(WARM_UP)
    }
}

/// The rate of replies while requests were sent for `took`, without the first and last tenth, when
/// queues fill and drain.
fn middle_rate(samples: &[(Instant, u64)], took: Duration) -> Result<f64> {
    let (start, _) = *samples.first().context("no time to count replies")?;
    let mut middle = samples
        .iter()
        .filter(|(at, _)| (took / 10..=took / 10 * 9).contains(&at.duration_since(start)));
    let from = middle.next().context("too short a time to count replies")?;
    let to = middle
        .next_back()
        .context("too short a time to count replies")?;
    Ok(per_second(to.1 - from.1, to.0 - from.0))
}

/// Waits for the last replies; returns the number of replies since the count was `before`.
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
    fn replies_are_counted_in_the_middle() {
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        let samples = [
            (at(0), 0),
            (at(5), 1),
            (at(20), 100),
            (at(60), 500),
            (at(80), 700),
            (at(100), 5000),
        ];
        let rate = middle_rate(&samples, Duration::from_millis(100)).unwrap();
        assert!((rate - 10_000.0).abs() < 1e-6, "{rate}");
        assert!(middle_rate(&samples[..2], Duration::from_millis(100)).is_err());
    }
}
