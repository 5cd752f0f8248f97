//! The boot storm.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use proxydhcp_lab::packet::{BATCH, FrameReceiver, FrameSender};
use proxydhcp_lab::{Namespace, check_reply};

use crate::report::{Outcome, StormReport};
use crate::wire::{ensure_none_lost, now, open, send_all, xid_of};
use crate::{Client, Firmware};

/// The interval between progress reports.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(20);
/// The interval at which the listener checks whether a burst is over.
const BURST_NAP: Duration = Duration::from_micros(200);
/// How long to wait for second answers after the last first answer.
const LINGER: Duration = Duration::from_millis(100);

/// The progress of a storm.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// The number of clients.
    pub clients: usize,
    /// The number of clients that have an answer.
    pub answered: usize,
    /// The time since the storm began.
    pub elapsed: Duration,
}

/// Makes all `clients` ask at once from `interface` in `namespace`, and again at their own retry
/// times, until all have an answer or have given up. `progress` may abort the storm.
///
/// # Errors
/// If the storm is aborted, a socket fails, or the receiving socket itself lost frames.
pub fn storm(
    namespace: &Namespace,
    interface: &str,
    clients: &[Client],
    progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<StormReport> {
    let mut by_xid = HashMap::new();
    for (index, client) in clients.iter().enumerate() {
        let other = by_xid.insert(client.request.xid, index);
        ensure!(
            other.is_none(),
            "two clients have the xid {:#010x}",
            client.request.xid
        );
    }
    let requests: Vec<Vec<u8>> = clients
        .iter()
        .map(|client| client.request.bytes())
        .collect();
    let seats: Vec<Seat> = clients.iter().map(|_| Seat::default()).collect();
    let ports = clients.iter().map(|client| client.request.source_port);
    let (sender, receiver) = open(namespace, interface, ports)?;
    let shared = Shared {
        seats: &seats,
        answered: AtomicUsize::new(0),
        bursting: AtomicBool::new(false),
        done: AtomicBool::new(false),
    };

    let (asked, heard) = thread::scope(|scope| {
        let listener = scope.spawn(|| listen(receiver, &by_xid, &shared));
        let asked = ask(&sender, clients, &requests, &shared, progress);
        shared.done.store(true, Ordering::Release);
        (
            asked,
            listener.join().unwrap_or_else(|panic| resume_unwind(panic)),
        )
    });
    let took = asked?;
    let heard = heard?;

    let mut outcomes = Vec::with_capacity(clients.len());
    let mut answers = heard.answers;
    for (index, (client, seat)) in clients.iter().zip(&seats).enumerate() {
        let answer = answers.remove(&index);
        let request = requests.get(index).map_or(&[][..], Vec::as_slice);
        outcomes.push(judge(client, request, seat, answer));
    }
    Ok(StormReport {
        outcomes,
        duplicates: heard.duplicates,
        strays: heard.strays,
        sample: heard.sample,
        asked: seats.iter().map(Seat::asked).sum(),
        took,
    })
}

/// The state of one client, shared by sender and receiver.
#[derive(Debug, Default)]
struct Seat {
    /// The times of its requests, in nanoseconds since the epoch; zero for requests not sent.
    sent: [AtomicU64; 4],
    answered: AtomicBool,
}

impl Seat {
    fn asked(&self) -> usize {
        let stamps = self.sent.iter();
        stamps
            .filter(|stamp| stamp.load(Ordering::Relaxed) != 0)
            .count()
    }
}

struct Shared<'a> {
    seats: &'a [Seat],
    answered: AtomicUsize,
    /// Whether requests are being sent.
    bursting: AtomicBool,
    done: AtomicBool,
}

/// An answer and its arrival time.
type Answer = (Duration, Vec<u8>);

#[derive(Default)]
struct Heard {
    answers: HashMap<usize, Answer>,
    duplicates: usize,
    strays: usize,
    sample: Option<Vec<u8>>,
}

fn listen(
    mut receiver: FrameReceiver,
    by_xid: &HashMap<u32, usize>,
    shared: &Shared,
) -> Result<Heard> {
    let mut heard = Heard::default();
    while !shared.done.load(Ordering::Acquire) {
        // Answers carry the kernel's timestamps and can wait; the sender must not wait for a core.
        if shared.bursting.load(Ordering::Acquire) {
            thread::sleep(BURST_NAP);
            continue;
        }
        receiver.receive(PROGRESS_INTERVAL, |arrival| {
            let index = xid_of(arrival.frame).and_then(|xid| by_xid.get(&xid).copied());
            let Some((index, seat)) = index.and_then(|at| Some((at, shared.seats.get(at)?))) else {
                heard.strays += 1;
                return;
            };
            if seat.answered.swap(true, Ordering::Relaxed) {
                heard.duplicates += 1;
                return;
            }
            heard.sample.get_or_insert_with(|| arrival.frame.to_vec());
            heard
                .answers
                .insert(index, (arrival.time, arrival.frame.to_vec()));
            shared.answered.fetch_add(1, Ordering::Relaxed);
        })?;
    }
    ensure_none_lost(&mut receiver)?;
    Ok(heard)
}

/// Sends each request when it is due; returns how long the storm lasted.
fn ask(
    sender: &FrameSender,
    clients: &[Client],
    requests: &[Vec<u8>],
    shared: &Shared,
    progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<Duration> {
    let started = Instant::now();
    let mut all_answered_before = |deadline: Duration| -> Result<bool> {
        loop {
            let elapsed = started.elapsed();
            let answered = shared.answered.load(Ordering::Relaxed);
            let clients = clients.len();
            let standing = Progress {
                clients,
                answered,
                elapsed,
            };
            if progress(standing).is_break() {
                bail!("the storm was broken off");
            }
            if answered == clients || elapsed >= deadline {
                return Ok(answered == clients);
            }
            thread::sleep(PROGRESS_INTERVAL.min(deadline.saturating_sub(elapsed)));
        }
    };
    let (rounds, patience) = schedule(clients);
    for (time, asking) in rounds {
        if all_answered_before(time)? {
            break;
        }
        // Clients of both kinds that ask at the same time do so in their own mixed order.
        let unanswered: Vec<(&AtomicU64, &[u8])> = clients
            .iter()
            .zip(shared.seats)
            .zip(requests)
            .filter(|((_, seat), _)| !seat.answered.load(Ordering::Relaxed))
            .filter_map(|((client, seat), request)| {
                let (_, try_number) = asking.iter().find(|(kind, _)| *kind == client.firmware)?;
                Some((seat.sent.get(*try_number)?, request.as_slice()))
            })
            .collect();
        shared.bursting.store(true, Ordering::Release);
        let sent = send_burst(sender, &unanswered);
        shared.bursting.store(false, Ordering::Release);
        sent?;
    }
    all_answered_before(patience)?;
    let took = started.elapsed();
    thread::sleep(LINGER);
    Ok(took)
}

fn send_burst(sender: &FrameSender, burst: &[(&AtomicU64, &[u8])]) -> Result<()> {
    for batch in burst.chunks(BATCH) {
        let frames: Vec<&[u8]> = batch.iter().map(|(_, request)| *request).collect();
        let stamp = u64::try_from(now().as_nanos())?;
        for (sent, _) in batch {
            sent.store(stamp, Ordering::Relaxed);
        }
        send_all(sender, &frames)?;
    }
    Ok(())
}

/// The clients that ask at each time, with the number of the try.
type Rounds = BTreeMap<Duration, Vec<(Firmware, usize)>>;

/// The retry times of all kinds of firmware among the clients, and the time at which the last gives
/// up.
fn schedule(clients: &[Client]) -> (Rounds, Duration) {
    let mut rounds = Rounds::new();
    let mut patience = Duration::ZERO;
    for firmware in [Firmware::Bios, Firmware::Uefi] {
        if !clients.iter().any(|client| client.firmware == firmware) {
            continue;
        }
        let (times, gives_up) = firmware.clock();
        for (try_number, time) in times.into_iter().enumerate() {
            rounds.entry(time).or_default().push((firmware, try_number));
        }
        patience = patience.max(gives_up);
    }
    (rounds, patience)
}

fn judge(client: &Client, request: &[u8], seat: &Seat, answer: Option<Answer>) -> Outcome {
    let asked: Vec<Duration> = seat
        .sent
        .iter()
        .map(|stamp| Duration::from_nanos(stamp.load(Ordering::Relaxed)))
        .filter(|stamp| !stamp.is_zero())
        .collect();
    let gave_up = Outcome {
        firmware: client.firmware,
        tries: asked.len(),
        latency: None,
        waited: None,
        fault: None,
    };
    let Some((arrived, reply)) = answer else {
        return gave_up;
    };
    let before: Vec<&Duration> = asked.iter().filter(|stamp| **stamp <= arrived).collect();
    let (Some(first), Some(last)) = (before.first(), before.last()) else {
        return gave_up;
    };
    let (_, patience) = client.firmware.clock();
    let waited = arrived.saturating_sub(**first);
    if waited > patience {
        return gave_up;
    }
    let checked = client
        .expected
        .as_ref()
        .map_or(Ok(()), |expected| check_reply(request, &reply, expected));
    Outcome {
        tries: before.len(),
        latency: Some(arrived.saturating_sub(**last)),
        waited: Some(waited),
        fault: checked
            .err()
            .map(|fault| format!("{}: {fault:#}", client.request.source)),
        ..gave_up
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proxydhcp_lab::{CLIENT_INTERFACE, Lab};

    use super::*;
    use crate::toy::Toy;

    const WINPE: &str = "winboot/new/";

    fn clients(count: u8) -> Vec<Client> {
        (1..=count)
            .map(|host| {
                let firmware = if host % 2 == 0 {
                    Firmware::Bios
                } else {
                    Firmware::Uefi
                };
                Client::new(firmware, Ipv4Addr::new(10, 77, 1, host), WINPE)
            })
            .collect()
    }

    fn run(clients: &[Client], toy: impl Fn(usize) -> Toy) -> StormReport {
        let lab = Lab::new().unwrap();
        let toys = clients
            .iter()
            .enumerate()
            .map(|(n, client)| (client.clone(), toy(n)));
        let _responder = Toy::serve(&lab.server, toys);
        storm(&lab.client, CLIENT_INTERFACE, clients, &mut |_| {
            ControlFlow::Continue(())
        })
        .unwrap()
    }

    #[test]
    fn a_good_responder_answers_all_at_once() {
        let report = run(&clients(250), |_| Toy::Answers);
        let faults: Vec<&str> = report.faults().collect();
        assert!(
            report.is_flawless(),
            "{:?} {faults:?}",
            report.summary(None)
        );
        assert_eq!(report.summary(Some(Firmware::Bios)).first_try, 125);
        assert!(report.sample.is_some());
    }

    #[test]
    fn lost_late_and_wrong_answers_are_told_apart() {
        let kinds = [
            Toy::Answers,
            Toy::MissesFirst,
            Toy::Silent,
            Toy::NamesAnotherLoader,
            Toy::AnswersTwice,
        ];
        // Only BIOS clients, which give up first.
        let clients: Vec<Client> = (1..=10)
            .map(|host| Client::new(Firmware::Bios, Ipv4Addr::new(10, 77, 1, host), WINPE))
            .collect();
        let report = run(&clients, |n| kinds[n % kinds.len()]);
        let all = report.summary(None);
        assert_eq!(
            (all.first_try, all.retried, all.never, all.wrong),
            (4, 2, 2, 2),
            "{all:?}"
        );
        assert_eq!(report.duplicates, 2);
        assert!(report.outcomes[1].tries == 2 && report.outcomes[2].tries == 4);
        assert!(report.faults().all(|fault| fault.contains("file is")));
        assert!(report.took >= Duration::from_millis(3750) && report.took < Duration::from_secs(5));
    }

    #[test]
    fn a_storm_can_be_broken_off() {
        let lab = Lab::new().unwrap();
        let broken = storm(
            &lab.client,
            CLIENT_INTERFACE,
            &clients(2),
            &mut |progress| {
                if progress.elapsed < Duration::from_millis(50) {
                    ControlFlow::Continue(())
                } else {
                    ControlFlow::Break(())
                }
            },
        );
        assert_eq!(broken.unwrap_err().to_string(), "the storm was broken off");
    }
}
